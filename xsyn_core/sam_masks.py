"""From SAM's low-resolution logits to masks of an image."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from xsyn_core.boxes import Box

# SAM's stability compares the mask at thresholds this far above and below 0.
STABILITY_OFFSET = 1.0


@dataclass(frozen=True)
class Segment:
    """One mask of an image.

    Attributes:
        mask: bool (H, W) of the whole image.
        box: tight around the mask; (0, 0, 0, 0) if it is empty.
        area: pixels of the mask.
        predicted_iou: the model's own guess of the mask's quality, about 0 to 1.
        stability: IoU of the masks at logits above 1 and above -1, 0 to 1.
    """

    mask: np.ndarray = field(compare=False)
    box: Box
    area: int
    predicted_iou: float
    stability: float


@dataclass(frozen=True, eq=False)
class Part:
    """What is positive of a mask: bool values at rows `y` and columns `x`, and the tight box."""

    y: slice
    x: slice
    positive: np.ndarray
    box: Box
    stability: float


@lru_cache(maxsize=16)
def matrix(low: int, side: int, used: int, out: int) -> np.ndarray:
    """(out, low): SAM's bilinear steps from `low` cells to `side`, cut to `used`, to `out`."""
    identity = torch.eye(low)[None]
    padded = F.interpolate(identity, size=side, mode="linear", align_corners=False)
    resampled = F.interpolate(padded[..., :used], size=out, mode="linear", align_corners=False)
    return np.ascontiguousarray(resampled[0].numpy().T)


def positive_part(logits: np.ndarray, resampling: tuple[np.ndarray, np.ndarray]) -> Part | None:
    """Resample logits (S, S), computing only around what is positive; None for an empty mask."""
    rows, columns = resampling
    reach = logits > -STABILITY_OFFSET
    y, x = _touched(rows, reach.any(1)), _touched(columns, reach.any(0))  # type: ignore[arg-type]
    if y is None or x is None:
        return None
    low_y, low_x = _touched(rows[y].T, None), _touched(columns[x].T, None)
    # torch's products, for NumPy's own threads would fight with torch's
    left, middle, right = map(
        torch.from_numpy, (rows[y, low_y], logits[low_y, low_x], columns[x, low_x])
    )
    values = (left @ middle @ right.T).numpy()
    positive = values > 0
    ys, xs = positive.any(1).nonzero()[0] + y.start, positive.any(0).nonzero()[0] + x.start  # type: ignore[misc]
    if not len(ys):
        return None
    box = float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)
    inner = np.count_nonzero(values > STABILITY_OFFSET)
    outer = np.count_nonzero(values > -STABILITY_OFFSET)
    return Part(y, x, positive, box, inner / outer)


def at_full_size(
    logits: np.ndarray, predicted_iou: float, resampling: tuple[np.ndarray, np.ndarray]
) -> Segment:
    """Logits (S, S) as a segment of the image that `resampling` leads to."""
    mask = np.zeros((len(resampling[0]), len(resampling[1])), bool)
    part = positive_part(logits, resampling)
    if part is None:
        return Segment(mask, (0.0, 0.0, 0.0, 0.0), 0, predicted_iou, 0.0)
    mask[part.y, part.x] = part.positive
    area = int(np.count_nonzero(part.positive))
    return Segment(mask, part.box, area, predicted_iou, part.stability)


def _touched(matrix: np.ndarray, cells: np.ndarray | None) -> slice | None:
    """The range of rows of a matrix that depend on any of the chosen columns (None: of all)."""
    chosen = matrix if cells is None else matrix[:, cells]
    positions = chosen.any(1).nonzero()[0]  # type: ignore[misc]
    return slice(positions[0], positions[-1] + 1) if len(positions) else None
