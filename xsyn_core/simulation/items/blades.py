"""Knives with a fixed blade: chef's, table, bread, dagger, hunting and cleaver."""

import numpy as np

from xsyn_core.simulation.items.assembly import centred, curve
from xsyn_core.simulation.parts import (
    Item,
    Outline,
    Part,
    ellipse,
    rectangle,
    rounded_rectangle,
    smooth,
    tapered,
)
from xsyn_core.simulation.shapes import pick

HANDLE_MATERIALS = ("plastic", "plastic", "wood", "wood", "rubber")


def blade_outline(shape: str, length: float, height: float) -> Outline:
    """A blade from its heel at x = 0 to its tip at x = length; the spine is up (y < 0)."""
    top, low = -height / 2, height / 2
    if shape == "chef":
        spine = curve((0, top), (length * 0.6, top), (length, low * 0.55), count=10)
        edge = curve((length, low * 0.55), (length * 0.75, low), (0, low), count=12)
    elif shape == "drop":
        spine = curve((0, top), (length * 0.75, top * 1.1), (length, 0), count=10)
        edge = curve((length, 0), (length * 0.85, low), (length * 0.5, low), (0, low), count=12)
    elif shape == "clip":
        clip = curve((length * 0.62, top), (length * 0.8, top * 0.1), (length, top * 0.25), count=7)
        spine = np.concatenate([[(0, top)], clip])
        edge = curve((length, top * 0.25), (length * 0.9, low), (length * 0.5, low), (0, low))
    elif shape == "sheepsfoot":
        spine = curve((0, top), (length * 0.7, top), (length * 0.98, top), (length, low), count=12)
        edge = np.array([(length, low), (0, low)])
    elif shape == "tanto":
        spine = np.array([(0, top), (length * 0.75, top), (length, top * 0.4)])
        edge = np.array([(length, top * 0.4), (length * 0.84, low), (0, low)])
    else:  # spear: both edges alike
        spine = curve((0, top), (length * 0.7, top), (length, 0), count=10)
        edge = curve((length, 0), (length * 0.7, low), (0, low), count=10)
    return np.concatenate([spine, edge[1:]])


def serrate(outline: Outline, height: float, pitch: float, depth: float) -> Outline:
    """Cut teeth into the straight lower edge of a blade."""
    low = outline[:, 1].max()
    flat = outline[outline[:, 1] > low - 0.08 * height]
    x = np.arange(flat[:, 0].max(), flat[:, 0].min(), -pitch / 2)
    teeth = np.stack([x, low - depth * (np.arange(len(x)) % 2)], 1)
    rest = outline[outline[:, 1] <= low - 0.08 * height]
    return np.concatenate([rest, teeth])


def ground_blade(outline: Outline, thickness: float, height: float) -> list[Part]:
    """A steel blade: thin towards the edge, as thick as its stock along the spine."""
    low = outline[:, 1].max()
    grind = low - 0.42 * height
    stock = outline * (1.0, 1.0)
    stock[:, 1] = np.minimum(stock[:, 1], grind)
    return [
        Part(outline, "steel", thickness * 0.7, "bevel", edge=min(height * 0.2, 5)),
        Part(stock, "steel", thickness * 0.35),
    ]


def fixed_handle(
    rng: np.random.Generator, length: float, height: float
) -> tuple[list[Part], tuple[int, int]]:
    """A handle from x = -length to 0, and digits of its make: 0 a steel shell, 1 with a full tang,
    2 with a hidden one; and whether it has rivets."""
    h = height / 2
    shape = pick(rng, "plain", "belly", "hooked")
    if shape == "plain":
        grip = rounded_rectangle(length, height, h * rng.uniform(0.4, 1), -length / 2)
    elif shape == "belly":
        grip = smooth(
            tapered(
                [
                    (0, h * 0.8),
                    (-length * 0.45, h * 1.1),
                    (-length * 0.8, h * 0.8),
                    (-length, h * 0.9),
                ]
            )
        )
    else:
        grip = smooth(
            [
                (0, -h),
                (-length * 0.5, -h * 1.1),
                (-length, -h * 0.6),
                (-length * 1.03, h * 1.3),
                (-length * 0.9, h * 1.2),
                (-length * 0.7, h * 0.8),
                (-length * 0.4, h),
                (0, h * 0.7),
            ]
        )
    if rng.random() < 0.2:  # one piece of hollow steel
        return [Part(grip, "steel", rng.uniform(1.2, 2.2), "shell", edge=1.2)], (0, 0)
    material = pick(rng, *HANDLE_MATERIALS)
    parts = [Part(grip, material, rng.uniform(14, 22), "round")]
    steel = rng.uniform(1.5, 3)
    full = rng.random() < 0.55
    if full:
        tang = (grip + (length / 2, 0)) * (0.97, 0.88) - (length / 2, 0)
        parts.append(Part(tang, "steel", steel))
    else:
        reach = length * rng.uniform(0.35, 0.9)
        parts.append(Part(tapered([(0, h * 0.55), (-reach, h * 0.25)]), "steel", steel))
    rivets = pick(rng, 0, 2, 3, 3)
    size = rng.uniform(4, 8)
    metal = pick(rng, "brass", "steel")
    for x in np.linspace(-0.15, -0.85, rivets) * length if rivets else ():
        parts.append(Part(ellipse(size, size, x, points=14), metal, rng.uniform(8, 14)))
    return parts, (1 if full else 2, int(rivets > 0))


