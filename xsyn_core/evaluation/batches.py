"""What the painter is given: pictures, masks and conditions of several cases at once."""

from collections.abc import Sequence

import numpy as np
import torch

from xsyn_core.attention import AttentionMaps
from xsyn_core.categories import phrase
from xsyn_core.evaluation.held_out import Case
from xsyn_core.inpainting import Condition, Diffusion


def to_tensor(images: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 (H, W, 3) images to float32 (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_images(tensor: torch.Tensor) -> np.ndarray:
    """The inverse of `to_tensor`."""
    return ((tensor.permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255).byte().numpy()


def keep_masks(cases: Sequence[Case], cells: int, cell: int) -> torch.Tensor:
    """Inpainting masks (B, 1, cells, cells): 0 in the cells that a grounding box touches."""
    masks = torch.ones(len(cases), 1, cells, cells)
    for mask, one in zip(masks, cases, strict=True):
        x1, y1, x2, y2 = (v / cell for v in one.grounding)
        mask[0, int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = 0
    return masks


def conditions(cases: Sequence[Case], side: int) -> list[Condition]:
    """What to paint: every case's own category into its grounding box."""
    return [
        Condition(
            phrase(c.category),
            (phrase(c.category),),
            (tuple(v / side for v in c.grounding),),  # type: ignore[arg-type]
        )
        for c in cases
    ]


def watching(model: Diffusion, asked: Sequence[Condition], cells: int) -> AttentionMaps:
    """Where the attention to every condition's one category is summed up, a row each."""
    columns = [model.columns(c.prompt, [(0, len(c.prompt))]) for c in asked]
    return AttentionMaps(columns, (cells, cells))
