"""Things to eat and drink, tubes, medicine."""

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
from xsyn_core.simulation.shapes import between, blob, pick, rim, ring, wander


def fruit(rng: np.random.Generator) -> Item:
    """Apples, oranges or a banana: round and solid, with a core or segments."""
    parts = []
    if rng.random() < 0.25:
        for k in range(int(rng.integers(1, 4))):
            a = np.linspace(-0.9, 0.9, 16)
            path = np.stack([np.sin(a) * 100, np.cos(a) * 75], 1) - (0, 40 + 26 * k)
            widths = 36 * np.clip(1.25 * np.cos(a * 1.45), 0.2, 1)
            parts.append(Part(stroke(path, widths), "food", 36, "round", 0, (), 0.1, 6))
        return Item("fruit", tuple(parts))
    for k in range(int(rng.integers(1, 5))):
        d = between(rng, 60, 88)
        at = np.array([(0, 0), (0.9, 0.2), (0.3, 0.9), (-0.7, 0.7)][k]) * d
        parts += [
            Part(blob(rng, d, d * 0.95, 0.06) + at, "food", d * 0.9, "round", 0, (), 0.05, 6),
            Part(blob(rng, d * 0.3, d * 0.4, 0.3) + at, "foam", 12, "round"),
        ]
    return Item("fruit", tuple(parts))


def snack_bag(rng: np.random.Generator) -> Item:
    """A foil bag of crisps, nuts or sweets: crimped ends, grains inside."""
    w, h = between(rng, 100, 200), between(rng, 130, 240)
    body = blob(rng, w, h, 0.05, 0.8)
    grain = between(rng, 4, 14)
    parts = [
        Part(body, "polypropylene", 0.8, "shell", 2.0),
        Part(body * 0.88, "food", between(rng, 8, 32), "bevel", 20, (), 0.9, grain),
        Part(body * 0.8, "food", between(rng, 3, 14), "bevel", 12, (), 1.0, grain * 0.6),
    ]
    for s in (-1, 1):
        for k in range(3):
            seam = rectangle(w * 0.86, 1.4, 0, s * (h * 0.47 - 3 * k))
            parts.append(Part(seam, "aluminium", 0.5))
    return Item("snack_bag", tuple(parts))


def lunch_box(rng: np.random.Generator) -> Item:
    """A plastic box with compartments of food and clip lid."""
    w, h = between(rng, 140, 210), between(rng, 100, 150)
    box = rounded_rectangle(w, h, 20)
    parts = [
        Part(box, "polypropylene", 4, "shell", 3),
        rim(box * 1.04, 6, "polypropylene", 8),
        Part(rectangle(3, h * 0.94, w * 0.1), "polypropylene", 40),
        Part(rounded_rectangle(w * 0.55, h * 0.88, 16, -w * 0.19), "food", 32, "bevel", 8, (), 0.4),
    ]
    for s in (-1, 1):
        parts.append(Part(rectangle(8, 34, s * w * 0.52), "plastic", 14, "shell", 2))
    for _ in range(int(rng.integers(2, 6))):
        at = (w * between(rng, 0.2, 0.34), h * between(rng, -0.3, 0.3))
        d = between(rng, 22, 38)
        parts.append(Part(blob(rng, d, d, 0.2) + at, "food", 26, "round"))
    return Item("lunch_box", tuple(parts))


def can(rng: np.random.Generator) -> Item:
    """A tin or drink can, from aside or on end."""
    d, h = between(rng, 52, 86), between(rng, 60, 130)
    metal, wall = pick(rng, ("steel", 0.5), ("aluminium", 0.5))
    if rng.random() < 0.15:
        outline = ellipse(d, d)
        parts = [
            Part(outline, pick(rng, "water", "food"), h * 0.9),
            rim(outline, 2.5, metal, 3.1),
            Part(outline, metal, wall * 2),
            ring(0, 0, d * 0.86, 2, metal, 1.5),
        ]
        return Item("can", tuple(parts))
    body = rounded_rectangle(h, d, 5)
    parts = [
        Part(body * 0.97, pick(rng, "water", "food"), d * 0.95, "round", 0, (), 0.05, 10),
        Part(body, metal, wall * 1.6, "shell", 1.6),
    ]
    for s in (-1, 1):
        parts.append(Part(rectangle(3, d * 1.02, s * h * 0.49), metal, 1.8))
    return Item("can", tuple(parts))


def chocolate(rng: np.random.Generator) -> Item:
    """A bar with its grid of grooves, in foil."""
    w, h = between(rng, 120, 180), between(rng, 50, 85)
    parts = [Part(rectangle(w + 8, h + 6), "aluminium", 0.15)]
    nx, ny = int(rng.integers(4, 7)), int(rng.integers(2, 4))
    parts.append(Part(rectangle(w, h), "food", 4))
    for i in range(nx):
        for j in range(ny):
            cell = rectangle(w / nx - 3, h / ny - 3, (i + 0.5) * w / nx - w / 2, 0)
            cell = cell + (0, (j + 0.5) * h / ny - h / 2)
            parts.append(Part(cell, "food", 5, "bevel", 3))
    return Item("chocolate", tuple(parts))


def jar(rng: np.random.Generator) -> Item:
    """A glass jar with a steel lid."""
    d, h = between(rng, 55, 85), between(rng, 70, 130)
    body = tapered([(-h / 2, d * 0.46), (h * 0.3, d / 2), (h * 0.4, d * 0.4), (h * 0.44, d * 0.4)])
    parts = [
        Part(body, "glass", 5, "shell", 3),
        Part(body * (0.92, 0.86), "food", d * 0.8, "round", 0, (), 0.15, 9),
        Part(rectangle(14, d * 0.86, h * 0.46), "steel", 0.9, "shell", 1.5),
    ]
    return Item("jar", tuple(parts))


