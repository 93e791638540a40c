"""Power banks, phones, tablets and laptops."""

import numpy as np

from xsyn_core.simulation.items.assembly import centred, moved, one_of
from xsyn_core.simulation.parts import (
    Item,
    Part,
    ellipse,
    rectangle,
    rounded_rectangle,
    stroke,
)
from xsyn_core.simulation.shapes import pick


def circuit_board(
    rng: np.random.Generator, width: float, height: float, x: float, y: float, chips: int
) -> list[Part]:
    """A board centred at (x, y), with chips, shields and small components on it."""
    parts = [
        Part(rectangle(width, height, x, y), "pcb", 1.4),
        Part(rectangle(width * 0.96, height * 0.94, x, y), "copper", 0.12, texture=0.8, grain=4),
    ]
    for _ in range(chips):
        w = min(rng.uniform(3, 14), width * 0.4)
        h = min(rng.uniform(3, 12), height * 0.7)
        px = x + rng.uniform(-0.5, 0.5) * (width - w)
        py = y + rng.uniform(-0.5, 0.5) * (height - h)
        material, thick = pick(
            rng, ("ceramic", 2.0), ("copper", 0.7), ("steel", 0.6), ("lead", 0.15)
        )
        parts.append(Part(rectangle(w, h, px, py), material, thick * rng.uniform(0.7, 1.5)))
    return parts


def _port(x: float, y: float, width: float, depth: float) -> Part:
    return Part(rectangle(width, depth, x, y), "steel", 1.6, "shell", edge=0.8)


def _round_cell(length: float, d: float, x: float, y: float) -> list[Part]:
    """A cylindrical cell along y: steel can, wound core, cap and vent."""
    return [
        Part(rectangle(d, length, x, y), "steel", 0.6, "shell", edge=0.7),
        Part(rectangle(d * 0.94, length * 0.9, x, y + 1.5), "lithium_cell", d * 0.85, "round"),
        Part(rectangle(d * 0.86, 2.6, x, y - length / 2 + 3), "steel", 4, "round"),
    ]


def portable_charger_2(rng: np.random.Generator) -> Item:
    """A power bank with cylindrical cells side by side."""
    cells = pick(rng, 1, 2, 2, 3, 4, 4, 6)
    length, d = pick(rng, (65.0, 18.3), (65.0, 18.3), (70.0, 21.2))
    gap = rng.uniform(0.2, 1.2)
    rows, columns = (2, 3) if cells == 6 else (1, cells)
    board = rng.uniform(12, 22)
    span = columns * (d + gap)
    below = rows == 1 and rng.random() < 0.7  # the board sits at the cells' ends or beside them
    width = span + 5 if below else span + board + 4
    height = rows * (length + 3) + (board if below else 0) + 5
    metal = rng.random() < 0.3
    case = rounded_rectangle(width, height, pick(rng, 3, 6, min(d, width) / 2))
    parts = [
        Part(case, "aluminium" if metal else "plastic", 2.2 if metal else 4, "shell", edge=1.5)
    ]
    top = -height / 2 + 2.5
    left = -width / 2 + 2.5
    for row in range(rows):
        for k in range(columns):
            x, y = left + (k + 0.5) * (d + gap), top + (row + 0.5) * (length + 3)
            cell = _round_cell(length, d, 0, 0)
            parts += moved(cell, 180 if k % 2 else 0, x, y)
    tabs = [
        Part(rectangle(span * 0.85, 3, left + span / 2, y), "steel", 0.5)
        for y in (top + 2, top + length)
    ]
    parts += tabs if columns > 1 else []
    if below:
        x, y = 0.0, height / 2 - board / 2 - 1.5
        parts += circuit_board(rng, width * 0.86, board * 0.85, x, y, 4)
        edge = height / 2 - 4
        parts += [
            _port(px, edge, 13, 8)
            for px in np.linspace(-0.25, 0.25, 2 if columns > 1 else 1) * width
        ]
    else:
        x = width / 2 - board / 2 - 1.5
        parts += circuit_board(
            rng, board * 0.85, height * 0.6, x, rng.uniform(-0.1, 0.1) * height, 4
        )
        parts += [_port(width / 2 - 5, y, 8, 13) for y in (-height * 0.2, height * 0.05)]
    inductor = ellipse(9, 9, *parts[-3].outline.mean(0), points=16)  # type: ignore[misc]
    parts.append(Part(inductor, "steel", 4))
    return centred("Portable_Charger_2", parts, cells, below, metal)


