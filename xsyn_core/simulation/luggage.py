"""Wheeled suitcases: shells, frames, rods, wheels, locks, rivets, zips and lining."""

import numpy as np

from xsyn_core.simulation.parts import (
    Bag,
    Part,
    ellipse,
    rectangle,
    rounded_rectangle,
    smooth,
    stroke,
    turned,
)
from xsyn_core.simulation.shapes import (
    between,
    buckle,
    closed_path,
    creases,
    pick,
    resampled,
    rim,
    ring,
    screw,
    zip_slider,
    zip_track,
)


def _level(outline, depth, shift):
    """Where an outline at this depth (0 near, 1 far) is seen."""
    return outline * (1 - 0.05 * depth) + shift * depth


def _wheel(rng, x, y, side):
    """A castor or fixed wheel with housing, axle, hub and screws, standing out of the case."""
    d = between(rng, 46, 66)
    parts = []
    housing = rounded_rectangle(d * 0.9, d * 0.8, 8, x, y - side * d * 0.3)
    parts.append(Part(housing, "plastic", between(rng, 5, 10), "shell", 3.0))
    if rng.random() < 0.5:
        tyre = ellipse(d * between(rng, 0.75, 1), d, x, y, 26)
        parts += [
            Part(tyre, "rubber", 16, holes=(ellipse(d * 0.5, d * 0.6, x, y, 20),)),
            Part(ellipse(d * 0.5, d * 0.6, x, y, 20), "plastic", 8),
        ]
    else:
        for s in (-1, 1):
            half = rounded_rectangle(d * 0.26, d, 5, x + s * d * 0.24, y)
            parts.append(Part(half, "rubber", d * 0.45, "bevel", 4.0))
    tilt = between(rng, -15, 15)
    axle = rectangle(d * between(rng, 0.5, 0.95), 6)
    parts.append(Part(turned(axle, tilt, x, y), "steel", 3.1, "round"))
    parts.append(Part(turned(rectangle(5, 11, d * 0.3), tilt, x, y), "steel", 3.9))
    pivot = rounded_rectangle(13, between(rng, 18, 28), 4, x, y - side * d * 0.62)
    parts.append(Part(pivot, "steel", 5.2, "round"))
    for sx in (-1, 1):
        for sy in (0.45, 0.95):
            at = (x + sx * d * 0.34, y - side * d * sy)
            parts.append(screw(rng, *at, between(rng, -15, 15), 0.9))
    return parts


def _rods(rng, w, h):
    """The telescopic handle: two channels with an inner tube, a wire, end caps and bolts."""
    parts = []
    gap = w * between(rng, 0.16, 0.27)
    length = h * between(rng, 0.66, 0.88)
    width = between(rng, 14, 30)
    y = (h - length) / 2 * pick(rng, -1, 1) * between(rng, 0.3, 0.9)
    metal = pick(rng, "aluminium", "aluminium", "steel")
    wall = between(rng, 1.6, 3.2) if metal == "aluminium" else between(rng, 0.35, 0.7)
    inner = length * between(rng, 0.3, 0.95)
    end = pick(rng, -1, 1)
    for s in (-1, 1):
        x = s * gap
        parts += [
            Part(rectangle(width, length, x, y), metal, wall, "shell", 1.2),
            Part(
                rectangle(width * 0.78, inner, x, y + end * (length - inner) / 2),
                metal,
                wall,
                "shell",
                1.0,
            ),
            Part(rectangle(2.2, length * 0.7, x, y + end * length * 0.12), "steel", 2.2, "round"),
            Part(rounded_rectangle(width * 1.25, 22, 4, x, y - end * length / 2), "plastic", 14),
            Part(rounded_rectangle(width * 1.4, 34, 5, x, y + end * length / 2), "plastic", 12),
        ]
        for _ in range(3):
            parts.append(screw(rng, x, y + between(rng, -0.48, 0.48) * length, 0))
    grip_y = y + end * length / 2
    grip = rounded_rectangle(2 * gap + width, between(rng, 18, 30), 10, 0, grip_y)
    parts.append(Part(grip, pick(rng, "plastic", "rubber", "plastic"), 18, "shell", 4))
    if rng.random() < 0.6:
        bar = rectangle(2 * gap, 6, 0, grip_y)
        parts.append(Part(bar, "steel", 2.7, "round"))
    return parts


