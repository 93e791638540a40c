"""Pressurised cans, bottles and cosmetics."""

import numpy as np

from xsyn_core.simulation.items.assembly import arc, centred, curve, reached
from xsyn_core.simulation.parts import (
    Item,
    Outline,
    Part,
    ellipse,
    rectangle,
    rounded_rectangle,
    smooth,
    stroke,
    tapered,
)
from xsyn_core.simulation.shapes import pick


def _filling(half: float, bottom: float, top: float, level: float, slope: float) -> Outline:
    """A body of liquid in an upright vessel along x (bottom at x = bottom) up to a level."""
    x = bottom + (top - bottom) * level
    return np.array([(bottom, -half), (x + slope, -half), (x - slope, half), (bottom, half)])


def aerosol(rng: np.random.Generator) -> Item:
    """A spray can: dome, valve, dip tube, nozzle and often a cap."""
    d = pick(rng, 35.0, 38.0, 45.0, 52.0, 57.0, 65.0)
    length = d * rng.uniform(1.7, 3.8) if d > 50 else d * rng.uniform(2.4, 3.8)
    r = d / 2
    steel = rng.random() < 0.7
    metal, wall = (
        ("steel", rng.uniform(0.4, 0.7)) if steel else ("aluminium", rng.uniform(1.0, 1.8))
    )
    shoulder = d * rng.uniform(0.2, 0.5)
    straight = length - shoulder
    dome = curve((straight, r), (straight + shoulder * 0.7, r), (length, 12.5), count=6)
    outline = tapered([(0, r * 0.94), (2, r), *map(tuple, dome)])
    parts = [Part(outline, metal, wall, "shell", edge=rng.uniform(0.8, 1.3))]
    if steel:  # seams
        parts += [Part(rectangle(3, d + 1.5, x), "steel", 1.6) for x in (2, straight)]
    parts.append(Part(arc(12, d * 0.96, -90, 90, 3), metal, wall * 2.5))
    level = rng.uniform(0.25, 0.95)
    lying = rng.random() < 0.5
    if lying:  # the liquid is spread over the whole length
        inner = (outline - (length / 2, 0)) * (0.96, 0.95) + (length / 2, 0)
        parts.append(Part(inner, pick(rng, "water", "butane", "alcohol"), d * level * 0.8, "round"))
    else:
        liquid = _filling(r * 0.95, 5, straight, level, rng.uniform(-12, 12))
        parts.append(Part(liquid, pick(rng, "water", "butane", "alcohol"), d * 0.85, "round"))
    parts += [
        Part(rectangle(5, 29, length - 1), "steel", 2.5, "round"),
        Part(rectangle(16, 11, length - 7), "steel", rng.uniform(3, 6), "round"),
        Part(
            stroke(curve((length - 14, 0), (length * 0.5, r * 0.3), (8, r * 0.6)), 3.5),
            "plastic",
            3,
        ),
        Part(rectangle(14, 13, length + 9), "plastic", 11),
    ]
    if rng.random() < 0.3:
        parts.append(Part(ellipse(8, 8, rng.uniform(10, 40), r * 0.5, 14), "steel", 7.5, "round"))
    capped = rng.random() < 0.65
    if capped:
        tall = rng.uniform(22, 45)
        width = d * rng.uniform(0.75, 0.98)
        cap = rounded_rectangle(tall, width, 5, straight + shoulder * 0.6 + tall / 2)
        parts.append(Part(cap, "plastic", 2.4, "shell", edge=1.6))
    return centred("Sprayer", parts, capped, steel, lying, reached(level, 0.5, 0.75))


def pepper_spray(rng: np.random.Generator) -> Item:
    """A slim defence spray with a lever and a clip or key ring."""
    d, length = rng.uniform(24, 40), rng.uniform(75, 125)
    r = d / 2
    body = smooth(tapered([(0, r), (length * 0.9, r), (length, r * 0.55)]), 1)
    parts = [
        Part(body, "aluminium", 1.4, "shell", edge=1.0),
        Part(
            _filling(r * 0.9, 3, length, rng.uniform(0.5, 0.9), rng.uniform(-5, 5)),
            "water",
            d * 0.8,
            "round",
        ),
        Part(rectangle(4, d * 0.75, length), "steel", 3, "round"),
        Part(rectangle(12, 8, length + 2), "steel", 4, "round"),
        Part(stroke(np.array([(length, 0), (6, r * 0.5)]), 3), "plastic", 3),
    ]
    head = smooth(
        [
            (length - 3, -r),
            (length + 26, -r * 0.9),
            (length + 38, -r * 0.2),
            (length + 30, r * 0.3),
            (length + 22, r),
            (length - 3, r),
        ],
        1,
    )
    parts.append(Part(head, "plastic", rng.uniform(5, 9)))
    if rng.random() < 0.5:
        ring = ellipse(26, 26, length + 40, -r * 0.5)
        parts.append(Part(ring, "steel", 3, holes=(ellipse(22, 22, length + 40, -r * 0.5),)))
    else:
        clip = stroke(np.array([(length + 5, -r - 3), (length * 0.35, -r - 4)]), 3)
        parts.append(Part(clip, "steel", 6))
    return centred("Sprayer", parts, 2)


