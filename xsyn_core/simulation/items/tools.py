"""Hand tools: hammers and wrenches."""

from dataclasses import replace

import numpy as np

from xsyn_core.simulation.items.assembly import arc, centred, curve, moved
from xsyn_core.simulation.parts import (
    Item,
    Outline,
    Part,
    ellipse,
    rectangle,
    rounded_rectangle,
    smooth,
    tapered,
    turned,
)
from xsyn_core.simulation.shapes import pick


def _hammer_head(rng: np.random.Generator, kind: str) -> list[Part]:
    """A head lying along y (face down), the handle's eye at the origin."""
    thick = rng.uniform(18, 28)
    if kind == "claw":
        r = rng.uniform(12, 15)
        face = [(-r, 45), (r, 45), (r, 34), (r * 0.65, 30), (r * 0.65, 18), (15, 12), (15, -12)]
        bend = rng.uniform(0.3, 1.15)
        tip = -30 * bend
        claw = curve((12, -14), (14, -45), (tip * 0.2, -66), (tip, -78), count=9)
        under = curve((tip - 1, -74), (tip * 0.5, -60), (-6, -40), (-13, -12), count=8)
        outline = np.concatenate(
            [face, claw, under, [(-15, 12), (-r * 0.65, 18), (-r * 0.65, 30), (-r, 34)]]
        )
        body = outline[:, 1] > -16
        return [
            Part(outline, "steel", thick * 0.45, "bevel", edge=3),
            Part(outline[body], "steel", thick * 0.55, "bevel", edge=4),
        ]
    if kind == "ball":
        r = rng.uniform(11, 16)
        neck = tapered(
            [
                (42, r),
                (30, r),
                (26, r * 0.7),
                (16, r * 0.75),
                (12, r),
                (-12, r),
                (-18, r * 0.6),
                (-26, r * 0.6),
            ]
        )
        ball = ellipse(r * 1.9, r * 1.9, -34, 0, 24)
        return [Part(neck[:, ::-1], "steel", thick), Part(ball[:, ::-1], "steel", r * 1.8, "round")]
    if kind == "sledge":
        w, long = rng.uniform(34, 48), rng.uniform(95, 125)
        bevel = w * 0.2
        head = tapered(
            [
                (-long / 2, w / 2 - bevel),
                (-long / 2 + bevel, w / 2),
                (long / 2 - bevel, w / 2),
                (long / 2, w / 2 - bevel),
            ]
        )
        return [Part(head[:, ::-1], "steel", rng.uniform(28, 40), "bevel", edge=4)]
    if kind == "mallet":
        w, long = rng.uniform(48, 66), rng.uniform(80, 115)
        material = pick(rng, "rubber", "rubber", "wood", "plastic")
        return [
            Part(
                rounded_rectangle(w, long, 5),
                material,
                w * 0.9,
                "slab" if material == "wood" else "round",
            ),
            Part(rectangle(w * 0.7, 22), "steel", 3)
            if rng.random() < 0.4
            else Part(rectangle(w * 1.02, 7, 0, long * 0.3), material, 6),
        ]
    w = rng.uniform(20, 26)  # cross peen: a wedge opposite the face
    wedge = smooth(
        [(-w / 2, 38), (w / 2, 38), (w / 2, -14), (w * 0.25, -46), (-w * 0.05, -52), (-w / 2, -14)],
        1,
    )
    return [Part(wedge, "steel", rng.uniform(18, 26), "bevel", edge=4)]


def hammer(rng: np.random.Generator) -> Item:
    """A claw, ball-peen, cross-peen or sledge hammer or a mallet."""
    kinds = ("claw", "claw", "claw", "claw", "ball", "sledge", "mallet", "peen")
    kind = pick(rng, *kinds)
    length = rng.uniform(220, 330)
    w = rng.uniform(20, 26)
    parts = moved(_hammer_head(rng, kind), rng.uniform(-4, 4))
    size = rng.uniform(0.8, 1.2)
    parts = [replace(p, outline=p.outline * size, holes=()) for p in parts]
    handles = ("wood", "steel", "tube", "fibreglass")
    handle = pick(rng, *handles)
    grip_from = length * rng.uniform(0.45, 0.65)
    if handle == "wood":
        shape = smooth(
            tapered(
                [
                    (-16, w * 0.42),
                    (30, w * 0.42),
                    (length * 0.45, w * 0.5),
                    (length * 0.7, w * 0.65),
                    (length * 0.93, w * 0.6),
                    (length, w * 0.7),
                ]
            )
        )
        parts.append(Part(shape, "wood", rng.uniform(24, 34), "round"))
        parts.append(Part(rectangle(18, 5, -8), "steel", 8))
    else:
        core = tapered(
            [(-15, w * 0.42), (20, w * 0.3), (length * 0.5, w * 0.28), (length * 0.96, w * 0.32)]
        )
        if handle == "steel":
            parts.append(Part(core, "steel", rng.uniform(6, 12), "bevel", edge=3))
        elif handle == "tube":
            parts.append(Part(core, "steel", rng.uniform(2.5, 4), "shell", edge=1.5))
        else:
            parts.append(Part(core, "glass", rng.uniform(6, 9), "round"))
        grip = smooth(
            tapered(
                [
                    (grip_from, w * 0.5),
                    (length * 0.7, w * 0.68),
                    (length * 0.9, w * 0.58),
                    (length, w * 0.75),
                ]
            )
        )
        parts.append(Part(grip, "rubber", rng.uniform(18, 24), "round", texture=0.1))
    return centred("Hammer", parts, kinds.index(kind), handles.index(handle))


