"""Which objects of a scan can be seen: a layer of thin cloth cannot, though it is there."""

from collections.abc import Iterable

import cv2
import numpy as np

# Grey levels of 255 by which the edge of a visible object is darker than what lies beside it.
VISIBLE = 10.0


def edge_contrast(image: np.ndarray, masks: Iterable[np.ndarray]) -> np.ndarray:
    """How much darker a scan is inside the outline of each object than outside, along the outline.

    The least-squares step height of the image across the mask's edge: edges of other objects,
    which run anyhow, cancel out.

    Args:
        image: uint8 (H, W, 3).
        masks: N of bool (S, S), where H / S = W / S is a whole number.

    Returns:
        float32 (N,), grey levels; 0 for an empty mask.
    """
    masks = list(masks)
    if not masks:
        return np.zeros(0, np.float32)
    height, width = masks[0].shape
    grey = cv2.resize(
        image.mean(-1, dtype=np.float32), (width, height), interpolation=cv2.INTER_AREA
    )
    slopes = _slopes(grey)
    steps = []
    for mask in masks:
        edge = _slopes(mask.astype(np.float32))
        steps.append(-(slopes * edge).sum() / max((edge * edge).sum(), 1e-6))
    return np.array(steps, np.float32)


def _slopes(image: np.ndarray) -> np.ndarray:
    blurred = cv2.GaussianBlur(image, (0, 0), 1.0)
    return np.stack([cv2.Sobel(blurred, cv2.CV_32F, *d) for d in ((1, 0), (0, 1))])
