"""Items as labels are made for them: known ones to which a painter attends, and painted ones."""

from collections.abc import Sequence

import numpy as np

from xsyn_core.boxes import Box
from xsyn_core.diffusion import Diffusion
from xsyn_core.extent import silhouette
from xsyn_core.item_frames import ItemFrames

# Known items are noised to what the first steps of so many leave, and denoised by the others.
ATTENDING, SKIPPED = 5, 2
# Fewer steps than on the page: what goes wrong in them goes wrong there too.
PAINTING, GUIDANCE = 12, 7.5


def attention(
    model: Diffusion,
    images: Sequence[np.ndarray],
    categories: Sequence[str],
    boxes: Sequence[Box],
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """The map M_i of one item in each picture, which is noised and denoised in its box.

    Args:
        images: uint8 (S, S, 3), S the model's side.
        categories: of the items. boxes: l_i, pixels.

    Returns:
        float32 (S, S) each.
    """
    frames = ItemFrames(model, images, categories, boxes)
    # the state runs along the item itself, so that nothing has to be guided
    frames.denoise(ATTENDING, 1, int(rng.integers(2**31)), SKIPPED)
    return frames.attention()


def paint(
    model: Diffusion,
    images: Sequence[np.ndarray],
    categories: Sequence[str],
    boxes: Sequence[Box],
    rng: np.random.Generator,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Paint one item into each picture.

    Args:
        images: uint8 (S, S, 3), S the model's side.
        categories: of the items. boxes: where to, pixels.

    Returns:
        for each the picture with it, uint8 (S, S, 3); where it shows, bool (S, S), by what it took
        of the light (`extent.silhouette`); and M_i, float32 (S, S).
    """
    frames = ItemFrames(model, images, categories, boxes, rng)
    latents = frames.denoise(PAINTING, GUIDANCE, int(rng.integers(2**31)))
    seen = frames.attention()
    made = frames.painted(latents, seen)
    return [
        # an outline is smoothed, and so reaches past what was painted
        (image, silhouette(image, before) & (image.sum(-1, int) < before.sum(-1, int)), one)
        for image, before, one in zip(made, images, seen, strict=True)
    ]
