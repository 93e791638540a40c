"""Knives that fold or slide: pocket knives, multi-tool knives and utility knives."""

import numpy as np

from xsyn_core.simulation.items.assembly import arc, centred, curve, moved, reached
from xsyn_core.simulation.items.blades import blade_outline, ground_blade, serrate
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


def _opening(rng: np.random.Generator) -> float:
    """Degrees from open (0) to closed (180)."""
    pose = pick(rng, "open", "open", "half", "half", "closed")
    if pose == "half":
        return rng.uniform(40, 150)
    return rng.uniform(0, 8) if pose == "open" else 180 - rng.uniform(0, 8)


def folding_knife(rng: np.random.Generator) -> Item:
    """A pocket knife with one blade: open, half open or closed."""
    grip, height = rng.uniform(85, 130), rng.uniform(18, 28)
    h = height / 2
    back = rng.uniform(-4, 6)
    scale = smooth(
        [
            (6, -h * 0.8),
            (-grip * 0.3, -h),
            (-grip * 0.7, -h + back * 0.3),
            (-grip, -h * 0.5 + back),
            (-grip, h * 0.7 + back),
            (-grip * 0.75, h + back * 0.4),
            (-grip * 0.45, h * 0.8),
            (-grip * 0.15, h),
            (6, h * 0.8),
        ]
    )
    material = pick(rng, "plastic", "wood", "aluminium", "aluminium", "steel", "rubber")
    metal = {"aluminium": 1, "steel": 2}.get(material, 0)
    thickness = {"aluminium": 5, "steel": 3}.get(material, 9) * rng.uniform(0.8, 1.3)
    parts = [Part(scale, material, thickness, "round" if material == "wood" else "slab")]
    liner = (scale + (grip / 2, 0)) * (0.96, 0.86) - (grip / 2, 0)
    window = smooth(tapered([(-grip * 0.25, h * 0.45), (-grip * 0.85, h * 0.35)]), 1)
    parts.append(Part(liner, "steel", rng.uniform(1.5, 3), holes=(window,)))
    parts.append(
        Part(
            stroke(curve((-4, -h * 0.7), (-grip * 0.5, -h), (-grip * 0.97, back - h * 0.2)), 3.5),
            "steel",
            rng.uniform(2.5, 4),
        )
    )
    for x in np.linspace(-0.25, -0.93, pick(rng, 2, 3, 3)) * grip:
        parts.append(Part(ellipse(4.5, 4.5, x, back * -x / grip, 12), "steel", rng.uniform(8, 12)))
    length = grip * rng.uniform(0.75, 0.92)
    tall = height * rng.uniform(0.7, 0.92)
    outline = blade_outline(pick(rng, "drop", "clip", "spear", "tanto", "sheepsfoot"), length, tall)
    if rng.random() < 0.2:
        outline = serrate(outline, tall, 4, 1.5)
    blade = ground_blade(outline, rng.uniform(2.2, 4), tall)
    blade.append(Part(ellipse(tall * 1.05, tall * 1.05, 0, 0, 20), "steel", rng.uniform(1, 2)))
    if rng.random() < 0.4:
        x = length * 0.22
        stud = ellipse(pick(rng, 5, 9), 5, x, -tall * 0.2, 12)
        blade.append(Part(stud, "steel", rng.uniform(3, 7)))
    opening = _opening(rng)
    parts += moved(blade, -opening)
    parts.append(Part(ellipse(7, 7, 0, 0, 14), pick(rng, "steel", "brass"), rng.uniform(8, 13)))
    if rng.random() < 0.4:  # belt clip
        clip = rounded_rectangle(grip * 0.45, 6, 3, -grip * 0.7, back * 0.5)
        parts.append(Part(clip, "steel", rng.uniform(1, 2)))
    return centred("Folding_Knife", parts, reached(opening, 20, 75, 110, 160), metal)


