"""Putting painted frames back into the scan: what is written where, and how an item lies in it."""

from collections.abc import Sequence

import cv2
import numpy as np

from xsyn_core.boxes import Box
from xsyn_core.frames import Frame, IntBox, resample
from xsyn_core.sample import Background

FEATHER = 6.0
# The background of a painted frame is looked for at no more than so many pixels a side ...
BACKGROUND_SIDE = 128
# ... as the brightest within a disc of this share of it, wider than what an item's parts cover.
REACH = 0.32
# Painted backgrounds vary by less than the first share of the light, items take more than the
# second.
FAINT, SOLID = 0.03, 0.14
# Just inside the repainted cells, within this share of the frame, mostly background is painted;
# by how much it may be darker than the scan before it must be an item.
RIM, DARKEST = 0.05, 0.7


def put_back(
    image: np.ndarray,
    frame: Frame,
    decoded: np.ndarray,
    repainted: np.ndarray,
    targets: Sequence[Box],
    background: Background,
) -> None:
    """Put a painted frame into the scan that it was cut from, inside the targets and their feather.

    Args:
        image: uint8 (H, W, 3), the scan; written in place.
        frame: where it lies.
        decoded: float32 (h, w, 3), 0..255, the whole frame out of the autoencoder.
        repainted: bool (h, w), the pixels of the repainted cells.
        targets: boxes in scan pixels.
        background: see `Request`.
    """
    source = frame.cut(image)
    painted = harmonise(decoded, source, repainted)
    x1, y1, x2, y2 = inside = frame.inside(image.shape[:2])
    if background == "keep":
        taken = frame.restore(absorption(painted, source, repainted), image.shape[:2])
        patch = image[y1:y2, x1:x2] * (1 - np.clip(taken, 0, 1))
    else:
        patch = frame.restore(painted, image.shape[:2])
    composite(image, patch, inside, weight(targets, inside))


def weight(targets: Sequence[Box], inside: IntBox, feather: float = FEATHER) -> np.ndarray:
    """How much of a painted frame goes into the scan: 1 on every pixel that a target box touches,
    falling to 0 within `feather` scan pixels outside it, 0 beyond.

    Args:
        targets: boxes in scan pixels.
        inside: the part of the scan to weigh, scan pixels.

    Returns:
        float32 (height, width) of `inside`.
    """
    x1, y1, x2, y2 = inside
    xs, ys = np.arange(x1, x2), np.arange(y1, y2)
    total = np.zeros((y2 - y1, x2 - x1), np.float32)
    for box in targets:
        dx = np.maximum(np.maximum(box[0] - (xs + 1), xs - box[2]), 0)
        dy = np.maximum(np.maximum(box[1] - (ys + 1), ys - box[3]), 0)
        reach = np.hypot(dx[None, :], dy[:, None])
        # A pixel that lies next to the box has distance 0 but does not touch it.
        touched_x = (xs + 1 > box[0]) & (xs < box[2])
        touched_y = (ys + 1 > box[1]) & (ys < box[3])
        reach += ~(touched_y[:, None] & touched_x[None, :])
        share = 0.5 + 0.5 * np.cos(np.pi * np.minimum(reach / feather, 1))
        total = np.maximum(total, share.astype(np.float32))
    return total


def composite(image: np.ndarray, patch: np.ndarray, inside: IntBox, share: np.ndarray) -> None:
    """Mix a patch float32 (h, w, 3), 0..255, into `image` uint8 in place; pixels whose share is 0
    are not written at all."""
    x1, y1, x2, y2 = inside
    region = image[y1:y2, x1:x2]
    # a share of 1 gives the patch to the last bit
    mixed = (1 - share[..., None]) * region + share[..., None] * patch
    written = share > 0
    region[written] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)[written]


def harmonise(painted: np.ndarray, source: np.ndarray, repainted: np.ndarray) -> np.ndarray:
    """Take the autoencoder's colour shift out of a painted frame near the repainted border.

    The low frequencies of `source - painted`, known outside the repainted cells, are carried into
    them and fade out away from the border.

    Args:
        painted: float32 (h, w, 3), 0..255, decoded.
        source: float32 (h, w, 3), 0..255, what the frame was cut from.
        repainted: bool (h, w).

    Returns:
        float32 (h, w, 3).
    """
    known = (~repainted).astype(np.float32)
    sigma = max(painted.shape[:2]) / 24
    reach = cv2.GaussianBlur(known, (0, 0), sigma)
    shift = cv2.GaussianBlur((source - painted) * known[..., None], (0, 0), sigma)
    confidence = np.clip(2 * reach, 0, 1) / np.maximum(reach, 1e-3)
    return painted + shift * confidence[..., None]


def absorption(painted: np.ndarray, source: np.ndarray, repainted: np.ndarray) -> np.ndarray:
    """The share of each colour that a painted item takes from what lies behind and above it.

    In transmission layers multiply: an added item darkens its background, never brightens it. So
    the painted item is divided by its own painted background, or by the source where that is
    brighter, and what is left of the light goes onto the source. The source's own texture, and
    whatever crosses the item, stays visible through it, and no repainted background shows: one
    that came out darker than the scan on the whole is lightened first.

    Args:
        painted: float32 (h, w, 3), 0..255, the decoded frame.
        source: float32 (h, w, 3), 0..255, what the frame was cut from.
        repainted: bool (h, w), the pixels of the repainted cells.

    Returns:
        float32 (h, w, 3), 0 (nothing there) to 1 (opaque).
    """
    h, w = painted.shape[:2]
    painted = np.where(repainted[..., None], painted / _level(painted, source, repainted), painted)
    scale = min(1.0, BACKGROUND_SIDE / max(h, w))
    small = resample(painted, (max(1, round(h * scale)), max(1, round(w * scale))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (round(REACH * max(small.shape)),) * 2)
    behind = cv2.GaussianBlur(cv2.morphologyEx(small, cv2.MORPH_CLOSE, disc), (0, 0), 6)
    behind = np.maximum(cv2.resize(behind, (w, h), interpolation=cv2.INTER_LINEAR), source)
    taken = 1 - np.clip(painted / np.maximum(behind, 1), 0, 1)
    sure = (cv2.GaussianBlur(taken.mean(-1), (0, 0), 0.7 / scale) - FAINT) / (SOLID - FAINT)
    return taken * np.clip(sure, 0, 1)[..., None]


def _level(painted: np.ndarray, source: np.ndarray, repainted: np.ndarray) -> np.ndarray:
    """How bright the painted background is beside the scan's, each colour, `DARKEST` to 1: painted
    altogether darker, the box itself would be taken for an item, its border and all."""
    width = round(RIM * max(repainted.shape))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1,) * 2)
    outside = (~repainted).astype(np.uint8)
    rim = repainted & (cv2.dilate(outside, disc) > 0)
    if not rim.any():
        return np.ones(3, np.float32)
    light, lit = (np.quantile(x[rim], 0.7, axis=0) for x in (painted, source))
    return np.clip(light / np.maximum(lit, 1), DARKEST, 1).astype(np.float32)
