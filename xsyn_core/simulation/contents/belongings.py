"""Small things people carry: books, wallets, keys, coins, glasses, pens, cutlery, toys."""

import numpy as np

from xsyn_core.simulation.parts import (
    Item,
    Part,
    ellipse,
    rectangle,
    rounded_rectangle,
    smooth,
    stroke,
    tapered,
    turned,
)
from xsyn_core.simulation.shapes import (
    between,
    blob,
    coil,
    pick,
    resampled,
    rim,
    ring,
    runs,
    screw,
    wander,
)


def book(rng: np.random.Generator) -> Item:
    """A book or stack of paper, with the cover's border or a spiral."""
    w, h = between(rng, 100, 220), between(rng, 145, 300)
    thick = between(rng, 6, 38)
    parts = [
        Part(rectangle(w, h), "paper", thick, "slab", 0, (), 0.04, 30),
        Part(rectangle(w + 5, h + 6, 1), "cardboard", 9),
    ]
    if rng.random() < 0.35:
        path = np.array([[-w / 2, -h * 0.47], [-w / 2, h * 0.47]])
        wire = coil(path, 6, between(rng, 6, 10))
        parts.append(Part(stroke(wire, 1.3), pick(rng, "steel", "plastic"), 1.3))
    elif rng.random() < 0.5:
        for k in (1, 2):
            page = turned(rectangle(w * 0.96, h * 0.97), between(rng, -5, 5), 4 * k, 3 * k)
            parts.append(Part(page, "paper", between(rng, 1, 4)))
        clip = turned(rectangle(30, 2), between(rng, 0, 90), -w * 0.4, -h * 0.42)
        parts.append(Part(clip, "steel", 1.5))
    return Item("book", tuple(parts))


def wallet(rng: np.random.Generator) -> Item:
    """A leather wallet with cards, notes, and coins in one pocket."""
    w, h = between(rng, 90, 190), between(rng, 85, 105)
    body = rounded_rectangle(w, h, 8)
    parts = [Part(body, "leather", 7, "slab", 0, (), 0.1, 20), rim(body, 3, "leather", 4)]
    for k in range(int(rng.integers(2, 6))):
        card = rounded_rectangle(85, 54, 3, between(rng, -3, 3), -12 + 7 * k)
        parts.append(Part(card, "pvc", 0.8))
    chip = rounded_rectangle(12, 10, 2, -24, -4)
    parts.append(Part(chip, "copper", 0.3))
    for _ in range(int(rng.integers(0, 9))):
        d = between(rng, 16, 26)
        x, y = between(rng, -28, 28), between(rng, 0, 28)
        metal = pick(rng, "copper", "brass", "zinc")
        parts.append(Part(ellipse(d, d * between(rng, 0.8, 1), x, y, 20), metal, 1.8))
    parts.append(Part(ellipse(12, 12, w * 0.36, 0, 14), "brass", 1.8))
    return Item("wallet", tuple(parts))


def coins(rng: np.random.Generator) -> Item:
    """Loose change: overlapping discs, some on edge."""
    parts = []
    spread = between(rng, 14, 45)
    for _ in range(int(rng.integers(3, 14))):
        d = between(rng, 16, 28)
        x, y = rng.normal(size=2) * spread
        slant = between(rng, 0.2, 1) if rng.random() < 0.3 else 1
        disc = turned(ellipse(d, d * slant, points=22), between(rng, 0, 180), x, y)
        parts.append(Part(disc, pick(rng, "copper", "brass", "zinc", "steel"), 1.9 / slant**0.5))
    return Item("coins", tuple(parts))