def _open_jaw(size: float, turn: float) -> Outline:
    """An open-end head for a nut of this size, opening towards positive x."""
    r, s, depth = size * 1.08, size / 2, size * 0.45
    gap = np.rad2deg(np.arcsin(s / r))
    rim = arc(2 * r, 2.1 * r, gap, 360 - gap)
    slot = np.array(
        [(-depth + s * 0.3, -s), (-depth, -s * 0.5), (-depth, s * 0.5), (-depth + s * 0.3, s)]
    )
    return turned(np.concatenate([rim, slot]), turn)


def _ring_head(rng: np.random.Generator, size: float, thick: float) -> Part:
    """A closed head with a twelve-point opening."""
    a = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = size * 0.5 * np.where(np.arange(24) % 2, 1.0, 1.12)
    star = np.stack([np.cos(a) * radius, np.sin(a) * radius], 1)
    outer = size * rng.uniform(1.5, 1.75)
    return Part(ellipse(outer, outer), "steel", thick, "bevel", 1.5, holes=(star,))


def _adjustable(rng: np.random.Generator) -> list[Part]:
    length = rng.uniform(150, 300)
    k = length / 200
    thick = rng.uniform(9, 14) * k**0.5
    opening = rng.uniform(2, 24) * k
    w = 24 * k
    fixed = (
        smooth(
            [
                (-18, -14),
                (8, -24),
                (30, -25),
                (52, -16),
                (55, -10),
                (22, -7),
                (20, 18),
                (6, 24),
                (-12, 20),
                (-30, 12),
            ],
            1,
        )
        * k
    )
    moving = (
        smooth([(22, 0), (50, 2), (52, 8), (36, 18), (20, 22), (-2, 24), (-2, 12), (20, 12)], 1) * k
    )
    moving = moving + (0, opening - 7 * k)
    web = rectangle(length * 0.55, w * 0.35, -length * 0.42)
    handle = smooth(
        tapered(
            [
                (-length * 0.04, w * 0.42),
                (-length * 0.3, w * 0.4),
                (-length * 0.6, w * 0.52),
                (-length * 0.74, w * 0.62),
                (-length * 0.8, w * 0.5),
            ]
        ),
        2,
    )
    hang = ellipse(w * 0.5, w * 0.5, -length * 0.73)
    worm = rectangle(15 * k, 9 * k, 4 * k, 12 * k)
    parts = [
        Part(fixed, "steel", thick, "bevel", 2, holes=(worm,)),
        Part(moving, "steel", thick * 0.9),
        Part(handle, "steel", thick * 0.75, "bevel", 2, holes=(hang, web)),
        Part(web, "steel", thick * 0.45),
    ]
    parts += [
        Part(rectangle(1.8 * k, 9 * k, (x - 2) * k, 12 * k), "steel", thick * 0.6)
        for x in (0, 4, 8, 12)
    ]
    if rng.random() < 0.3:
        parts.append(Part(handle, "rubber", rng.uniform(4, 8), "round"))
    return parts


def _pipe_wrench(rng: np.random.Generator) -> list[Part]:
    length = rng.uniform(220, 320)
    k = length / 250
    thick = rng.uniform(12, 18)
    body = smooth(
        tapered([(0, 14), (-40, 13), (-length * 0.5, 11), (-length * 0.75, 14), (-length * 0.8, 9)])
    )
    hang = ellipse(11, 11, -length * 0.73)
    heel = np.array([(-4, -8), (16, -8), (18, 24), (6, 27), (-4, 20)]) * k
    hook = smooth([(-44, -14), (40, -14), (52, 0), (50, 26), (36, 26), (34, 2), (-44, -4)], 1) * k
    return [
        Part(body, "steel", thick * 0.7, "bevel", 3, holes=(hang,)),
        Part(heel, "steel", thick),
        Part(hook + (rng.uniform(-6, 10) * k, 0), "steel", thick * 0.9),
        Part(
            rounded_rectangle(14 * k, 24 * k, 3, -26 * k, -3), "steel", thick, texture=0.3, grain=2
        ),
    ]


def wrench(rng: np.random.Generator) -> Item:
    """An open-end, combination, box, adjustable or pipe wrench, sometimes two together."""
    kind = pick(
        rng,
        "open",
        "open",
        "combination",
        "combination",
        "combination",
        "box",
        "adjustable",
        "adjustable",
        "adjustable",
        "pipe",
    )
    if kind == "adjustable":
        return centred("Wrench", _adjustable(rng), 3)
    if kind == "pipe":
        return centred("Wrench", _pipe_wrench(rng), 4)
    size = rng.uniform(10, 26)
    length = size * rng.uniform(7, 9) + 50
    thick = 3 + size * rng.uniform(0.22, 0.32)
    half = length / 2
    waist = size * rng.uniform(0.5, 0.62)
    shank = smooth(
        tapered(
            [
                (-half, waist * 0.6),
                (-half * 0.7, waist * 0.48),
                (half * 0.7, waist * 0.48),
                (half, waist * 0.6),
            ]
        ),
        1,
    )
    panel = rounded_rectangle(length * 0.6, waist * 0.5, waist * 0.2)
    parts = [Part(shank, "steel", thick * 0.8, holes=(panel,)), Part(panel, "steel", thick * 0.5)]
    other = size * rng.uniform(0.85, 1.0)
    heads = []
    for end, s in ((1, size), (-1, other)):
        ringed = kind == "box" or (kind == "combination" and end < 0)
        head = (
            _ring_head(rng, s, thick * 1.2)
            if ringed
            else Part(_open_jaw(s, rng.choice([-15, 15])), "steel", thick, "bevel", 1.5)
        )
        heads += moved([head], 0 if end > 0 else 180, end * (half + s * 0.62))
    return centred("Wrench", parts + heads, ("open", "combination", "box").index(kind))
