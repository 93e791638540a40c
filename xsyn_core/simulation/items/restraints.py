"""Handcuffs and batons."""

import numpy as np

from xsyn_core.simulation.items.assembly import arc, centred, curve, moved, reached
from xsyn_core.simulation.parts import (
    Item,
    Part,
    ellipse,
    rectangle,
    rounded_rectangle,
    smooth,
    stroke,
    tapered,
)
from xsyn_core.simulation.shapes import pick


def _cuff(rng: np.random.Generator, width: float, height: float, open_by: float) -> list[Part]:
    """One cuff; its lock is at the origin's side (negative x) and the swivel points to -x."""
    band = rng.uniform(8, 11)
    thick = rng.uniform(3, 4.5)
    # The doubled cheek covers the near half, the toothed arm swings about its far end.
    cheek = stroke(arc(width, height, 78, 290), band)
    arm = arc(width, height, -75, 150, count=30)
    pivot = arm[0]
    toothed = np.full(30, band * 0.85)
    toothed[16:] -= 1.8 * (np.arange(14) % 2)
    strand = moved([Part(stroke(arm - pivot, toothed), "steel", thick)], open_by, *pivot)
    keyhole = ellipse(6, 6, -width * 0.2, height * 0.47, 14)
    slot = rectangle(3, 8, -width * 0.2, height * 0.47 - 4)
    body = smooth(
        [
            (-width * 0.42, height * 0.2),
            (-width * 0.52, height * 0.45),
            (-width * 0.3, height * 0.68),
            (width * 0.08, height * 0.62),
            (width * 0.05, height * 0.4),
            (-width * 0.2, height * 0.38),
        ],
        1,
    )
    return [
        Part(cheek, "steel", thick),
        *strand,
        Part(body, "steel", rng.uniform(5, 8), holes=(keyhole,)),
        Part(slot, "steel", 2),
        Part(ellipse(7, 7, *pivot, points=14), "steel", 8),  # type: ignore[misc]
        Part(
            rounded_rectangle(14, 12, 3, -width / 2 - 6, height * 0.3), "steel", rng.uniform(6, 9)
        ),
    ]


def handcuffs(rng: np.random.Generator) -> Item:
    """Two cuffs joined by a chain or a hinge, spread out or folded on each other."""
    width, height = rng.uniform(64, 78), rng.uniform(54, 66)
    hinged = rng.random() < 0.3
    gap = rng.uniform(8, 16) if hinged else rng.uniform(26, 42)
    y = height * 0.3
    opens = [0.0 if rng.random() < 0.65 else rng.uniform(-100, -20) for _ in range(2)]
    # Each cuff turns about its swivel, which is put at the origin first.
    right = moved(_cuff(rng, width, height, opens[0]), x=width / 2 + 13, y=-y)
    left = moved(_cuff(rng, width, height, opens[1]), 180, -width / 2 - 13, -y, flip=True)
    fold = 0.0 if hinged and rng.random() < 0.6 else rng.uniform(-70, 70)
    if rng.random() < 0.2:
        fold = pick(rng, -1, 1) * rng.uniform(110, 165)
    joint = []
    if hinged:
        plate = rounded_rectangle(gap + 16, 30, 3)
        joint.append(Part(plate, "steel", rng.uniform(2, 4)))
        joint += [Part(rectangle(4, 32, x), "steel", 5, "round") for x in (-5, 0, 5)]
        fold *= 0.15
    else:
        links = int(rng.integers(2, 4))
        step = (gap + 6) / links
        for k in range(links):
            x = (k - (links - 1) / 2) * step
            if k % 2:
                joint.append(Part(rounded_rectangle(step + 9, 5, 2.5, x), "steel", 6, "round"))
            else:
                joint.append(
                    Part(
                        rounded_rectangle(step + 9, 13, 6, x),
                        "steel",
                        4,
                        "round",
                        holes=(rounded_rectangle(step + 1, 5, 2.5, x),),
                    )
                )
    end = gap / 2 + 1
    parts = moved(right, fold / 2, end) + moved(left, -fold / 2, -end) + joint
    swung = reached(fold, -90, -35, 0, 35, 90)
    return centred("HandCuffs", parts, hinged, swung, *(angle < 0 for angle in opens))