def keys(rng: np.random.Generator) -> Item:
    """A bunch of keys on a split ring, with a fob."""
    d = between(rng, 22, 34)
    parts = [ring(0, 0, d, 2.6, "steel", 1.9)]
    for _ in range(int(rng.integers(2, 6))):
        length, bow = between(rng, 26, 42), between(rng, 18, 26)
        metal = pick(rng, "brass", "brass", "steel", "zinc")
        n = int(rng.integers(5, 9))
        x = np.linspace(bow, bow + length, n * 2)
        teeth = 4.5 - np.repeat(rng.uniform(0, 3, n), 2)
        blade = np.concatenate(
            [[(bow, -4.0)], [(bow + length, -4.0)], np.stack([x, teeth], 1)[::-1]]
        )
        head = blob(rng, bow, bow, 0.03, between(rng, 0, 0.6), 24) + (bow / 2, 0)
        hole = ellipse(6, 6, 4.5, 0, 12)
        a = between(rng, 0, 360)
        r = np.deg2rad(a)
        at = np.array([np.cos(r), np.sin(r)]) * (d / 2 - 4)
        parts += [
            Part(turned(head, a, *at), metal, 2.3, holes=(turned(hole, a, *at),)),
            Part(turned(blade, a, *at), metal, 2.3),
        ]
        if rng.random() < 0.4:
            parts.append(Part(turned(head * 1.15, a, *at), "plastic", 5))
    a = between(rng, 0, 360)
    if rng.random() < 0.4:
        fob = turned(rounded_rectangle(62, 34, 12, d / 2 + 32), a)
        board = turned(rectangle(36, 22, d / 2 + 34), a)
        parts += [Part(fob, "plastic", 5, "shell", 2), Part(board, "pcb", 1.6)]
        parts.append(Part(turned(ellipse(20, 20, d / 2 + 42), a), "steel", 2.6))
    elif rng.random() < 0.6:
        chain = turned(np.array([[d / 2, 0], [d / 2 + 40, 6]]), a)
        parts.append(Part(stroke(coil(chain, 2, 4), 2), "steel", 1.8))
        charm = turned(blob(rng, 34, 26, 0.2) + (d / 2 + 55, 6), a)
        parts.append(Part(charm, pick(rng, "zinc", "plastic", "brass"), 4, "bevel", 2))
    return Item("keys", tuple(parts))


def glasses(rng: np.random.Generator) -> Item:
    """Spectacles, wire or plastic frame, folded or open, sometimes in a hard case."""
    w, h = between(rng, 44, 56), between(rng, 30, 44)
    frame, thick, width = pick(
        rng, ("steel", 1.6, 1.8), ("plastic", 4, 4.5), ("titanium", 1.6, 1.8)
    )
    parts = []
    for s in (-1, 1):
        lens = blob(rng, w, h, 0.02, 0.45) + (s * (w / 2 + 9), 0)
        parts += [rim(lens, width, frame, thick), Part(lens, pick(rng, "plastic", "glass"), 2.2)]
        hinge = (s * (w + 10), -h * 0.25)
        tip = (hinge[0] - s * between(rng, 90, 125), between(rng, -6, 26))
        path = np.array([hinge, ((hinge[0] + tip[0]) / 2, hinge[1] + between(rng, -6, 6)), tip])
        path = smooth(np.concatenate([path, [(tip[0] - s * 16, tip[1] + 18)]]), 2, closed=False)
        parts.append(Part(stroke(path, width), frame, thick))
        parts.append(Part(rectangle(7, 5, *hinge), "steel", 1.8))
    bridge = smooth(np.array([(-10, 0), (-4, -6), (4, -6), (10, 0)]), 2, closed=False)
    parts.append(Part(stroke(bridge, width), frame, thick))
    if rng.random() < 0.35:
        case = blob(rng, 165, 66, 0.03, 0.6) + (0, 8)
        parts += [Part(case, "plastic", 4, "shell", 3), Part(rectangle(90, 4, 0, 38), "steel", 2)]
        parts.append(Part(case * 0.97, "steel", 0.4))
    return Item("glasses", tuple(parts))


