"""What the item builders share: bending, moving and centring."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from xsyn_core.simulation.parts import Item, Outline, Part
from xsyn_core.simulation.shapes import pick

Builder = Callable[[np.random.Generator], Item]


def curve(*points: tuple[float, float], count: int = 12) -> Outline:
    """A Bezier curve with these control points, (count, 2) mm."""
    t = np.linspace(0, 1, count)[:, None]
    p = [np.asarray(q, float)[None] for q in points]
    while len(p) > 1:
        p = [a * (1 - t) + b * t for a, b in pairwise(p)]
    return p[0]


def arc(
    width: float,
    height: float,
    start: float,
    stop: float,
    x: float = 0.0,
    y: float = 0.0,
    count: int = 24,
) -> Outline:
    """An arc of an ellipse of these diameters, from one angle (degrees) to another."""
    a = np.deg2rad(np.linspace(start, stop, count))
    return np.stack([np.cos(a) * width / 2 + x, np.sin(a) * height / 2 + y], 1)


def moved(
    parts: Iterable[Part], angle: float = 0.0, x: float = 0.0, y: float = 0.0, flip: bool = False
) -> list[Part]:
    """Flip parts top to bottom if asked, turn them clockwise about the origin, then move them."""
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    matrix = np.array([[c, s], [s, -c] if flip else [-s, c]])
    return [_mapped(p, lambda q: q @ matrix + (x, y)) for p in parts]


def _mapped(part: Part, change: Callable[[Outline], Outline]) -> Part:
    return replace(part, outline=change(part.outline), holes=tuple(map(change, part.holes)))


def reached(value: float, *limits: float) -> int:
    """How many of the ascending `limits` a value reaches."""
    return sum(value >= limit for limit in limits)


def centred(name: str, parts: Iterable[Part], *kind: int) -> Item:
    """An item of these parts, its bounding box centred at the origin.

    Args:
        kind: digits, see `Item.kind`.
    """
    parts = list(parts)
    points = np.concatenate([p.outline for p in parts])
    middle = (points.min(0) + points.max(0)) / 2
    digits = "".join(str(int(digit)) for digit in kind)
    return Item(name, tuple(_mapped(p, lambda q: q - middle) for p in parts), digits)


def renamed(item: Item, name: str) -> Item:
    """The same item under another category's name."""
    return replace(item, name=name)


def one_of(rng: np.random.Generator, *builders: Builder) -> Item:
    """An item of one of these builders, all equally likely; its kind begins with which of those
    that differ."""
    builder = pick(rng, *builders)
    item = builder(rng)
    number = list(dict.fromkeys(builders)).index(builder)
    return replace(item, kind=f"{number}{item.kind}")
