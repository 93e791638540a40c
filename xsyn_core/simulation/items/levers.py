"""Two levers on a pivot: scissors and pliers, open by some angle."""

import numpy as np

from xsyn_core.simulation.items.assembly import centred, curve, moved, reached
from xsyn_core.simulation.parts import Item, Part, ellipse, smooth, stroke
from xsyn_core.simulation.shapes import pick


def _finger_ring(width: float, height: float, x: float, y: float, rim: float) -> tuple:
    return ellipse(width, height, x, y, 32), ellipse(width - 2 * rim, height - 2 * rim, x, y, 28)


def _scissor_half(rng: np.random.Generator, spec: dict, ring: float) -> list[Part]:
    """A blade above y = 0 towards positive x, its ring below the axis at negative x."""
    blade, w, shank = spec["blade"], spec["width"], spec["shank"]
    outline = np.concatenate(
        [
            curve((-w * 0.6, -w * 0.5), (blade * 0.4, -w * spec["belly"]), (blade, 0.5), count=10),
            [(blade, 1.2), (0, w * 0.35), (-w * 0.6, w * 0.6)],
        ]
    )
    long, tall = ring, ring * spec["roundness"]
    cx, cy = -shank - long * 0.35, tall * 0.62
    tang = curve((0, 0), (-shank * 0.6, w * 0.15), (cx + long * 0.35, cy - tall * 0.3), count=8)
    thick = spec["thickness"]
    parts = [Part(outline, "steel", thick, "bevel", edge=w * 0.15)]
    turn = spec["ring_turn"]
    if spec["plastic"]:
        parts.append(Part(stroke(tang, np.linspace(w * 0.9, w * 0.45, 8)), "steel", thick))
        outer, inner = _finger_ring(long + 8, tall + 8, 0, 0, spec["rim"])
        depth = rng.uniform(11, 16)
        rings = [Part(outer, spec["plastic"], depth, "bevel", 3.0, holes=(inner,))]
        reach = (cx + long * 0.47, cy - tall * 0.12)
        neck = curve((-shank * 0.5, w * 0.05), (-shank * 0.8, w * 0.2), reach, count=8)
        sleeve = smooth(stroke(neck, np.linspace(w * 0.85, spec["rim"] * 1.5, 8)), 1)
        parts.append(Part(sleeve, spec["plastic"], depth, "bevel", 3.0))
    else:
        parts.append(
            Part(stroke(tang, np.linspace(w * 0.95, w * 0.4, 8)), "steel", thick * 1.4, "round")
        )
        outer, inner = _finger_ring(long + 5, tall + 5, 0, 0, rng.uniform(3, 4.5))
        rings = [Part(outer, "steel", thick * 1.5, "round", holes=(inner,))]
    return parts + moved(rings, -turn, cx, cy)


def scissors(rng: np.random.Generator) -> Item:
    """Office, kitchen, tailor's, nail or surgical scissors."""
    kind = pick(rng, "office", "office", "office", "kitchen", "tailor", "nail", "surgical", "child")
    blade, width, shank, ring, thick, plastic = {
        "office": (rng.uniform(75, 115), rng.uniform(13, 18), rng.uniform(22, 35), 42, 1.8, 0.9),
        "kitchen": (rng.uniform(85, 110), rng.uniform(17, 23), rng.uniform(25, 35), 58, 2.4, 0.85),
        "tailor": (rng.uniform(105, 150), rng.uniform(19, 25), rng.uniform(28, 40), 56, 3.5, 0.3),
        "nail": (rng.uniform(24, 36), rng.uniform(6, 8), rng.uniform(18, 28), 22, 1.6, 0.1),
        "surgical": (rng.uniform(40, 65), rng.uniform(8, 11), rng.uniform(45, 70), 25, 2.2, 0.0),
        "child": (rng.uniform(48, 65), rng.uniform(13, 17), rng.uniform(14, 20), 36, 1.4, 1.0),
    }[kind]
    spec = {
        "blade": blade,
        "width": width,
        "shank": shank,
        "belly": rng.uniform(0.7, 1.05),
        "thickness": thick * rng.uniform(0.8, 1.3),
        "roundness": rng.uniform(0.6, 0.9),
        "plastic": pick(rng, "plastic", "plastic", "rubber") if rng.random() < plastic else None,
        "rim": rng.uniform(5.5, 8.5),
        "ring_turn": rng.uniform(5, 30),
    }
    opening = rng.uniform(0, 12) if rng.random() < 0.5 else rng.uniform(12, 60)
    ring *= rng.uniform(0.9, 1.15)  # type: ignore[assignment]
    larger = ring * (
        rng.uniform(1.25, 1.7) if kind in ("kitchen", "tailor") else rng.uniform(1, 1.3)
    )
    parts = moved(_scissor_half(rng, spec, ring), -opening / 2)
    parts += moved(_scissor_half(rng, spec, larger), opening / 2, flip=True)
    size = width * rng.uniform(0.35, 0.55)
    parts.append(Part(ellipse(size, size, points=14), "steel", rng.uniform(3, 6)))
    number = ("office", "kitchen", "tailor", "nail", "surgical", "child").index(kind)
    return centred("Scissors", parts, number, reached(opening, 12, 28, 44), bool(spec["plastic"]))


