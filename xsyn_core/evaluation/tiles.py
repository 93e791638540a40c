"""Pictures side by side: uint8 RGB."""

from collections.abc import Sequence

import cv2
import numpy as np


def grid(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """At least one tile (H, W, 3), all of one size, row by row, the last row filled up in white."""
    blank = [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    every = [*tiles, *blank]
    return np.vstack([np.hstack(every[k : k + columns]) for k in range(0, len(every), columns)])


def captioned(tile: np.ndarray, text: str) -> None:
    """Write a word into the upper left corner, in place."""
    cv2.putText(tile, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (200, 0, 0), 1)
