"""Masks as COCO writes them: run-length encoding, polygons."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from xsyn_core.boxes import Box


def encode(mask: np.ndarray) -> dict[str, Any]:
    """Compressed RLE of a bool mask (H, W), with `counts` as ASCII text, ready for JSON."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    height, width = mask.shape
    return {"size": [int(height), int(width)], "counts": rle["counts"].decode("ascii")}


def decode(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """The bool mask (H, W) of a COCO segmentation: polygons, or RLE in either form.

    Args:
        segmentation: a list of polygons `[x, y, x, y, ...]`, or `{"size", "counts"}`.
        size: (height, width) of the image.

    Raises:
        ValueError: it is neither, made for an image of another size, or reaches far outside.
    """
    height, width = size
    if isinstance(segmentation, list):
        polygons = [[float(v) for v in polygon] for polygon in segmentation]
        if not polygons or any(len(p) < 6 or len(p) % 2 for p in polygons):
            raise ValueError("a polygon needs three points or more, as x, y, x, y, ...")
        if not all(np.isfinite(p).all() for p in polygons):
            raise ValueError("a polygon has a coordinate that is not finite")
        # pycocotools walks every pixel of an outline and writes past its memory on long ones.
        for side, start in ((width, 0), (height, 1)):
            if any(not -side <= v <= 2 * side for p in polygons for v in p[start::2]):
                raise ValueError("a polygon reaches farther outside its image than that is large")
        rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    elif isinstance(segmentation, dict) and {"size", "counts"} <= segmentation.keys():
        if [int(v) for v in segmentation["size"]] != [height, width]:
            raise ValueError(
                f"a mask was made for an image of another size than {width} x {height}"
            )
        rle = _compressed(segmentation["counts"], height, width)
    else:
        raise ValueError("a segmentation is neither polygons nor RLE")
    return coco_mask.decode(rle).astype(bool)


def _compressed(counts: Any, height: int, width: int) -> dict[str, Any]:
    if isinstance(counts, list):
        if sum(counts) != height * width or min(counts) < 0:
            raise ValueError("the runs of a mask do not fill its image")
        rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    elif isinstance(counts, str):
        rle = {"size": [height, width], "counts": counts.encode("ascii")}
        # pycocotools trusts compressed counts and would write past the image.
        if sum(_runs(rle["counts"])) != height * width:
            raise ValueError("the runs of a mask do not fill its image")
    else:
        raise ValueError("the counts of a mask are neither a list nor text")
    return rle


def _runs(counts: bytes) -> list[int]:
    """The runs of compressed counts: 5-bit groups, differences to the last but one run."""
    runs: list[int] = []
    value = shift = 0
    for byte in counts:
        group = byte - 48
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value |= -1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            raise ValueError("a mask has a run of negative length")
        runs.append(value)
        value = shift = 0
    return runs


def box_polygon(box: Sequence[float]) -> list[list[float]]:
    """The corners of a box as one COCO polygon."""
    x1, y1, x2, y2 = box
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def box_mask(box: Box, size: tuple[int, int]) -> np.ndarray:
    """The bool mask (H, W) of a box: the pixels whose centres lie in it."""
    ys, xs = (np.arange(n) + 0.5 for n in size)
    x1, y1, x2, y2 = box
    return ((ys >= y1) & (ys < y2))[:, None] & ((xs >= x1) & (xs < x2))[None, :]
