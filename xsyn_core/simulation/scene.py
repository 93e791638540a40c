"""A packed bag: what is in it, where, and how the picture frames it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from xsyn_core.errors import XsynError
from xsyn_core.simulation.bags import BAGS, oblique
from xsyn_core.simulation.contents import CONTENTS
from xsyn_core.simulation.items import ITEMS
from xsyn_core.simulation.parts import Bag, Item, Outline, Part, Placement, turned
from xsyn_core.simulation.rendering import View, bounds, transform
from xsyn_core.simulation.shapes import between, creases, pick, warped

_MAX_PARTS = 500
_BAG_VARIANTS = 48
_VARIANTS = 40

CLOTH = ("folded_clothes",) * 5 + ("rolled_clothes", "rolled_clothes", "heap_of_cloth", "towel")
_SMALL = ("coins", "keys", "clutter", "jewellery", "batteries", "beads", "blister_pack", "watch")
_SMALL += ("safety_razor", "clutter", "pens", "wires", "glasses", "tube")  # type: ignore[assignment]
_TOILET = ("soft_case", "tube", "brush", "shaver", "Cosmetic", "sponge", "hair_dryer", "Cosmetic")
_WIRED = ("cable", "cable", "charger", "charger", "headphones", "spiral_cord", "Mobile_Phone")
_DESK = ("book", "book", "pens", "mouse", "keyboard", "gadget", "Tablet", "camera", "soft_case")
_FOOD = ("fruit", "snack_bag", "lunch_box", "can", "chocolate", "jar", "sachets", "loaf")
_FOOD += ("glass_bottle", "Water", "cutlery")  # type: ignore[assignment]
_WORN = ("shoe", "shoe", "belt", "umbrella", "bra", "high_heel", "hanger", "wire_bundle")
_ODD = ("toy", "fan_motor", "extension_lead", "gadget", "wire_bundle", "clutter", "lunch_box")


@dataclass(frozen=True)
class _Recipe:
    """How a kind of bag is filled: cloth in rows and layers, then groups of other things."""

    rows: tuple[int, int]
    layers: tuple[int, int]
    things: tuple[int, int]
    groups: tuple[tuple[str, ...], ...]


_ALL = (_SMALL, _TOILET, _WIRED, _DESK, _FOOD, _WORN, _ODD)
_CASE = (_SMALL, _SMALL, _TOILET, _WIRED, _WIRED, _WORN, _WORN, _DESK, _FOOD, _ODD)
_RECIPES = {
    "hard_suitcase": _Recipe((2, 4), (1, 3), (16, 32), _CASE),
    "soft_suitcase": _Recipe((2, 4), (1, 3), (16, 32), _CASE),
    "backpack": _Recipe((1, 3), (0, 2), (8, 20), (_SMALL, _WIRED, _WIRED, _DESK, _DESK, _FOOD)),
    "handbag": _Recipe(
        (1, 2), (0, 1), (6, 14), (_SMALL, _SMALL, ("wallet", "wallet", "keys"), _TOILET, _WIRED)
    ),
    "briefcase": _Recipe((1, 2), (0, 1), (5, 13), (("Laptop",), _DESK, _DESK, _WIRED, _SMALL)),
    "duffel": _Recipe((2, 3), (1, 2), (9, 20), (_WORN, _TOILET, _FOOD, _SMALL, _WIRED)),
    "pouch": _Recipe((1, 1), (0, 1), (4, 16), _ALL),
    "tray": _Recipe(
        (1, 2),
        (0, 1),
        (1, 8),
        (("Laptop", "Tablet", "Mobile_Phone", "wallet", "keys"), _SMALL, _WORN, _WIRED),
    ),
    "parcel": _Recipe((1, 2), (0, 1), (2, 14), _ALL),
}
_COMMON_BAGS = tuple(
    name
    for name, share in {
        "hard_suitcase": 5,
        "soft_suitcase": 5,
        "backpack": 4,
        "handbag": 2,
        "briefcase": 2,
        "duffel": 2,
        "pouch": 3,
        "tray": 3,
        "parcel": 2,
    }.items()
    for _ in range(share)
)


@dataclass(frozen=True)
class Scene:
    """A bag with its contents, ready to be rendered.

    Attributes:
        bag: its parts and interior as they lie in the picture, mm.
        contents: benign things.
        prohibited: the asked-for items; `item.name` is the category.
        view: x1, y1, x2, y2 (mm), a square that holds everything.
    """

    bag: Bag
    contents: tuple[Placement, ...]
    prohibited: tuple[Placement, ...]
    view: View

    @property
    def objects(self) -> tuple:
        """Everything to draw: the bag's parts and all placements."""
        return (*self.bag.parts, *self.contents, *self.prohibited)


