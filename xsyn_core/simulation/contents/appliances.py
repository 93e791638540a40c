"""Electrical things that are no category of their own: cables, chargers, cameras, dryers."""

import numpy as np

from xsyn_core.simulation.parts import (
    Item,
    Part,
    ellipse,
    rectangle,
    rounded_rectangle,
    smooth,
    stroke,
    tapered,
    turned,
)
from xsyn_core.simulation.shapes import (
    between,
    blob,
    coil,
    pick,
    rim,
    ring,
    runs,
    screw,
    spiral_loops,
    wander,
)


def _cord(path, rng, width=None):
    """An insulated cable: PVC with its copper core."""
    width = width or between(rng, 3, 6)
    core = between(rng, 0.3, 0.7)
    pieces = runs(path)
    sheath = [Part(stroke(p, width), "pvc", width * 0.8) for p in pieces]
    return sheath + [Part(stroke(p, width * 0.42), "copper", core) for p in pieces]


def _plug(path, rng):
    """A USB-like plug at the end of a path."""
    d = path[-1] - path[-3]
    a = float(np.degrees(np.arctan2(d[1], d[0])))
    shell = turned(rectangle(15, 10, 14), a, *path[-1])
    return [
        Part(turned(rounded_rectangle(20, 11, 3, 2), a, *path[-1]), "pvc", 6),
        Part(shell, "steel", 1.6, "shell", 1.0),
        Part(turned(rectangle(10, 5, 8), a, *path[-1]), "pcb", 1.6),
    ]


def _board(rng, w, h, density=1.0, x=0.0, y=0.0):
    """A populated circuit board: chips, cans, coils, connectors."""
    parts = [Part(rectangle(w, h, x, y), "pcb", 1.6, "slab", 0, (), 0.4, 3)]
    for _ in range(int(density * between(rng, 5, 12))):
        cx, cy = x + between(rng, -0.42, 0.42) * w, y + between(rng, -0.42, 0.42) * h
        kind = int(rng.integers(4))
        size = between(rng, 4, min(16, w * 0.4))
        if kind == 0:
            chip = rectangle(size, size * between(rng, 0.5, 1), cx, cy)
            parts += [
                Part(chip, "plastic", 2),
                Part(chip * 0.6 + (cx * 0.4, cy * 0.4), "copper", 0.5),
            ]
        elif kind == 1:
            parts.append(Part(ellipse(size, size, cx, cy, 16), "aluminium", 9))
        elif kind == 2:
            parts.append(Part(rectangle(size, size * 0.5, cx, cy), "steel", 1.0))
        else:
            parts.append(ring(cx, cy, size, size * 0.3, "copper", 2.3))
    return parts


def cable(rng: np.random.Generator) -> Item:
    """A cable wound in loops, lying loose, or a thin one tied up, with its plugs."""
    kind = int(rng.integers(3))
    if kind == 0:
        path = spiral_loops(rng, between(rng, 70, 170), between(rng, 50, 130), between(rng, 2.5, 6))
    elif kind == 1:
        path = wander(rng, between(rng, 350, 800), 3.2, 80)
    else:
        path = spiral_loops(
            rng, between(rng, 90, 140), between(rng, 16, 34), between(rng, 4, 8), 0.06
        )
    parts = _cord(path, rng, between(rng, 2.2, 5.5))
    parts += _plug(path, rng) + _plug(path[::-1], rng)
    if kind == 2:
        parts.append(Part(rectangle(10, 40, between(rng, -20, 20)), "nylon", 4))
    return Item("cable", tuple(parts))


def spiral_cord(rng: np.random.Generator) -> Item:
    """A spiral cord or shower hose, bent back on itself."""
    length = between(rng, 160, 380)
    axis = wander(rng, length, 1.5, 40)
    zigzag = coil(axis, between(rng, 2.5, 5), between(rng, 3, 5))
    width, metal = between(rng, 1.2, 2), pick(rng, "copper", "steel", "copper")
    parts = [Part(stroke(p, width), metal, 1.2) for p in runs(zigzag, 60)]
    parts += [Part(stroke(p, 7), "pvc", 3) for p in runs(axis, 11)]
    return Item("spiral_cord", tuple(parts) + tuple(_plug(axis, rng)))