def pens(rng: np.random.Generator) -> Item:
    """A few pens and pencils, fanned or parallel: clip, spring, tip, refill."""
    parts = []
    fan = between(rng, 0, 25)
    for k in range(int(rng.integers(1, 6))):
        length, d = between(rng, 125, 150), between(rng, 7, 12)
        a, x, y = (between(rng, -fan, fan), between(rng, -8, 8), k * between(rng, 9, 14) - 20)
        if rng.random() < 0.25:
            rod = tapered([(-length / 2, d / 2), (length * 0.4, d / 2), (length / 2, 0.6)])
            parts += [
                Part(turned(rod, a, x, y), "wood", d, "round"),
                Part(turned(rectangle(length * 0.95, 2), a, x, y), "ceramic", 2),
            ]
            continue
        rod = tapered([(-length / 2, d / 2), (length * 0.36, d / 2), (length / 2, 1.2)])
        parts += [
            Part(turned(rod, a, x, y), "plastic", 4, "shell", 1.2),
            Part(turned(rectangle(length * 0.8, 2.4, 6), a, x, y), "brass", 0.8),
            Part(turned(rectangle(40, 2.6, -length * 0.28, d * 0.45), a, x, y), "steel", 1),
            Part(turned(rectangle(10, 3.5, length * 0.44), a, x, y), "brass", 2, "round"),
        ]
        spring = coil(np.array([[length * 0.24, 0.0], [length * 0.4, 0.0]]), 2.2, 2.4)
        parts.append(Part(turned(stroke(spring, 0.7), a, x, y), "steel", 0.8))
    return Item("pens", tuple(parts))


def cutlery(rng: np.random.Generator) -> Item:
    """Spoons and forks."""
    parts = []
    metal, thick = pick(rng, ("steel", 1.9), ("steel", 1.5), ("aluminium", 2.2), ("plastic", 2.5))
    for k in range(int(rng.integers(1, 4))):
        length = between(rng, 140, 210)
        a, y = between(rng, -12, 12), 16 * k - 10
        handle = tapered(
            [(-length / 2, 8), (-length * 0.3, 6), (length * 0.2, 2.6), (length * 0.3, 3)]
        )
        parts.append(Part(turned(handle, a, 0, y), metal, thick))
        if rng.random() < 0.5:
            bowl = ellipse(length * 0.3, length * 0.19, length * 0.42)
            parts.append(Part(turned(bowl, a, 0, y), metal, thick, "shell", 1.5))
            continue
        palm = tapered([(length * 0.28, 3), (length * 0.34, 11), (length * 0.4, 12)])
        parts.append(Part(turned(palm, a, 0, y), metal, thick))
        for t in (-9.5, -3.2, 3.2, 9.5):
            tine = rectangle(length * 0.16, 2.6, length * 0.46, t)
            parts.append(Part(turned(tine, a, 0, y), metal, thick))
    return Item("cutlery", tuple(parts))


def jewellery(rng: np.random.Generator) -> Item:
    """A chain, rings, earrings and a pendant in a heap."""
    metal = pick(rng, "brass", "steel", "zinc")
    path = wander(rng, between(rng, 200, 400), 3.5, 121)
    widths = np.where(np.arange(31) % 2, 2.8, 1.0)
    parts = [Part(stroke(p, widths[: len(p)]), metal, 1.5) for p in runs(path, 31)]
    for _ in range(int(rng.integers(1, 5))):
        x, y = rng.normal(size=2) * 25
        d = between(rng, 15, 24)
        band = ellipse(d, d * between(rng, 0.3, 1), x, y, 20)
        parts.append(rim(band, 2, metal, 1.8))
    drop = blob(rng, between(rng, 14, 30), between(rng, 18, 36), 0.15) + path[60]
    parts.append(Part(drop, pick(rng, metal, "glass", "ceramic"), 4, "bevel", 3))
    return Item("jewellery", tuple(parts))


def beads(rng: np.random.Generator) -> Item:
    """A string of beads or a spring bracelet."""
    path = blob(rng, between(rng, 70, 150), between(rng, 50, 110), 0.25, points=90)
    widths = np.abs(np.sin(np.arange(90) * np.pi / pick(rng, 2, 3, 4))) * between(rng, 6, 11) + 1
    return Item("beads", (Part(stroke(path, widths), pick(rng, "glass", "plastic", "wood"), 8),))


