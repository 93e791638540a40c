"""From outlines to basis maps: a fast rasteriser of parts along parallel rays.

A part fills its outline, antialiased by drawing it twice as fine, and its thickness follows
the exact distance to the outline. Line integrals add, so a scene is the sum of its
parts' maps, and each part is drawn only within its own bounds and the view.
"""

import math
from collections.abc import Iterable
from functools import cache
from itertools import pairwise

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


def attitude(placement: Placement) -> tuple[float, bool]:
    """Where a placed item's own x axis points, degrees clockwise from the right, 0 to 360, and
    whether it is mirrored."""
    matrix, _ = transform(placement)
    angle = np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])) % 360
    return float(angle), bool(np.linalg.det(matrix[:, :2]) < 0)


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


def _to_pixels(outline: np.ndarray, matrix: np.ndarray | None, view: View, scale: float):
    """An outline in fine pixels of the view (pixel edges at whole numbers)."""
    points = outline if matrix is None else outline @ matrix[:, :2].T + matrix[:, 2]
    return (points - view[:2]) * scale


def _fixed(points: np.ndarray) -> np.ndarray:
    """Fixed-point polygon coordinates; cv2 puts pixel centres at whole numbers."""
    return np.round((points - 0.5) * (1 << _FRACTION_BITS)).astype(np.int32)


def _fill(rings: list[np.ndarray], x0: int, y0: int, shape: tuple[int, int]) -> np.ndarray:
    """A (h, w) uint8 mask of 0 and 255 from fixed-point rings: the first, the others cut out."""
    mask = np.zeros(shape, np.uint8)
    origin = np.array((x0 << _FRACTION_BITS, y0 << _FRACTION_BITS), np.int32)
    for k, ring in enumerate(rings):
        cv2.fillPoly(mask, [ring - origin], 0 if k else 255, shift=_FRACTION_BITS)
    return mask


@cache
def _noise_tile() -> np.ndarray:
    """A 512 x 512 tile of smooth noise of unit variance, grain 8 px, periodic."""
    white = np.random.default_rng(20).standard_normal((512, 512)).astype(np.float32)
    f = np.fft.fftfreq(512).astype(np.float32) * 8
    shape = 1 / (1 + (2.2 * (f[:, None] ** 2 + f[None] ** 2) ** 0.5) ** 3)
    noise = np.fft.ifft2(np.fft.fft2(white) * shape).real
    return (noise / noise.std()).astype(np.float32)