@lru_cache(maxsize=4096)
def _variant(kind: str, number: int) -> tuple[Item, Outline]:
    """One of a fixed set of examples of a kind (building is slower than placing), and its hull."""
    rng = np.random.default_rng([number, *kind.encode()])
    item = CONTENTS[kind](rng) if kind in CONTENTS else ITEMS[kind](rng)
    return item, _hull(item)


@lru_cache(maxsize=1024)
def _bag_variant(kind: str, number: int) -> Bag:
    return BAGS[kind](np.random.default_rng([number, *kind.encode()]))


def _hull(item: Item) -> Outline:
    points = np.concatenate([p.outline for p in item.parts]).astype(np.float32)
    return cv2.convexHull(points)[:, 0].astype(float)


class _Room:
    """The convex space inside a bag, where things are pushed back within when they stick out."""

    def __init__(self, interior: Outline):
        hull = cv2.convexHull(interior.astype(np.float32))[:, 0].astype(float)
        edge = np.roll(hull, -1, 0) - hull
        long = np.hypot(edge[:, 0], edge[:, 1]) > 1e-6
        hull, edge = hull[long], edge[long]
        normal = np.stack([edge[:, 1], -edge[:, 0]], 1)
        normal /= np.hypot(normal[:, :1], normal[:, 1:])
        self.low, self.high = hull.min(0), hull.max(0)
        self.middle = (self.low + self.high) / 2
        if ((self.middle - hull) * normal).sum(1).mean() > 0:
            normal = -normal
        self.normal, self.limit = normal, (hull * normal).sum(1)

    def at(self, u: float, v: float) -> np.ndarray:
        """The point at these fractions (-0.5 to 0.5) of the interior's width and height."""
        return self.middle + (self.high - self.low) * (u, v)

    def fit(self, item: Item, hull: Outline, where: np.ndarray, **pose) -> Placement | None:
        """The item in this pose as near to `where` as possible, or None where it cannot fit."""
        matrix, _ = transform(Placement(item, **pose))
        reach = (hull @ matrix[:, :2].T @ self.normal.T).max(0)
        limit = self.limit - reach
        for _ in range(24):
            over = self.normal @ where - limit
            worst = int(over.argmax())
            if over[worst] <= 0.5:
                return Placement(item, float(where[0]), float(where[1]), **pose)
            where = where - self.normal[worst] * over[worst]
        return None


def _draw(rng: np.random.Generator, kind: str) -> tuple[Item, Outline]:
    return _variant(kind, int(rng.integers(_VARIANTS * (3 if kind in CLOTH else 1))))


def _pose(rng: np.random.Generator, aligned: float = 0.5) -> dict:
    """A random attitude: mostly flat, often along the sides of the bag."""
    angle = between(rng, 0, 360)
    if rng.random() < aligned:
        angle = pick(rng, 0, 90, 180, 270) + between(rng, -9, 9)
    tilt = between(rng, 0, 12) if rng.random() < 0.7 else between(rng, 12, 55)
    axis = between(rng, 0, 180)
    return {"angle": angle, "tilt": tilt, "tilt_axis": axis, "mirror": bool(rng.random() < 0.5)}


def _clothes(rng: np.random.Generator, room: _Room, recipe: _Recipe, fill: float):
    """Layers of folded cloth in rows, each row with its own number of pieces."""
    width, height = room.high - room.low
    for _ in range(int(rng.integers(recipe.layers[0], recipe.layers[1] + 1))):
        rows = int(rng.integers(recipe.rows[0], recipe.rows[1] + 1))
        for row in range(rows):
            columns = max(1, round(width / height * rows * between(rng, 0.7, 1.2)))
            for column in range(columns):
                if rng.random() > fill:
                    continue
                u = (column + 0.5) / columns - 0.5 + between(rng, -0.06, 0.06)
                v = (row + 0.5) / rows - 0.5 + between(rng, -0.06, 0.06)
                item, hull = _draw(rng, CLOTH[int(rng.integers(len(CLOTH)))])
                turn = pick(rng, 0, 90)
                for extra in (turn, 90 - turn):
                    pose = {"angle": extra + between(rng, -8, 8), "mirror": rng.random() < 0.5}
                    placed = room.fit(item, hull, room.at(u, v), **pose)
                    if placed:
                        yield placed
                        break


