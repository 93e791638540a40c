"""Clothes, shoes, belts, towels and other things of cloth, leather and rubber."""

import numpy as np

from xsyn_core.simulation.parts import (
    Item,
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
    blob,
    buckle,
    closed_path,
    coil,
    creases,
    pick,
    resampled,
    rim,
    ring,
    wander,
    zip_slider,
    zip_track,
)


def _buttons(rng, count, length, x, y, angle):
    material = pick(rng, "plastic", "plastic", "brass", "steel")
    d = between(rng, 8, 14)
    for t in np.linspace(-0.5, 0.5, count):
        px, py = turned(np.array([[t * length, 0.0]]), angle, x, y)[0]
        disc = ellipse(d, d * between(rng, 0.6, 1), px, py, 14)
        holes = (ellipse(d * 0.35, d * 0.3, px, py, 8),)
        yield Part(disc, material, 2.0 if material == "plastic" else 1.2, holes=holes)


def folded_clothes(rng: np.random.Generator) -> Item:
    """A folded garment: a few layers that do not quite lie on each other, hems and creases."""
    w, h = between(rng, 150, 330), between(rng, 110, 250)
    parts = []  # type: ignore[var-annotated]
    layers = int(rng.integers(2, 5))
    for _ in range(layers):
        square = between(rng, 0.35, 0.9)
        outline = blob(rng, w * between(rng, 0.75, 1), h * between(rng, 0.7, 1), 0.12, square)
        outline = turned(outline, between(rng, -7, 7), *(rng.uniform(-0.06, 0.06, 2) * (w, h)))
        thick = between(rng, 26, 64) / layers
        texture = between(rng, 0.25, 0.6) if len(parts) < 2 else 0.0
        grain = between(rng, 2.5, 8)
        edge = between(rng, 1, 7)
        parts.append(Part(outline, "cotton", thick, "bevel", edge, (), texture, grain))
    hem = resampled(closed_path(parts[0].outline * 0.96), 12)[: int(rng.integers(15, 50))]
    parts.append(Part(stroke(hem, between(rng, 3, 7)), "cotton", 9.0))
    lying = pick(rng, 0, 90, None)
    parts += creases(rng, int(rng.integers(9, 22)), w * 0.95, h * 0.95, "cotton", 32, lying)
    for _ in range(int(rng.integers(0, 3))):
        # The knitted rib of a cuff or collar.
        rib = turned(wander(rng, between(rng, 50, 150), 0.4, 12), between(rng, 0, 180))
        rib = coil(rib + rng.uniform(-0.3, 0.3, 2) * (w, h), between(rng, 5, 12), 4.5)
        parts.append(Part(stroke(rib, 1.5), "cotton", 16))
    kind = rng.random()
    if kind < 0.2:
        parts += _buttons(rng, int(rng.integers(3, 7)), w * 0.7, 0, 0, between(rng, -20, 20))
    elif kind < 0.4:
        path = turned(wander(rng, w * between(rng, 0.2, 0.8), 0.5), between(rng, 0, 180))
        parts.append(zip_track(path, 5, pick(rng, "brass", "aluminium", "nylon")))
        parts += zip_slider(rng, *path[-2], between(rng, 0, 360), 0.7)  # type: ignore[call-arg]
    elif kind < 0.5:
        for _ in range(3):
            x, y = rng.uniform(-0.35, 0.35, 2) * (w, h)
            parts.append(ring(x, y, 9, 2.5, pick(rng, "brass", "copper"), 2.0))
    return Item("folded_clothes", tuple(parts))


def rolled_clothes(rng: np.random.Generator) -> Item:
    """A rolled shirt or pair of socks: a fat soft roll, its turns showing at the ends."""
    length, d = between(rng, 90, 280), between(rng, 50, 95)
    body = blob(rng, length, d, 0.1, 0.7)
    texture = between(rng, 0.15, 0.35)
    parts = [Part(body, "cotton", d * 0.8, "round", 0.0, (), texture, between(rng, 3, 8))]
    for t in (0.75, 0.5):
        turn = blob(rng, length * 0.98, d * t, 0.1, 0.7)
        parts.append(Part(turn, "cotton", d * 0.2, "bevel", 2.0, (), 0.2, 5))
    parts += creases(rng, 12, length, d, "cotton", 32, 0)
    return Item("rolled_clothes", tuple(parts))


