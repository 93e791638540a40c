"""Taking annotated items out of a scan, so that others can lie in their places (Xsyn-M)."""

from collections.abc import Sequence

import cv2
import numpy as np

from xsyn_core import boxes
from xsyn_core.boxes import Box
from xsyn_core.compositing import FEATHER, composite, weight
from xsyn_core.frames import IntBox, resample
from xsyn_core.scan import Annotation, Scan
from xsyn_core.segmentation import Segmenter

# Shares of a box's longer side: masks are widened by the first, for edges of items are soft; what
# lies around a place is looked at as far as the second.
MARGIN, AROUND = 0.05, 0.5
# The share of the longer side of what is looked at within which brightness is but a seam's.
SEAM = 0.015
# What lies around is carried in from so many pixels, of no more than the second a side: it is
# smooth there.
RADIUS, SIDE = 5, 256


def emptied(
    segmenter: Segmenter, scan: Scan, kept: Sequence[Annotation], places: Sequence[Box]
) -> np.ndarray:
    """The scan less its annotated items, but for those that are kept, where others are to lie.

    Nobody knows what an item hides. What lies around it is carried in over its mask (Bertalmio,
    Bertozzi and Sapiro, "Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting", CVPR
    2001); but what is brighter in every colour stays, for taking an item away makes nothing darker,
    and so do items that are kept, though they cross it.

    Args:
        kept: annotations of the scan. Items without a mask are segmented by their boxes.
        places: boxes in scan pixels. Nothing changes outside them and their feather.

    Returns:
        uint8 (H, W, 3); `scan.pixels` themselves if all are kept.
    """
    replaced = [known for known in scan.annotations if not any(known is k for k in kept)]
    if not replaced:
        return scan.pixels
    crossing = [
        known
        for known in kept
        if not known.iscrowd
        and any(boxes.area(boxes.intersection(known.box, place)) for place in places)
    ]
    items = [*replaced, *crossing]
    masks = _masks(segmenter, scan, items)
    wide = [_hidden(item.box, mask) for item, mask in zip(items, masks, strict=True)]
    # what is kept is no background either
    foreground = np.any(wide, axis=0)
    hidden = np.any(wide[: len(replaced)], axis=0)
    for mask in masks[len(replaced) :]:
        hidden &= ~mask
    image = scan.pixels.copy()
    for place in places:
        inside = _around(place, FEATHER, scan.size)
        x1, y1, x2, y2 = _around(place, FEATHER + AROUND * _longer(place), scan.size)
        filled = _filled(*(of[y1:y2, x1:x2] for of in (image, hidden, foreground)))
        patch = filled[inside[1] - y1 : inside[3] - y1, inside[0] - x1 : inside[2] - x1]
        composite(image, patch, inside, weight([place], inside))
    return image


def _longer(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _around(box: Box, reach: float, size: tuple[int, int]) -> IntBox:
    """The pixels of a scan of (height, width) within `reach` of a box."""
    return boxes.outward(boxes.clip(boxes.expand(box, reach), size))


def _masks(segmenter: Segmenter, scan: Scan, items: Sequence[Annotation]) -> list[np.ndarray]:
    """Of each, bool (H, W)."""
    embedding = None
    found = []
    for item in items:
        mask = item.mask
        if mask is None:
            embedding = embedding or segmenter.embed(scan.pixels)
            mask = segmenter.segment(embedding, item.box).mask
        found.append(mask)
    return found


def _hidden(box: Box, mask: np.ndarray) -> np.ndarray:
    """An item's mask, bool (H, W), widened and as far as its box goes; all of the box where the
    mask is empty."""
    reach = max(1, round(MARGIN * _longer(box)))
    height, width = mask.shape
    x1, y1, x2, y2 = _around(box, reach, (height, width))
    wide = np.zeros_like(mask)
    near = mask[y1:y2, x1:x2]
    wide[y1:y2, x1:x2] = _within(near, reach) if near.any() else True
    return wide


def _within(mask: np.ndarray, reach: float) -> np.ndarray:
    """The pixels no further than `reach` from a mask, bool (h, w) as it is."""
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return mask | ((away <= reach) & mask.any())


def _filled(pixels: np.ndarray, hidden: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Pixels uint8 (h, w, 3) with what lies around carried in where they are hidden, bool (h, w):
    float32 (h, w, 3). Nothing is carried from what is foreground, bool (h, w); pixels stay as they
    are if all are."""
    known = pixels.astype(np.float32)
    if foreground.all():
        return known
    h, w = hidden.shape
    scale = min(1.0, SIDE / max(h, w))
    size = max(1, round(h * scale)), max(1, round(w * scale))
    coarse = (resample(foreground.astype(np.float32), size) > 0).astype(np.uint8)
    small = np.rint(resample(known, size)).astype(np.uint8)
    carried = cv2.inpaint(small, coarse, RADIUS, cv2.INPAINT_NS)
    carried = np.clip(resample(carried.astype(np.float32), (h, w)), 0, 255)
    # but for the bright seams that scanners draw along edges
    bright, seam = hidden & (known >= carried).all(-1), SEAM * max(h, w)
    covered = hidden & ~_within(~_within(~bright, seam), seam)
    return np.where(covered[..., None], carried, known)