def charger(rng: np.random.Generator) -> Item:
    """A wall or laptop adapter: shell, board, transformer, prongs, cable."""
    w, h = between(rng, 40, 130), between(rng, 34, 60)
    box = rounded_rectangle(w, h, 6)
    parts = [Part(box, "plastic", 5, "shell", 2.5), *_board(rng, w * 0.86, h * 0.8)]
    core = rounded_rectangle(min(26, w * 0.4), h * 0.5, 2, between(rng, -0.2, 0.2) * w)
    middle = core.mean(0)
    parts += [
        Part(core, "steel", between(rng, 3, 7)),
        Part((core - middle) * 0.6 + middle, "copper", 3.5),
    ]
    for s in (-1, 1):
        prong = pick(rng, rectangle(19, 2.2), rounded_rectangle(19, 4.5, 2))
        parts.append(Part(prong - (w / 2 + 9, s * 8), "brass", 2.7))
    if rng.random() < 0.7:
        path = wander(rng, between(rng, 200, 500), 3.5, 50)
        path = path - path[0] + (w / 2, 0)
        parts += _cord(path, rng, 4) + _plug(path, rng)
    return Item("charger", tuple(parts))


def extension_lead(rng: np.random.Generator) -> Item:
    """A power strip with sockets, bus bars, and its thick wound cable."""
    n = int(rng.integers(3, 6))
    w, h = n * 42 + 40, between(rng, 46, 58)
    parts = [Part(rounded_rectangle(w, h, 6), "plastic", 6, "shell", 3)]
    for s in (-1, 1):
        parts.append(Part(rectangle(w * 0.86, 5, 0, s * 9), "brass", 1.6))
        for k in range(n):
            parts.append(Part(rectangle(7, 10, (k - (n - 1) / 2) * 42, s * 9), "brass", 2.7))
    parts += [screw(rng, s * w * 0.45, between(rng, -12, 12), 0, 0.8) for s in (-1, 1)]
    path = spiral_loops(rng, between(rng, 110, 170), between(rng, 60, 100), between(rng, 2, 4))
    path = path + (between(rng, -0.2, 0.4) * w, between(rng, 20, 60))
    return Item("extension_lead", tuple(parts + _cord(path, rng, 7)))


def headphones(rng: np.random.Generator) -> Item:
    """Headphones with band, magnets and coils, or earphones on a tangle of wire."""
    if rng.random() < 0.5:
        path = wander(rng, between(rng, 350, 700), 4.0, 90)
        parts = _cord(path, rng, 3)
        for end in (path[0], path[4] + (8, 12)):
            parts += [
                Part(blob(rng, 18, 16, 0.1) + end, "plastic", 8, "shell", 2),
                Part(ellipse(9, 9, *end, 14), "steel", 2.3),  # type: ignore[call-arg]
            ]
        return Item("headphones", tuple(parts + _plug(path, rng)))
    w = between(rng, 140, 180)
    a = np.linspace(np.pi, 2 * np.pi, 20)
    band = np.stack([np.cos(a) * w / 2, np.sin(a) * w * 0.55], 1)
    parts = [Part(stroke(band, 5), "steel", 0.8), Part(stroke(band, 20), "plastic", 6, "round")]
    for s in (-1, 1):
        cup = blob(rng, 62, 76, 0.04) + (s * w / 2, 25)
        at = (s * w / 2, 25)
        parts += [
            Part(cup, "plastic", 6, "shell", 3),
            Part(ellipse(36, 36, *at), "steel", 1.2),
            Part(ellipse(22, 22, *at), "steel", 1.8),
            ring(*at, 30, 4, "copper", 1.8),
            Part(blob(rng, 74, 88, 0.04) + at, "foam", 20, "bevel", 10),
        ]
    return Item("headphones", tuple(parts))


def camera(rng: np.random.Generator) -> Item:
    """A camera: lens of glass rings, body with boards, battery, mount."""
    w, h = between(rng, 105, 145), between(rng, 62, 100)
    d = h * between(rng, 0.6, 0.9)
    body = rounded_rectangle(w, h, 12)
    parts = [
        Part(body, pick(rng, "plastic", "aluminium"), 4, "shell", 3),
        *_board(rng, w * 0.8, h * 0.7),
        Part(rectangle(w * 0.16, h * 0.7, -w * 0.38), "lithium_cell", 10),
        ring(w * 0.1, 0, d, 3, "aluminium", 14),
        ring(w * 0.1, 0, d * 0.8, 3, "steel", 3.9),
        Part(ellipse(d * 0.7, d * 0.7, w * 0.1), "glass", 14, "round"),
        ring(w * 0.1, 0, d * 0.5, 3, "brass", 3.1),
        Part(rectangle(w * 0.3, 14, w * 0.1, -h * 0.5), "plastic", 20, "shell", 2),
        Part(rectangle(20, 8, w * 0.1, -h * 0.54), "steel", 1.8),
    ]
    strap = wander(rng, 260, 3.0, 40)
    parts.append(Part(stroke(strap - strap[0] + (w / 2, -h * 0.3), 9), "nylon", 2.5))
    return Item("camera", tuple(parts))