def _bedding(rng: np.random.Generator, room: _Room, interior: Outline) -> Placement:
    """What lies flat under everything, or over half of it: a wide layer of cloth or lining."""
    pivot = room.at(*rng.uniform(-0.4, 0.4, 2))
    outline = (interior - pivot) * between(rng, 0.55, 0.98) + pivot - room.middle
    thick, edge = between(rng, 8, 40), between(rng, 3, 25)
    texture, grain = between(rng, 0.3, 0.7), between(rng, 4, 30)
    layer = Part(outline, "cotton", thick, "bevel", edge, (), texture, grain)
    extent = room.high - room.low
    folds = creases(rng, 15, *(extent * 0.7), "cotton", 30, pick(rng, 0, 90, None))  # type: ignore[call-arg]
    return Placement(Item("bedding", (layer, *folds)), *map(float, room.middle))  # type: ignore[arg-type]


def _things(rng: np.random.Generator, room: _Room, recipe: _Recipe, fill: float, excluded):
    """Other things between and on the clothes: shoes in pairs, the rest one by one."""
    count = round(between(rng, *recipe.things) * fill)
    made = 0
    while made < count:
        made += 1
        group = recipe.groups[int(rng.integers(len(recipe.groups)))]
        kind = group[int(rng.integers(len(group)))]
        if kind in excluded:
            continue
        item, hull = _draw(rng, kind)
        where = room.at(*rng.uniform(-0.5, 0.5, 2))
        pose = _pose(rng)
        placed = room.fit(item, hull, where, **pose)
        if placed is None:
            continue
        yield placed
        if kind in ("shoe", "high_heel"):
            beside = np.array([placed.x, placed.y]) + rng.normal(size=2) * 70
            pose |= {"mirror": not pose["mirror"], "angle": pose["angle"] + pick(rng, 0, 180)}
            other = room.fit(item, hull, beside, **pose)
            if other:
                made += 1
                yield other


def _prohibited(rng: np.random.Generator, room: _Room, item: Item, taken: list[Placement]):
    """A prohibited item at any angle, away from the others if it can be; None if too large."""
    hull = _hull(item)
    spots = [room.at(*rng.uniform(-0.5, 0.5, 2)) for _ in range(3)]
    if taken:
        others = np.array([(p.x, p.y) for p in taken])
        spots.sort(key=lambda s: -float(np.hypot(*(others - s).T).min()))
    for k in range(8):
        tilt = between(rng, 0, 15) if rng.random() < 0.75 else between(rng, 15, 50)
        pose = {"angle": between(rng, 0, 360), "tilt": tilt, "tilt_axis": between(rng, 0, 180)}
        pose["mirror"] = bool(rng.random() < 0.5)
        placed = room.fit(item, hull, spots[k % 3], **pose)
        if placed:
            return placed
    return None


def _in_tray(rng: np.random.Generator, tray: Bag) -> Bag:
    """A tray with a bag in it, as at airports, when one fits."""
    room = _Room(tray.interior)
    kind = pick(rng, "pouch", "pouch", "handbag", "backpack", "briefcase")
    inner = _bag_variant(kind, int(rng.integers(_BAG_VARIANTS)))
    item = Item(kind, inner.parts)
    angle = pick(rng, 0, 90, 180, 270) + between(rng, -10, 10)
    placed = room.fit(item, _hull(item), room.at(*rng.uniform(-0.2, 0.2, 2)), angle=angle)
    if placed is None:
        return tray

    def move(p):
        return turned(p, angle, placed.x, placed.y)

    return Bag(kind, tray.parts + warped(inner.parts, move), move(inner.interior))


def _make_bag(rng: np.random.Generator, kind: str) -> Bag:
    """A bag of this kind, turned as it lies on the belt."""
    bag = _bag_variant(kind, int(rng.integers(_BAG_VARIANTS)))
    if kind == "tray" and rng.random() < 0.4:
        bag = _in_tray(rng, bag)
    bag = oblique(bag, rng, 0.35)
    angle = between(rng, -8, 8)
    chance = rng.random()
    if chance < 0.35:
        angle = between(rng, 0, 360)
    elif chance < 0.6:
        angle += pick(rng, 90, 180, 270)
    return Bag(bag.name, warped(bag.parts, lambda p: turned(p, angle)), turned(bag.interior, angle))