def _handle(rng, x, y, angle, length):
    """A grab handle, with the metal that holds it to the case."""
    rise = between(rng, 18, 42)
    path = np.array([(-0.5, 0), (-0.42, 1), (0.42, 1), (0.5, 0)]) * (length, -rise)
    path = turned(smooth(path, 3, closed=False), angle, x, y)
    parts = [Part(stroke(path, between(rng, 13, 22)), pick(rng, "rubber", "plastic"), 13, "round")]
    if rng.random() < 0.5:
        parts.append(Part(stroke(path, 4), "steel", 2.0))
    for s in (-1, 1):
        plate = rounded_rectangle(22, 12, 3, s * length / 2, 2)
        parts.append(Part(turned(plate, angle, x, y), pick(rng, "steel", "zinc", "plastic"), 2.5))
        for k in (-5, 5):
            px, py = turned(np.array([[s * length / 2 + k, 6.0]]), angle, x, y)[0]
            parts.append(screw(rng, px, py, angle, 0.8))
    return parts


def _lock(rng, x, y, angle):
    """A combination lock or latch: die-cast body, dials, hasp."""
    width, height = between(rng, 36, 60), between(rng, 18, 28)
    parts = [
        Part(turned(rounded_rectangle(width, height, 5), angle, x, y), "zinc", 2.7, "bevel", 3),
        Part(turned(rectangle(12, 10, width * 0.3), angle, x, y), "steel", 3.1),
    ]
    for k in (-0.28, -0.1, 0.08):
        dial = rectangle(4.5, height * 0.7, k * width, 0)
        parts.append(Part(turned(dial, angle, x, y), "brass", 2.7, "round"))
    return parts


def _border_points(outline, count, rng):
    """Evenly spread places on an outline, and the direction outwards there (degrees)."""
    path = resampled(closed_path(outline), 6.0)
    start = int(rng.integers(len(path)))
    where = (start + np.linspace(0, len(path) - 1, count, endpoint=False).astype(int)) % len(path)
    centre = outline.mean(0)
    out = path[where] - centre
    angles = np.degrees(np.arctan2(out[:, 1], out[:, 0])) - 90
    return path[where], angles


def _sliders(rng, outline, count):
    places, angles = _border_points(outline, count * 3, rng)
    keep = rng.permutation(len(places))[:count]
    return [p for k in keep for p in zip_slider(rng, *places[k], angles[k] + pick(rng, 0, 180))]


def _straps(rng, w, h):
    """The crossed elastic bands inside, with their clip."""
    parts = []
    x, y = between(rng, -0.1, 0.1) * w, between(rng, -0.15, 0.15) * h
    for s in (-1, 1):
        for t in (-1, 1):
            path = np.array([[x, y], [s * w * 0.4, t * h * between(rng, 0.25, 0.42)]])
            parts.append(Part(stroke(path, between(rng, 18, 28)), "nylon", 2.0))
    return parts + list(buckle(rng, x, y, between(rng, 0, 180), 36))


def _common(rng, w, h, body, shift):
    """What both kinds of suitcase have: rods, wheels, handles, locks, rivets, lining."""
    parts = []
    if rng.random() < 0.92:
        parts += _rods(rng, w, h)
    side = pick(rng, -1, 1)
    four = rng.random() < 0.6
    x, y = w * between(rng, 0.36, 0.42), side * (h / 2 + between(rng, 2, 16))
    for s in (-1, 1):
        parts += _wheel(rng, s * x, y, side)
        if four:
            dx, dy = shift * between(rng, 0.8, 1.1)
            parts += _wheel(rng, s * x * 0.95 + dx, y * 0.95 + dy, side)
    parts += _handle(rng, 0, -side * h / 2, 0 if side > 0 else 180, between(rng, 110, 160))
    flank = pick(rng, -1, 1)
    parts += _handle(rng, flank * w / 2, between(rng, -0.1, 0.1) * h, 90 * flank, 150)
    if rng.random() < 0.7:
        parts += _lock(rng, flank * w * 0.49, between(rng, 0.15, 0.3) * h * pick(rng, -1, 1), 90)
    for depth in (0.1, 0.9):
        places, angles = _border_points(
            _level(body * 0.95, depth, shift), int(rng.integers(6, 13)), rng
        )
        for (px, py), a in zip(places, angles, strict=True):
            parts.append(screw(rng, px, py, a + between(rng, -20, 20), between(rng, 0.7, 1.1)))
    for _ in range(int(rng.integers(4, 12))):
        px, py = rng.uniform(-0.43, 0.43, 2) * (w, h)
        parts.append(screw(rng, px, py, between(rng, -30, 30), between(rng, 0.6, 1)))
    for _ in range(int(rng.integers(2, 5))):
        foot = pick(rng, -1, 1) * w / 2, between(rng, -0.4, 0.4) * h
        parts.append(Part(rounded_rectangle(14, 30, 5, *foot), "plastic", 8, "shell", 3))
    if rng.random() < 0.5:
        parts += _straps(rng, w, h)
    parts += creases(rng, 9, w * 0.9, h * 0.9, "nylon", 7.0, pick(rng, 0, 90, None))
    parts += creases(rng, 5, w * 0.9, h * 0.5, "pvc", 4.0)
    lining = rectangle(w * 0.82, between(rng, 0.2, 0.5) * h, 0, between(rng, -0.2, 0.2) * h)
    parts.append(Part(lining, "nylon", 1.6, texture=0.6, grain=14))
    if rng.random() < 0.6:
        path = lining[[0, 1]]
        parts.append(zip_track(path, 3.5, pick(rng, "nylon", "aluminium")))
        parts += zip_slider(rng, *resampled(path, 8)[int(rng.integers(3, 12))], 90, 0.9)
    return parts


