"""From outlines to basis maps: a fast rasteriser of parts along parallel rays.

A part fills its outline, antialiased by drawing it twice as fine, and its thickness follows
the exact distance to the outline. Line integrals add, so a scene is the sum of its
parts' maps, and each part is drawn only within its own bounds and the view.
"""

from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np

from .parts import Part, Placement
from .physics import coefficients

View = tuple[float, float, float, float]  # x1, y1, x2, y2 in mm
SUPERSAMPLE = 2
_FRACTION_BITS = 4  # of cv2's fixed-point polygon coordinates


def transform(placement: Placement) -> tuple[np.ndarray, float]:
    """The affine map of a placement: (2, 3), drawing to bag coordinates, and the thickness factor.

    Order: mirror, foreshorten by cos(tilt) across the tilt axis, turn clockwise, move.
    """
    c, s = np.cos(np.deg2rad(placement.tilt_axis)), np.sin(np.deg2rad(placement.tilt_axis))
    squeeze = np.cos(np.deg2rad(placement.tilt))
    normal = np.array([-s, c])
    linear = np.eye(2) - (1 - squeeze) * np.outer(normal, normal)
    if placement.mirror:
        linear = linear @ np.diag([-1.0, 1.0])
    a = np.deg2rad(placement.angle)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    matrix = np.concatenate([turn @ linear, [[placement.x], [placement.y]]], 1)
    return matrix, float(1 / squeeze)


def bounds(placement: Placement) -> tuple[float, float, float, float]:
    """The smallest (x1, y1, x2, y2), mm, that holds the placed item."""
    matrix, _ = transform(placement)
    points = np.concatenate([p.outline for p in placement.item.parts]) @ matrix[:, :2].T
    points += matrix[:, 2]
    (x1, y1), (x2, y2) = points.min(0), points.max(0)
    return float(x1), float(y1), float(x2), float(y2)


def _flat(objects: Iterable[Part | Placement]) -> Iterable[tuple[Part, np.ndarray | None, float]]:
    for thing in objects:
        if isinstance(thing, Part):
            yield thing, None, 1.0
        else:
            matrix, factor = transform(thing)
            for part in thing.item.parts:
                yield part, matrix, factor


def _to_pixels(outline: np.ndarray, matrix: np.ndarray | None, view: View, scale: float):
    """An outline in fine pixels of the view (pixel edges at whole numbers)."""
    points = outline if matrix is None else outline @ matrix[:, :2].T + matrix[:, 2]
    return (points - view[:2]) * scale


def _fill(rings: list[np.ndarray], x0: int, y0: int, shape: tuple[int, int]) -> np.ndarray:
    """A (h, w) uint8 mask of 0 and 1: the first ring, the others cut out."""
    mask = np.zeros(shape, np.uint8)
    for value, ring in zip([1] + [0] * (len(rings) - 1), rings, strict=True):
        # cv2 puts pixel centres at whole numbers.
        fixed = np.round((ring - (x0 + 0.5, y0 + 0.5)) * (1 << _FRACTION_BITS)).astype(np.int32)
        cv2.fillPoly(mask, [fixed], value, shift=_FRACTION_BITS)
    return mask


@lru_cache(maxsize=1)
def _noise_tile() -> np.ndarray:
    """A 512 x 512 tile of smooth noise of unit variance, grain 8 px, periodic."""
    white = np.random.default_rng(20).standard_normal((512, 512)).astype(np.float32)
    f = np.fft.fftfreq(512).astype(np.float32) * 8
    shape = 1 / (1 + (2.2 * (f[:, None] ** 2 + f[None] ** 2) ** 0.5) ** 3)
    noise = np.fft.ifft2(np.fft.fft2(white) * shape).real
    return (noise / noise.std()).astype(np.float32)


def _texture(
    part: Part, shape: tuple[int, int], x0: int, y0: int, scale: float, seed
) -> np.ndarray:
    """Factors of the thickness around 1: (h, w) float32, anchored to the view in mm."""
    turn, dx, dy = seed
    step = 8 / max(part.grain, 0.1) / scale  # tile pixels per fine pixel
    c, s = step * np.cos(turn), step * np.sin(turn)
    matrix = np.array([[c, -s, dx + c * x0 - s * y0], [s, c, dy + s * x0 + c * y0]])
    matrix[:, 2] %= 512
    noise = cv2.warpAffine(
        _noise_tile(),
        matrix,
        (shape[1], shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )
    return np.clip(1 + part.texture * 0.5 * noise, 0.05, 2.0)