def watch(rng: np.random.Generator) -> Item:
    """A wrist watch: case, movement, battery, crown, strap of links or leather."""
    d = between(rng, 28, 44)
    metal = pick(rng, "steel", "brass", "zinc")
    parts = [
        Part(ellipse(d, d), metal, 1.8),
        ring(0, 0, d, 3.5, metal, 3.1),
        Part(ellipse(d * 0.55, d * 0.5, 1, 2), "brass", 2.5, "slab", 0, (), 0.6, 3),
        Part(ellipse(9, 9, d * 0.16, -d * 0.14, 14), "steel", 2.6),
        Part(rectangle(5, 5, d * 0.54), metal, 2.3),
    ]
    links = rng.random() < 0.5
    for s in (-1, 1):
        path = np.array([(0, s * d * 0.48), (between(rng, -12, 12), s * (d * 0.5 + 45))])
        path = np.concatenate([path, [(between(rng, -30, 30), s * (d * 0.5 + 85))]])
        path = smooth(path, 3, closed=False)
        if links:
            path = resampled(path, 2.5)
            widths = np.where(np.arange(len(path)) % 3, d * 0.5, d * 0.42)
            parts.append(Part(stroke(path, widths), metal, 1.3))
        else:
            parts.append(Part(stroke(path, d * 0.48), pick(rng, "leather", "rubber"), 3.2))
    end = rounded_rectangle(d * 0.6, 14, 3, *path[-1])
    parts.append(Part(end, "steel", 2, holes=(end * 0.55 + path[-1] * 0.45,)))
    return Item("watch", tuple(parts))


def toy(rng: np.random.Generator) -> Item:
    """A toy car, stuffed animal or building bricks."""
    kind = int(rng.integers(3))
    if kind == 0:
        k = between(rng, 0.7, 1.6)
        shape = [
            (-40, 10),
            (-38, -6),
            (-20, -9),
            (-10, -24),
            (18, -24),
            (28, -8),
            (42, -4),
            (42, 10),
        ]
        parts = [
            Part(smooth(np.array(shape) * k, 1), pick(rng, "plastic", "zinc"), 4, "shell", 3),
            Part(rectangle(74, 4, 0, 9) * k, "steel", 3.9),
        ]
        for x in (-24, 26):
            parts += [
                Part(ellipse(18 * k, 18 * k, x * k, 12 * k, 20), "rubber", 16),
                Part(ellipse(4 * k, 4 * k, x * k, 12 * k, 10), "steel", 11.5),
            ]
        return Item("toy", tuple(parts))
    if kind == 1:
        s = between(rng, 70, 120)
        parts = [Part(blob(rng, s, s * 1.2, 0.05), "cotton", s * 0.5, "round", 0, (), 0.4, 6)]
        for x, y, d in [(0, -0.85, 0.75), (-0.6, -0.3, 0.35), (0.6, -0.3, 0.35)] + [  # type: ignore[assignment]
            (-0.4, 0.7, 0.4),
            (0.4, 0.7, 0.4),
        ]:
            limb = blob(rng, d * s, d * s * 1.2, 0.05) + (x * s, y * s)
            parts.append(Part(limb, "cotton", d * s * 0.7, "round", 0, (), 0.4, 6))
        for x in (-0.14, 0.14):  # type: ignore[assignment]
            parts.append(Part(ellipse(8, 8, x * s, -0.95 * s, 12), "plastic", 6, "round"))
        return Item("toy", tuple(parts))
    parts = []
    for _ in range(int(rng.integers(5, 12))):
        n = int(rng.integers(1, 4))
        brick = rectangle(16 * n, 16)
        a, (x, y) = between(rng, 0, 180), rng.normal(size=2) * 32
        parts.append(Part(turned(brick, a, x, y), "plastic", 3, "shell", 1.6))
        stud = ellipse(9, 9, points=10)
        parts.append(Part(turned(stud, a, x, y), "plastic", 2))
    return Item("toy", tuple(parts))