def _size(rng):
    w = between(rng, 330, 470)
    return w, w * between(rng, 1.32, 1.55)


def hard_suitcase(rng: np.random.Generator) -> Bag:
    """A moulded case: ribbed halves, a closing frame or zip between them."""
    w, h = _size(rng)
    body = rounded_rectangle(w, h, between(rng, 30, 70))
    shift = rng.uniform(-1, 1, 2) * (55, 65)
    skin = pick(rng, "plastic", "polypropylene")
    parts = [
        Part(_level(body, t, shift), skin, between(rng, 3, 5), "shell", between(rng, 3, 5))
        for t in (0.0, 1.0)
    ]
    for t in (0.25, 0.75):
        parts.append(rim(_level(body, t, shift), between(rng, 8, 16), skin, 9))
    middle = _level(body, 0.5, shift)
    if rng.random() < 0.5:
        parts += [
            rim(middle, between(rng, 9, 15), "aluminium", between(rng, 6, 10)),
            rim(middle * 0.985, 3, "rubber", 8),
        ]
    else:
        parts.append(zip_track(closed_path(middle * 0.985), 5, pick(rng, "nylon", "aluminium")))
        parts += [rim(middle, between(rng, 10, 18), "pvc", between(rng, 5, 9))]
        parts += _sliders(rng, middle * 0.985, int(rng.integers(2, 4)))
    ribs = int(rng.integers(0, 9))
    for x in np.linspace(-0.4, 0.4, ribs) if ribs > 2 else ():
        rib = rounded_rectangle(between(rng, 6, 10), h * 0.84, 4, x * w)
        parts.append(Part(_level(rib, pick(rng, 0, 1), shift), skin, 2.2, "round"))
    places, angles = _border_points(middle, int(rng.integers(3, 6)), rng)
    for (x, y), a in zip(places, angles, strict=True):
        hinge = turned(rectangle(between(rng, 25, 45), 9), a, x, y)
        parts.append(Part(hinge, pick(rng, "steel", "zinc", "plastic"), 4))
    parts += _common(rng, w, h, body, shift)
    return Bag("hard_suitcase", tuple(parts), _level(body * 0.93, 0.5, shift))


def soft_suitcase(rng: np.random.Generator) -> Bag:
    """A cloth case on a wire frame, with piping, zips all round and front pockets."""
    w, h = _size(rng)
    body = rounded_rectangle(w, h, between(rng, 25, 60))
    shift = rng.uniform(-1, 1, 2) * (60, 70)
    parts = [
        Part(_level(body, 0.0, shift), "nylon", 4, "slab", 0, (), 0.25, 7),
        Part(_level(body, 1.0, shift), "nylon", 3),
        Part(_level(body * 0.98, 0.5, shift), "polypropylene", 3.0),
    ]
    for t in (0.05, 0.95):
        parts.append(rim(_level(body * 0.985, t, shift), between(rng, 2.0, 3.2), "steel", 2.5))
    for t in (0.0, 0.2, 0.8, 1.0):
        parts.append(rim(_level(body, t, shift), between(rng, 5, 16), "pvc", 6))
    for t in (0.3, 0.7)[: int(rng.integers(1, 3))]:
        track = _level(body * 0.99, t, shift)
        parts.append(zip_track(closed_path(track), 5, pick(rng, "nylon", "aluminium", "brass")))
        parts += _sliders(rng, track, int(rng.integers(1, 4)))
    for _ in range(int(rng.integers(1, 3))):
        ph = between(rng, 0.25, 0.45) * h
        pocket = rounded_rectangle(w * 0.8, ph, 22, 0, between(rng, -0.25, 0.25) * h)
        parts += [
            Part(pocket, "nylon", 2.0),
            rim(pocket, 3.0, "nylon", 5),
            zip_track(pocket[12:24], 4.5, pick(rng, "nylon", "aluminium")),
        ]
        parts += _sliders(rng, pocket, 1)
    if rng.random() < 0.4:
        parts.append(ring(w * 0.4, h * 0.4, 30, 4, "zinc", 2.3))
    parts += _common(rng, w, h, body, shift)
    return Bag("soft_suitcase", tuple(parts), _level(body * 0.92, 0.5, shift))