def _tool(rng: np.random.Generator, kind: str, length: float) -> list[Part]:
    """One tool of a multi-tool knife, its pivot at the origin, pointing to positive x."""
    thickness = rng.uniform(1.6, 2.6)
    if kind == "blade":
        tall = rng.uniform(10, 14)
        outline = blade_outline(pick(rng, "drop", "spear"), length, tall)
        return ground_blade(outline, thickness, tall)
    if kind == "corkscrew":
        x = np.linspace(length * 0.25, length * 0.75, 33)
        path = np.stack([x, 3.2 * np.sin(np.arange(33) * np.pi / 3)], 1)
        path = np.concatenate([[(0, 0)], path])
        return [Part(stroke(path, 2.4), "steel", 2.4, "round")]
    if kind == "saw":
        outline = serrate(rectangle(length, 9, length / 2), 9, 3, 1.8)
        return [Part(outline, "steel", thickness)]
    if kind == "scissors":
        half = Part(tapered([(0, 2.5), (length * 0.55, 2), (length, 0.6)]), "steel", thickness)
        loop = Part(stroke(arc(length * 0.5, 12, 180, 330, length * 0.3, 4), 2), "steel", 2)
        return [*moved([half], 8), *moved([half], -8), loop]
    hook = smooth(
        [
            (0, -4),
            (length * 0.7, -5),
            (length, -4),
            (length, 0),
            (length * 0.8, 1.5),
            (length * 0.75, 5),
            (length * 0.55, 5),
            (length * 0.5, 3),
            (0, 4),
        ],
        1,
    )
    return [Part(hook, "steel", thickness)]


def multi_tool_knife(rng: np.random.Generator) -> Item:
    """A pocket knife with several tools, some of them open."""
    length, height = rng.uniform(75, 105), rng.uniform(21, 30)
    scale = rounded_rectangle(length, height, height / 2)
    cover = pick(rng, "plastic", "plastic", "aluminium", "wood")
    layers = int(rng.integers(2, 5))
    parts = [Part(scale, cover, rng.uniform(5, 8), "round")]
    liner = rounded_rectangle(length * 0.96, height * 0.86, height * 0.43)
    parts.append(Part(liner, "steel", rng.uniform(0.5, 0.8) * layers))
    spring = rectangle(length * 0.86, 4, 0, height * 0.2)
    parts.append(Part(spring, "steel", 2.0 * layers))
    kinds = ["blade", "blade", "opener", "corkscrew", "saw", "scissors", "opener"]
    angles = rng.permutation([0.0, 0.0, 35, 70, 110, 150, 90])
    end = length / 2 - 6
    tools = [("blade", 0.0 if rng.random() < 0.3 else rng.uniform(20, 140))]
    tools += [
        (kinds[int(k)], 0.0 if angles[i] == 0 else angles[i] + rng.uniform(-15, 15))
        for i, k in enumerate(rng.permutation(len(kinds))[: layers + int(rng.integers(0, 2))])
    ]
    for k, (kind, angle) in enumerate(tools):
        side = 1 if k % 2 == 0 else -1
        if kind == "corkscrew":
            reach, x, turn = length * 0.42, 0.0, -angle
        else:
            reach = length * (rng.uniform(0.7, 0.8) if k == 0 else rng.uniform(0.4, 0.65))
            x, turn = side * end, -angle if side < 0 else 180 + angle
        parts += moved(_tool(rng, kind, reach), turn, x, -height * 0.15)
    for x in (-end, 0, end):
        parts.append(Part(ellipse(5, 5, x, -height * 0.15, 12), "brass", rng.uniform(8, 14)))
    if rng.random() < 0.4:
        ring = ellipse(13, 13, length / 2 + 5, height * 0.2, 24)
        inner = ellipse(10.5, 10.5, length / 2 + 5, height * 0.2, 24)
        parts.append(Part(ring, "steel", 2.5, holes=(inner,)))
    return centred("Multi-tool_Knife", parts, len(tools), reached(tools[0][1], 10, 60, 100))


