"""Where the baggage lies in a scan, and where the air around it."""

import cv2
import numpy as np

# Baggage is looked for at so many pixels along the long side.
SIDE = 256
# Luminances of 255 below the brightest of a scan that are still air.
AIR = 8
# Gaps in an outline narrower than the first share of the long side are closed; what is narrower
# than the second, as wheels and handles are, is no place for an item.
GAP, NARROW = 0.05, 0.12


def air_level(pixels: np.ndarray) -> float:
    """The mean of the colours, 0..255, from which on a scan uint8 (H, W, 3) shows air."""
    # a few pixels tell how bright a scan is, and the slider of alpha waits for this
    return float(np.percentile(pixels[::8, ::8].mean(-1), 99)) - AIR


def baggage(pixels: np.ndarray) -> np.ndarray:
    """The bodies of bags, cases and trays: what is darker than air or enclosed by it, without
    wheels and handles.

    Args:
        pixels: uint8 (H, W, 3).

    Returns:
        bool (H, W); nowhere in a scan of air alone.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    light = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).mean(-1, dtype=np.float32)
    darker = cv2.GaussianBlur(light, (0, 0), 1) < air_level(pixels)
    gap, narrow = (_disc(share * max(size)) for share in (GAP, NARROW))
    # around the scan lies air
    margin = max(len(gap), len(narrow))
    there = cv2.copyMakeBorder(
        darker.astype(np.uint8), *(margin,) * 4, cv2.BORDER_CONSTANT, value=0
    )
    there = cv2.morphologyEx(there, cv2.MORPH_CLOSE, gap)
    air = there.copy()
    cv2.floodFill(air, None, (0, 0), 2)
    bodies = cv2.morphologyEx((air != 2).astype(np.uint8), cv2.MORPH_OPEN, narrow)
    bodies = bodies[margin:-margin, margin:-margin]
    return cv2.resize(bodies, (width, height), interpolation=cv2.INTER_NEAREST) > 0


def _disc(width: float) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(width / 2) + 1,) * 2)
