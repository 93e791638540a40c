"""Handguns seen from the side, muzzle towards positive x."""

import numpy as np

from xsyn_core.simulation.items.ammunition import cartridge
from xsyn_core.simulation.items.assembly import centred, curve, moved
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
from xsyn_core.simulation.shapes import pick


def _trigger(x: float, y: float, reach: float, rake: float) -> list[Part]:
    """A guard as a loop below (x, y) and the trigger inside it; x is its rear end."""
    drop = reach * 0.62
    loop = smooth(
        [
            (x, y - 6),
            (x, y + drop * 0.7),
            (x + reach * 0.2, y + drop),
            (x + reach * 0.85, y + drop),
            (x + reach, y + drop * 0.6),
            (x + reach + 2, y - 6),
        ],
        closed=False,
    )
    blade = curve(
        (x + reach * 0.5, y - 2),
        (x + reach * 0.62, y + drop * 0.4),
        (x + reach * (0.5 + rake), y + drop * 0.8),
        count=7,
    )
    return [
        Part(stroke(loop, 4.0), "steel", 8),
        Part(stroke(blade, np.linspace(5, 2.5, 7)), "steel", 7),
    ]


def _magazine(
    rng: np.random.Generator, top: float, bottom: float, width: float
) -> tuple[list[Part], bool]:
    """A box of sheet steel along y with its spring, and whether there are cartridges in it.

    Its axis is x = 0.
    """
    middle = (top + bottom) / 2
    parts = [
        Part(rectangle(width, bottom - top, 0, middle), "steel", 1.6, "shell", edge=1.0),
        Part(rectangle(width + 6, 6, -1, bottom), pick(rng, "steel", "plastic"), 12),
    ]
    count = pick(rng, 0, 0, 4, 7, 9)
    level = top + 5
    for k in range(count):
        if level > bottom - 12:
            break
        parts += moved(cartridge("9x19", 0.3)[1:4], -8, (k % 2) * 1.0, level)
        level += 8.2
    turns = np.arange(level, bottom - 4, 4.0)
    if len(turns) > 3:
        zigzag = np.stack([np.where(np.arange(len(turns)) % 2, 0.4, -0.4) * width, turns], 1)
        parts.append(Part(stroke(zigzag, 1.6), "steel", 2.4))
    return parts, count > 0


