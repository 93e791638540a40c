"""Simulated scenes that no model was trained on, with and without the item asked for."""

from dataclasses import dataclass

import numpy as np

from xsyn_core.boxes import Box, of_mask
from xsyn_core.simulation.looks import expose, random_look
from xsyn_core.simulation.rendering import attenuation, silhouette
from xsyn_core.simulation.scene import item_window, random_scene

# Training uses seeds from 0 on.
SEED = 1_000_000
# A window is cut from a scan of finer pixels, in training as on the page.
SHRINK = 2


@dataclass(frozen=True)
class Case:
    """One item in one window.

    Attributes:
        category: its name.
        image: uint8 (S, S, 3), the window with the item.
        benign: uint8 (S, S, 3), the same exposure without it.
        mask: bool (S, S), its silhouette.
        box: its tight box, pixels.
        grounding: a loose and shifted box around it, as an operator draws one.
    """

    category: str
    image: np.ndarray
    benign: np.ndarray
    mask: np.ndarray
    box: Box
    grounding: Box


def loosened(box: Box, side: int, rng: np.random.Generator, amount: float = 0.25) -> Box:
    """Each side moved out by up to `amount` of the box's size, within a `side` square."""
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    a, b, c, d = rng.uniform(0, amount, 4)
    return (
        max(0.0, x1 - a * w),
        max(0.0, y1 - b * h),
        min(float(side), x2 + c * w),
        min(float(side), y2 + d * h),
    )


def shrunk(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) at a `SHRINK`th of its size."""
    h, w = image.shape[0] // SHRINK, image.shape[1] // SHRINK
    blocks = image.reshape(h, SHRINK, w, SHRINK, 3)
    return blocks.mean((1, 3), dtype=np.float32).astype(np.uint8)


def case(category: str, index: int, side: int) -> Case:
    """Case number `index` of a category, `side` pixels square; the same for the same arguments."""
    for attempt in range(100):
        rng = np.random.default_rng((SEED, index, attempt, *category.encode()))
        scene = random_scene(rng, categories=[category])
        if not scene.prohibited:
            continue
        item = scene.prohibited[0]
        view = item_window(scene, item, rng)
        mask = silhouette(item, view, (side, side))
        box = of_mask(mask)
        if box is None or min(box[2] - box[0], box[3] - box[1]) < side / 16:
            continue
        fine = (SHRINK * side, SHRINK * side)
        rest = attenuation(
            [*scene.bag.parts, *scene.contents], view, fine, np.random.default_rng(index)
        )
        alone = attenuation([item], view, fine, np.random.default_rng(index))
        look, exposure = random_look(rng), int(rng.integers(2**31))
        pitch = (view[2] - view[0]) / fine[0]
        image, benign = (
            shrunk(expose(maps, look, np.random.default_rng(exposure), mm_per_px=pitch))
            for maps in (rest + alone, rest)
        )
        return Case(category, image, benign, mask, box, loosened(box, side, rng))
    raise AssertionError(f"no scene holds a {category}")
