"""Outlines and small hardware shared by bags and contents: soft shapes, coils, screws, zips."""

import numpy as np

from xsyn_core.simulation.parts import (
    Outline,
    Part,
    ellipse,
    rectangle,
    rounded_rectangle,
    smooth,
    stroke,
    turned,
)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A uniform draw as a plain float."""
    return low + (high - low) * float(rng.random())


def pick(rng: np.random.Generator, *values):
    """One of the arguments, all equally likely."""
    return values[int(rng.integers(len(values)))]


def blob(
    rng: np.random.Generator,
    width: float,
    height: float,
    irregularity: float = 0.1,
    squareness: float = 0.0,
    points: int = 44,
) -> Outline:
    """A soft closed shape around (0, 0), (points, 2) mm.

    Args:
        irregularity: relative size of the dents and bulges, 0 for none.
        squareness: 0 for an ellipse, 1 for nearly a rectangle.
    """
    a = np.linspace(0, 2 * np.pi, points, endpoint=False)
    c, s = np.cos(a), np.sin(a)
    power = 2 + 8 * squareness
    r = (np.abs(c) ** power + np.abs(s) ** power) ** (-1 / power)
    k = np.arange(2, 9)
    amplitude = irregularity * 1.5 * rng.normal(size=7) / k**1.5
    wave = amplitude[:, None] * np.cos(k[:, None] * a + rng.uniform(0, 6.3, 7)[:, None])
    r = r * (1 + wave.sum(0))
    return np.stack([r * c * width / 2, r * s * height / 2], 1)


def wander(rng: np.random.Generator, length: float, bend: float = 1.0, points: int = 24) -> Outline:
    """A smooth open path, centred at (0, 0), whose heading varies by about `bend` radians."""
    t = np.linspace(0, 1, points)
    k = np.arange(1, 5)[:, None]
    weight = (bend * rng.normal(size=4) / np.arange(1, 5))[:, None]
    heading = (weight * np.cos(np.pi * k * t + rng.uniform(0, 6.3, 4)[:, None])).sum(0)
    step = np.stack([np.cos(heading), np.sin(heading)], 1) * (length / points)
    path = np.cumsum(step, 0)
    return path - path.mean(0)


def resampled(path: Outline, spacing: float) -> Outline:
    """The same open path with points every `spacing` mm (at least two)."""
    d = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    at = np.linspace(0, d[-1], max(2, int(d[-1] / spacing) + 1))
    return np.stack([np.interp(at, d, path[:, 0]), np.interp(at, d, path[:, 1])], 1)


def runs(path: Outline, length: int = 22) -> list[Outline]:
    """A long path in pieces of at most `length` points: crossings of a stroke would cancel."""
    starts = range(0, len(path) - 1, length - 1)
    return [path[k : k + length] for k in starts if len(path) - k > 1]


def closed_path(outline: Outline) -> Outline:
    """A closed outline as an open path that ends where it begins."""
    return np.concatenate([outline, outline[:1]])


def coil(path: Outline, amplitude: float, pitch: float) -> Outline:
    """A zigzag of half width `amplitude` about a path: a spiral cord or spring seen from aside."""
    p = resampled(path, pitch / 2)
    t = np.gradient(p, axis=0)
    t /= np.maximum(np.hypot(t[:, :1], t[:, 1:]), 1e-9)
    sign = np.where(np.arange(len(p)) % 2, amplitude, -amplitude)[:, None]
    return p + np.stack([-t[:, 1], t[:, 0]], 1) * sign


def spiral_loops(
    rng: np.random.Generator, width: float, height: float, turns: float, drift: float = 0.12
) -> Outline:
    """A cord wound up in loops that do not quite lie on each other."""
    a = np.linspace(0, 2 * np.pi * turns, max(12, int(18 * turns)))
    k = rng.normal(size=(4, 1)) * drift
    phase = rng.uniform(0, 6.3, (4, 1))
    rate = np.array([[0.31], [0.57], [1.37], [0.23]])
    w = k * np.cos(rate * a + phase)
    x = np.cos(a) * width / 2 * (1 + w[0]) + w[2] * width / 2
    y = np.sin(a) * height / 2 * (1 + w[1]) + w[3] * height / 2
    return np.stack([x, y], 1)


def rim(
    outline: Outline,
    width: float,
    material: str,
    thickness: float,
    profile="slab",
    edge: float = 0.0,
) -> Part:
    """A closed band `width` mm wide along the inside of an outline without deep dents."""
    middle = (outline.min(0) + outline.max(0)) / 2
    half = np.maximum((outline.max(0) - outline.min(0)) / 2, 1e-6)
    hole = (outline - middle) * np.maximum(1 - width / half, 0.02) + middle
    return Part(outline, material, thickness, profile, edge, (hole,))


def ring(
    x: float, y: float, diameter: float, width: float, material: str, thickness: float
) -> Part:
    """A round ring centred at (x, y), of this outer diameter."""
    outline = ellipse(diameter, diameter, x, y, 20)
    hole = ellipse(diameter - 2 * width, diameter - 2 * width, x, y, 16)
    return Part(outline, material, thickness, "slab", 0.0, (hole,))


def zip_track(path: Outline, width: float = 4.0, material: str = "aluminium", pitch=2.4) -> Part:
    """A closed zip as one part: interlocked teeth along a path."""
    p = resampled(path, pitch / 2)
    widths = np.where(np.arange(len(p)) % 2, width, width * 0.35)
    return Part(stroke(p, widths), material, 1.6)


_SLIDER_BODY = np.array(
    [[-5, -3], [-3.4, -5.2], [3.4, -5.2], [5, -3], [4, 4.6], [1.6, 6], [-1.6, 6], [-4, 4.6]]
)


def zip_slider(
    rng: np.random.Generator, x: float, y: float, angle: float, size: float = 1.0
) -> tuple[Part, ...]:
    """A slider with its pull tab hanging at some angle."""
    metal = pick(rng, "zinc", "zinc", "steel", "brass")
    length, width = between(rng, 22, 44) * size, between(rng, 6, 11) * size
    tab = rounded_rectangle(width, length, width / 2.2, 0, length / 2)
    hole = rounded_rectangle(
        width * 0.5, length * between(rng, 0.18, 0.6), width * 0.25, 0, length * 0.68
    )
    swing = angle + between(rng, -70, 70)
    body = turned(_SLIDER_BODY * size, angle, x, y)
    return (
        Part(body, metal, 2.7 * size, "bevel", 1.5),
        Part(
            turned(tab, swing, x, y),
            metal,
            between(rng, 0.7, 2.0),
            holes=(turned(hole, swing, x, y),),
        ),
    )


_SCREW = np.array(
    [[-3.6, -7], [3.6, -7], [3.6, -5], [1.2, -4.4], [1.1, 7], [-1.1, 7], [-1.2, -4.4], [-3.6, -5]]
)


def screw(rng: np.random.Generator, x: float, y: float, angle: float, size: float = 1.0) -> Part:
    """A screw or rivet: from aside a T, obliquely a head with a stub."""
    if rng.random() < 0.6:
        shape = _SCREW * (size * between(rng, 0.8, 1.2), size * between(rng, 0.5, 1.2))
        return Part(turned(shape, angle, x, y), "steel", 1.8 * size)
    if rng.random() < 0.5:
        d = between(rng, 5, 9) * size
        return ring(x, y, d, d * 0.28, "steel", 1.6)
    return Part(ellipse(5.5 * size, 4.5 * size, x, y, 14), "steel", 2.3 * size, "round")


def buckle(
    rng: np.random.Generator, x: float, y: float, angle: float, width: float = 26.0
) -> tuple[Part, ...]:
    """A strap adjuster, side-release buckle or metal square ring."""
    kind = int(rng.integers(3))
    height = width * between(rng, 0.6, 0.9)
    if kind == 0:
        frame = rounded_rectangle(width, height, 3)
        slot = rectangle(width * 0.78, height * 0.27)
        holes = tuple(turned(slot + (0, s * height * 0.21), angle, x, y) for s in (-1, 1))
        return (Part(turned(frame, angle, x, y), "plastic", 5.0, holes=holes),)
    if kind == 1:
        shape = [(-0.5, -0.7), (0.5, -0.7), (0.5, 0.1), (0.32, 0.25), (0.36, 0.8), (-0.36, 0.8)]
        body = smooth(np.array([*shape, (-0.32, 0.25), (-0.5, 0.1)]) * width, 1)
        prong = rounded_rectangle(width * 0.2, width * 0.8, 2)
        return (
            Part(turned(body, angle, x, y), "plastic", 8.0, "shell", 2.0),
            Part(turned(prong - (width * 0.22, 0), angle, x, y), "plastic", 5.0),
            Part(turned(prong + (width * 0.22, 0), angle, x, y), "plastic", 5.0),
        )
    frame = rounded_rectangle(width, height, 4)
    hole = rounded_rectangle(width - 7, height - 7, 3)
    tongue = rectangle(width * 0.95, 3.0, 0, height * between(rng, -0.1, 0.1))
    metal = pick(rng, "steel", "zinc")
    return (
        Part(turned(frame, angle, x, y), metal, 2.0, holes=(turned(hole, angle, x, y),)),
        Part(turned(tongue, angle, x, y), metal, 1.8, "round"),
    )


def creases(
    rng: np.random.Generator,
    count: int,
    width: float,
    height: float,
    material: str,
    thickness: float,
    direction: float | None = None,
) -> list[Part]:
    """Folds of cloth or lining within a box around (0, 0): strokes of uneven width.

    Args:
        thickness: mm, of the strongest fold.
        direction: degrees, of the folds; random each if None.
    """
    strands, widths, parts = [], [], []
    taper = np.sin(np.linspace(0.04, 3.1, 14))
    for k in range(count):
        length = between(rng, 0.3, 0.9) * (width if direction in (0, 180) else min(width, height))
        angle = between(rng, 0, 180) if direction is None else direction + between(rng, -18, 18)
        path = turned(wander(rng, length, 0.5, 14), angle)
        room = np.maximum(np.array([width, height]) / 2 - np.abs(path).max(0), 0)
        strands.append(path + rng.uniform(-1, 1, 2) * room)
        widths.append(between(rng, 0.8, 4) * taper)
        if len(strands) == 3 or k == count - 1:
            # Three folds, joined by hairlines, are one part: parts cost time.
            outline = stroke(np.concatenate(strands), np.concatenate(widths))
            parts.append(Part(outline, material, thickness * between(rng, 0.3, 1)))
            strands, widths = [], []
    return parts


def warped(parts: tuple[Part, ...], warp) -> tuple[Part, ...]:
    """The parts with every outline sent through `warp`, a function of (N, 2) points."""
    outlines = [o for p in parts for o in (p.outline, *p.holes)]
    ends = np.cumsum([len(o) for o in outlines])[:-1]
    moved = iter(np.split(warp(np.concatenate(outlines)), ends))
    return tuple(
        Part(
            next(moved),
            p.material,
            p.thickness,
            p.profile,
            p.edge,
            tuple(next(moved) for _ in p.holes),
            p.texture,
            p.grain,
        )
        for p in parts
    )