def _texture(part: Part, shape: tuple[int, int], corner: tuple, step: float, seed: np.ndarray):
    """Factors of the thickness around 1: (h, w) float32, from a mm corner in mm steps."""
    k = 8 / max(part.grain, 0.1)  # tile pixels a mm
    c, s = k * math.cos(seed[0] * 2 * math.pi), k * math.sin(seed[0] * 2 * math.pi)
    x, y = corner
    start = (c * x - s * y + seed[1] * 512) % 512, (s * x + c * y + seed[2] * 512) % 512
    noise = cv2.warpAffine(
        _noise_tile(),
        np.array([[c * step, -s * step, start[0]], [s * step, c * step, start[1]]]),
        (shape[1], shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )
    noise *= np.float32(part.texture * 0.5)
    noise += 1
    return np.maximum(noise, 0.05, out=noise)


def _inradius(rings: list[np.ndarray]) -> float:
    """Distance in pixels of the innermost point to the outline, to about 2 %."""
    low = rings[0].min(0)
    extent = (rings[0].max(0) - low) / (1 << _FRACTION_BITS)
    scale = 160 / max(float(extent.max()), 1e-6)
    small = [np.round((ring - low) * scale).astype(np.int32) for ring in rings]
    shape = int(extent[1] * scale) + 3, int(extent[0] * scale) + 3
    distance = cv2.distanceTransform(_fill(small, -1, -1, shape), cv2.DIST_L2, 5)
    return max(float(distance.max()) - 0.5, 0.5) / scale


def _round(distance: np.ndarray, radius: float) -> np.ndarray:
    """Chords (1 at the widest place) of a body whose half width is the local inner radius."""
    # The local radius is the largest distance to the outline nearby: a bat's handle must not
    # get the chords of its barrel.
    reduce = max(1, int(radius / 5))
    small = distance
    if reduce > 1:
        small = cv2.dilate(small, np.ones((reduce, reduce), np.uint8))[::reduce, ::reduce]
    reach = 2 * math.ceil(radius / reduce) + 1
    local = cv2.dilate(small, np.ones((reach, reach), np.uint8))
    if reduce > 1:
        local = cv2.resize(local, distance.shape[::-1], interpolation=cv2.INTER_LINEAR)
        np.maximum(local, distance, out=local)
    local *= 2
    local -= distance
    local *= distance
    local *= 1 / radius**2
    return cv2.sqrt(local)


def _profile(
    part: Part, rings: list[np.ndarray], roi: tuple, clipped: bool, fine: float
) -> tuple[np.ndarray, float]:
    """Relative thickness in fine pixels of `roi` = (x0, y0, x1, y1), and what 1 stands for."""
    x0, y0, x1, y1 = roi
    mask = _fill(rings, x0, y0, (y1 - y0, x1 - x0))
    # cv2 fills every pixel its edge touches: thin parts keep their mass by their true area.
    share = 1.0
    if not clipped:
        areas = [cv2.contourArea(ring) for ring in rings]
        area = (areas[0] - sum(areas[1:])) / (1 << 2 * _FRACTION_BITS)
        share = min(1.0, max(0.2, area / max(cv2.countNonZero(mask), 1)))
        share += (1 - share) * min(1.0, max(0.0, (share - 0.7) / 0.2))
    if part.profile == "slab":
        return mask, part.thickness * share / 255
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    distance -= 0.5
    np.maximum(distance, 0, out=distance)
    if part.profile == "round":
        radius = _inradius(rings) if clipped else float(distance.max())
        if radius < 1:
            return mask, part.thickness * share * math.pi / 4 / 255
        return _round(distance, radius), part.thickness
    if part.profile == "bevel":
        distance *= 1 / max(part.edge * fine, 0.5)
        return np.minimum(distance, 1, out=distance), part.thickness * share
    inside = distance >= max(part.edge * fine, 0.5)
    mask[inside] = 255 // 4 + 1
    return mask, part.thickness * share * 4 / 256


def _coarse(
    part: Part, rings: list[np.ndarray], roi: tuple, seen: tuple, times: int, fine: float
) -> tuple[np.ndarray, float]:
    """`_profile` of a body far larger than the view, within `seen`: smooth, so drawn coarsely.

    Its edge within the view is as sharp as any.
    """
    x0, y0, x1, y1 = (v // times for v in roi)
    small = [ring // times for ring in rings]
    profile, unit = _profile(part, small, (x0, y0, x1 + 1, y1 + 1), True, fine / times)
    left, top, right, bottom = seen
    size = right - left, bottom - top
    shift = (left + 0.5) / times - 0.5 - x0, (top + 0.5) / times - 0.5 - y0
    matrix = np.array([[1 / times, 0, shift[0]], [0, 1 / times, shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(profile, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside[_fill(rings, left, top, size[::-1]) == 0] = 0
    return inside, unit


def _margin(part: Part, rings: list[np.ndarray], fine: float) -> int:
    """How far outside the view the outline still shapes the thickness inside, fine pixels."""
    if part.profile == "slab":
        return 0
    reach = 2 * _inradius(rings) if part.profile == "round" else part.edge * fine
    return math.ceil(reach) + 2


def _projected(parts: list[tuple], view: View, fine: float):
    """All rings of all parts, fixed-point fine pixels, and the parts' bounds (x1, y1, x2, y2)."""
    outlines = [ring for part, _, _ in parts for ring in (part.outline, *part.holes)]
    counts = np.array([len(ring) for ring in outlines])
    rings_of = np.array([1 + len(part.holes) for part, _, _ in parts])
    still = np.eye(2, 3)
    matrices = np.array([still if m is None else m for _, m, _ in parts])
    matrices = np.repeat(matrices, rings_of, 0)
    matrices[:, :, 2] -= view[:2]
    matrices = np.repeat(matrices * fine, counts, 0)
    x, y = np.concatenate(outlines).T
    points = matrices[:, :, 0] * x[:, None] + matrices[:, :, 1] * y[:, None] + matrices[:, :, 2]
    starts = np.concatenate([[0], np.cumsum(counts)])
    first = np.concatenate([[0], np.cumsum(rings_of)[:-1]])
    low = np.minimum.reduceat(points, starts[:-1])[first]
    high = np.maximum.reduceat(points, starts[:-1])[first]
    fixed = _fixed(points)
    rings = [fixed[a:b] for a, b in pairwise(starts)]
    grouped = [rings[a : a + n] for a, n in zip(first, rings_of, strict=True)]
    return grouped, np.concatenate([np.floor(low) - 1, np.ceil(high) + 1], 1).astype(int).tolist()


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
    n = SUPERSAMPLE
    fine = n * width / (view[2] - view[0])  # fine pixels a mm
    out = np.zeros((2, height, width), np.float32)
    parts = list(_flat(objects))
    seeds = rng.random((len(parts), 3))
    if not parts:
        return out
    grouped, boxes = _projected(parts, view, fine)
    for (part, _, factor), seed, rings, box in zip(parts, seeds, grouped, boxes, strict=True):
        x0, y0, x1, y1 = box
        if x1 <= 0 or y1 <= 0 or x0 >= width * n or y0 >= height * n:
            continue
        clipped = x0 < 0 or y0 < 0 or x1 > width * n or y1 > height * n
        if clipped:
            margin = _margin(part, rings, fine)
            x0, y0 = max(x0, -margin), max(y0, -margin)
            x1, y1 = min(x1, width * n + margin), min(y1, height * n + margin)
        # Whole pixels, so that the fine grid falls into them.
        x0, y0, x1, y1 = x0 // n * n, y0 // n * n, -(-x1 // n) * n, -(-y1 // n) * n
        left, top = max(x0, 0), max(y0, 0)
        right, bottom = min(x1, width * n), min(y1, height * n)
        excess = math.sqrt((x1 - x0) * (y1 - y0) / (2 * n * n * width * height))
        if excess > 1:
            seen_box = (left, top, right, bottom)
            seen, unit = _coarse(part, rings, (x0, y0, x1, y1), seen_box, math.ceil(excess), fine)
        else:
            profile, unit = _profile(part, rings, (x0, y0, x1, y1), clipped, fine)
            seen = profile[top - y0 : bottom - y0, left - x0 : right - x0]
        left, top, right, bottom = left // n, top // n, right // n, bottom // n
        seen = cv2.resize(seen, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
        if part.texture > 0:
            corner = view[0] + left * n / fine, view[1] + top * n / fine
            seen = seen * _texture(part, seen.shape, corner, n / fine, seed)
        unit *= factor
        for plane, value in zip(out, coefficients(part.material), strict=True):
            plane[top:bottom, left:right] += seen * np.float32(value * unit)
    return out


def silhouette(placement: Placement, view: View, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels of the view that the placed item covers at least by half."""
    height, width = size
    times = 4
    scale = times * width / (view[2] - view[0])
    out = np.zeros(size, bool)
    parts = [
        [_fixed(_to_pixels(ring, matrix, view, scale)) for ring in (part.outline, *part.holes)]
        for part, matrix, _ in _flat([placement])
    ]
    outlines = np.concatenate([rings[0] for rings in parts]) / (1 << _FRACTION_BITS)
    # Whole pixels around the item, within the view.
    x0, y0 = np.maximum(outlines.min(0) // times, 0).astype(int).tolist()
    x1, y1 = np.minimum(outlines.max(0) // times + 1, (width, height)).astype(int).tolist()
    if x1 <= x0 or y1 <= y0:
        return out
    mask = np.zeros(((y1 - y0) * times, (x1 - x0) * times), np.uint8)
    for rings in parts:
        cv2.bitwise_or(mask, _fill(rings, x0 * times, y0 * times, mask.shape), dst=mask)
    mask = cv2.resize(mask, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    out[y0:y1, x0:x1] = mask >= 128
    return out


def middle(mask: np.ndarray) -> np.ndarray:
    """The centre of the pixel that lies deepest in a mask bool (H, W), not empty, where one would
    click on the object: float32 (2,) as x, y."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return np.array([x - 0.5, y - 0.5], np.float32)
