"""Items as labels are made for them: known ones to which a painter attends, and painted ones."""

from collections.abc import Sequence

import numpy as np
import torch

from xsyn_core.attention import AttentionMaps
from xsyn_core.boxes import Box
from xsyn_core.categories import phrase
from xsyn_core.compositing import put_back
from xsyn_core.concealment import to_pixels
from xsyn_core.extent import silhouette
from xsyn_core.frames import Frame
from xsyn_core.inpainting import Condition, Diffusion, denoise

# Known items are noised to what the first steps of so many leave, and denoised by the others.
ATTENDING, SKIPPED = 5, 2
# Fewer steps than on the page: what goes wrong in them goes wrong there too.
PAINTING, GUIDANCE = 12, 7.5


class _Frames:
    """What a painter is asked for: one item in each picture."""

    def __init__(
        self,
        model: Diffusion,
        images: Sequence[np.ndarray],
        categories: Sequence[str],
        boxes: Sequence[Box],
    ):
        side, cells = model.side, model.side // model.factor
        words = [phrase(name) for name in categories]
        self.model = model
        self.size = side, side
        self.pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
        self.masks = torch.ones(len(images), 1, cells, cells)
        for mask, box in zip(self.masks, boxes, strict=True):
            x1, y1, x2, y2 = (v / model.factor for v in box)
            mask[0, int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = 0
        self.asked = [
            Condition(word, (word,), ((x1 / side, y1 / side, x2 / side, y2 / side),))
            for word, (x1, y1, x2, y2) in zip(words, boxes, strict=True)
        ]
        columns = [model.columns(word, [(0, len(word))]) for word in words]
        self.maps = AttentionMaps(columns, (cells, cells))

    def denoise(
        self, steps: int, guidance: float, skip: int, rng: np.random.Generator
    ) -> torch.Tensor:
        """The latents z_0; attention is summed up in `maps`."""
        *_, last = denoise(
            self.model,
            self.pixels,
            self.masks,
            self.asked,
            steps=steps,
            guidance=guidance,
            sampler="ddim",
            generator=torch.Generator().manual_seed(int(rng.integers(2**31))),
            maps=self.maps,
            skip=skip,
        )
        return last.latents

    def attention(self) -> list[np.ndarray]:
        """M_i of each picture, float32 (S, S)."""
        return [self.maps.maps(row, self.size)[0] for row in range(len(self.asked))]


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
    frames = _Frames(model, images, categories, boxes)
    # the state runs along the item itself, so that nothing has to be guided
    frames.denoise(ATTENDING, 1, SKIPPED, rng)
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
    frames = _Frames(model, images, categories, boxes)
    latents = frames.denoise(PAINTING, GUIDANCE, 0, rng)
    side, factor = model.side, model.factor
    found = []
    rows = zip(images, boxes, frames.masks, model.decode(latents), frames.attention(), strict=True)
    for before, box, mask, decoded, seen in rows:
        image = before.copy()
        repainted = (mask[0].numpy() == 0).repeat(factor, 0).repeat(factor, 1)
        whole = Frame((0, 0, side, side), (side, side))
        put_back(image, whole, to_pixels(decoded), repainted, [box], [seen], "keep")
        found.append((image, silhouette(image, before), seen))
    return found