def _pack(rng: np.random.Generator, bag: Bag, excluded: Collection[str]) -> list[Placement]:
    recipe = _RECIPES[bag.name]
    fill = 1.0
    if rng.random() < 0.18:
        fill = between(rng, 0.0, 0.45)
    elif rng.random() < 0.5:
        fill = between(rng, 0.6, 0.95)
    # Packed in the bag's own frame, so that rows run along its sides.
    (_, _), (_, _), angle = cv2.minAreaRect(bag.interior.astype(np.float32))
    interior = turned(bag.interior, -angle)
    room = _Room(interior)
    placed: list[Placement] = []
    if recipe.layers[1] > 1 and fill > 0.5 and rng.random() < 0.8:
        placed.append(_bedding(rng, room, interior))
    parts = len(bag.parts)
    cloth = parts + (_MAX_PARTS - parts) * between(rng, 0.3, 0.6)
    for limit, group in (
        (cloth, _clothes(rng, room, recipe, fill)),
        (_MAX_PARTS, _things(rng, room, recipe, fill, excluded)),
    ):
        for p in group:
            if parts + len(p.item.parts) > limit:
                continue
            parts += len(p.item.parts)
            placed.append(p)
    moved = turned(np.array([(p.x, p.y) for p in placed]).reshape(-1, 2), angle)
    return [
        Placement(p.item, float(x), float(y), p.angle + angle, p.tilt, p.tilt_axis, p.mirror)
        for p, (x, y) in zip(placed, moved, strict=True)
    ]


def _frame(rng: np.random.Generator, bag: Bag, placements: Sequence[Placement]) -> View:
    """A square with some air around everything."""
    points = np.concatenate([p.outline for p in bag.parts])
    boxes = np.array([bounds(p) for p in placements]).reshape(-1, 2, 2)
    low = np.concatenate([points, boxes[:, 0]]).min(0)
    high = np.concatenate([points, boxes[:, 1]]).max(0)
    side = float((high - low).max()) * between(rng, 1.02, 1.15)
    slack = side - (high - low)
    x, y = low - slack * rng.uniform(0.25, 0.75, 2)
    return (float(x), float(y), float(x) + side, float(y) + side)


def random_scene(rng: np.random.Generator, categories: Sequence[str] = ()) -> Scene:
    """A bag packed at random, with one prohibited item of each of `categories`.

    Args:
        categories: keys of `ITEMS`, 0 to about 4, with repetition if several are wanted.
            The benign contents (laptops, phones, tablets, water bottles and cosmetics too) are
            never of them.

    Raises:
        XsynError: an unknown category.
    """
    for name in categories:
        if name not in ITEMS:
            raise XsynError(f"No item {name!r}. Choose from: {', '.join(ITEMS)}.")
    items = [ITEMS[name](rng) for name in categories]
    for attempt in range(6):
        kind = _COMMON_BAGS[int(rng.integers(len(_COMMON_BAGS)))]
        if attempt == 5:
            kind = "duffel"
        made = _make_bag(rng, kind)
        room = _Room(made.interior)
        prohibited: list[Placement] = []
        for item in items:
            placed = _prohibited(rng, room, item, prohibited)
            if placed is None and attempt == 5:
                # Longer than any bag here: it sticks out on both sides.
                placed = Placement(item, *map(float, room.middle), between(rng, 0, 360))  # type: ignore[arg-type,call-arg]
            if placed:
                prohibited.append(placed)
        if len(prohibited) == len(items):
            break
    contents = _pack(rng, made, set(categories))
    view = _frame(rng, made, [*contents, *prohibited])
    return Scene(made, tuple(contents), tuple(prohibited), view)


def item_window(scene: Scene, placement: Placement, rng: np.random.Generator) -> View:
    """A square of 1.4 to 2.2 times the item's extent (at least 60 mm) that holds the item.

    It lies within the scene's view unless the item is too large for that.
    """
    x1, y1, x2, y2 = bounds(placement)
    extent = max(x2 - x1, y2 - y1)
    whole = scene.view[2] - scene.view[0]
    side = min(max(extent * between(rng, 1.4, 2.2), 60.0), max(whole, extent))
    play = np.maximum(side * 0.94 - np.array([x2 - x1, y2 - y1]), 0) / 2
    corner = np.array([x1 + x2, y1 + y2]) / 2 + rng.uniform(-1, 1, 2) * play - side / 2
    corner = np.clip(corner, scene.view[:2], np.array(scene.view[2:]) - side)
    x, y = corner.tolist()
    return (x, y, x + side, y + side)