def portable_charger_1(rng: np.random.Generator) -> Item:
    """A flat power bank with one or two lithium pouches."""
    width, height = rng.uniform(60, 80), rng.uniform(100, 155)
    metal = rng.random() < 0.45
    case = rounded_rectangle(width, height, rng.uniform(4, 14))
    parts = [
        Part(case, "aluminium" if metal else "plastic", 2.4 if metal else 4, "shell", edge=1.6)
    ]
    board = rng.uniform(14, 24)
    pouch = height - board - 7
    thick = rng.uniform(7, 16)
    y = -height / 2 + 3 + pouch / 2
    split = pick(rng, 1, 1, 2)
    for k in range(split):
        px = (k - (split - 1) / 2) * width * 0.46
        pw = width * (0.9 if split == 1 else 0.44)
        parts.append(
            Part(rounded_rectangle(pw, pouch, 2, px, y), "lithium_cell", thick, "bevel", edge=2)
        )
        parts.append(Part(rectangle(pw, 4, px, y + pouch / 2 - 1), "aluminium", 0.8))
    parts += circuit_board(
        rng, width * 0.88, board * 0.8, 0, height / 2 - board / 2 - 1, int(rng.integers(4, 9))
    )
    ports = int(rng.integers(1, 4))
    parts += [
        _port(x, height / 2 - 5, 13, 9) for x in (np.arange(ports) - (ports - 1) / 2) * width * 0.3
    ]
    parts.append(
        Part(
            ellipse(8, 8, rng.uniform(-0.3, 0.3) * width, height / 2 - board * 0.6, 14), "steel", 4
        )
    )
    wireless = rng.random() < 0.2
    if wireless:
        outer, inner = ellipse(44, 44, 0, y), ellipse(26, 26, 0, y)
        parts.append(Part(outer, "copper", 0.6, holes=(inner,)))
    return centred("Portable_Charger_1", parts, split, wireless, metal)


def mobile_phone(rng: np.random.Generator) -> Item:
    """A smartphone: glass, frame, battery, boards, cameras."""
    width, height = rng.uniform(64, 80), rng.uniform(135, 168)
    case = rounded_rectangle(width, height, rng.uniform(6, 13))
    inside = rounded_rectangle(width - 6, height - 6, 6)
    frame = pick(rng, "aluminium", "aluminium", "steel", "plastic")
    parts = [
        Part(case, "glass", rng.uniform(1.0, 1.8)),
        Part(case, frame, 7 if frame != "steel" else 4, holes=(inside,)),
        Part(inside, "aluminium", rng.uniform(0.4, 0.9)),
    ]
    side = pick(rng, -1, 1)
    bw, bh = width * rng.uniform(0.5, 0.62), height * rng.uniform(0.48, 0.6)
    bx, by = side * (width / 2 - bw / 2 - 5), rng.uniform(-0.02, 0.06) * height
    parts.append(Part(rounded_rectangle(bw, bh, 2, bx, by), "lithium_cell", rng.uniform(4, 5.5)))
    strip = width - bw - 12
    sx = -side * (width / 2 - strip / 2 - 5)
    parts += circuit_board(rng, strip, height * rng.uniform(0.45, 0.8), sx, -height * 0.08, 6)
    parts += circuit_board(rng, width * 0.85, height * 0.13, 0, -height * 0.4, 4)
    parts += circuit_board(rng, width * 0.8, height * 0.08, 0, height * 0.43, 3)
    lens = rng.uniform(9, 14)
    cameras = int(rng.integers(1, 4))
    for k in range(cameras):
        x, y = -side * (width / 2 - 12), -height / 2 + 13 + k * (lens + 3)
        parts.append(
            Part(
                ellipse(lens, lens, x, y, 18),
                "steel",
                2.0,
                holes=(ellipse(lens * 0.6, lens * 0.6, x, y, 14),),
            )
        )
    parts.append(
        Part(rounded_rectangle(16, 9, 2, side * width * 0.22, height * 0.43), "steel", 1.5)
    )
    parts.append(_port(0, height / 2 - 4, 10, 7))
    return centred("Mobile_Phone", parts, side > 0, cameras)


def tablet(rng: np.random.Generator) -> Item:
    """A tablet: a wide sheet of glass over large flat cells and a narrow board."""
    width, height = rng.uniform(125, 180), rng.uniform(190, 250)
    case = rounded_rectangle(width, height, rng.uniform(7, 14))
    inside = rounded_rectangle(width - 6, height - 6, 6)
    parts = [
        Part(case, "glass", rng.uniform(1.0, 1.6)),
        Part(case, "aluminium", 5, holes=(inside,)),
        Part(inside, "aluminium", rng.uniform(0.7, 1.2)),
    ]
    count = pick(rng, 1, 2, 2)
    cell_h = height * rng.uniform(0.5, 0.65)
    span = width * rng.uniform(0.62, 0.72)
    side = pick(rng, -1, 1)
    for k in range(count):
        cw = span / count - 2
        x = side * (width / 2 - 6 - cw / 2 - k * (cw + 2))
        parts.append(
            Part(rounded_rectangle(cw, cell_h, 3, x, 0), "lithium_cell", rng.uniform(3.5, 4.5))
        )
    bw = width - span - 14
    parts += circuit_board(
        rng, bw, height * rng.uniform(0.4, 0.7), -side * (width / 2 - bw / 2 - 5), 0, 7
    )
    parts += circuit_board(rng, width * 0.5, height * 0.06, 0, height * 0.45, 2)
    for x in (-0.32, 0.32):
        parts.append(
            Part(rounded_rectangle(width * 0.2, 12, 3, x * width, height * 0.44), "steel", 1.4)
        )
    parts.append(Part(ellipse(10, 10, -side * (width / 2 - 14), -height / 2 + 14, 16), "steel", 2))
    return centred("Tablet", parts, side > 0, count)