def glass_bottle(rng: np.random.Generator) -> Item:
    """A bottle of wine, sauce or oil."""
    length, r = between(rng, 180, 310), between(rng, 26, 39)
    shoulder = between(rng, 0.05, 0.2) * length
    body = smooth(
        tapered(
            [
                (-length / 2, r * 0.92),
                (-length * 0.46, r),
                (shoulder, r),
                (shoulder + r * 1.5, r * 0.42),
                (length * 0.48, r * 0.38),
                (length / 2, r * 0.4),
            ]
        ),
        2,
    )
    fill = body[(body[:, 0] < length * between(rng, 0.2, 0.45))] * (0.98, 0.88)
    parts = [
        Part(body, "glass", between(rng, 5, 8), "shell", 3.5),
        Part(fill, pick(rng, "water", "water", "alcohol"), r * 1.7, "round"),
        Part(rectangle(26, r * 0.85, length * 0.47), pick(rng, "aluminium", "plastic"), 1.5),
    ]
    if rng.random() < 0.5:
        parts.append(Part(rectangle(45, r * 0.6, length * 0.44), "wood", r * 0.55, "round"))
    return Item("glass_bottle", tuple(parts))


def tube(rng: np.random.Generator) -> Item:
    """Toothpaste or cream in a squeezed tube with crimp and cap."""
    length, w = between(rng, 90, 170), between(rng, 28, 48)
    body = tapered([(-length / 2, w * 0.55), (0, w * 0.48), (length * 0.4, w * 0.36)])
    parts = [
        Part(body, "cream", between(rng, 18, 30), "bevel", w * 0.3, (), 0.15, 20),
        Part(body, pick(rng, "polypropylene", "aluminium"), 0.5, texture=0.4),
        Part(rectangle(8, w * 1.1, -length * 0.48), "polypropylene", 2.5),
        Part(rectangle(18, w * 0.62, length * 0.47), "plastic", 14, "shell", 2.5),
    ]
    return Item("tube", tuple(parts))


def blister_pack(rng: np.random.Generator) -> Item:
    """Tablets in rows under foil, sometimes two packs on each other."""
    parts = []
    for k in range(int(rng.integers(1, 3))):
        nx, ny = int(rng.integers(4, 7)), int(rng.integers(2, 4))
        pitch = between(rng, 12, 18)
        angle, shift = between(rng, -15, 15) * k, rng.uniform(-10, 10, 2) * k
        card = rounded_rectangle(nx * pitch + 6, ny * pitch + 6, 4)
        parts += [
            Part(turned(card, angle, *shift), "pvc", 0.5),
            Part(turned(card, angle, *shift), "aluminium", 0.1),
        ]
        d = pitch * between(rng, 0.5, 0.75)
        tall = between(rng, 0.6, 1)
        for i in range(nx):
            for j in range(ny):
                at = ((i - (nx - 1) / 2) * pitch, (j - (ny - 1) / 2) * pitch)
                if rng.random() < 0.88:
                    pill = ellipse(d, d * tall, *at, points=12)
                    parts.append(Part(turned(pill, angle, *shift), "ceramic", 3.0, "bevel", 1.5))
    return Item("blister_pack", tuple(parts))


def sachets(rng: np.random.Generator) -> Item:
    """A handful of tea bags, sweets or noodles in foil, overlapping."""
    parts = []
    w, h = between(rng, 45, 80), between(rng, 40, 70)
    for _ in range(int(rng.integers(3, 8))):
        x, y = rng.uniform(-45, 45, 2)
        a = between(rng, 0, 180)
        packet = turned(blob(rng, w, h, 0.05, 0.85), a, x, y)
        filling = turned(blob(rng, w * 0.75, h * 0.7, 0.2, 0.5), a, x, y)
        parts += [
            Part(packet, "polypropylene", 0.6),
            Part(packet, "aluminium", 0.08),
            Part(filling, "food", between(rng, 5, 16), "bevel", 8, (), 0.6, 5),
        ]
    return Item("sachets", tuple(parts))


def loaf(rng: np.random.Generator) -> Item:
    """Bread, sausage or cheese in a plastic wrap."""
    w, h = between(rng, 110, 240), between(rng, 50, 110)
    body = blob(rng, w, h, 0.08, between(rng, 0.2, 0.7))
    solid = rng.random() < 0.5
    parts = [
        Part(body, "food", h * (0.6 if solid else 0.35), "round", 0, (), 0.12 if solid else 0.5, 5),
        Part(blob(rng, w * 1.15, h * 1.2, 0.2), "polypropylene", 0.5, texture=0.6),
    ]
    if rng.random() < 0.4:
        parts.append(Part(ellipse(8, 8, w * 0.55, 0, 12), "aluminium", 4))
    if rng.random() < 0.4:
        for x in np.linspace(-0.35, 0.35, int(rng.integers(5, 9))) * w:
            path = np.array([[x, -h * 0.42], [x + 5, h * 0.42]])
            parts.append(Part(stroke(path, 2.5), "food", 12))
    return Item("loaf", tuple(parts))


def sponge(rng: np.random.Generator) -> Item:
    """A sponge or a wad of tissues."""
    body = blob(rng, between(rng, 90, 130), between(rng, 60, 90), 0.06, 0.8)
    path = wander(rng, 80, 1.5)
    return Item(
        "sponge",
        (
            Part(body, "foam", 40, "bevel", 4, (), 0.6, 3),
            Part(body * 0.9, "cotton", 22, "bevel", 5, (), 0.8, 4),
            Part(stroke(path, 3), "cotton", 12, "round"),
        ),
    )