def heap_of_cloth(rng: np.random.Generator) -> Item:
    """A coat or crumpled garment: large, thin, deeply creased."""
    w, h = between(rng, 220, 380), between(rng, 180, 320)
    parts = [
        Part(
            blob(rng, w * s, h * s, 0.4, 0.3) + rng.uniform(-0.08, 0.08, 2) * (w, h),
            "cotton",
            between(rng, 6, 16),
            "bevel",
            3.0,
            (),
            0.4,
            between(rng, 4, 10),
        )
        for k, s in enumerate((1, 0.8, 0.9))
    ]
    parts += creases(rng, int(rng.integers(15, 30)), w, h, "cotton", 36)
    if rng.random() < 0.5:
        path = turned(wander(rng, h * 0.9, 1.2), between(rng, 0, 180))
        parts.append(zip_track(path, 6, pick(rng, "brass", "aluminium", "nylon")))
        parts += zip_slider(rng, *path[-2], between(rng, 0, 360), 0.8)  # type: ignore[call-arg]
    return Item("heap_of_cloth", tuple(parts))


def bra(rng: np.random.Generator) -> Item:
    """Two underwires, foam cups, straps with slides, hooks."""
    r = between(rng, 55, 75)
    parts = []
    for s in (-1, 1):
        a = np.linspace(0.1 * np.pi, between(rng, 0.85, 1.0) * np.pi, 18)
        wire = np.stack([np.cos(a), np.sin(a)], 1) * (r, r * between(rng, 0.8, 1))
        x = s * r * between(rng, 0.8, 1.05)
        parts += [
            Part(blob(rng, 2 * r, 1.8 * r, 0.08) + (x, 0), "foam", 18, "bevel", 10),
            Part(blob(rng, 2 * r, 1.8 * r, 0.08) + (x, 0), "cotton", 5, texture=0.4),
            Part(stroke(wire + (x, 0), 2.4), "steel", 1.3),
        ]
        strap = turned(wander(rng, 180, 1.2), -80 * s, x, -r)
        parts.append(Part(stroke(strap, 11), "nylon", 1.6))
        parts.append(ring(*strap[12], 14, 2.5, pick(rng, "plastic", "zinc"), 2.0))  # type: ignore[call-arg]
    return Item("bra", tuple(parts))


def _sole(rng, length, width):
    """A sole seen from below, toe to the left."""
    t = (1 - np.cos(np.linspace(0, np.pi, 26))) / 2  # closer at the ends, so that they are round
    half = np.sin(np.pi * np.clip(t, 0.004, 0.996)) ** 0.36
    half *= 0.5 * (1 - 0.2 * np.exp(-(((t - 0.6) / 0.17) ** 2)) - 0.12 * t)
    bend = 0.06 * np.sin(t * 2.4)
    x = (t - 0.5) * length
    upper = np.stack([x, (bend - half) * width], 1)
    return np.concatenate([upper, np.stack([x, (bend + half) * width], 1)[::-1]])


