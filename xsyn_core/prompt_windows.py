"""In which windows of an image a model that zooms looks for what a prompt asks for."""

from collections.abc import Sequence

import numpy as np

Window = tuple[int, int, int, int]

# A window of more than this share of the image shows nothing that the image does not.
LARGE = 0.8


def window(
    around: Sequence[float] | np.ndarray, image_size: tuple[int, int], zoom: float
) -> Window | None:
    """Where to look for what lies in a box.

    Args:
        around: (x1, y1, x2, y2).
        image_size: (height, width).
        zoom: the window's side over the box's longer one.

    Returns:
        The window (x1, y1, x2, y2) inside the image; None for the whole image.
    """
    height, width = image_size
    left, top, right, bottom = around
    side = zoom * max(right - left, bottom - top)
    if not 0 < side <= LARGE * max(height, width):
        return None
    x1, x2 = _span(left, right, side, width)
    y1, y2 = _span(top, bottom, side, height)
    return x1, y1, x2, y2


def extent(corners: np.ndarray, points: np.ndarray | None, labels: np.ndarray | None) -> np.ndarray:
    """The box (4,) around a box (4,) and the foreground ones of points (k, 2)."""
    if points is None or labels is None or not labels.any():
        return corners
    inside = points[labels == 1]
    ends = np.minimum(corners[:2], inside.min(0)), np.maximum(corners[2:], inside.max(0))
    return np.concatenate(ends)


def moved(
    view: Sequence[int],
    corners: np.ndarray | None,
    points: np.ndarray | None,
    labels: np.ndarray | None,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """A prompt of an image as one of its window (x1, y1, x2, y2), without points that lie
    outside."""
    x1, y1, x2, y2 = view
    corner = np.array([x1, y1], np.float32)
    if points is not None and labels is not None:
        seen = ((points >= corner) & (points < (x2, y2))).all(1)
        points, labels = points[seen] - corner, labels[seen]
    return None if corners is None else corners - np.tile(corner, 2), points, labels


def _span(start: float, stop: float, length: float, limit: int) -> tuple[int, int]:
    """`length` pixels, but at most `limit`, around `start` to `stop` within 0 to `limit`."""
    length = max(1, min(round(length), limit))
    first = min(max(round((start + stop - length) / 2), 0), limit - length)
    return first, first + length