def clutter(rng: np.random.Generator) -> Item:
    """A scatter of screws, rivets, clips, pins and washers."""
    parts = []
    spread = between(rng, 15, 50)
    for _ in range(int(rng.integers(6, 16))):
        x, y = rng.normal(size=2) * spread
        a = between(rng, 0, 360)
        kind = int(rng.integers(4))
        if kind == 0:
            parts.append(screw(rng, x, y, a, between(rng, 0.7, 1.5)))
        elif kind == 1:
            parts.append(ring(x, y, between(rng, 6, 15), 2, pick(rng, "steel", "brass"), 2))
        elif kind == 2:
            wire = turned(np.array([(-14, 0), (12, 0), (12, 6), (-10, 6), (-10, 2.0)]), a, x, y)
            parts.append(Part(stroke(smooth(wire, 2, closed=False), 1.3), "steel", 1.2))
        else:
            parts.append(Part(turned(rectangle(between(rng, 15, 50), 1.8), a, x, y), "steel", 1.5))
    return Item("clutter", tuple(parts))


def wire_bundle(rng: np.random.Generator) -> Item:
    """A sheaf of needles, hangers, skewers or tent pegs: many thin rods side by side."""
    length = between(rng, 110, 260)
    parts = []
    for _ in range(int(rng.integers(9, 22))):
        l2 = length * between(rng, 0.8, 1)
        x, y = between(rng, -0.06, 0.06) * length, rng.normal() * length * 0.045
        rod = turned(rectangle(l2, between(rng, 1.5, 3)), between(rng, -7, 7), x, y)
        parts.append(Part(rod, "steel", between(rng, 1.2, 2)))
    return Item("wire_bundle", tuple(parts))


def hanger(rng: np.random.Generator) -> Item:
    """A clothes hanger: bent wire or plastic, steel hook."""
    w = between(rng, 300, 400)
    shape = np.array([(0, -55), (-0.5 * w, 40), (-0.44 * w, 52), (0.44 * w, 52), (0.5 * w, 40)])
    path = smooth(np.concatenate([shape, [(0, -55)]]), 2, closed=False)
    a = np.linspace(0.5 * np.pi, -1.0 * np.pi, 14)
    hook = np.stack([np.cos(a) * 20, np.sin(a) * 20 - 95], 1)
    hook = np.concatenate([[(0, -55)], hook])
    body = pick(rng, ("steel", 2.6, 2.4), ("plastic", 10, 5.0))
    wire = Part(stroke(path, body[1]), body[0], body[2])
    return Item("hanger", (wire, Part(stroke(hook, 3), "steel", 1.8)))


def brush(rng: np.random.Generator) -> Item:
    """A hair brush or comb."""
    length = between(rng, 160, 230)
    handle = tapered(
        [(-length / 2, 8), (-length * 0.1, 9), (0, 24), (length * 0.3, 30), (length / 2, 22)]
    )
    parts = [Part(smooth(handle, 2), pick(rng, "plastic", "wood"), 12, "bevel", 5)]
    bristle = pick(rng, "nylon", "steel", "plastic")
    for x in np.linspace(0.06, 0.44, 7):
        row = np.stack([np.full(15, x * length), np.linspace(-19, 19, 15)], 1)
        parts.append(Part(stroke(row, np.resize([0.2, 3, 3], 15)), bristle, 12))
    return Item("brush", tuple(parts))


def safety_razor(rng: np.random.Generator) -> Item:
    """A disposable razor: plastic or metal handle, head with thin blades."""
    length = between(rng, 110, 140)
    handle = stroke(
        smooth(np.array([(-length / 2, 6), (0, -4), (length / 2, 2)]), 2, closed=False), 11
    )
    parts = [
        Part(handle, pick(rng, "plastic", "zinc", "plastic"), 9, "round"),
        Part(rounded_rectangle(12, 42, 3, length / 2), "plastic", 6),
    ]
    for x in (-3, 0, 3):
        parts.append(Part(rectangle(1.6, 38, length / 2 + x), "steel", 1.2))
    return Item("safety_razor", tuple(parts))
