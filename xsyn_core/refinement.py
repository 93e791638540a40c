"""Cross-attention refinement (CAR) and median point sampling (MPS), Section IV-B.

All coordinates are pixels of the window that the attention map covers; points are whole pixels
as x, y (SAM itself shifts them to the pixels' centres).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from xsyn_core import boxes
from xsyn_core.boxes import Box
from xsyn_core.errors import XsynError
from xsyn_core.sample import PointStrategy
from xsyn_core.segmentation import Embedding, Segmenter

MAX_DIVISIONS = 8
# A map whose values differ by less than this share of its peak says nothing about place.
FLAT = 1e-4
# A region that covers more of l_i than this tells the item from nothing.
FULL = 0.95
# Refined boxes beyond these multiples of the area of l_i are implausible.
SMALLEST, LARGEST = 0.02, 2.0
# Separate parts of a mask below this share of it are specks.
SPECK = 0.02


@dataclass(frozen=True)
class Refinement:
    """What CAR found for one item, in pixels of the window.

    Attributes:
        box: the refined box, or the grounding box where the mask is implausible.
        mask: bool (H, W) behind `box`; None where the grounding box was kept.
        region: bool (H, W), r_i.
        points: int (2**n, 2), P_i as x, y; (0, 2) where SAM saw the box alone.
        labels: int (2**n,), 1 foreground, 0 background.
        flags: sentences for the operator, () if all is well.
    """

    box: Box
    mask: np.ndarray | None = field(compare=False)
    region: np.ndarray = field(compare=False)
    points: np.ndarray = field(compare=False)
    labels: np.ndarray = field(compare=False)
    flags: tuple[str, ...] = ()


def median_points(
    attention: np.ndarray, region: np.ndarray, box: Sequence[float], divisions: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Median point sampling: P_i of Section IV-B.

    The pixels of r_i are sorted by activation, ties by pixel order (row by row). The median, the
    lower one of an even count, is the first foreground point and divides the rest into those
    before and those after it, which are divided in turn. A part without pixels (r_i is smaller
    than the number of points) repeats the median of the nearest part that held it. The background
    point is the least active pixel of l_i outside r_i, else of a margin around l_i that grows
    until it holds a pixel outside r_i; if r_i is the whole map, of l_i itself.

    Args:
        attention: float (H, W), M_i.
        region: bool (H, W), r_i.
        box: l_i.
        divisions: n, 0 to 8.

    Returns:
        points int (2**n, 2) as x, y: level by level, the less active part first, the background
        point last; labels int (2**n,): 1, and last 0.

    Raises:
        XsynError: an empty region, a box outside the map, or divisions out of range.
    """
    if not 0 <= divisions <= MAX_DIVISIONS:
        raise XsynError(f"Divisions must be 0 to {MAX_DIVISIONS}, not {divisions}.")
    order = _by_activation(attention, region)
    low, high, median = np.array([0]), np.array([len(order)]), np.array([0])
    chosen = []
    for _ in range(divisions):
        some = high > low
        median = np.where(some, low + (high - low - 1) // 2, median)
        chosen.append(median)
        low, high = (
            np.stack([low, np.where(some, median + 1, low)], 1).ravel(),
            np.stack([np.where(some, median, low), high], 1).ravel(),
        )
        median = np.repeat(median, 2)
    ranks = np.concatenate(chosen) if chosen else np.zeros(0, int)
    return _points(attention, region, box, order[ranks])


def topk_points(
    attention: np.ndarray, region: np.ndarray, box: Sequence[float], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rival of MPS in Table VIII: the k most active pixels of r_i, and a background point.

    Ties go by pixel order; a region of fewer pixels repeats its least active one. So that the
    strategies differ in their foreground points alone, these come from r_i and the background
    point is that of `median_points`, where the paper takes the least active pixel of the whole
    map.

    Returns:
        points int (k + 1, 2) as x, y, most active first, the background point last; labels.

    Raises:
        XsynError: an empty region, a box outside the map, or k out of range.
    """
    if not 0 <= k < 2**MAX_DIVISIONS:
        raise XsynError(f"k must be 0 to {2**MAX_DIVISIONS - 1}, not {k}.")
    order = _by_activation(-np.asarray(attention), region)
    return _points(attention, region, box, order[np.minimum(np.arange(k), len(order) - 1)])


def picture_of(attention: np.ndarray) -> np.ndarray:
    """A map (H, W), not flat, as SAM sees it: uint8 (H, W, 3), grey, brightest where active."""
    lowest, highest = float(attention.min()), float(attention.max())
    grey = ((attention - lowest) / (highest - lowest) * 255).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def active_region(
    segmenter: Segmenter, attention: np.ndarray, box: Sequence[float]
) -> tuple[np.ndarray, str | None]:
    """The most class-discriminative region r_i: SAM's mask of the attention map within l_i.

    SAM sees the map as a grey image, brightest where most active, prompted with l_i. Where its
    mask is empty, fills l_i or is the less active part of it, Otsu's threshold inside l_i takes
    its place; where the map is flat inside l_i, all of l_i does.

    Args:
        attention: float (H, W), M_i.
        box: l_i.

    Returns:
        region bool (H, W), never empty and within l_i, and a sentence for the operator or None.

    Raises:
        XsynError: the box lies outside the map.
    """
    inside = _inside(box, attention.shape)
    region = np.zeros(attention.shape, bool)
    values = attention[inside]
    if _is_flat(values):
        region[inside] = True
        return region, "The attention map is flat: the box alone located the item."
    found = segmenter.segment(segmenter.embed(picture_of(attention)), box=box).mask[inside]
    share = found.mean()
    if share == 0:
        reason = "SAM found no region in the attention map"
    elif share >= FULL:
        reason = "SAM's region of the attention map fills the box"
    elif values[found].mean() <= values[~found].mean():
        reason = "SAM's region of the attention map is the less active part"
    else:
        region[inside] = found
        return region, None
    region[inside] = _otsu(values)
    return region, f"{reason}: a threshold took its place."


def refine(
    segmenter: Segmenter,
    image: np.ndarray,
    attention: np.ndarray,
    box: Sequence[float],
    divisions: int = 4,
    strategy: PointStrategy = "median",
    embedding: Embedding | None = None,
) -> Refinement:
    """Cross-attention refinement of one item: SAM on the image without occlusion, with l_i and P_i.

    Specks of the mask are dropped. An implausible mask (empty, clear of r_i, far larger or smaller
    than l_i) keeps the grounding box, with a flag. With 0 divisions, or a flat map, SAM sees the
    box alone.

    Args:
        image: uint8 RGB (H, W, 3), the window.
        attention: float (H, W), M_i resized to the window.
        box: l_i.
        divisions: n of MPS; top-k takes 2**n - 1 foreground points.
        strategy: "median" (MPS) or "topk".
        embedding: of `image`, if it is there already.

    Raises:
        XsynError: the box lies outside the window, or settings are out of range.
    """
    if attention.shape != image.shape[:2]:
        raise XsynError(f"An attention map {attention.shape} does not fit {image.shape}.")
    inside = _inside(box, attention.shape)
    region, flag = active_region(segmenter, attention, box)
    if divisions == 0 or _is_flat(attention[inside]):
        points, labels = np.zeros((0, 2), int), np.zeros(0, int)
    elif strategy == "median":
        points, labels = median_points(attention, region, box, divisions)
    elif strategy == "topk":
        points, labels = topk_points(attention, region, box, 2**divisions - 1)
    else:
        raise XsynError(f"There is no point strategy {strategy!r}. Choose median or topk.")
    if embedding is None:
        embedding = segmenter.embed(image)
    mask = without_specks(segmenter.segment(embedding, box, points, labels).mask)
    refined = boxes.of_mask(mask)
    flags: tuple[str, ...] = () if flag is None else (flag,)
    doubt = _doubt(mask, refined, region, boxes.area(boxes.clip(box, attention.shape)))
    if refined is None or doubt is not None:
        flags += (f"{doubt}: the box you drew was kept as the label.",)
        x1, y1, x2, y2 = map(float, box)
        return Refinement((x1, y1, x2, y2), None, region, points, labels, flags)
    return Refinement(refined, mask, region, points, labels, flags)


def _doubt(mask: np.ndarray, refined: Box | None, region: np.ndarray, asked: float) -> str | None:
    if refined is None:
        return "SAM found nothing in the painted image"
    if not (mask & region).any():
        return "SAM's mask lies apart from where the model paid attention"
    if boxes.area(refined) > LARGEST * asked:
        return "SAM's mask is far larger than the box"
    if boxes.area(refined) < SMALLEST * asked:
        return "SAM's mask is far smaller than the box"
    return None


def _inside(box: Sequence[float], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The pixels of a map (H, W) that a box covers, as slices."""
    x1, y1, x2, y2 = boxes.outward(boxes.clip(box, (shape[0], shape[1])))
    if x2 <= x1 or y2 <= y1:
        raise XsynError(f"The box {tuple(box)} lies outside the window {shape[1]} x {shape[0]}.")
    return slice(y1, y2), slice(x1, x2)


def _is_flat(values: np.ndarray) -> bool:
    if not np.isfinite(values).all():
        return True
    return float(values.max() - values.min()) <= FLAT * float(np.abs(values).max())


def _otsu(values: np.ndarray) -> np.ndarray:
    """The active part of values (h, w) that are not all equal; neither empty nor all."""
    scaled = (values - values.min()) / (values.max() - values.min()) * 255
    _, active = cv2.threshold(
        scaled.round().astype(np.uint8), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU
    )
    return active.astype(bool)


def without_specks(mask: np.ndarray) -> np.ndarray:
    """Drop separate parts that are tiny beside the whole, but never the largest: they would stretch
    the box."""
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count <= 2:
        return mask
    areas = statistics[:, cv2.CC_STAT_AREA]
    kept = areas >= SPECK * areas[1:].sum()
    kept[1 + areas[1:].argmax()] = True
    kept[0] = False
    return kept[parts]


def _by_activation(values: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Flat indexes of the region's pixels by value, ties in pixel order."""
    pixels = np.flatnonzero(region)
    if not len(pixels):
        raise XsynError("There are no points to sample: the active region is empty.")
    return pixels[np.argsort(np.asarray(values).ravel()[pixels], kind="stable")]


def _points(
    attention: np.ndarray, region: np.ndarray, box: Sequence[float], foreground: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Flat indexes of foreground points, and the background point, as points and labels."""
    flat = np.append(foreground, _background(attention, region, box))
    y, x = np.unravel_index(flat, region.shape)
    labels = np.ones(len(flat), int)
    labels[-1] = 0
    return np.stack([x, y], 1), labels


def _background(attention: np.ndarray, region: np.ndarray, box: Sequence[float]) -> int:
    outside = ~region
    height, width = region.shape
    margin = 0.0
    while True:
        inside = _inside(boxes.expand(box, margin), region.shape)
        candidates = np.zeros(region.shape, bool)
        candidates[inside] = outside[inside]
        if candidates.any():
            break
        if margin > max(height, width):
            candidates[_inside(box, region.shape)] = True
            break
        margin = max(1.0, 0.1 * max(box[2] - box[0], box[3] - box[1]), 2 * margin)
    return int(np.where(candidates, attention, np.inf).argmin())
