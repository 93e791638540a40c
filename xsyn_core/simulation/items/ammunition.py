"""Cartridges, alone, loose, in a row or in a magazine."""

import numpy as np

from xsyn_core.simulation.items.assembly import centred, moved
from xsyn_core.simulation.parts import Item, Part, rectangle, rounded_rectangle, smooth, tapered
from xsyn_core.simulation.shapes import pick

# case length, case diameter, overall length, bullet diameter, neck length (mm; no neck: straight)
CALIBRES = {
    "9x19": (19.2, 9.9, 29.7, 9.0, 0.0),
    "45": (22.8, 12.1, 32.4, 11.5, 0.0),
    "38": (29.3, 9.7, 39.4, 9.1, 0.0),
    "22": (15.6, 5.8, 25.4, 5.7, 0.0),
    "5.56": (44.7, 9.6, 57.4, 5.7, 7.0),
    "7.62x39": (38.7, 11.3, 56.0, 7.9, 7.0),
    "308": (51.2, 11.9, 71.1, 7.8, 9.0),
}


def cartridge(calibre: str, blunt: float = 0.0) -> list[Part]:
    """A cartridge along x, its bullet towards positive x, centred at the origin.

    Args:
        calibre: a key of `CALIBRES`.
        blunt: 0 for a round nose to 1 for a flat one.
    """
    case, base, total, bullet, neck = CALIBRES[calibre]
    left, r, b = -total / 2, base / 2, bullet / 2
    if neck:
        body = [
            (left, r),
            (left + case - neck - 7, r * 0.94),
            (left + case - neck, b + 0.5),
            (left + case, b + 0.4),
        ]
    else:
        body = [(left, r), (left + case, r * 0.97)]
    seat, tip = left + case - bullet * 0.5, total / 2
    nose = tip - seat
    ogive = [
        (seat, b),
        (seat + nose * 0.45, b),
        (seat + nose * 0.75, b * 0.72),
        (tip - 0.6, b * (0.2 + 0.35 * blunt)),
        (tip, b * 0.35 * blunt),
    ]
    # The core of a bullet is lead: a few mm of it are as dark as it gets.
    return [
        Part(tapered(body), "brass", 1.0, "shell", edge=1.0),
        Part(rectangle(3.6, base * 1.02, left + 1.8), "brass", base * 0.85, "round"),
        Part(smooth(tapered(ogive), 1), "copper", 1.2),
        Part(smooth(tapered(ogive), 1), "lead", bullet * 0.8, "round"),
        Part(
            tapered([(left + 3.6, r * 0.8), (seat, min(r, b + 0.4) * 0.8)]),
            "gunpowder",
            r * 1.4,
            "round",
        ),
    ]


def shotshell(rng: np.random.Generator) -> list[Part]:
    """A shotgun cartridge: plastic hull, brass head, lead shot."""
    length = rng.uniform(58, 70)
    left = -length / 2
    return [
        Part(rectangle(length, 20.3), "plastic", 2.0, "shell", edge=1.0),
        Part(rectangle(rng.uniform(8, 20), 20.8, left + 7), "brass", 1.4, "shell", edge=0.8),
        Part(rectangle(3, 22, left + 1.5), "brass", 14, "round"),
        Part(rectangle(length * 0.25, 18, left + length * 0.22), "gunpowder", 14, "round"),
        Part(rectangle(length * 0.22, 18, left + length * 0.45), "plastic", 8, "round"),
        Part(rectangle(length * 0.4, 18, length * 0.24), "lead", 11, "round", texture=0.5, grain=3),
    ]


def bullet(rng: np.random.Generator) -> Item:
    """One cartridge or a few: loose, side by side, or in a magazine."""
    arrangement = pick(rng, "one", "one", "loose", "row", "row", "clip", "shell")
    blunt = rng.uniform(0, 1)
    if arrangement == "shell":
        parts, gap = [], rng.uniform(21, 26)
        count = int(rng.integers(1, 4))
        for k in range(count):
            parts += moved(
                shotshell(rng), rng.uniform(-8, 8) + 180 * (rng.random() < 0.3), 0, k * gap
            )
        return centred("Bullet", parts, 5, count)
    calibre = pick(rng, *list(CALIBRES))
    base, total = CALIBRES[calibre][1], CALIBRES[calibre][2]
    one = cartridge(calibre, blunt)
    if arrangement == "one":
        return centred("Bullet", one, 0, 1)
    count = int(rng.integers(2, 7))
    parts = []
    if arrangement == "loose":
        for _ in range(min(count, 4)):
            x, y = rng.uniform(-0.9, 0.9, 2) * total
            parts += moved(one, rng.uniform(0, 360), x, y)
        return centred("Bullet", parts, 1, min(count, 4))
    pitch = base * rng.uniform(1.0, 1.3) if arrangement == "row" else base * 1.02
    form = 2
    lean = rng.uniform(-0.15, 0.15) * base
    for k in range(count):
        flip = 180 if arrangement == "row" and rng.random() < 0.15 else 0
        parts += moved(one, rng.uniform(-3, 3) + flip, k * lean, k * pitch)
    if arrangement == "clip":  # a stripper clip on the heads, or a sheet steel box
        middle = (count - 1) / 2
        if rng.random() < 0.5:
            clip = rectangle(
                5, (count + 0.6) * pitch, middle * lean - total / 2 + 2, middle * pitch
            )
            parts.append(Part(clip, "steel", 1.5))
            form = 3
        else:
            x, y = middle * lean, middle * pitch
            box = rounded_rectangle(total + 5, (count + 1.5) * pitch, 2, x, y)
            parts.append(Part(box, "steel", 1.4, "shell", edge=1.0))
            form = 4
    return centred("Bullet", parts, form, count)