def _snap_off(rng: np.random.Generator) -> Item:
    """A cutter with a segmented blade in a channel of sheet steel."""
    wide = pick(rng, 9.0, 18.0, 18.0, 25.0)
    length = rng.uniform(125, 150) if wide < 10 else rng.uniform(145, 175)
    height = wide + rng.uniform(5, 10)
    body = smooth(
        [
            (length / 2, -height * 0.35),
            (length * 0.3, -height / 2),
            (-length / 2, -height * 0.42),
            (-length / 2, height * 0.42),
            (length * 0.1, height / 2),
            (length / 2, height * 0.35),
        ]
    )
    slot = rounded_rectangle(length * 0.6, wide * 0.28, 2, -length * 0.05)
    metal = rng.random() < 0.25
    thick = rng.uniform(2, 3) if metal else rng.uniform(7, 12)
    parts = [Part(body, "aluminium" if metal else "plastic", thick, holes=(slot,))]
    channel = rectangle(length * 0.94, wide + 2)
    sheathed = rng.random() < 0.75
    if sheathed:
        sheet = rng.uniform(0.4, 0.9)
        parts.append(Part(channel, "steel", sheet, "shell", edge=1.2, holes=(slot,)))
    out = rng.uniform(0, 0.5) * length if rng.random() < 0.8 else 0.0
    tip = length / 2 + out
    reach = length * rng.uniform(0.55, 0.7)
    start, h = tip - reach, wide / 2
    blade = np.array([(start, -h), (tip - wide * 0.55, -h), (tip, h), (start, h)])
    pitch = wide * rng.uniform(0.45, 0.65)
    scores = tuple(
        np.array(
            [
                (x, h - 0.6),
                (x + 0.9, h - 0.6),
                (x + 0.9 - wide * 0.5, 0.6 - h),
                (x - wide * 0.5, 0.6 - h),
            ]
        )
        for x in np.arange(tip - pitch, start + wide * 0.6, -pitch)
    )
    parts.append(Part(blade, "steel", rng.uniform(0.5, 0.9), holes=scores))
    parts.append(Part(blade, "steel", 0.25))
    slider = rounded_rectangle(rng.uniform(18, 30), wide * 0.7, 3, start - 4)
    parts.append(Part(slider, "plastic", rng.uniform(6, 10)))
    parts.append(Part(rectangle(12, wide * 0.45, start), "steel", rng.uniform(1, 2.5)))
    cap = rounded_rectangle(16, height * 0.86, 4, -length / 2 + 6)
    parts.append(Part(cap, "plastic", rng.uniform(6, 10)))
    made = reached(wide, 18, 25), 2 * metal + sheathed, reached(out / length, 0.05, 0.2, 0.35)
    return centred("Utility_Knife", parts, 0, *made)


def _trapezoid(rng: np.random.Generator) -> Item:
    """A heavy utility knife: die-cast halves and a short trapezoid blade."""
    length, height = rng.uniform(135, 165), rng.uniform(26, 36)
    h = height / 2
    body = smooth(
        [
            (length / 2, -h * 0.5),
            (length * 0.3, -h),
            (-length * 0.2, -h * 0.8),
            (-length / 2, -h * 0.3),
            (-length * 0.48, h * 1.1),
            (-length * 0.2, h * 0.9),
            (length * 0.15, h),
            (length / 2, h * 0.4),
        ]
    )
    bodies = ("zinc", "aluminium", "plastic")
    metal = pick(rng, *bodies)
    thick = {"zinc": 3, "aluminium": 4, "plastic": 8}[metal] * rng.uniform(0.8, 1.2)
    parts = [Part(body, metal, thick, "shell", edge=2.0)]
    out = rng.uniform(4, 26)
    tip = length / 2 + out
    blade = np.array([(tip - 47, -9.5), (tip - 14, -9.5), (tip, 9.5), (tip - 61, 9.5)])
    notch = ellipse(5, 5, tip - 30, -8, 12)
    parts.append(Part(blade, "steel", rng.uniform(0.9, 1.4), holes=(notch,)))
    holder = rounded_rectangle(62, height * 0.5, 3, tip - 62)
    parts.append(Part(holder, "steel", rng.uniform(1.2, 2.2), holes=(rectangle(30, 5, tip - 62),)))
    parts.append(Part(rounded_rectangle(20, 9, 3, tip - 70, -h * 0.8), "plastic", 10))
    parts.append(Part(ellipse(8, 8, -length * 0.05, 0, 14), "steel", rng.uniform(8, 12)))
    spares = rng.random() < 0.7
    if spares:  # in the handle
        spare = np.array(
            [(-length * 0.42, -6), (-length * 0.2, -6), (-length * 0.12, 8), (-length * 0.46, 8)]
        )
        parts.append(Part(spare, "steel", rng.uniform(1, 3)))
    made = bodies.index(metal), spares, reached(out, 15)
    return centred("Utility_Knife", parts, 1, *made)


def utility_knife(rng: np.random.Generator) -> Item:
    """A box cutter: snap-off or trapezoid blade in a slim body."""
    return _snap_off(rng) if rng.random() < 0.7 else _trapezoid(rng)