# The upper jaw (y < 0) of pliers, mm from the pivot outwards.
JAWS = {
    "needle": [(-10, -9), (4, -11), (16, -8), (70, -2.2), (72, -0.3), (8, -0.3), (-8, 6)],
    "cutter": [(-12, -9), (2, -12), (14, -11), (22, -5), (24, -0.2), (6, -0.2), (-8, 7)],
    "slip": [(-14, -8), (2, -11), (26, -11), (44, -6), (46, -0.4), (34, -0.6), (24, -4.5),
             (14, -0.8), (6, 2), (-10, 8)],
    "pump": [(-16, -4), (-2, -14), (18, -22), (36, -22), (44, -14), (36, -9), (22, -8), (10, -2),
             (-6, 9)],
    "combination": [(-12, -9), (2, -12), (18, -11), (38, -6.5), (40, -0.4), (26, -0.4), (20, -3.2),
                    (12, -0.6), (6, 1), (-9, 8)],
}  # fmt: skip


def pliers(rng: np.random.Generator) -> Item:
    """Combination, needle-nose, cutting, slip-joint or water-pump pliers."""
    kind = pick(rng, "combination", "combination", "needle", "needle", "cutter", "slip", "pump")
    s = rng.uniform(0.8, 1.25)
    thick = rng.uniform(7, 11) * s
    jaw = np.array(JAWS[kind]) * s
    long = (rng.uniform(120, 165) if kind == "pump" else rng.uniform(95, 130)) * s
    bow = rng.uniform(9, 21) * s
    flare = rng.uniform(0.3, 1.0)
    path = curve(
        (-6 * s, 3 * s),
        (-long * 0.3, bow * 1.5),
        (-long * 0.6, bow * 1.1),
        (-long, bow * flare),
        count=14,
    )
    bare = rng.random() < 0.15
    sleeve = pick(rng, "rubber", "plastic", "plastic")
    width = rng.uniform(7, 10) * s
    ends = np.array([*np.ones(12), 0.8, 0.4])
    lever = [
        Part(smooth(jaw, 1), "steel", thick, "bevel", edge=2.0),
        Part(stroke(path, np.linspace(1.5, 0.8, 14) * width * ends), "steel", thick * 0.6, "round"),
    ]
    if not bare:
        first = int(rng.integers(3, 6))
        profile = np.linspace(1.35, 1.8, 14 - first) * width * ends[first:]
        profile[0] *= rng.uniform(1.0, 1.35)
        lever.append(Part(stroke(path[first:], profile), sleeve, rng.uniform(14, 20), "round"))
        if rng.random() < 0.4:
            inner = path[first:] + (0, -width * 0.35)
            lever.append(Part(stroke(inner, width * 0.8), "rubber", rng.uniform(3, 6)))
    opening = rng.uniform(0, 8) if rng.random() < 0.45 else rng.uniform(8, 34)
    parts = moved(lever, -opening / 2) + moved(lever, opening / 2, flip=True)
    boss = rng.uniform(17, 22) * s
    parts.append(Part(ellipse(boss, boss, points=24), "steel", thick * 0.3))
    parts.append(Part(ellipse(boss * 0.5, boss * 0.5, points=16), "steel", thick * 0.5))
    if rng.random() < 0.25:  # return spring between the handles
        turns = np.linspace(0, 1, 12)
        zigzag = np.stack([-22 * s - 10 * s * (np.arange(12) % 2), (turns - 0.5) * bow], 1)
        parts.append(Part(stroke(zigzag, 1.4), "steel", 2))
    return centred("Pliers", parts, list(JAWS).index(kind), reached(opening, 8, 21), bare)
