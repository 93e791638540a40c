"""Simulated scenes that no model was trained on, with and without the item asked for."""

from dataclasses import dataclass, replace

import numpy as np

from xsyn_core.boxes import Box, area, clip, intersection, of_mask
from xsyn_core.simulation.looks import expose, random_look
from xsyn_core.simulation.parts import Placement
from xsyn_core.simulation.rendering import attenuation, bounds, silhouette
from xsyn_core.simulation.scene import Scene, item_window, random_scene

# Training uses seeds from 0 on.
SEED = 1_000_000
# A window is cut from a scan of finer pixels, in training as on the page.
SHRINK = 2
# A few scenes do not hold the item, or show it edge on.
ATTEMPTS = 100


@dataclass(frozen=True)
class Case:
    """One item in one window.

    Attributes:
        category: its name.
        image: uint8 (H, W, 3), the window (or whole scan) with the item.
        benign: uint8 (H, W, 3), the same exposure without it.
        mask: bool (H, W), its silhouette.
        box: its tight box, pixels.
        grounding: a loose and shifted box around it, as an operator draws one, pixels.
    """

    category: str
    image: np.ndarray
    benign: np.ndarray
    mask: np.ndarray
    box: Box
    grounding: Box


def loosened(
    box: Box, side: int, rng: np.random.Generator, amount: float = 0.25, shift: float = 0.1
) -> Box:
    """A loose and shifted box around a tight one, clipped to a `side` square.

    Args:
        box: tight, pixels.
        amount: each side is moved out by up to this share of the box's size ...
        shift: ... and then the whole box by up to this share of it, either way: it may cut off a
            little of the item, as a hasty operator does.
    """
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    a, b, c, d = rng.uniform(0, amount, 4)
    dx, dy = rng.uniform(-shift, shift, 2)
    moved = x1 + (dx - a) * w, y1 + (dy - b) * h, x2 + (dx + c) * w, y2 + (dy + d) * h
    found = clip(moved, (side, side))
    return float(found[0]), float(found[1]), float(found[2]), float(found[3])


def shrunk(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) at a `SHRINK`th of its size."""
    h, w = image.shape[0] // SHRINK, image.shape[1] // SHRINK
    blocks = image.reshape(h, SHRINK, w, SHRINK, 3)
    return blocks.mean((1, 3), dtype=np.float32).astype(np.uint8)


def case(
    category: str, index: int, side: int, other: int | None = None, buried: bool = True
) -> Case:
    """Case number `index` of a category, `side` pixels square; the same for the same arguments.

    Args:
        category: of any catalogue.
        index: from 0 on.
        side: pixels.
        other: the item of another case, in its own attitude, takes the place of this one's: the
            same spot of the same bag, on the same scanner, boxed as loosely.
        buried: whether contents may cross the item. Under them nobody can tell what a good part of
            the simulator's own items are, and so not what painted ones are.
    """
    for attempt in range(ATTEMPTS):
        scene, rng = _packed(category, index, attempt)
        if not scene.prohibited:
            continue
        item = scene.prohibited[0]
        if other is not None:
            item = replace(_item(category, other), x=item.x, y=item.y)
        view = item_window(scene, item, rng)
        mask = silhouette(item, view, (side, side))
        box = of_mask(mask)
        if box is None or min(box[2] - box[0], box[3] - box[1]) < side / 16:
            continue
        fine = (SHRINK * side, SHRINK * side)
        contents = [
            c for c in scene.contents if buried or not area(intersection(bounds(c), bounds(item)))
        ]
        rest = attenuation([*scene.bag.parts, *contents], view, fine, np.random.default_rng(index))
        alone = attenuation([item], view, fine, np.random.default_rng(index))
        look, exposure = random_look(rng), int(rng.integers(2**31))
        pitch = (view[2] - view[0]) / fine[0]
        image, benign = (
            shrunk(expose(maps, look, np.random.default_rng(exposure), mm_per_px=pitch))
            for maps in (rest + alone, rest)
        )
        return Case(category, image, benign, mask, box, loosened(box, side, rng))
    raise AssertionError(f"no scene holds a {category}")


def _packed(category: str, index: int, attempt: int) -> tuple[Scene, np.random.Generator]:
    rng = np.random.default_rng((SEED, index, attempt, *category.encode()))
    return random_scene(rng, categories=[category]), rng


def _item(category: str, index: int) -> Placement:
    for attempt in range(ATTEMPTS):
        scene, _ = _packed(category, index, attempt)
        if scene.prohibited:
            return scene.prohibited[0]
    raise AssertionError(f"no scene holds a {category}")