def sprayer(rng: np.random.Generator) -> Item:
    """An aerosol can, or now and then a pepper spray."""
    return pepper_spray(rng) if rng.random() < 0.2 else aerosol(rng)


def water(rng: np.random.Generator) -> Item:
    """A bottle of drink: thin plastic or glass, full or part full, with a cap."""
    d, length = rng.uniform(58, 85), rng.uniform(180, 270)
    r, neck = d / 2, rng.uniform(11, 15)
    shapes = ("straight", "waist", "grooved", "square", "flask")
    shape = pick(rng, *shapes)
    top = length * rng.uniform(0.66, 0.8)
    side: list[tuple[float, float]] = [(0, r * 0.85), (6, r)]
    if shape == "waist":
        side += [(length * 0.28, r), (length * 0.4, r * 0.86), (length * 0.52, r)]
    elif shape == "grooved":
        x = np.linspace(length * 0.12, top * 0.95, 13)
        side += [(float(v), r * (1 if k % 2 else 0.94)) for k, v in enumerate(x)]
    side.append((top, r))
    if shape == "square":
        side += [(top + 12, r * 0.9), (top + 20, neck)]
    else:
        shoulder = curve(
            (top, r), (top + (length - top) * 0.55, r * 0.9), (length - 14, neck), count=7
        )
        side += [(float(a), float(b)) for a, b in shoulder[1:]]
    side.append((length, neck))
    outline = tapered(side) if shape == "grooved" else smooth(tapered(side), 1)
    glass = rng.random() < 0.12
    material, wall = ("glass", 5.0) if glass else ("plastic", rng.uniform(0.6, 1.4))
    if shape == "flask":
        material, wall = pick(rng, ("steel", 1.2), ("aluminium", 2.2), ("plastic", 4.0))
    parts = [Part(outline, material, wall, "shell", edge=1.0 if wall < 2 else 2.0)]
    inner = (outline - (length / 2, 0)) * (0.975, 0.965) + (length / 2, 0)
    level = pick(rng, 1.0, 1.0, rng.uniform(0.35, 0.95))
    liquid = inner.copy()
    liquid[:, 0] = np.minimum(liquid[:, 0], 3 + (length - 8) * level)
    parts.append(Part(liquid, "water", d * rng.uniform(0.75, 0.95), "round"))
    cap = rectangle(rng.uniform(13, 22), neck * 2 + 4, length + 2)
    parts.append(Part(cap, "plastic", rng.uniform(4, 9), texture=0.2, grain=2))
    parts.append(Part(rectangle(3, neck * 2 + 7, length - 14), "plastic", 4))
    if rng.random() < 0.6:
        label = rectangle(length * rng.uniform(0.15, 0.3), d, length * rng.uniform(0.35, 0.5))
        parts.append(Part(label, "plastic", 0.6))
    return centred("Water", parts, shapes.index(shape), reached(level, 0.55, 0.75, 1))


def _jar(rng: np.random.Generator) -> list[Part]:
    d, tall = rng.uniform(45, 75), rng.uniform(35, 55)
    glass = rng.random() < 0.5
    body = rounded_rectangle(tall, d, 8, tall / 2)
    lid = rounded_rectangle(18, d * 1.0, 3, tall + 7)
    return [
        Part(body, "glass" if glass else "plastic", 6 if glass else 4, "shell", edge=3),
        Part(rounded_rectangle(tall * 0.75, d * 0.8, 6, tall * 0.5), "cream", d * 0.6, "round"),
        Part(lid, pick(rng, "plastic", "aluminium"), 3, "shell", edge=2),
    ]


def _jar_from_above(rng: np.random.Generator) -> list[Part]:
    d = rng.uniform(48, 75)
    return [
        Part(ellipse(d, d), "glass" if rng.random() < 0.5 else "plastic", 8, "shell", edge=3),
        Part(ellipse(d * 0.8, d * 0.8), "cream", rng.uniform(15, 30)),
        Part(ellipse(d * 0.95, d * 0.95), "plastic", 3, holes=(ellipse(d * 0.88, d * 0.88),)),
    ]


def _tube(rng: np.random.Generator) -> list[Part]:
    length, w = rng.uniform(90, 160), rng.uniform(30, 50)
    body = tapered(
        [(0, w * 0.55), (length * 0.5, w * 0.5), (length * 0.95, w * 0.4), (length, w * 0.2)]
    )
    return [
        Part(body, pick(rng, "plastic", "aluminium"), 1.4),
        Part(
            smooth(body, 1) * (0.94, 0.85) + (length * 0.05, 0),
            "cream",
            rng.uniform(14, 26),
            "round",
        ),
        Part(rectangle(6, w * 1.12, 2), "plastic", 2.5),
        Part(rounded_rectangle(22, w * 0.75, 3, length + 10), "plastic", 3, "shell", edge=2.5),
    ]