def laptop(rng: np.random.Generator) -> Item:
    """A closed laptop: lid with its screen, keys, board, fan, heat pipe, battery, hinges."""
    width = rng.uniform(280, 380)
    height = width * rng.uniform(0.62, 0.72)
    metal = rng.random() < 0.55
    case = rounded_rectangle(width, height, rng.uniform(5, 12))
    shell, thick = ("aluminium", rng.uniform(1.8, 3)) if metal else ("plastic", rng.uniform(5, 7))
    parts = [
        Part(case, shell, thick),
        Part(
            rounded_rectangle(width * 0.95, height * 0.9, 4, 0, 4), "glass", rng.uniform(1.0, 1.8)
        ),
    ]
    # Keys: rows of little plates over a steel sheet.
    kw, kh = width * 0.8, height * 0.38
    ky = -height * 0.12
    parts.append(Part(rectangle(kw, kh, 0, ky), "steel", rng.uniform(0.2, 0.4)))
    for first, rows in ((0, 2), (2, 3)):
        top, tall = ky + (first / 5 - 0.5) * kh, rows / 5 * kh
        columns = np.linspace(-0.5, 0.5, 15)[1:-1] * kw + rng.uniform(-8, 8)
        gaps = [rectangle(2.0, tall, x, top + tall / 2) for x in columns]
        gaps += [rectangle(kw, 2.0, 0, top + row * kh / 5) for row in range(1, rows)]
        keys = rectangle(kw * 0.98, tall - 2, 0, top + tall / 2)
        parts.append(Part(keys, "plastic", 2.5, holes=tuple(gaps)))
    side = pick(rng, -1, 1)
    parts += circuit_board(
        rng, width * rng.uniform(0.5, 0.75), height * 0.36, -side * width * 0.08, -height * 0.25, 10
    )
    fans = [side] if rng.random() < 0.6 else [-1, 1]
    for s in fans:
        x, y, d = s * width * 0.36, -height * 0.28, rng.uniform(40, 56)
        parts.append(
            Part(ellipse(d, d, x, y), "plastic", 5, holes=(ellipse(d * 0.42, d * 0.42, x, y, 20),))
        )
        parts.append(Part(ellipse(d * 0.4, d * 0.4, x, y, 20), "copper", 2.5))
        pipe = np.array(
            [(x, y + d * 0.3), (x - s * width * 0.15, y + d * 0.3), (x - s * width * 0.24, y + 8)]
        )
        parts.append(Part(stroke(pipe, 7), "copper", 1.4))
        parts.append(Part(rectangle(d, 9, x, y - d * 0.55), "copper", 3, texture=0.6, grain=2))
    by, bh = height * 0.3, height * rng.uniform(0.24, 0.32)
    older = rng.random() < 0.35  # round cells along the hinge
    if older:
        count = pick(rng, 4, 6)
        for k in range(count):
            cell = moved(
                _round_cell(65, 18, 0, 0),
                90,
                ((k // 2) - (count / 2 - 1) / 2) * 68,
                by + (k % 2) * 20 - 10,
            )
            parts += cell
    else:
        count = int(rng.integers(3, 6))
        for k in range(count):
            w = width * 0.8 / count
            x = (k - (count - 1) / 2) * w
            parts.append(
                Part(rounded_rectangle(w - 3, bh, 3, x, by), "lithium_cell", rng.uniform(4.5, 6))
            )
    for s in (-1, 1):
        parts.append(
            Part(rectangle(30, 9, s * width * 0.36, -height / 2 + 4), "steel", rng.uniform(3, 6))
        )
    driven = rng.random() < 0.4
    if driven:
        drive = rectangle(70, 100 if height > 225 else 80, -side * width * 0.3, height * 0.15)
        parts.append(Part(drive, "aluminium", 5))
        parts.append(Part(ellipse(60, 60, -side * width * 0.3, height * 0.12), "aluminium", 3))
    for y in np.linspace(-0.2, 0.1, 3) * height:
        parts.append(_port(-width / 2 + 7, float(y), 13, 14))
    return centred("Laptop", parts, side > 0, len(fans), older, metal, driven)


def power_bank(rng: np.random.Generator) -> Item:
    """Any power bank."""
    return one_of(rng, portable_charger_1, portable_charger_2)
