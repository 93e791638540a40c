"""Lighters: disposable ones of plastic and refillable ones of metal."""

import numpy as np

from xsyn_core.simulation.items.assembly import centred, curve, moved, one_of, reached
from xsyn_core.simulation.parts import (
    Item,
    Part,
    ellipse,
    rectangle,
    rounded_rectangle,
    smooth,
    stroke,
)
from xsyn_core.simulation.shapes import pick


def disposable(rng: np.random.Generator) -> Item:
    """A plastic tank of butane under a sheet steel hood (upwards), with wheel and lever."""
    w, tall = rng.uniform(19, 27), rng.uniform(48, 64)
    h = w / 2
    thick = rng.uniform(0.8, 1.0) * 12
    body = rounded_rectangle(w, tall, pick(rng, 2, 5, h), 0, tall / 2)
    divider = rng.random() < 0.6
    level = tall * rng.uniform(0.1, 0.7)
    tank = rounded_rectangle(w * 0.82, tall - level - 3, 3, 0, (tall + level) / 2 - 1)
    parts = [
        Part(body, "plastic", rng.uniform(3, 4.5), "shell", edge=1.4),
        Part(tank, "butane", thick),
    ]
    if divider:
        parts.append(Part(rectangle(1.6, tall * 0.95, 0, tall / 2), "plastic", thick))
    hood_height = rng.uniform(10, 15)
    hood = smooth(
        [
            (-h, 1),
            (-h, -hood_height * 0.8),
            (-h * 0.4, -hood_height),
            (h * 0.15, -hood_height),
            (h * 0.2, 1),
        ],
        1,
    )
    piezo = rng.random() < 0.3
    parts += [
        Part(hood, "steel", rng.uniform(0.6, 1.0), "shell", edge=1.0),
        Part(
            rectangle(6, 9, -h * 0.35, -1), pick(rng, "brass", "zinc"), rng.uniform(4, 6), "round"
        ),
        Part(rectangle(3, tall * 0.85, -h * 0.35, tall * 0.45), "plastic", 3),
        Part(rectangle(h * 0.95, 4, h * 0.55, -2), "plastic", 9),
    ]
    if piezo:
        column = rectangle(6, rng.uniform(24, 32), h * 0.45, 8)
        parts.append(Part(column, "steel", rng.uniform(3, 5), "round", texture=0.4, grain=3))
        parts.append(Part(rounded_rectangle(h, 8, 2, h * 0.5, -6), "plastic", 9))
    else:
        parts.append(
            Part(
                ellipse(8, 8, h * 0.1, -7, 18),
                "steel",
                rng.uniform(7, 9),
                holes=(ellipse(2.5, 2.5, h * 0.1, -7, 10),),
            )
        )
        parts.append(Part(rectangle(3.4, rng.uniform(12, 20), h * 0.45, 4), "steel", 3.2, "round"))
    return centred("Nonmetallic_Lighter", parts, piezo)


def refillable(rng: np.random.Generator) -> Item:
    """A metal petrol lighter: case, insert with cotton, chimney, wheel; lid open or closed."""
    w, tall, lid = rng.uniform(36, 40), rng.uniform(33, 37), rng.uniform(19, 23)
    case = pick(rng, "steel", "brass", "brass", "aluminium")
    wall = rng.uniform(1.2, 2.2) * (2 if case == "aluminium" else 1)
    body = rounded_rectangle(w, tall, 2.5, 0, tall / 2)
    cover = [
        Part(rounded_rectangle(w, lid, 2.5, w / 2, -lid / 2), case, wall, "shell", edge=1.0),
        Part(stroke(curve((4, -1), (9, -12), (16, -4), count=7), 3), "steel", 5),
    ]
    angle = 0.0 if rng.random() < 0.5 else -rng.uniform(60, 130)
    holes = tuple(ellipse(2.5, 2.5, x, y, 8) for x in (-10, -5, 0) for y in (-10, -5))
    return centred(
        "Lighter",
        [
            Part(body, case, wall, "shell", edge=1.0),
            Part(
                rounded_rectangle(w * 0.94, tall * 0.93, 2, 0, tall * 0.47),
                "steel",
                0.9,
                "shell",
                edge=0.8,
            ),
            Part(rectangle(w * 0.86, tall * 0.75, 0, tall * 0.5), "cotton", 9, texture=0.3),
            Part(rectangle(17, 15, -5, -7.5), "steel", 1.0, "shell", edge=0.8, holes=holes),
            Part(ellipse(7.5, 7.5, 9, -8, 16), "steel", 8),
            Part(rectangle(3.5, tall * 0.7, 9, tall * 0.4), "brass", 3.5, "round"),
            Part(rectangle(9, 3, 13, -2), "steel", 6),
            Part(rectangle(3, 16, -w / 2, 0), "steel", 4),
            *moved(cover, angle, -w / 2, 0),
        ],
        reached(-angle, 30, 95),
    )


def torch(rng: np.random.Generator) -> Item:
    """A jet lighter: a cast metal body, a tank below and a burner with an igniter above."""
    w, tall = rng.uniform(24, 34), rng.uniform(58, 75)
    h = w / 2
    body = smooth([(-h, 0), (h * 0.6, -4), (h, 6), (h, tall), (-h, tall)], 1)
    metal = pick(rng, "zinc", "aluminium", "plastic")
    wall = {"zinc": 2.4, "aluminium": 4.0, "plastic": 6.0}[metal]
    return centred(
        "Lighter",
        [
            Part(body, metal, wall, "shell", edge=1.8),
            Part(rounded_rectangle(w * 0.78, tall * 0.42, 4, 0, tall * 0.74), "butane", 11),
            Part(rectangle(9, 20, -h * 0.4, 6), "brass", rng.uniform(4, 7), "round"),
            Part(
                rectangle(7, 30, h * 0.4, tall * 0.28),
                "steel",
                rng.uniform(4, 6),
                texture=0.4,
                grain=3,
            ),
            Part(rectangle(8, 7, -h * 0.2, tall * 0.5), "brass", 6, "round"),
            Part(rounded_rectangle(w * 0.5, 12, 3, h * 0.4, -4), "zinc", 5),
            Part(ellipse(7, 7, 0, tall - 4, 14), "brass", 7),
        ],
    )


def lighter(rng: np.random.Generator) -> Item:
    """Any lighter."""
    return one_of(rng, disposable, disposable, refillable, torch)
