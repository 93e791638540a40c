"""Frames: the parts of a scan that the model sees.

A frame is resampled from scan pixels to model pixels. `window` frames are squares around the
grounding boxes, the `whole` frame is the scan itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from xsyn_core.boxes import Box, intersection, outward, union
from xsyn_core.boxes import area as box_area

WINDOW_SCALE = 1.6
WINDOW_LIMIT = 2.2
MIN_WINDOW = 48

IntBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class Frame:
    """A part of a scan at the model's resolution.

    Attributes:
        box: (x1, y1, x2, y2) integer pixels of the scan; may reach beyond it, the edge is repeated.
        size: (height, width) in model pixels.
    """

    box: IntBox
    size: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Model pixels a scan pixel, (x, y)."""
        x1, y1, x2, y2 = self.box
        return self.size[1] / (x2 - x1), self.size[0] / (y2 - y1)

    def to_frame(self, box: Sequence[float]) -> Box:
        """From scan pixels to model pixels."""
        (sx, sy), (x, y) = self.scale, self.box[:2]
        return (box[0] - x) * sx, (box[1] - y) * sy, (box[2] - x) * sx, (box[3] - y) * sy

    def to_scan(self, box: Sequence[float]) -> Box:
        """From model pixels to scan pixels."""
        (sx, sy), (x, y) = self.scale, self.box[:2]
        return box[0] / sx + x, box[1] / sy + y, box[2] / sx + x, box[3] / sy + y

    def unit(self, box: Sequence[float]) -> Box:
        """From scan pixels to shares of the frame, 0 to 1: what the grounding tokens take."""
        (x1, y1, x2, y2), (h, w) = self.to_frame(box), self.size
        x1, y1, x2, y2 = (min(max(v, 0.0), 1.0) for v in (x1 / w, y1 / h, x2 / w, y2 / h))
        return x1, y1, x2, y2

    def cells(self, box: Sequence[float], factor: int) -> IntBox:
        """From scan pixels to latent cells of `factor` model pixels: outward, clipped to the
        frame, at least one cell."""
        rows, columns = self.size[0] // factor, self.size[1] // factor
        x1, y1, x2, y2 = (v / factor for v in self.to_frame(box))
        # A hair of tolerance: rounding must not add a cell to a box that ends on a cell's edge.
        x1, y1, x2, y2 = outward((x1 + 1e-6, y1 + 1e-6, x2 - 1e-6, y2 - 1e-6))
        x1, y1 = min(max(x1, 0), columns - 1), min(max(y1, 0), rows - 1)
        return x1, y1, min(max(x2, x1 + 1), columns), min(max(y2, y1 + 1), rows)

    def inside(self, scan_size: tuple[int, int]) -> IntBox:
        """The part of `box` within a scan of (height, width)."""
        h, w = scan_size
        x1, y1, x2, y2 = self.box
        return max(x1, 0), max(y1, 0), min(x2, w), min(y2, h)

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Resample the frame out of uint8 (H, W, 3): float32 (height, width, 3), 0..255."""
        x1, y1, x2, y2 = self.box
        ix1, iy1, ix2, iy2 = self.inside(pixels.shape[:2])
        crop = cv2.copyMakeBorder(
            pixels[iy1:iy2, ix1:ix2],
            *(iy1 - y1, y2 - iy2, ix1 - x1, x2 - ix2),
            cv2.BORDER_REPLICATE,
        )
        return np.clip(resample(crop.astype(np.float32), self.size), 0, 255)

    def restore(self, values: np.ndarray, scan_size: tuple[int, int]) -> np.ndarray:
        """Resample frame values float32 (h, w) or (h, w, c) to the scan pixels of `inside`."""
        x1, y1, x2, y2 = self.box
        ix1, iy1, ix2, iy2 = self.inside(scan_size)
        full = resample(values, (y2 - y1, x2 - x1))
        return full[iy1 - y1 : iy2 - y1, ix1 - x1 : ix2 - x1]


def repainted_cells(frame: Frame, boxes: Sequence[Box], factor: int) -> np.ndarray:
    """The latent cells of a frame that boxes in scan pixels touch: bool (h, w)."""
    cells = np.zeros((frame.size[0] // factor, frame.size[1] // factor), bool)
    for box in boxes:
        x1, y1, x2, y2 = frame.cells(box, factor)
        cells[y1:y2, x1:x2] = True
    return cells


def pixels_of(cells: np.ndarray, factor: int) -> np.ndarray:
    """The model pixels of latent cells: bool (h, w) to bool (factor h, factor w)."""
    return cells.repeat(factor, 0).repeat(factor, 1)


def resample(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize float32 (h, w[, c]) to (height, width): by area down, bicubic up."""
    h, w = size
    if values.shape[:2] == (h, w):
        return values
    shrinks = h * w < values.shape[0] * values.shape[1]
    return cv2.resize(values, (w, h), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def window_around(box: Box, scan_size: tuple[int, int], side: int) -> Frame:
    """A square of `WINDOW_SCALE` times the extent of a box, shifted into the scan.

    Where the scan is smaller than the square, the square is centred on the scan and reaches beyond.

    Args:
        box: scan pixels, inside the scan.
        scan_size: (height, width).
        side: of the frame in model pixels.
    """
    extent = max(box[2] - box[0], box[3] - box[1])
    length = max(math.ceil(WINDOW_SCALE * extent), MIN_WINDOW)
    origin = []
    for low, high, limit in ((box[0], box[2], scan_size[1]), (box[1], box[3], scan_size[0])):
        if length >= limit:
            origin.append(-((length - limit) // 2))
        else:
            start = round((low + high) / 2 - length / 2)
            origin.append(min(max(start, 0), limit - length))
    x, y = origin
    return Frame((x, y, x + length, y + length), (side, side))


def windows(
    boxes: Sequence[Box], scan_size: tuple[int, int], side: int
) -> list[tuple[Frame, tuple[int, ...]]]:
    """Gather boxes into square windows.

    Boxes share a window if they overlap (two windows must not repaint the same pixels), or if the
    shared window stays within `WINDOW_LIMIT` times the extent of the largest box in it.

    Args:
        boxes: scan pixels.
        scan_size: (height, width).
        side: of each frame in model pixels.

    Returns:
        Frames with the indices of their boxes, in the order of their first boxes.
    """
    groups: list[tuple[tuple[int, ...], Box]] = [((i,), box) for i, box in enumerate(boxes)]

    def extent(box: Sequence[float]) -> float:
        return max(box[2] - box[0], box[3] - box[1])

    def joins(a: tuple, b: tuple) -> bool:
        if any(box_area(intersection(boxes[i], boxes[j])) > 0 for i in a[0] for j in b[0]):
            return True
        largest = max(extent(boxes[i]) for i in a[0] + b[0])
        return WINDOW_SCALE * extent(union(a[1], b[1])) <= WINDOW_LIMIT * largest

    merged = True
    while merged:
        merged = False
        for k in range(len(groups)):
            for m in range(k + 1, len(groups)):
                if joins(groups[k], groups[m]):
                    a, b = groups[k], groups.pop(m)
                    groups[k] = (tuple(sorted(a[0] + b[0])), union(a[1], b[1]))
                    merged = True
                    break
            if merged:
                break
    return [(window_around(box, scan_size, side), indices) for indices, box in groups]


def whole(scan_size: tuple[int, int], side: int, multiple: int) -> Frame:
    """The whole scan fitted to the model: its longer side becomes `side` model pixels, the shorter
    one is filled up at its end to a multiple of `multiple` model pixels by repeating the edge."""
    h, w = scan_size
    scale = side / max(h, w)
    rows, columns = (multiple * math.ceil(round(v * scale, 6) / multiple) for v in (h, w))
    box = (0, 0, max(w, round(columns / scale)), max(h, round(rows / scale)))
    return Frame(box, (rows, columns))
