"""From outlines to basis maps: a fast rasteriser of parts along parallel rays.

A part fills its outline, antialiased by drawing it twice as fine, and its thickness follows
the exact distance to the outline. Line integrals add, so a scene is the sum of its
parts' maps, and each part is drawn only within its own bounds and the view.
"""

from collections.abc import Iterable
from functools import cache

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
    c, s = (
        np.cos(np.deg2rad(placement.tilt_axis)),
        np.sin(np.deg2rad(placement.tilt_axis)),
    )
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


def _flat(
    objects: Iterable[Part | Placement],
) -> Iterable[tuple[Part, np.ndarray | None, float]]:
    for thing in objects:
        if isinstance(thing, Part):
            yield thing, None, 1.0
        else:
            matrix, factor = transform(thing)
            for part in thing.item.parts:
                yield part, matrix, factor


def _to_pixels(
    outline: np.ndarray, matrix: np.ndarray | None, view: View, scale: float
):
    """An outline in fine pixels of the view (pixel edges at whole numbers)."""
    points = outline if matrix is None else outline @ matrix[:, :2].T + matrix[:, 2]
    return (points - view[:2]) * scale


def _fill(
    rings: list[np.ndarray], x0: int, y0: int, shape: tuple[int, int]
) -> np.ndarray:
    """A (h, w) uint8 mask of 0 and 1: the first ring, the others cut out."""
    mask = np.zeros(shape, np.uint8)
    for value, ring in zip([1] + [0] * (len(rings) - 1), rings, strict=True):
        # cv2 puts pixel centres at whole numbers.
        fixed = np.round((ring - (x0 + 0.5, y0 + 0.5)) * (1 << _FRACTION_BITS)).astype(
            np.int32
        )
        cv2.fillPoly(mask, [fixed], value, shift=_FRACTION_BITS)
    return mask


@cache
def _noise_tile() -> np.ndarray:
    """A 512 x 512 tile of smooth noise of unit variance, grain 8 px, periodic."""
    white = np.random.default_rng(20).standard_normal((512, 512)).astype(np.float32)
    f = np.fft.fftfreq(512).astype(np.float32) * 8
    shape = 1 / (1 + (2.2 * (f[:, None] ** 2 + f[None] ** 2) ** 0.5) ** 3)
    noise = np.fft.ifft2(np.fft.fft2(white) * shape).real
    return (noise / noise.std()).astype(np.float32)