def straight_knife(rng: np.random.Generator) -> Item:
    """A chef's, paring, steak, bread or hunting knife, or a dagger."""
    kind = pick(
        rng,
        "chef",
        "chef",
        "chef",
        "paring",
        "steak",
        "bread",
        "hunting",
        "hunting",
        "dagger",
        "santoku",
    )
    length, height, shape = {
        "chef": (rng.uniform(150, 240), rng.uniform(34, 52), "chef"),
        "paring": (rng.uniform(75, 110), rng.uniform(16, 24), pick(rng, "drop", "chef")),
        "steak": (rng.uniform(105, 135), rng.uniform(16, 22), "drop"),
        "bread": (rng.uniform(190, 240), rng.uniform(26, 36), "sheepsfoot"),
        "hunting": (rng.uniform(100, 180), rng.uniform(25, 38), pick(rng, "clip", "tanto")),
        "dagger": (rng.uniform(120, 190), rng.uniform(22, 32), "spear"),
        "santoku": (rng.uniform(150, 190), rng.uniform(40, 52), "sheepsfoot"),
    }[kind]
    number = ("chef", "paring", "steak", "bread", "hunting", "dagger", "santoku").index(kind)
    heavy = kind in ("hunting", "dagger")
    thickness = rng.uniform(3, 5) if heavy else rng.uniform(1.5, 3)
    outline = blade_outline(shape, length, height)
    if kind == "bread" or (kind == "steak" and rng.random() < 0.6):
        outline = serrate(outline, height, rng.uniform(4, 9), rng.uniform(1, 2.5))
    if kind == "dagger":
        parts = [Part(outline, "steel", thickness, "bevel", edge=height * 0.48)]
        parts.append(Part(rectangle(length * 0.6, 2.5, length * 0.3), "steel", 1.0))
    else:
        parts = ground_blade(outline, thickness, height)
    grip_height = rng.uniform(22, 30) if height > 24 else rng.uniform(15, 21)
    drop = 0.0 if heavy else min(0.0, (grip_height - height) / 2)
    grip_length = rng.uniform(95, 130)
    grip, handle = fixed_handle(rng, grip_length, grip_height)
    if kind == "dagger" or (heavy and rng.random() < 0.6):
        guard = rounded_rectangle(rng.uniform(5, 9), height * rng.uniform(1.5, 2.2), 3)
        grip.append(Part(guard, pick(rng, "brass", "steel"), rng.uniform(8, 14)))
        if rng.random() < 0.6:
            pommel = rounded_rectangle(12, grip_height * 1.05, 4, -grip_length)
            grip.append(Part(pommel, pick(rng, "brass", "steel"), rng.uniform(10, 16)))
    elif rng.random() < 0.6:
        bolster = rounded_rectangle(rng.uniform(8, 18), grip_height * 0.9, 3)
        grip.append(Part(bolster, "steel", rng.uniform(6, 12)))
    for part in grip:
        part.outline[:, 1] += drop
    return centred("Straight_Knife", parts + grip, number, *handle)


def cleaver(rng: np.random.Generator) -> Item:
    """A cleaver: a tall rectangular blade, often with a hole to hang it."""
    length, height = rng.uniform(150, 210), rng.uniform(70, 105)
    top, low = -height / 2, height / 2
    belly = rng.uniform(0, 6)
    outline = smooth(
        [
            (0, top),
            (length * 0.5, top - rng.uniform(0, 4)),
            (length, top + rng.uniform(0, 10)),
            (length, low - belly),
            (length * 0.6, low + belly),
            (0, low - belly),
        ],
        1,
    )
    blade = ground_blade(outline, rng.uniform(2, 4), height)
    if rng.random() < 0.6:
        hole = ellipse(9, 9, length - rng.uniform(12, 18), top + rng.uniform(14, 20), 16)
        blade = [
            Part(p.outline, p.material, p.thickness, p.profile, p.edge, (hole,)) for p in blade
        ]
    grip, handle = fixed_handle(rng, rng.uniform(100, 130), rng.uniform(24, 32))
    neck = Part(tapered([(14, 16), (2, 13), (-14, 11)]), "steel", rng.uniform(4, 10))
    for part in [*grip, neck]:
        part.outline[:, 1] += top + 18
    return centred("Straight_Knife", [*blade, *grip, neck], 7, *handle)
