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
# lies around a place is looked at as far as the second; within the third brightness is a seam's.
MARGIN, AROUND, SEAM = 0.05, 1.0, 0.03
# What lies around is carried in from so many pixels, of no more than the second a side: it is
# smooth there. What a blur of so many of these pixels takes away is grain.
RADIUS, SIDE, BLUR = 5, 384, 2.0
# Grain is looked for at so many places along either axis, and compared at so many pixels.
TRIED, COMPARED = 40, 400
# Two backgrounds that differ by so many grey levels have nothing in common, and of grain so many
# times as strong as usual one edge is as bad as another.
UNLIKE, ROUGH = 40.0, 3.0


def emptied(
    segmenter: Segmenter, scan: Scan, kept: Sequence[Annotation], places: Sequence[Box]
) -> np.ndarray:
    """The scan less its annotated items, but for those that are kept, where others are to lie.

    Nobody knows what an item hides. What lies around it is carried in over its mask (Bertalmio,
    Bertozzi and Sapiro, "Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting", CVPR
    2001), with the grain of a like place nearby; but what is brighter in every colour stays, for
    taking an item away makes nothing darker, and so do items that are kept, though they cross it.

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
        near = np.s_[y1:y2, x1:x2]
        filled = _filled(image[near], hidden[near], foreground[near], SEAM * _longer(place))
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


def _filled(
    pixels: np.ndarray, hidden: np.ndarray, foreground: np.ndarray, seam: float
) -> np.ndarray:
    """Pixels uint8 (h, w, 3) with what lies around carried in where they are hidden, bool (h, w):
    float32 (h, w, 3). Nothing is carried from what is foreground, bool (h, w); pixels stay as they
    are if all are. Seams are no wider than `seam` pixels on either side."""
    known = pixels.astype(np.float32)
    if foreground.all():
        return known
    h, w = hidden.shape
    scale = min(1.0, SIDE / max(h, w))
    size = max(1, round(h * scale)), max(1, round(w * scale))
    coarse = resample(foreground.astype(np.float32), size) > 0
    small = resample(known, size)
    eight_bit = np.rint(small).astype(np.uint8)
    inside = cv2.inpaint(eight_bit, coarse.astype(np.uint8), RADIUS, cv2.INPAINT_NS)
    inside = inside.astype(np.float32)
    carried = np.clip(resample(inside, (h, w)), 0, 255)
    # but for the bright seams that scanners draw along edges
    bright = hidden & (known >= carried).all(-1)
    covered = hidden & ~_within(~_within(~bright, seam), seam)
    carried[covered] += _grain(known, covered, small, inside, ~coarse)
    return np.where(covered[..., None], np.clip(carried, 0, 255), known)


def _grain(
    known: np.ndarray,
    covered: np.ndarray,
    small: np.ndarray,
    inside: np.ndarray,
    background: np.ndarray,
) -> np.ndarray:
    """The grain that a smooth background lacks where it covers n pixels: (n, 3).

    It is taken from one place nearby, where the background is likest and has least edges.

    Args:
        known: float32 (h, w, 3), the pixels.
        covered: bool (h, w).
        small, inside: float32 (s, t, 3), the pixels and the smooth background, scaled down.
        background: bool (s, t), where `small` shows it.
    """
    # edges of items reach as far as both blurs
    usable = ~_within(~background, 4 * BLUR)
    places = np.argwhere(covered)
    if not (usable.any() and len(places)):
        return np.zeros((len(places), 3), np.float32)
    base = cv2.GaussianBlur(small, (0, 0), BLUR)
    fine = known - resample(base, covered.shape)
    power = cv2.GaussianBlur(resample((fine**2).mean(-1), usable.shape), (0, 0), 2 * BLUR)
    strength = np.sqrt(np.maximum(power, 1e-6))
    rough = strength / np.median(strength[usable])
    scale = np.divide(usable.shape, covered.shape)
    cells = (places * scale).astype(int)
    move = _likest(cells, inside, base, rough, usable)
    there = np.clip(places + np.rint(move / scale).astype(int), 0, np.subtract(covered.shape, 1))
    source = _index(cells + move)
    # air has none, and what is left of edges is as faint as grain
    air = np.clip((255 - inside[_index(cells)]) / np.maximum(255 - base[source], 1), 0, 1)
    return fine[_index(there)] * air * (usable[source] / np.maximum(rough[source], 1))[:, None]


def _likest(
    cells: np.ndarray, inside: np.ndarray, base: np.ndarray, rough: np.ndarray, usable: np.ndarray
) -> np.ndarray:
    """Rows and columns (1, 2) by which cells, rows and columns (n, 2), move to where the blurred
    picture `base` (s, t, 3) is likest to what is `inside` them (s, t, 3), and least rough, (s, t),
    and is usable, bool (s, t)."""
    some = cells[np.linspace(0, len(cells) - 1, min(len(cells), COMPARED)).astype(int)]
    steps = [
        np.unique(np.linspace(-first, length - 1 - last, TRIED).astype(int))
        for first, last, length in zip(cells.min(0), cells.max(0), usable.shape, strict=True)
    ]
    moves = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 1, 2)
    tried = _index(some + moves)
    unlike = np.abs(base[tried] - inside[_index(some)]).mean(-1) / UNLIKE
    cost = np.minimum(unlike, 1) + np.clip(rough[tried], 1, ROUGH)
    return moves[np.where(usable[tried], cost, 1 + ROUGH).mean(1).argmin()]


def _index(places: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows and columns (..., 2) as NumPy indexes with them."""
    return places[..., 0], places[..., 1]