def shoe(rng: np.random.Generator) -> Item:
    """A trainer or leather shoe from below: treaded rubber sole, upper, eyelets, shank, heel."""
    length = between(rng, 235, 310)
    width = length * between(rng, 0.34, 0.4)
    sole = _sole(rng, length, width)
    skin = pick(rng, "leather", "nylon", "leather", "pvc")
    rubber = pick(rng, "rubber", "pvc")
    parts = [
        Part(sole, rubber, between(rng, 9, 16), "shell", 4.0)
        if rng.random() < 0.3
        else Part(sole, rubber, between(rng, 8, 16), "slab", 0, (), 0.15, 9),
        Part(sole * (0.97, 0.92), "foam", 20),
        Part(sole * (0.96, 0.95), skin, between(rng, 3, 6), "shell", 4, (), 0.3, 14),
        Part(blob(rng, length * 0.45, width * 0.8, 0.08) - (length * 0.22, 0), skin, 4.0),
        Part(ellipse(length * 0.3, width * 0.66, length * 0.32, 0), "rubber", 8),
    ]
    tread = int(rng.integers(2))
    pitch = between(rng, 8, 14)
    x = np.arange(-0.44, 0.45, pitch / length / 2) * length
    reach = width * 0.41 * np.sqrt(np.clip(1 - (2.05 * x / length) ** 2, 0.05, 1))
    bars = np.stack([x, reach * np.where(np.arange(len(x)) % 2, 1, -1)], 1)
    if tread:
        bars = np.stack(
            [np.repeat(x, 2), np.repeat(reach, 2) * np.resize([-1, 1, 1, -1], 2 * len(x))], 1
        )
    parts.append(Part(stroke(bars, pitch * 0.3), rubber, between(rng, 3, 6)))
    if rng.random() < 0.5:
        shank = rounded_rectangle(length * 0.36, 14, 5, length * 0.08)
        parts.append(Part(shank, "steel", 1.3))
    if rng.random() < 0.7:
        metal = pick(rng, "aluminium", "brass", "steel")
        for k in range(int(rng.integers(3, 6))):
            for s in (-1, 1):
                x = -length * 0.16 + k * length * 0.055  # type: ignore[assignment]
                parts.append(ring(x, s * width * (0.14 + 0.01 * k), 8, 2.4, metal, 2))  # type: ignore[arg-type]
        lace = wander(rng, 200, 3.0) * 0.6 - (length * 0.05, 0)
        parts.append(Part(stroke(lace, 3.5), "cotton", 5, "round"))
    return Item("shoe", tuple(parts))


def high_heel(rng: np.random.Generator) -> Item:
    """A lady's shoe from aside: steel shank, steel heel pin, leather upper, strap buckle."""
    k = between(rng, 0.9, 1.1)
    sole = np.array([(-115, 40), (-60, 44), (-10, 30), (50, -20), (100, -38), (112, -34)]) * k
    sole = smooth(sole, 2, closed=False)
    upper = smooth(
        np.array([(-115, 40), (-100, 5), (-50, 15), (40, -25), (70, -70), (112, -75), (112, -34)])
        * k,
        2,
    )
    heel = np.array([(80, -34), (112, -34), (106, 44), (98, 44)]) * k
    pin = np.array([(97, -25), (102, 42)]) * k
    parts = [
        Part(stroke(sole, 6), "rubber", 60),
        Part(stroke(sole[6:-4], 4), "steel", 1.5),
        Part(upper, "leather", 5.0, "shell", 4),
        Part(heel, "plastic", between(rng, 12, 30), "bevel", 4),
        Part(stroke(pin, 5), "steel", 2.7, "round"),
    ]
    parts += buckle(rng, 60 * k, -70 * k, between(rng, 0, 90), 14)
    return Item("high_heel", tuple(parts))


def belt(rng: np.random.Generator) -> Item:
    """A rolled or loosely looped leather belt with buckle and holes."""
    width = between(rng, 26, 42)
    if rng.random() < 0.6:
        a = np.linspace(0, 2 * np.pi * between(rng, 2, 3.5), 90)
        path = np.stack([np.cos(a), np.sin(a) * between(rng, 0.6, 1)], 1)
        path = path * np.linspace(22, between(rng, 45, 70), 90)[:, None]
        parts = [Part(stroke(path, 3.6), "leather", width)]
    else:
        path = blob(rng, between(rng, 180, 260), between(rng, 110, 180), 0.35)[:40]
        parts = [
            Part(stroke(path, width), "leather", 3.6),
            Part(stroke(path, width * 0.8), "leather", 1.0),
        ]
    x, y = path[-1]
    frame = rounded_rectangle(width * 1.2, width * 1.35, 6)
    hole = rounded_rectangle(width * 0.75, width * 0.95, 4)
    angle = between(rng, 0, 180)
    metal = pick(rng, "steel", "zinc", "brass")
    prong = rectangle(width * 1.1, 4)
    parts += [
        Part(turned(frame, angle, x, y), metal, 2.5, "bevel", 2, (turned(hole, angle, x, y),)),
        Part(turned(prong, angle + between(rng, -15, 15), x, y), metal, 2.0, "round"),
    ]
    return Item("belt", tuple(parts))