def hair_dryer(rng: np.random.Generator) -> Item:
    """A hair dryer: motor, fan, heater coil, switch, cable."""
    barrel = tapered([(-100, 24), (-40, 30), (30, 38), (62, 40), (72, 28)])
    grip = turned(rounded_rectangle(115, 36, 12, 58, 0), between(rng, 70, 110), 35, 22)
    heater = coil(np.array([[-70, 0], [-15, 0]]), between(rng, 16, 22), between(rng, 5, 8))
    parts = [
        Part(smooth(barrel, 2), "plastic", 5, "shell", 3),
        Part(grip, "plastic", 6, "shell", 3),
        Part(rounded_rectangle(34, 30, 4, 30), "steel", 6.0, "round"),
        Part(rectangle(16, 20, 30), "copper", 3.1),
        ring(54, 0, 70, 3, "plastic", 12),
        Part(stroke(heater, 1.4), "steel", 1.4),
        Part(rectangle(60, 30, -42), "ceramic", 1.6),
        Part(rectangle(60, 3, -42), "ceramic", 26),
    ]
    cx, cy = grip.mean(0)
    parts.append(Part(rounded_rectangle(12, 26, 2, cx, cy), "brass", 1.8))
    path = wander(rng, between(rng, 300, 600), 3.2, 60)
    return Item("hair_dryer", tuple(parts + _cord(path - path[0] + (cx, cy + 55), rng, 6)))


def shaver(rng: np.random.Generator) -> Item:
    """An electric shaver or toothbrush: motor, cells, board, head."""
    length, d = between(rng, 120, 190), between(rng, 30, 52)
    body = blob(rng, length, d, 0.04, 0.7)
    parts = [
        Part(body, "plastic", 5, "shell", 3),
        Part(rounded_rectangle(50, 14.5, 2, -length * 0.22, 3), "lithium_cell", 14, "round"),
        Part(rounded_rectangle(34, 22, 4, length * 0.16), "steel", 4.4, "round"),
        Part(rectangle(length * 0.7, 9, 0, -d * 0.3), "pcb", 1.8, "slab", 0, (), 0.6, 3),
    ]
    for y in pick(rng, (-12, 12), (0,), (-14, 0, 14)):
        parts += [
            ring(length * 0.45, y * d / 50, 22, 3, "steel", 2.3),
            Part(rectangle(26, 4, length * 0.3, y * d / 50), "steel", 2.3),
        ]
    return Item("shaver", tuple(parts))


def batteries(rng: np.random.Generator) -> Item:
    """Loose dry cells: steel cans, dense filling, brass nail."""
    parts = []
    d, length = pick(rng, (14.5, 50), (10.5, 44), (26, 50))
    for k in range(int(rng.integers(2, 7))):
        x, y = (0, k * d * 1.05 - 30) if d < 20 else rng.normal(size=2) * 30
        a = between(rng, -6, 6) if d < 20 else between(rng, 0, 180)
        cell = rounded_rectangle(length, d, 2)
        parts += [
            Part(turned(cell, a, x, y), "steel", 0.9, "shell", 0.8),
            Part(turned(cell * 0.94, a, x, y), "zinc", d * 0.14, "round"),
            Part(turned(rectangle(length * 0.7, 1.6), a, x, y), "brass", 1.6),
            Part(turned(rectangle(3, 5, length / 2 + 1), a, x, y), "steel", 2.3),
        ]
    return Item("batteries", tuple(parts))


