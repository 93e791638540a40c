"""Containers: suitcases, backpacks, handbags, briefcases, trays, parcels, carrier bags.

A bag is seen obliquely: its near and far faces are the same outline, shifted and shrunk against
each other (the scanner's fan of rays), and hardware sits on one of the levels between.
"""

from collections.abc import Callable

import cv2
import numpy as np

from xsyn_core.simulation.luggage import hard_suitcase, soft_suitcase
from xsyn_core.simulation.parts import (
    Bag,
    Part,
    ellipse,
    rectangle,
    rounded_rectangle,
    smooth,
    stroke,
    turned,
)
from xsyn_core.simulation.shapes import (
    between,
    blob,
    buckle,
    closed_path,
    creases,
    pick,
    resampled,
    rim,
    ring,
    screw,
    wander,
    warped,
    zip_slider,
    zip_track,
)


def oblique(bag: Bag, rng: np.random.Generator, amount: float = 1.0) -> Bag:
    """The bag sheared and seen in perspective, as from a scanner's tilted beam."""
    shear = np.array([[1, between(rng, -0.22, 0.22)], [between(rng, -0.08, 0.08), 1]])
    shear = np.eye(2) + (shear - np.eye(2)) * amount
    vanish = rng.uniform(-1, 1, 2) * amount * 3.5e-4

    def warp(p):
        q = p @ shear
        return q / (1 + q @ vanish)[:, None]

    return Bag(bag.name, warped(bag.parts, warp), warp(bag.interior))


def _hull(*outlines) -> np.ndarray:
    points = np.concatenate(outlines).astype(np.float32)
    return cv2.convexHull(points)[:, 0].astype(float)