def _lipstick(rng: np.random.Generator) -> list[Part]:
    d = rng.uniform(17, 21)
    metal = pick(rng, "aluminium", "brass", "plastic")
    return [
        Part(rectangle(72, d), "plastic", 4, "shell", edge=2),
        Part(rectangle(30, d * 0.9, -18), metal, 1.6, "shell", edge=1),
        Part(rectangle(24, d * 0.72, 2), metal, 1.8, "shell", edge=1),
        Part(smooth([(-8, -6), (18, -6), (27, 3), (24, 6), (-8, 6)], 1), "cream", 11, "round"),
        Part(rectangle(7, d * 0.5, -29), "steel", 6),
    ]


def _compact(rng: np.random.Generator) -> list[Part]:
    d = rng.uniform(60, 85)
    square = rng.random() < 0.4
    form = (
        (lambda s: rounded_rectangle(d * s, d * s, 8))
        if square
        else (lambda s: ellipse(d * s, d * s))
    )
    return [
        Part(form(1.0), "plastic", 5, "shell", edge=2.5),
        Part(form(0.86), "glass", 1.8),
        Part(form(0.8), "ceramic", rng.uniform(3, 6), texture=0.05),
        Part(form(0.82), "aluminium", 0.8),
        Part(rectangle(14, 5, 0, -d / 2), "steel", 3),
        Part(rectangle(9, 5, 0, d / 2), "plastic", 5),
    ]


def _polish(rng: np.random.Generator) -> list[Part]:
    w, tall = rng.uniform(24, 36), rng.uniform(28, 42)
    cap = rng.uniform(28, 42)
    return [
        Part(rounded_rectangle(tall, w, 6, 0), "glass", 8, "shell", edge=3),
        Part(rounded_rectangle(tall * 0.75, w * 0.74, 4, -1), "cream", w * 0.7, "round"),
        Part(
            tapered([(tall / 2, w * 0.3), (tall / 2 + cap, w * 0.2)]), "plastic", 4, "shell", edge=2
        ),
        Part(rectangle(tall * 0.8 + 10, 2.5, tall * 0.2), "plastic", 3),
        Part(ellipse(5, 5, -tall * 0.3, w * 0.2, 12), "steel", 4, "round"),
        Part(ellipse(5, 5, -tall * 0.3, -w * 0.15, 12), "steel", 4, "round"),
    ]


def _perfume(rng: np.random.Generator) -> list[Part]:
    w, tall = rng.uniform(45, 70), rng.uniform(55, 90)
    level = rng.uniform(0.4, 0.95)
    body = rounded_rectangle(tall, w, pick(rng, 4, 12, w / 2))
    inside = tall - 14
    return [
        Part(body, "glass", 8, "shell", edge=4),
        Part(rectangle(8, w * 0.85, -tall / 2 + 5), "glass", 14),
        Part(
            rounded_rectangle(inside * level, w * 0.8, 5, -inside * (1 - level) / 2 + 2),
            "alcohol",
            20,
        ),
        Part(rectangle(16, 17, tall / 2 + 6), "aluminium", 3, "round"),
        Part(rectangle(12, 9, tall / 2 + 4), "steel", 4, "round"),
        Part(stroke(np.array([(tall / 2, 0), (-tall / 2 + 8, 4)]), 3), "plastic", 3),
        Part(rounded_rectangle(32, w * 0.5, 4, tall / 2 + 16), "plastic", 4, "shell", edge=3),
    ]


def _pump_bottle(rng: np.random.Generator) -> list[Part]:
    w, tall = rng.uniform(48, 70), rng.uniform(110, 170)
    level = rng.uniform(0.5, 0.95)
    body = smooth(tapered([(0, w * 0.48), (tall * 0.85, w * 0.5), (tall, 13), (tall + 6, 13)]), 1)
    head = [(tall + 34, -6), (tall + 34, 30), (tall + 42, 32), (tall + 44, -10)]
    return [
        Part(body, "plastic", 2.4, "shell", edge=1.6),
        Part(_filling(w * 0.45, 4, tall * 0.9, level, 0), "cream", w * 0.6, "round"),
        Part(rectangle(18, 30, tall + 8), "plastic", 6),
        Part(rectangle(24, 9, tall + 22), "plastic", 7),
        Part(np.array(head), "plastic", 9),
        Part(rectangle(tall * 0.85, 5, tall * 0.55), "plastic", 3),
        Part(rectangle(22, 7, tall - 8), "steel", 3, texture=0.5, grain=2),
    ]


def cosmetic(rng: np.random.Generator) -> Item:
    """A jar, tube, lipstick, powder compact, nail polish, perfume or lotion."""
    kinds = [_jar, _jar_from_above, _tube, _lipstick, _compact, _polish, _perfume, _pump_bottle]
    number = int(rng.integers(len(kinds)))
    return centred("Cosmetic", kinds[number](rng), number)
