"""One item asked for in each of several pictures: what training and evaluation give a painter."""

from collections.abc import Sequence

import numpy as np
import torch

from xsyn_core import grounding
from xsyn_core.attention import AttentionMaps
from xsyn_core.attitudes import UNTOLD, laid
from xsyn_core.boxes import Box
from xsyn_core.compositing import put_back
from xsyn_core.concealment import to_pixels, to_tensor
from xsyn_core.diffusion import Condition, Diffusion
from xsyn_core.frames import Frame, pixels_of, repainted_cells
from xsyn_core.inpainting import denoise
from xsyn_core.sample import Background


class ItemFrames:
    """Pictures of one size that the model paints, with one category and box each.

    Args:
        model: the painter.
        images: uint8 (H, W, 3), windows or whole scans as `frames` cuts them.
        categories: of the items.
        boxes: l_i, pixels.
        rng: draws an attitude for each item, where the model knows any; None tells none, for
            items that are there already lie as they do.
    """

    def __init__(
        self,
        model: Diffusion,
        images: Sequence[np.ndarray],
        categories: Sequence[str],
        boxes: Sequence[Box],
        rng: np.random.Generator | None = None,
    ):
        height, width = images[0].shape[:2]
        cells = height // model.factor, width // model.factor
        self.model, self.images, self.boxes = model, images, boxes
        self.frame = Frame((0, 0, width, height), (height, width))
        self.masks = torch.ones(len(images), 1, *cells)
        self.conditions, columns = [], []
        for mask, name, box in zip(self.masks, categories, boxes, strict=True):
            mask[0, repainted_cells(self.frame, [box], model.factor)] = 0
            attitude = model.attitudes.choose(name, box, rng) if rng else UNTOLD
            told, unit = [attitude.words], self.frame.unit(box)
            text = grounding.prompt([name], told)
            hint = laid([attitude], [unit], (model.channels, *cells))
            self.conditions.append(Condition(text, (text,), (unit,), hint))
            columns.append(model.columns(text, grounding.spans([name], told)))
        self.maps = AttentionMaps(columns, cells)

    def denoise(self, steps: int, guidance: float, seed: int, skip: int = 0) -> torch.Tensor:
        """The latents z_0 after `inpainting.denoise`; attention is summed up."""
        *_, last = denoise(
            self.model,
            torch.stack([to_tensor(image) for image in self.images]),
            self.masks,
            self.conditions,
            steps=steps,
            guidance=guidance,
            sampler="ddim",
            generator=torch.Generator().manual_seed(seed),
            maps=self.maps,
            skip=skip,
        )
        return last.latents

    def attention(self) -> list[np.ndarray]:
        """M_i of each picture, float32 (H, W)."""
        return [self.maps.maps(row, self.frame.size)[0] for row in range(len(self.images))]

    def painted(
        self,
        latents: torch.Tensor,
        attention: Sequence[np.ndarray],
        background: Background = "keep",
    ) -> list[np.ndarray]:
        """The pictures with what was painted put back into them: uint8 (H, W, 3)."""
        found = []
        rows = zip(self.images, self.boxes, self.masks, attention, strict=True)
        for (image, box, mask, seen), decoded in zip(rows, self.model.decode(latents), strict=True):
            new = image.copy()
            repainted = pixels_of(mask[0].numpy() == 0, self.model.factor)
            put_back(
                *(new, image, self.frame, to_pixels(decoded), repainted),
                *([box], [seen], background),
            )
            found.append(new)
        return found