def _texture(
    part: Part,
    shape: tuple[int, int],
    corner: np.ndarray,
    step: float,
    seed: np.ndarray,
):
    """Factors of the thickness around 1: (h, w) float32, from a mm corner in mm steps."""
    k = 8 / max(part.grain, 0.1)  # tile pixels a mm
    turn = seed[0] * 2 * np.pi
    linear = k * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    start = (linear @ corner + seed[1:] * 512) % 512
    noise = cv2.warpAffine(
        _noise_tile(),
        np.concatenate([linear * step, start[:, None]], 1),
        (shape[1], shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )
    return np.clip(1 + part.texture * 0.5 * noise, 0.05, 2.0)


def _inradius(rings: list[np.ndarray]) -> float:
    """Distance of the innermost point to the outline, in the unit of the rings, to about 2 %."""
    low, high = rings[0].min(0), rings[0].max(0)
    scale = 160 / max(float((high - low).max()), 1e-6)
    small = [(ring - low) * scale for ring in rings]
    shape = tuple(int(v) + 3 for v in ((high - low) * scale)[::-1])
    distance = cv2.distanceTransform(_fill(small, -1, -1, shape), cv2.DIST_L2, 5)
    return max(float(distance.max()) - 0.5, 0.5) / scale


def _round(distance: np.ndarray, radius: float) -> np.ndarray:
    """Chords (1 at the widest place) of a body whose half width is the local inner radius."""
    # The local radius is the largest distance to the outline nearby: a bat's handle must not
    # get the chords of its barrel.
    reduce = max(1, int(radius / 5))
    small = distance[::reduce, ::reduce]
    reach = 2 * int(np.ceil(radius / reduce)) + 1
    local = cv2.dilate(small, np.ones((reach, reach), np.uint8))
    if reduce > 1:
        local = cv2.resize(local, distance.shape[::-1], interpolation=cv2.INTER_LINEAR)
    chord = distance * (2 * np.maximum(local, distance) - distance)
    return cv2.sqrt(chord) / radius


def _thickness(part, rings, roi, clipped, fine, corner, seed) -> np.ndarray:
    """Thickness (h, w) of a part in fine pixels of `roi` = (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = roi
    mask = _fill(rings, x0, y0, (y1 - y0, x1 - x0))
    count = cv2.countNonZero(mask)
    # cv2 fills every pixel its edge touches: keep the mass of thin parts by their true area.
    share = 1.0
    if not clipped and count:
        area = sum(
            s * abs(cv2.contourArea(ring.astype(np.float32)))
            for s, ring in zip([1] + [-1] * (len(rings) - 1), rings, strict=True)
        )
        share = float(np.clip(area / count, 0.2, 1.0))
    if part.profile == "slab":
        thickness = mask.astype(np.float32)
    else:
        distance = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
        np.maximum(distance - 0.5, 0, out=distance)
        if part.profile == "round":
            radius = _inradius(rings) if clipped else float(distance.max())
            if radius < 1:
                thickness = mask.astype(np.float32) * (np.pi / 4)
            else:
                thickness = _round(distance, radius)
                share = 1.0
        elif part.profile == "bevel":
            thickness = np.minimum(distance / max(part.edge * fine, 0.5), 1)
        else:
            wall = distance < max(part.edge * fine, 0.5)
            thickness = mask * (1 + 3 * wall.astype(np.float32))
    if part.texture > 0:
        thickness *= _texture(part, thickness.shape, corner, 1 / fine, seed)
    return thickness * (part.thickness * share)


def _margin(part: Part, rings: list[np.ndarray], fine: float) -> int:
    """How far outside the view the outline still shapes the thickness inside, fine pixels."""
    if part.profile == "slab":
        return 0
    reach = 2 * _inradius(rings) if part.profile == "round" else part.edge * fine
    return int(np.ceil(reach)) + 2


def attenuation(
    objects: Iterable[Part | Placement],
    view: View,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """The line integrals of everything in the view.

    Maps add: the sum of two calls is the scene of both lists. Textures are laid out in
    millimetres and drawn from `rng` in the order of the parts, so two views of one list with
    equal generators show the same scene.

    Args:
        objects: placed items and bare parts (those of a bag).
        view: x1, y1, x2, y2 in mm, of the same proportions as `size`.
        size: height and width, pixels.

    Returns:
        (2, H, W) float32: photoelectric, Compton (see `physics`).
    """
    height, width = size
    fine = SUPERSAMPLE * width / (view[2] - view[0])  # fine pixels a mm
    full = np.array([width * SUPERSAMPLE, height * SUPERSAMPLE])
    out = np.zeros((2, height, width), np.float32)
    for part, matrix, factor in _flat(objects):
        seed = rng.random(3)
        outline = _to_pixels(part.outline, matrix, view, fine)
        low, high = outline.min(0) - 1, outline.max(0) + 1
        if (high <= 0).any() or (low >= full).any():
            continue
        rings = [outline] + [
            _to_pixels(hole, matrix, view, fine) for hole in part.holes
        ]
        clipped = bool((low < 0).any() or (high > full).any())
        margin = _margin(part, rings, fine) if clipped else 1
        margin += -margin % SUPERSAMPLE
        start = np.maximum(np.floor(low), -margin).astype(int)
        stop = np.minimum(np.ceil(high), full + margin).astype(int)
        # Whole pixels, so that the fine grid falls into them.
        x0, y0 = (start // SUPERSAMPLE * SUPERSAMPLE).tolist()
        x1, y1 = (-(-stop // SUPERSAMPLE) * SUPERSAMPLE).tolist()
        corner = np.array([x0, y0]) / fine + view[:2]
        thickness = _thickness(
            part, rings, (x0, y0, x1, y1), clipped, fine, corner, seed
        )
        cx0, cy0 = max(x0, 0), max(y0, 0)
        cx1, cy1 = min(x1, int(full[0])), min(y1, int(full[1]))
        seen = thickness[cy0 - y0 : cy1 - y0, cx0 - x0 : cx1 - x0]
        w, h = (cx1 - cx0) // SUPERSAMPLE, (cy1 - cy0) // SUPERSAMPLE
        seen = cv2.resize(seen, (w, h), interpolation=cv2.INTER_AREA)
        ys, xs = cy0 // SUPERSAMPLE, cx0 // SUPERSAMPLE
        for plane, value in zip(out, coefficients(part.material), strict=True):
            plane[ys : ys + h, xs : xs + w] += seen * np.float32(value * factor)
    return out


def silhouette(placement: Placement, view: View, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels of the view that the placed item covers at least by half."""
    height, width = size
    times = 4
    scale = times * width / (view[2] - view[0])
    out = np.zeros(size, bool)
    parts = [
        [_to_pixels(ring, matrix, view, scale) for ring in (part.outline, *part.holes)]
        for part, matrix, _ in _flat([placement])
    ]
    outlines = np.concatenate([rings[0] for rings in parts])
    # Whole pixels around the item, within the view.
    x0, y0 = np.maximum(outlines.min(0) // times, 0).astype(int).tolist()
    x1, y1 = np.minimum(outlines.max(0) // times + 1, (width, height)).astype(int).tolist()
    if x1 <= x0 or y1 <= y0:
        return out
    mask = np.zeros(((y1 - y0) * times, (x1 - x0) * times), np.uint8)
    for rings in parts:
        filled = _fill(rings, x0 * times, y0 * times, mask.shape)
        cv2.bitwise_or(mask, filled * 255, dst=mask)
    mask = cv2.resize(mask, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    out[y0:y1, x0:x1] = mask >= 128
    return out
