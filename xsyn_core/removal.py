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


def without(
    segmenter: Segmenter, scan: Scan, items: Sequence[Annotation], places: Sequence[Box]
) -> np.ndarray:
    """The scan less some of its annotated items, where others are to lie.

    Nobody knows what an item hides. What lies around it is carried in over its mask (Bertalmio,
    Bertozzi and Sapiro, "Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting", CVPR
    2001); but what is brighter in every colour stays, for taking an item away makes nothing darker.

    Args:
        items: annotations of the scan; those without a mask are segmented by their boxes.
        places: boxes in scan pixels. Nothing changes outside them and their feather.

    Returns:
        uint8 (H, W, 3).
    """
    hidden = np.zeros(scan.size, bool)
    masks = [item.mask for item in items]
    if any(mask is None for mask in masks):
        embedding = segmenter.embed(scan.pixels)
        masks = [
            segmenter.segment(embedding, item.box).mask if mask is None else mask
            for item, mask in zip(items, masks, strict=True)
        ]
    for item, mask in zip(items, masks, strict=True):
        _hide(hidden, item.box, mask)  # type: ignore[arg-type]
    image = scan.pixels.copy()
    for place in places:
        inside = _around(place, FEATHER, scan.size)
        x1, y1, x2, y2 = _around(place, FEATHER + AROUND * _longer(place), scan.size)
        filled = _filled(image[y1:y2, x1:x2], hidden[y1:y2, x1:x2])
        patch = filled[inside[1] - y1 : inside[3] - y1, inside[0] - x1 : inside[2] - x1]
        composite(image, patch, inside, weight([place], inside))
    return image


def _longer(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _around(box: Box, reach: float, size: tuple[int, int]) -> IntBox:
    """The pixels of a scan of (height, width) within `reach` of a box."""
    return boxes.outward(boxes.clip(boxes.expand(box, reach), size))


def _hide(hidden: np.ndarray, box: Box, mask: np.ndarray) -> None:
    """Add an item's mask, bool (H, W), to what is hidden, widened and as far as its box goes; all
    of the box where the mask is empty."""
    reach = max(1, round(MARGIN * _longer(box)))
    x1, y1, x2, y2 = _around(box, reach, hidden.shape)
    near = np.zeros_like(hidden)
    near[y1:y2, x1:x2] = True
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    wide = near & (cv2.dilate((mask & near).astype(np.uint8), disc) > 0)
    hidden |= wide if wide.any() else near


def _filled(pixels: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Pixels uint8 (h, w, 3) with what lies around carried in where they are hidden, bool (h, w):
    float32 (h, w, 3); as they are if all are hidden."""
    known = pixels.astype(np.float32)
    if hidden.all():
        return known
    h, w = hidden.shape
    scale = min(1.0, SIDE / max(h, w))
    size = max(1, round(h * scale)), max(1, round(w * scale))
    coarse = (resample(hidden.astype(np.float32), size) > 0).astype(np.uint8)
    small = np.rint(resample(known, size)).astype(np.uint8)
    carried = cv2.inpaint(small, coarse, RADIUS, cv2.INPAINT_NS)
    carried = np.clip(resample(carried.astype(np.float32), (h, w)), 0, 255)
    # but for the bright seams that scanners draw along edges
    wide = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(SEAM * max(h, w)) + 1,) * 2)
    bright = (hidden & (known >= carried).all(-1)).astype(np.uint8)
    covered = hidden & (cv2.morphologyEx(bright, cv2.MORPH_OPEN, wide) == 0)
    return np.where(covered[..., None], carried, known)