def towel(rng: np.random.Generator) -> Item:
    """A thick folded towel with woven borders."""
    w, h = between(rng, 180, 300), between(rng, 130, 210)
    parts = [
        Part(
            turned(blob(rng, w * s, h * s, 0.06, 0.9), between(rng, -3, 3)),
            "cotton",
            between(rng, 18, 30),
            "bevel",
            9.0,
            (),
            0.35,
            3.0,
        )
        for s in (1, 0.96)
    ]
    for y in (-0.36, -0.3):
        parts.append(Part(rectangle(w * 0.92, 4, 0, y * h), "cotton", 10))
    for k in (0, 1):
        fold = np.array([[-w * 0.48, 0], [w * 0.48, between(rng, -12, 12)]]) + (0, k * h * 0.3)
        parts.append(Part(stroke(smooth(fold, 2, closed=False), 7), "cotton", 20, "round"))
    return Item("towel", tuple(parts))


def umbrella(rng: np.random.Generator) -> Item:
    """A folding umbrella: steel shaft in tubes, bundle of ribs, cloth, handle."""
    length = between(rng, 190, 300)
    d = between(rng, 38, 55)
    parts = [
        Part(blob(rng, length, d, 0.08, 0.6), "nylon", 7, "round", 0, (), 0.4, 8),
        Part(rectangle(length * 0.96, 9), "steel", 1.6, "shell", 1.0),
        Part(rectangle(length * 0.6, 6.5, -length * 0.1), "steel", 1.6, "shell", 1.0),
        Part(rounded_rectangle(60, 30, 8, length * 0.55), "plastic", 24, "round"),
        Part(rounded_rectangle(16, 18, 3, -length * 0.45), "plastic", 14, "round"),
        Part(rounded_rectangle(22, 15, 3, length * 0.22), "zinc", 2.3),
    ]
    for _ in range(int(rng.integers(6, 10))):
        y0, y1 = rng.uniform(-0.42, 0.42, 2) * d
        a, b = between(rng, -0.46, -0.3) * length, between(rng, 0.1, 0.4) * length
        path = np.array([[a, y0 * 0.4], [(a + b) / 2, y1], [b, y0]])
        parts.append(Part(stroke(path, between(rng, 1.8, 3)), "steel", 1.5))
    spring = coil(np.array([[length * 0.1, 0], [length * 0.4, 0]]), 4.0, 4.0)
    parts.append(Part(stroke(spring, 1.0), "steel", 1.2))
    return Item("umbrella", tuple(parts))


def soft_case(rng: np.random.Generator) -> Item:
    """A zipped pouch of odds and ends: small bottles, coins, hair grips."""
    w, h = between(rng, 130, 220), between(rng, 90, 150)
    body = blob(rng, w, h, 0.06, 0.7)
    cloth = pick(rng, "nylon", "pvc", "cotton")
    parts = [
        Part(body, cloth, 2.5 if cloth != "cotton" else 8, "shell", 3, (), 0.3, 10),
        rim(body, 3, "pvc", 3.5),
        zip_track(resampled(body[24:44] * 0.94, 6), 4.5, pick(rng, "nylon", "aluminium", "brass")),
    ]
    parts += zip_slider(rng, *(body[28] * 0.94), between(rng, 0, 360), 0.8)  # type: ignore[call-arg]
    for _ in range(int(rng.integers(2, 6))):
        x, y = rng.uniform(-0.26, 0.26, 2) * (w, h)
        angle = between(rng, 0, 180)
        choice = int(rng.integers(4))
        if choice == 0:
            tube = rounded_rectangle(between(rng, 50, 80), between(rng, 16, 26), 6)
            parts.append(Part(turned(tube, angle, x, y), "cream", 18, "round"))
            cap = rectangle(12, 16, 34)
            parts.append(Part(turned(cap, angle, x, y), "plastic", 14, "shell", 2))
        elif choice == 1:
            jar = ellipse(40, 36, x, y)
            parts += [Part(jar, "cream", 18, "slab"), rim(jar, 4, "glass", 22)]
        elif choice == 2:
            grip = turned(rounded_rectangle(54, 5, 2), angle, x, y)
            parts.append(Part(grip, "steel", 1.6))
        else:
            pen = turned(rounded_rectangle(110, 8, 4), angle, x * 0.3, y * 0.3)
            parts.append(Part(pen, "plastic", 6, "shell", 1.5))
    return Item("soft_case", tuple(parts))