def _telescopic(rng: np.random.Generator) -> Item:
    grip = rng.uniform(140, 220)
    d = rng.uniform(24, 29)
    wall = rng.uniform(2.5, 4)
    extended = rng.random() < 0.7
    grip_material = pick(rng, "rubber", "rubber", "foam")
    parts = [
        Part(
            rounded_rectangle(grip, d + 6, 3),
            grip_material,
            rng.uniform(10, 16),
            "round",
            texture=0.1,
        ),
        Part(rectangle(grip, d * 0.85), "steel", wall, "shell", edge=2),
        Part(rounded_rectangle(9, d + 7, 3, -grip / 2), "steel", rng.uniform(12, 18), "round"),
        Part(rounded_rectangle(8, d + 4, 3, grip / 2), "steel", rng.uniform(10, 14), "round"),
    ]
    x = grip / 2
    if extended:
        for k, size in enumerate((0.66, 0.46)):
            tube = grip * rng.uniform(0.85, 1.0)
            parts.append(
                Part(
                    rectangle(tube + 12, d * size, x + tube / 2 - 6),
                    "steel",
                    wall * (1, 1.6)[k],
                    "shell",
                    edge=1.6,
                )
            )
            parts.append(Part(rectangle(7, d * (size + 0.1), x + 2), "steel", 6, "round"))
            x += tube
        tip = ellipse(14, d * 0.68, x, 0, 20)
    else:
        parts.append(Part(rectangle(grip * 0.9, d * 0.62), "steel", wall * 1.3, "shell", edge=1.6))
        parts.append(Part(rectangle(grip * 0.85, d * 0.42), "steel", wall * 1.5, "shell", edge=1.4))
        tip = rounded_rectangle(12, d * 0.75, 4, x + 7)
    parts.append(Part(tip, "steel", rng.uniform(9, 14), "round"))
    return centred("Baton", parts, extended)


def baton(rng: np.random.Generator) -> Item:
    """A telescopic, solid, or side-handle baton."""
    kind = pick(rng, "telescopic", "telescopic", "telescopic", "telescopic", "solid", "side")
    if kind == "telescopic":
        return _telescopic(rng)
    length, d = rng.uniform(400, 600), rng.uniform(28, 36)
    material = pick(rng, "rubber", "rubber", "wood", "plastic")
    ends = [
        (-length / 2, d * 0.42),
        (-length * 0.48, d * 0.55),
        (-length * 0.3, d * 0.44),
        (-length * 0.22, d * 0.5),
        (length * 0.45, d * 0.5),
        (length / 2, d * 0.36),
    ]
    parts = [Part(smooth(tapered(ends), 1), material, d * rng.uniform(0.85, 1), "round")]
    if material == "rubber" or rng.random() < 0.3:  # stiffened by a rod
        parts.append(Part(rectangle(length * 0.8, d * 0.3), "steel", rng.uniform(2, 6), "round"))
    if kind == "side":
        x = -length * 0.2
        knob = smooth(tapered([(0, d * 0.4), (90, d * 0.45), (105, d * 0.6), (125, d * 0.5)]), 1)
        parts += moved(
            [
                Part(knob, material, d * 0.9, "round"),
                Part(rectangle(120, 8, 55), "steel", 6, "round"),
            ],
            90,
            x,
        )
    else:
        for x in np.linspace(-0.46, -0.26, 6) * length:
            parts.append(Part(rectangle(4, d * 1.02, x), material, 5, "round"))
        strap = rng.random() < 0.5
        if strap:
            loop = curve((0, 0), (-60, -90), (-120, 10), (0, 4), count=16) + (-length * 0.47, 0)
            parts.append(Part(stroke(loop, 6), "leather", 2))
        return centred("Baton", parts, 2 + strap)
    return centred("Baton", parts, 4)
