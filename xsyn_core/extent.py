"""What was really painted: the silhouette of an item, from the scan with and without it.

In transmission attenuations add, so that the difference of -log of two pictures of the same bag
is what the item itself absorbs, whatever lies behind it.
"""

import cv2
import numpy as np

from xsyn_core.boxes import Box, area, of_mask
from xsyn_core.refinement import without_specks

# Grey levels added to both pictures: in the dark, noise must not make ratios.
FLOOR = 6.0
# -log of transmission, mean of the colours, from which on an item shows.
VISIBLE = 0.06
# Of the noise of single pixels, in pixels.
SMOOTHING = 0.8
# Less than this share of the grounding box is not an item.
EMPTY = 0.01


def added_attenuation(image: np.ndarray, benign: np.ndarray) -> np.ndarray:
    """float32 (H, W): -log of `image` over `benign`, both uint8 (H, W, 3), mean of the colours.

    Positive where the image is darker.
    """
    after, before = (np.log(x.astype(np.float32) + FLOOR) for x in (image, benign))
    return (before - after).mean(-1)


def silhouette(image: np.ndarray, benign: np.ndarray) -> np.ndarray:
    """bool (H, W): where an item was added to `benign`, both uint8 (H, W, 3); without specks."""
    added = cv2.GaussianBlur(added_attenuation(image, benign), (0, 0), SMOOTHING)
    return without_specks(added > VISIBLE)


def visible_box(image: np.ndarray, benign: np.ndarray, grounding: Box) -> Box | None:
    """The tight box of what was added, pixels; None where nothing was: the pixels are unchanged,
    brighter, or hardly darker."""
    mask = silhouette(image, benign)
    return of_mask(mask) if mask.sum() >= EMPTY * area(grounding) else None
