"""Bounding boxes: `(x1, y1, x2, y2)` in pixels, x2 and y2 exclusive."""

import math
from collections.abc import Sequence

import numpy as np

from xsyn_core.errors import XsynError

Box = tuple[float, float, float, float]


def area(box: Sequence[float]) -> float:
    """Area in square pixels; 0 for an empty or inverted box."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def aspect_ratio(box: Sequence[float]) -> float:
    """The long side over the short one, from 1 up; infinite for an empty or inverted box."""
    short, long = sorted((box[2] - box[0], box[3] - box[1]))
    return long / short if short > 0 else math.inf


def intersection(a: Sequence[float], b: Sequence[float]) -> Box:
    """The common part of two boxes; empty (zero area) when they do not meet."""
    x1, y1 = max(a[0], b[0]), max(a[1], b[1])
    return x1, y1, max(x1, min(a[2], b[2])), max(y1, min(a[3], b[3]))


def union(a: Sequence[float], b: Sequence[float]) -> Box:
    """The smallest box that holds both."""
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union, the paper's dis(., .) in Eq. 3; 0 if either box is empty."""
    common = area(intersection(a, b))
    total = area(a) + area(b) - common
    return float(common / total) if total > 0 and common > 0 else 0.0


def clip(box: Sequence[float], size: tuple[int, int]) -> Box:
    """Clip to an image of `size` (height, width)."""
    h, w = size
    return intersection(box, (0, 0, w, h))


def expand(box: Sequence[float], margin: float) -> Box:
    """Grow by `margin` pixels on every side."""
    return box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin


def outward(box: Sequence[float]) -> tuple[int, int, int, int]:
    """The integer box that covers a box: floor of x1, y1, ceiling of x2, y2."""
    return math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])


def from_xywh(xywh: Sequence[float]) -> Box:
    """From COCO's (x, y, width, height)."""
    x, y, w, h = xywh
    return x, y, x + w, y + h


def to_xywh(box: Sequence[float]) -> tuple[float, float, float, float]:
    """To COCO's (x, y, width, height)."""
    return box[0], box[1], box[2] - box[0], box[3] - box[1]


def of_mask(mask: np.ndarray) -> Box | None:
    """The tight box of a bool mask (H, W), or None if it is empty."""
    columns = np.flatnonzero(mask.any(0))
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def validated(box: Sequence[float], size: tuple[int, int], min_side: float = 4.0) -> Box:
    """A box that an operator may ask for, clipped to the image of `size` (height, width).

    Raises:
        XsynError: not four finite numbers, inverted, outside the image, narrower than `min_side`
            pixels inside it, or of 90 % of the image or more.
    """
    try:
        x1, y1, x2, y2 = (float(v) for v in box)
    except (TypeError, ValueError):
        raise XsynError(f"A box needs four numbers x1,y1,x2,y2, not {box!r}.") from None
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise XsynError("A box needs four finite numbers x1,y1,x2,y2.")
    shown = f"({x1:g}, {y1:g}, {x2:g}, {y2:g})"
    if x2 <= x1 or y2 <= y1:
        raise XsynError(
            f"The box {shown} is inverted or empty: give the top-left corner first, "
            "then the bottom-right one."
        )
    h, w = size
    inside = clip((x1, y1, x2, y2), size)
    if area(inside) == 0:
        raise XsynError(f"The box {shown} lies outside the scan ({w} x {h} pixels). Move it in.")
    if min(inside[2] - inside[0], inside[3] - inside[1]) < min_side:
        raise XsynError(
            f"The box {shown} is too small inside the scan ({w} x {h} pixels): "
            f"draw it at least {min_side:g} pixels wide and high."
        )
    if area(inside) >= 0.9 * w * h:
        raise XsynError(
            f"The box {shown} covers the whole scan ({w} x {h} pixels), or 90 % of it or more: "
            "leave room around it, the model paints the item into what surrounds the box."
        )
    return inside