def _pistol(rng: np.random.Generator) -> Item:
    compact = rng.random() < 0.35
    length = rng.uniform(125, 160) if compact else rng.uniform(170, 215)
    height = rng.uniform(22, 30)
    steel = rng.uniform(5, 9)  # two walls of the slide
    polymer = rng.random() < 0.5
    rise = rng.uniform(0, 5)  # slope of the muzzle
    slide = np.array(
        [(0, -height), (length - rise, -height), (length, -height + rise), (length, 0), (0, 0)]
    )
    if rng.random() < 0.25:  # cut away on top, the barrel bare
        slide = np.array(
            [
                (0, -height),
                (length * 0.3, -height),
                (length * 0.36, -height * 0.7),
                (length * 0.86, -height * 0.7),
                (length * 0.9, -height),
                (length, -height),
                (length, 0),
                (0, 0),
            ]
        )
    back = rng.random() < 0.3  # locked open
    shift = -rng.uniform(20, 40) if back else 0.0
    axis = -height * rng.uniform(0.52, 0.6)
    bore = rectangle(length * 0.64, 6.5, length * 0.66, axis)
    port = rectangle(length * 0.15, height * 0.3, length * 0.46, -height * 0.78)
    grooves = np.arange(6, 24, 4.0) if rng.random() < 0.6 else ()
    parts = moved(
        [
            Part(slide, "steel", steel, holes=(bore,)),
            Part(bore, "steel", steel * 0.5),
            Part(rectangle(length * 0.97, 3, length * 0.48, -height * 0.06), "steel", 5),
            Part(rectangle(5, 5, length - rng.uniform(6, 12), -height - 1.5), "steel", 4),
            Part(rectangle(8, 6, rng.uniform(5, 12), -height - 1.5), "steel", 9),
            *(Part(rectangle(1.6, height * 0.8, x, -height * 0.5), "steel", 2) for x in grooves),
        ],
        x=shift,
    )
    out = rng.uniform(0, 8)
    barrel = rectangle(length * 0.6 + out, 12, length * 0.7 + out / 2, axis)
    parts.append(
        Part(
            barrel,
            "steel",
            rng.uniform(3, 6),
            holes=(rectangle(length * 0.6 + out, 6, length * 0.7 + out / 2, axis),),
        )
    )
    parts.append(Part(rectangle(length * 0.17, 13, length * 0.47, axis), "steel", 5))
    parts.append(Part(port, "steel", 3))
    parts.append(
        Part(rectangle(length * 0.5, 5, length * 0.72, -3), "steel", 4, texture=0.5, grain=2)
    )
    # Frame, grip and what is in it.
    front = length * rng.uniform(0.8, 0.97)
    dust = np.array([(4, -2), (front, -2), (front, 8), (length * 0.5, 11), (4, 16)])
    rake = rng.uniform(8, 20)
    width = rng.uniform(40, 50)
    depth = rng.uniform(62, 75) if compact else rng.uniform(80, 100)
    grip = smooth(
        [
            (-width * 0.5, 0),
            (width * 0.56, 0),
            (width * 0.5, depth * 0.35),
            (width * 0.47, depth * 0.7),
            (width * 0.5, depth),
            (-width * 0.5, depth),
            (-width * 0.52, depth * 0.7),
            (-width * 0.42, depth * 0.3),
            (-width * 0.62, 2),
        ],
        2,
    )
    gx = width * 0.62
    if polymer:
        parts.append(Part(dust, "plastic", 20))
        parts.append(Part(rectangle(front * 0.8, 5, front * 0.42, 3), "steel", 3))
        grips = [Part(grip, "plastic", rng.uniform(12, 18))]
    else:
        parts.append(Part(dust, pick(rng, "steel", "steel", "aluminium"), rng.uniform(5, 9)))
        well = (grip - (0, depth / 2)) * (0.68, 0.92) + (0, depth / 2)
        grips = [
            Part(grip, pick(rng, "steel", "aluminium"), rng.uniform(6, 11), holes=(well,)),
            Part(well, pick(rng, "plastic", "wood", "rubber"), rng.uniform(8, 12)),
            Part(well, "steel", 2),
        ]
    loaded = 0  # no magazine, an empty one, some cartridges
    if rng.random() < 0.85:
        magazine, filled = _magazine(rng, 2, depth + 3, width * 0.62)
        grips += magazine
        loaded = 1 + filled
    parts += moved(grips, rake, gx, 4)
    parts += _trigger(gx + width * 0.5, 12, rng.uniform(36, 46), rng.uniform(0.5, 0.75))
    if rng.random() < 0.6:  # hammer spur
        spur = smooth(
            [
                (-2, -4),
                (-9, -height * 0.6),
                (-14, -height * 0.75),
                (-9, -height),
                (2, -height * 0.6),
                (5, -3),
            ],
            1,
        )
        parts.append(Part(spur, "steel", 8))
    if rng.random() < 0.5:
        pin = ellipse(6, 6, length * rng.uniform(0.35, 0.5), 2, 12)
        parts.append(Part(pin, "steel", 14))
    if rng.random() < 0.12:  # suppressor
        tube = rectangle(length * 0.8, 30, length * 1.4, axis)
        parts.append(Part(tube, "aluminium", 6, "shell", edge=3))
    return centred("Gun", parts, 0, polymer, loaded)