def _wrinkles(rng, outline, count, material, thickness):
    """Folds that run along the border, as the skin of a soft bag hangs."""
    parts = []
    n = len(outline)
    for _ in range(count):
        length = int(rng.integers(n // 6, n // 2))
        take = (np.arange(length) + int(rng.integers(n))) % n
        path = outline[take] * between(rng, 0.62, 0.99)
        path = path + wander(rng, 30, 1.0, length) * (0.0, 0.9)
        path = smooth(path, 1, closed=False)
        widths = between(rng, 0.6, 2.6) * np.sin(np.linspace(0.2, 2.9, len(path)))
        kind = material if rng.random() < 0.6 else pick(rng, "pvc", "nylon")
        parts.append(Part(stroke(path, widths), kind, thickness * between(rng, 0.3, 1)))
    return parts


def _sliders(rng, path, count, size=1.0):
    """Zip sliders sitting on a path."""
    parts = []
    for _ in range(count):
        k = int(rng.integers(1, len(path) - 1))
        dx, dy = path[k + 1] - path[k - 1]
        angle = np.degrees(np.arctan2(dy, dx)) + pick(rng, 90, -90)
        parts += zip_slider(rng, *path[k], angle, size)
    return parts


def backpack(rng: np.random.Generator) -> Bag:
    """A rucksack: thin creased skin, padded back and straps, pockets with zips, buckles."""
    w, h = between(rng, 260, 350), between(rng, 380, 500)
    body = blob(rng, w, h, 0.07, between(rng, 0.25, 0.6), 56)
    body[:, 0] *= 1 - 0.18 * np.clip(-body[:, 1] / h, 0, 1)
    cloth = pick(rng, "nylon", "nylon", "pvc")
    parts = [
        Part(
            body,
            cloth,
            between(rng, 1.0, 2.2) if cloth == "pvc" else between(rng, 2.5, 5),
            "slab",
            0,
            (),
            0.3,
            7,
        ),
        Part(body * 0.94 + rng.uniform(-6, 6, 2), "nylon", 2.0),
        rim(body * 0.97, between(rng, 3, 6), "pvc", 4.0),
        Part(body * (0.84, 0.9), "foam", between(rng, 12, 22), "slab", 0, (), 0.2, 20),
    ]
    if rng.random() < 0.4:
        for s in (-1, 1):
            stay = rectangle(between(rng, 8, 14), h * 0.75, s * w * between(rng, 0.13, 0.2))
            parts.append(Part(stay, "aluminium", 2.5))
    pocket_h = h * between(rng, 0.4, 0.58)
    pocket = rounded_rectangle(w * 0.74, pocket_h, 40, 0, h * 0.46 - pocket_h / 2)
    parts += [Part(pocket, "nylon", 2.2), rim(pocket, 3.0, "nylon", 5.0)]
    metal = pick(rng, "nylon", "nylon", "nylon", "aluminium", "brass")
    top = closed_path(body * 0.9)[len(body) // 2 :]
    arch = closed_path(pocket)[9:22]
    for path in (top, arch):
        parts.append(zip_track(path, 4.5, metal))
        parts += _sliders(rng, resampled(path, 8), int(rng.integers(1, 4)))
    for s in (-1, 1):
        start = np.array([s * w * 0.12, -h * 0.42])
        bow = between(rng, 0.25, 0.62)
        path = np.array([(0, 0), (s * w * bow * 0.5, h * 0.15), (s * w * bow, h * 0.45)])
        path = smooth(np.concatenate([path, [(s * w * 0.36, h * 0.82)]]) + start, 3, closed=False)
        pad, web = path[: int(len(path) * 0.62)], path[int(len(path) * 0.55) :]
        parts += [
            Part(stroke(pad, between(rng, 45, 62)), "foam", 16, "bevel", 8, (), 0.2, 15),
            Part(stroke(pad, between(rng, 36, 52)), "nylon", 2.5),
            Part(stroke(pad, 3) + (s * 20, 0), "nylon", 7),
            Part(stroke(web, 22), "nylon", 2.5),
        ]
        x, y = path[int(len(path) * 0.6)]
        parts += buckle(rng, x, y, s * -20, 30)
    handle = np.array([(-0.13, -0.48), (-0.1, -0.56), (0.1, -0.56), (0.13, -0.48)]) * (w, h)
    parts.append(Part(stroke(smooth(handle, 2, closed=False), 18), "nylon", 6.0, "round"))
    parts += _wrinkles(rng, body, int(rng.integers(18, 30)), "nylon", 14.0)
    parts += creases(rng, 12, w * 0.8, h * 0.8, "nylon", 9.0)
    return oblique(Bag("backpack", tuple(parts), body * 0.88), rng, 1.3)


def handbag(rng: np.random.Generator) -> Bag:
    """A leather or cloth handbag with handles, rings, rivets and clasp."""
    w, h = between(rng, 260, 400), between(rng, 200, 300)
    body = blob(rng, w, h, 0.05, between(rng, 0.4, 0.8), 52)
    body[:, 0] *= 1 + between(rng, 0.0, 0.3) * body[:, 1] / h
    skin = pick(rng, "leather", "leather", "pvc", "cotton")
    metal = pick(rng, "brass", "zinc", "steel")
    shift = rng.uniform(-15, 15, 2)
    parts = [
        Part(body, skin, {"pvc": 1.6, "leather": 4.5, "cotton": 12.0}[skin], "slab", 0, (), 0.2, 9),
        Part(body * 0.95 + shift, "cotton", 4.0, texture=0.3, grain=9),
        rim(body * 0.96 + shift, 2.5, skin, 6.0),
        Part(rectangle(w * 0.9, 22, 0, h * 0.42) + shift, "cardboard", 3.0),
    ]
    reach = between(rng, 0.3, 0.62)
    for k in range(2):
        side = between(rng, 0.16, 0.24) * w
        arch = [(-side, -h * 0.3), (-side, -h * 0.55), (-side * 0.6, -h * (0.5 + reach))]
        arch = np.array(arch + [(-x, y) for x, y in arch[::-1]]) + shift * k  # type: ignore[assignment]
        if rng.random() < 0.7 or k:
            path = smooth(arch, 3, closed=False)
            parts.append(Part(stroke(path, between(rng, 8, 16)), skin, 9.0, "round"))
        for x in (-side, side):
            parts.append(ring(x + shift[0] * k, -h * 0.36, 30, 4, metal, 2.3))
            for y in (-0.28, -0.22):
                dot = ellipse(7, 7, x + shift[0] * k, y * h + shift[1] * k, 12)
                parts.append(Part(dot, metal, 2.3, "round"))
    if rng.random() < 0.5:
        path = blob(rng, w * 0.8, h * 0.9, 0.3)[: int(rng.integers(18, 40))]
        p = resampled(path, 3.0)
        parts.append(Part(stroke(p, np.where(np.arange(len(p)) % 3, 7.0, 2.5)), metal, 2.0))
    edge = closed_path(body * (0.92, 0.84))[len(body) // 2 :]
    parts.append(zip_track(edge, 5, metal))
    parts += _sliders(rng, resampled(edge, 8), int(rng.integers(1, 3)))
    inner = np.array([[-w * 0.3, -h * 0.12], [w * 0.3, -h * 0.1]])
    parts.append(zip_track(inner, 4, metal))
    parts += _sliders(rng, resampled(inner, 8), 1, 0.8)
    clasp = rounded_rectangle(28, 22, 6, between(rng, -10, 10), -h * 0.3)
    parts.append(Part(clasp, metal, 2.7, "bevel", 3))
    for x in (-0.4, 0.4):
        for y in (0.36, 0.44):
            parts.append(Part(ellipse(10, 10, x * w, y * h, 14), metal, 3.1, "round"))
    parts += _wrinkles(rng, body, int(rng.integers(8, 16)), skin, 6.0)
    parts += creases(rng, 10, w * 0.8, h * 0.7, "cotton", 16.0)
    return oblique(Bag("handbag", tuple(parts), body * (0.9, 0.84)), rng, 1.2)


def briefcase(rng: np.random.Generator) -> Bag:
    """A hard case with frame and latches, or a padded laptop bag with strap."""
    w, h = between(rng, 370, 450), between(rng, 280, 340)
    hard = rng.random() < 0.4
    shift = rng.uniform(-1, 1, 2) * (18, 22)
    body = rounded_rectangle(w, h, between(rng, 10, 40))
    far = body * 0.97 + shift
    parts = []
    if hard:
        skin = pick(rng, "leather", "aluminium", "plastic")
        parts += [
            Part(body, skin, 1.6 if skin == "aluminium" else 4.0, "shell", 3.0),
            Part(far, skin, 1.2 if skin == "aluminium" else 3.0),
            rim(body, 7, "aluminium", 8),
            rim(body * 0.98 + shift * 0.5, 5, "aluminium", 10),
        ]
        for x in (-0.33, 0.33):
            latch = rounded_rectangle(46, 24, 4, x * w, h * 0.47)
            parts += [
                Part(latch, "steel", 1.8),
                Part(rectangle(20, 14, x * w, h * 0.47), "zinc", 3.5),
            ]
            parts += [
                Part(ellipse(6, 6, x * w + s * 15, h * 0.47, 12), "steel", 2.7) for s in (-1, 1)
            ]
            hinge = rectangle(60, 8, x * w, -h * 0.49)
            parts.append(Part(hinge, "steel", 2.3, "round"))
        path = np.array([(-60, 0.48 * h), (-52, 0.58 * h), (52, 0.58 * h), (60, 0.48 * h)])
        parts.append(Part(stroke(smooth(path, 2, closed=False), 16), "plastic", 14, "round"))
    else:
        parts += [
            Part(body, "nylon", 3.5, "slab", 0, (), 0.3, 7),
            Part(far, "nylon", 2.0),
            rim(body * 0.98, 12, "foam", 20),
            rim(body * 0.99, 3, "pvc", 4),
            rim(far, 3, "pvc", 4),
            Part(rounded_rectangle(w * 0.8, h * 0.5, 16, 0, h * 0.17), "nylon", 2.2),
        ]
        for path in (
            closed_path(body * 0.94)[5:24],
            np.array([[-w * 0.38, -h * 0.08], [w * 0.38, -h * 0.08]]) + shift / 2,
        ):
            parts.append(zip_track(path, 4.5, pick(rng, "nylon", "aluminium")))
            parts += _sliders(rng, resampled(path, 8), 2)
        strap = blob(rng, w * 0.9, h * 0.7, 0.35)[:36]
        parts.append(Part(stroke(strap, 30), "nylon", 2.5))
        parts += buckle(rng, *strap[12], between(rng, 0, 180), 42)  # type: ignore[call-arg]
        for s in (-1, 1):
            parts.append(ring(s * w * 0.48, -h * 0.44, 32, 4, "zinc", 2.3))
            handle = np.array([(-58, -0.4), (-50, -0.6), (50, -0.6), (58, -0.4)]) * (1, h)
            parts.append(
                Part(
                    stroke(smooth(handle, 2, closed=False) + shift * (s > 0), 20),
                    "nylon",
                    7,
                    "round",
                )
            )
        parts += _wrinkles(rng, body, int(rng.integers(6, 13)), "nylon", 7.0)
    parts += [screw(rng, *(rng.uniform(-0.44, 0.44, 2) * (w, h)), 0, 0.7) for _ in range(4)]  # type: ignore[call-arg]
    return oblique(Bag("briefcase", tuple(parts), body * 0.92), rng)


def tray(rng: np.random.Generator) -> Bag:
    """A plastic security tray: floor, sloping walls, rolled rim, grips."""
    w, h = between(rng, 420, 620), between(rng, 320, 440)
    lean = rng.uniform(-1, 1, 2) * (28, 22)
    outer = rounded_rectangle(w, h, between(rng, 30, 60))
    floor = rounded_rectangle(w * 0.86, h * 0.84, between(rng, 20, 45)) + lean
    grip = rounded_rectangle(between(rng, 90, 170), 26, 10)
    parts = [
        Part(outer, "polypropylene", 4.0, "shell", 5.0),
        Part(outer, "polypropylene", 7.0, holes=(floor,)),
        Part(floor, "polypropylene", 3.5),
        rim(floor, 3.0, "polypropylene", 6.0),
        rim(outer, 10.0, "polypropylene", 8.0),
        Part(grip + (0, -h / 2 - 8), "polypropylene", 7.0, "bevel", 3.0),
        Part(grip + (0, h / 2 + 8), "polypropylene", 7.0, "bevel", 3.0),
    ]
    if rng.random() < 0.4:
        for x in np.arange(-0.36, 0.37, 0.12):
            parts.append(
                Part(rectangle(5, h * 0.8, x * w + lean[0], lean[1]), "polypropylene", 2.5)
            )
    return oblique(Bag("tray", tuple(parts), floor), rng, 0.4)


def parcel(rng: np.random.Generator) -> Bag:
    """A cardboard box: two faces, flaps, adhesive tape, sometimes staples and wrapping."""
    w, h = between(rng, 260, 480), between(rng, 220, 380)
    shift = rng.uniform(-1, 1, 2) * (60, 50)
    near, far = rectangle(w, h), rectangle(w, h) * between(rng, 0.86, 0.97) + shift
    board = between(rng, 3, 5)
    parts = [
        Part(near, "cardboard", board, "shell", 4.0, (), 0.1, 3),
        Part(far, "cardboard", board, "shell", 4.0, (), 0.1, 3),
        Part(_hull(near, far), "cardboard", board),
        rim(near, 3.5, "cardboard", between(rng, 25, 70)),
        rim(far, 3.0, "cardboard", between(rng, 15, 50)),
    ]
    for s in (-1, 1):
        flap = rectangle(w, h * 0.5, 0, s * h * 0.25)
        parts.append(Part(flap * 0.995, "cardboard", board * 0.8))
        parts.append(rim(flap * 0.99, 1.6, "cardboard", 14))
        side = rectangle(h * 0.45, h, s * (w / 2 - h * 0.225), 0)
        parts.append(Part(side, "cardboard", board * 0.8))
    tape = np.array([[-w / 2 - 20, 0], [w / 2 + 20, 0]]) + (0, between(rng, -4, 4))
    parts.append(Part(stroke(tape, between(rng, 44, 60)), "polypropylene", 0.8))
    for _ in range(int(rng.integers(0, 4))):
        path = np.array([[-w / 2, 0], [w / 2, 0]]) + (0, between(rng, -0.45, 0.45) * h)
        parts.append(Part(stroke(path, 46), "polypropylene", 0.6))
    if rng.random() < 0.4:
        for x in rng.uniform(-0.45, 0.45, 8):
            clip = rectangle(pick(rng, 2, 12), 2, x * w, pick(rng, -10, 10))
            parts.append(Part(clip, "steel", 2.0))
    if rng.random() < 0.5:
        for _ in range(3):
            pad = blob(rng, between(rng, 80, 200), between(rng, 60, 160), 0.3)
            pad = pad + rng.uniform(-0.25, 0.25, 2) * (w, h)
            parts.append(Part(pad, "foam", between(rng, 10, 40), "bevel", 12, (), 0.5, 8))
    return oblique(Bag("parcel", tuple(parts), near * 0.93), rng, 1.2)


def pouch(rng: np.random.Generator) -> Bag:
    """A thin soft bag, carrier bag or toilet bag: hardly more than its creases and one zip."""
    w, h = between(rng, 220, 380), between(rng, 160, 280)
    body = blob(rng, w, h, between(rng, 0.05, 0.13), between(rng, 0.2, 0.7), 60)
    cloth = pick(rng, "nylon", "pvc", "polypropylene", "cotton")
    parts = [
        Part(body, cloth, between(rng, 1.2, 3), "slab", 0, (), 0.4, 8),
        Part(body * 0.93 + rng.uniform(-12, 12, 2), cloth, 1.5),
    ]
    parts += _wrinkles(rng, body, int(rng.integers(18, 32)), cloth, 10.0)
    parts += creases(rng, 10, w * 0.8, h * 0.8, cloth, 8.0)
    if cloth != "polypropylene":
        for _ in range(int(rng.integers(1, 3))):
            path = resampled(body[: len(body) // 2 + 1] * between(rng, 0.7, 0.97), 8)
            parts.append(zip_track(path, 4.5, pick(rng, "nylon", "aluminium", "brass")))
            parts += _sliders(rng, path, int(rng.integers(1, 4)))
        for _ in range(int(rng.integers(0, 4))):
            x, y = body[int(rng.integers(len(body)))] * 0.9
            parts += buckle(rng, x, y, between(rng, 0, 180), between(rng, 20, 34))
    for s in (-1, 1):
        if rng.random() < 0.5:
            loop = np.array([(-0.2, 0.42), (-0.18, 0.75), (0.18, 0.75), (0.2, 0.42)]) * (w, -h)
            path = smooth(loop, 3, closed=False) + (s * 12, 0)
            parts.append(Part(stroke(path, between(rng, 6, 26)), cloth, 2.5, texture=0.4))
    return oblique(Bag("pouch", tuple(parts), body * 0.86), rng, 1.4)


def _turned_strap(rng, w, h):
    path = wander(rng, (w + h) / 2, 1.5)
    return Part(stroke(turned(path, between(rng, 0, 180)), between(rng, 18, 34)), "nylon", 2.4)


def duffel(rng: np.random.Generator) -> Bag:
    """A sports bag: soft barrel with end panels, long zip, webbing handles, shoulder strap."""
    w, h = between(rng, 420, 600), between(rng, 240, 330)
    body = blob(rng, w, h, 0.08, between(rng, 0.3, 0.55), 60)
    parts = [
        Part(body, "nylon", 3.0, "slab", 0, (), 0.3, 8),
        Part(body * 0.95 + rng.uniform(-12, 12, 2), "pvc", 1.6),
        rim(body * 0.96, 3.5, "pvc", 4.0),
    ]
    zipped = resampled(
        smooth(np.array([[-w * 0.44, 0], [0, between(rng, -18, 18)], [w * 0.44, 0]]), 3, False), 8
    )
    parts.append(zip_track(zipped, 6, pick(rng, "nylon", "aluminium", "brass")))
    parts += _sliders(rng, zipped, 2, 1.2)
    for s in (-1, 1):
        web = np.array([(-0.2, 0.5), (-0.2, 0.1), (-0.14, -0.25), (0.14, -0.25), (0.2, 0.1)])
        path = np.concatenate([web, [(0.2, 0.5)]]) * (w, s * h * between(rng, 0.7, 0.95))
        parts.append(Part(stroke(smooth(path, 2, closed=False), 32), "nylon", 2.6))
        seam = np.array([(0.36, -0.46), (0.4, 0), (0.36, 0.46)]) * (s * w, h)
        parts.append(Part(stroke(smooth(seam, 2, closed=False), 6), "pvc", 4, "round"))
        parts.append(ring(s * w * 0.44, between(rng, -0.2, 0.2) * h, 36, 5, "zinc", 2.3))
        parts += buckle(rng, s * w * 0.3, between(rng, -0.3, 0.3) * h, between(rng, 0, 180), 34)
    parts.append(_turned_strap(rng, w * 0.6, h * 0.6))
    pocket = rounded_rectangle(w * 0.42, h * 0.4, 14, between(rng, -0.1, 0.1) * w, h * 0.2)
    parts += [rim(pocket, 3, "nylon", 4), zip_track(pocket[14:22], 4)]
    parts += _sliders(rng, resampled(pocket[14:22], 8), 1)
    parts += _wrinkles(rng, body, int(rng.integers(16, 26)), "nylon", 8.0)
    return oblique(Bag("duffel", tuple(parts), body * 0.9), rng, 1.2)


BAGS: dict[str, Callable[[np.random.Generator], Bag]] = {
    "hard_suitcase": lambda rng: oblique(hard_suitcase(rng), rng),
    "soft_suitcase": lambda rng: oblique(soft_suitcase(rng), rng),
    "backpack": backpack,
    "handbag": handbag,
    "briefcase": briefcase,
    "duffel": duffel,
    "pouch": pouch,
    "tray": tray,
    "parcel": parcel,
}