def gadget(rng: np.random.Generator) -> Item:
    """A radio, hard disk, router or game pad: shell, board, cells, screws."""
    w, h = between(rng, 80, 190), between(rng, 60, 130)
    box = rounded_rectangle(w, h, between(rng, 4, 30))
    parts = [
        Part(box, pick(rng, "plastic", "plastic", "aluminium"), 3.5, "shell", 2.5),
        *_board(rng, w * between(rng, 0.5, 0.9), h * between(rng, 0.4, 0.85), 1.3),
    ]
    if rng.random() < 0.4:
        at = (between(rng, -0.2, 0.2) * w, between(rng, -0.15, 0.15) * h)
        parts += [
            Part(ellipse(h * 0.55, h * 0.55, *at), "aluminium", 4),
            ring(*at, h * 0.3, 4, "steel", 2.3),
        ]
    if rng.random() < 0.4:
        at = (between(rng, -0.2, 0.2) * w, between(rng, -0.2, 0.2) * h)
        parts.append(Part(rectangle(w * 0.35, h * 0.4, *at), "lithium_cell", between(rng, 4, 9)))
    for x in (-0.44, 0.44):
        for y in (-0.4, 0.4):
            parts.append(Part(ellipse(4.5, 4.5, x * w, y * h, 10), "steel", 3.1))
    return Item("gadget", tuple(parts))


def wires(rng: np.random.Generator) -> Item:
    """A nest of loose wires about a small board."""
    parts = _board(rng, between(rng, 30, 70), between(rng, 20, 50), 0.7)
    for _ in range(int(rng.integers(3, 8))):
        path = wander(rng, between(rng, 80, 260), 4.0, 40) + rng.normal(size=2) * 15
        width, core = between(rng, 1.2, 2.2), between(rng, 0.5, 1.1)
        parts += [Part(stroke(p, width), "copper", core) for p in runs(path, 14)]
    return Item("wires", tuple(parts))


def keyboard(rng: np.random.Generator) -> Item:
    """A computer keyboard: shell, rows of caps, membrane, small board."""
    w, h = between(rng, 280, 400), between(rng, 110, 140)
    parts = [
        Part(rounded_rectangle(w, h, 8), "plastic", 4, "shell", 3),
        Part(rectangle(w * 0.94, h * 0.8), "plastic", 1),
        Part(rectangle(w * 0.94, h * 0.8), "steel", between(rng, 0.0, 0.2) + 0.02),
    ]
    columns = int(rng.integers(11, 15))
    caps = tuple(
        rectangle(w * 0.74 / columns, h * 0.11, x, y)
        for y in np.linspace(-0.33, 0.33, 5) * h
        for x in np.linspace(-0.44, 0.44, columns) * w
    )
    parts.append(Part(rectangle(w * 0.94, h * 0.8), "plastic", between(rng, 6, 10), holes=caps))
    return Item("keyboard", tuple(parts + _board(rng, 60, 20, 0.5, w * 0.3, -h * 0.42)))


def mouse(rng: np.random.Generator) -> Item:
    """A computer mouse: shell, wheel, board, cell or cord."""
    body = blob(rng, 108, 62, 0.03, 0.3)
    parts = [
        Part(body, "plastic", 5, "shell", 2.5),
        *_board(rng, 62, 34, 0.7, -12),
        Part(rectangle(22, 7, -32), "rubber", 18),
    ]
    if rng.random() < 0.5:
        parts.append(Part(rounded_rectangle(50, 14, 2, 14, 4), "zinc", 2.7, "round"))
    else:
        path = wander(rng, 420, 3.2, 60)
        parts += _cord(path - path[0] - (54, 0), rng, 3.5)
    return Item("mouse", tuple(parts))


def fan_motor(rng: np.random.Generator) -> Item:
    """A small appliance about a motor: mixer, fan or toy."""
    d = between(rng, 70, 120)
    parts = [
        Part(blob(rng, d * 1.3, d * 1.1, 0.05, 0.4), "plastic", 5, "shell", 3),
        Part(ellipse(d * 0.5, d * 0.45), "steel", 5.6, "round"),
        ring(0, 0, d * 0.42, d * 0.08, "copper", 4.8),
        Part(rectangle(d * 0.9, 6), "steel", 3.1, "round"),
        ring(0, 0, d, 2, "steel", 2),
    ]
    parts += _board(rng, d * 0.5, d * 0.22, 0.5, 0, d * 0.4)
    parts += [rim(ellipse(d * 0.8, d * 0.8), 2, "steel", 2)]
    return Item("fan_motor", tuple(parts))