def _revolver(rng: np.random.Generator) -> list[Part]:
    barrel = pick(rng, 48.0, 64.0, 102.0, 127.0, 152.0) + rng.uniform(-4, 4)
    drum, tall = rng.uniform(36, 43), rng.uniform(35, 44)
    thick = rng.uniform(7, 12)
    h = tall / 2
    # The drum's middle is the origin; the barrel meets its upper chamber.
    bore_y = -tall * 0.3
    frame = smooth(
        [
            (-drum * 0.85, -h - 6),
            (drum * 0.7, -h - 6),
            (drum * 0.7, h * 0.95),
            (drum * 0.4, h + 7),
            (-drum * 0.7, h + 7),
            (-drum * 1.05, h * 0.5),
            (-drum * 1.1, -h * 0.5),
        ],
        1,
    )
    window = rectangle(drum + 2, tall + 1)
    parts = [Part(frame, "steel", thick, holes=(window,))]
    swing = tall * rng.uniform(0.5, 0.9) if rng.random() < 0.15 else 0.0  # cylinder swung out
    bands = tuple(rectangle(drum * 0.96, tall * 0.17, 0, tall * k) for k in (-0.32, 0, 0.32))
    cylinder = [Part(rounded_rectangle(drum, tall, 2), "steel", rng.uniform(10, 15), holes=bands)]
    cylinder += [Part(b, "steel", rng.uniform(4, 7)) for b in bands]
    cylinder.append(Part(rectangle(drum * 0.5, tall * 0.8, -drum * 0.05), "steel", 3, "round"))
    if rng.random() < 0.6:
        for k in (-0.32, 0, 0.32):
            cylinder += moved(cartridge("38", 0.3)[1:4:2], 0, -1, tall * k)
    parts += moved(cylinder, y=swing)
    # Barrel, its bore lighter, with an underlug or ejector rod.
    tube = rng.uniform(17, 21)
    start = drum * 0.55
    bore = rectangle(barrel, 6, start + barrel / 2, bore_y)
    parts.append(
        Part(rectangle(barrel, tube, start + barrel / 2, bore_y), "steel", thick, holes=(bore,))
    )
    parts.append(Part(bore, "steel", thick * 0.5))
    lug = barrel * pick(rng, 0.55, 0.75, 1.0)
    parts.append(
        Part(rectangle(lug, 9, start + lug / 2, bore_y + tube / 2 + 4), "steel", rng.uniform(4, 8))
    )
    sight = np.array([(-14, 0), (0, -7), (4, -7), (4, 0)]) + (
        start + barrel - 7,
        bore_y - tube / 2 + 1,
    )
    parts.append(Part(sight, "steel", 4))
    # Grip: wood or rubber over the steel of the frame.
    long, wide = rng.uniform(70, 100), rng.uniform(34, 42)
    grip = smooth(
        [
            (-4, -14),
            (wide * 0.7, 0),
            (wide * 0.55, long * 0.25),
            (wide * 0.62, long * 0.6),
            (wide * 0.8, long),
            (-wide * 0.25, long * 1.02),
            (-wide * 0.35, long * 0.6),
            (-wide * 0.15, long * 0.25),
            (-wide * 0.3, 2),
        ]
    )
    core = stroke(curve((wide * 0.25, -6), (0, long * 0.35), (wide * 0.25, long * 0.85)), 20)
    handle = [
        Part(grip, pick(rng, "wood", "wood", "rubber", "plastic"), rng.uniform(24, 32), "round"),
        Part(core, "steel", rng.uniform(6, 11)),
    ]
    parts += moved(handle, rng.uniform(18, 36), -drum * 0.95, h * 0.4)
    parts += _trigger(-drum * 0.62, h + 4, rng.uniform(34, 42), rng.uniform(0.55, 0.8))
    hammer = [(0, 0), (-10, -4), (-15, -18), (-24, -24), (-22, -28), (-8, -24), (2, -12)]
    cocked = turned(smooth(np.array(hammer) * 0.75, 1), -rng.uniform(0, 35), -drum * 0.95, -h * 0.7)
    parts.append(Part(cocked, "steel", 8))
    return parts


def gun(rng: np.random.Generator) -> Item:
    """A semi-automatic pistol or a revolver."""
    if rng.random() < 0.68:
        return _pistol(rng)
    return centred("Gun", _revolver(rng), 1)
