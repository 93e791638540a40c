"""What simulated objects are made of: flat outlines with a material and a thickness profile.

Lengths are millimetres, x to the right, y down, angles in degrees. An `Item` is drawn around
its own origin; a `Placement` turns, tilts and moves it into the bag.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Outline = np.ndarray  # (N, 2) float, x and y, closed (the last point joins the first)
Profile = Literal["slab", "round", "bevel", "shell"]


@dataclass(frozen=True)
class Part:
    """One solid of one material, seen along the ray.

    Attributes:
        outline: (N, 2) float, mm.
        material: a key of `materials.MATERIALS`.
        thickness: mm along the ray, at the thickest point of a slab, round or bevelled part,
            of the two faces together for a shell.
        profile: how the thickness depends on the distance to the outline (holes included):
            "slab" is constant; "round" falls off like a rod or ball, the widest place being
            `thickness` thick; "bevel" rises linearly from 0 over `edge` mm; "shell" is a hollow
            body: `thickness` inside, and a wall `edge` mm wide, four times as thick as that.
        edge: mm, width of the bevel or wall.
        holes: outlines cut out of the part.
        texture: relative amplitude (0 to 1) of smooth random variation of the thickness.
        grain: mm, typical size of that variation.
    """

    outline: Outline
    material: str
    thickness: float
    profile: Profile = "slab"
    edge: float = 0.0
    holes: tuple[Outline, ...] = ()
    texture: float = 0.0
    grain: float = 5.0


@dataclass(frozen=True)
class Item:
    """A named object: parts in drawing coordinates, centred near (0, 0).

    Attributes:
        kind: digits that tell its make and how far it is open among those of its name: what a
            painter would otherwise have to guess.
    """

    name: str
    parts: tuple[Part, ...]
    kind: str = ""


@dataclass(frozen=True)
class Placement:
    """An item in the bag: mirrored, foreshortened, turned, moved, in that order.

    Attributes:
        x, y: mm, where the item's origin goes.
        angle: degrees, clockwise as seen.
        tilt: degrees out of the image plane (0 to 70): lengths along `tilt_axis`'s normal shrink
            by cos(tilt) and thicknesses grow by 1 / cos(tilt).
        tilt_axis: degrees, direction of the axis about which it is tilted, before turning.
        mirror: flipped left to right first.
    """

    item: Item
    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0
    tilt: float = 0.0
    tilt_axis: float = 0.0
    mirror: bool = False


@dataclass(frozen=True)
class Bag:
    """A container: its own parts, and the outline (mm) within which contents lie."""

    name: str
    parts: tuple[Part, ...]
    interior: Outline


def rectangle(width: float, height: float, x: float = 0.0, y: float = 0.0) -> Outline:
    """A rectangle centred at (x, y)."""
    w, h = width / 2, height / 2
    return np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) + (x, y)


def rounded_rectangle(
    width: float, height: float, radius: float, x: float = 0.0, y: float = 0.0
) -> Outline:
    """A rectangle with circular corners, centred at (x, y)."""
    r = min(radius, width / 2, height / 2)
    corner = np.linspace(0, np.pi / 2, 7)
    points = []
    for k, (sx, sy) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
        a = corner + k * np.pi / 2
        centre = (sx * (width / 2 - r), sy * (height / 2 - r))
        points.append(np.stack([np.cos(a), np.sin(a)], 1) * r + centre)
    return np.concatenate(points) + (x, y)


def ellipse(
    width: float, height: float, x: float = 0.0, y: float = 0.0, points: int = 40
) -> Outline:
    """An ellipse of these diameters, centred at (x, y)."""
    a = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([np.cos(a) * width / 2 + x, np.sin(a) * height / 2 + y], 1)


def smooth(points: ArrayLike, rounds: int = 2, closed: bool = True) -> Outline:
    """Round the corners of a polygon or polyline (Chaikin's corner cutting)."""
    p = np.asarray(points, float)
    for _ in range(rounds):
        q = np.roll(p, -1, 0) if closed else p[1:]
        a = p if closed else p[:-1]
        cut = np.stack([a * 0.75 + q * 0.25, a * 0.25 + q * 0.75], 1).reshape(-1, 2)
        p = cut if closed else np.concatenate([p[:1], cut, p[-1:]])
    return p


def stroke(path: ArrayLike, width: ArrayLike) -> Outline:
    """The outline of a line of some width (mm; one for all, or one a point) drawn along a path."""
    p = np.asarray(path, float)
    t = np.gradient(p, axis=0)
    t /= np.maximum(np.linalg.norm(t, axis=1, keepdims=True), 1e-9)
    n = np.stack([-t[:, 1], t[:, 0]], 1) * (np.asarray(width, float) / 2).reshape(-1, 1)
    return np.concatenate([p + n, (p - n)[::-1]])


def turned(outline: ArrayLike, angle: float, x: float = 0.0, y: float = 0.0) -> Outline:
    """Rotate an outline clockwise by `angle` degrees about the origin, then move it by (x, y)."""
    a = np.deg2rad(angle)
    r = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return np.asarray(outline, float) @ r + (x, y)


def tapered(points: ArrayLike) -> Outline:
    """A body of revolution seen from the side: (x, half width) along the axis, mirrored."""
    p = np.asarray(points, float)
    return np.concatenate([p, (p * (1, -1))[::-1]])
