"""Background occlusion modelling, Eq. 5 to 9 of Section IV-C.

Boxes are in latent cells, or in pixels for the pixel-space rival of Table IX: `blend` is the same.
"""

from collections.abc import Sequence

import numpy as np
import torch

from xsyn_core.boxes import outward
from xsyn_core.errors import XsynError

IntBox = tuple[int, int, int, int]


def occluded_boxes(
    foregrounds: Sequence[Sequence[float]],
    occluder: Sequence[float],
    latent_size: tuple[int, int],
    rng: np.random.Generator,
) -> list[IntBox]:
    """Where the occluder falls over each foreground: l'_j of Eq. 8 and 9.

    Rand draws an integer, lower bound included and upper bound excluded, so that no box is empty;
    for each foreground x is drawn before y.

    Args:
        foregrounds: l_j in latent cells; fractions are rounded outward.
        occluder: l'_o in latent cells; only its width and height count.
        latent_size: (H', W').
        rng: the only source of chance.

    Returns:
        One box a foreground, as large as the occluder where it is not cut by the border.
    """
    height, width = latent_size
    x1, y1, x2, y2 = outward(occluder)
    w, h = x2 - x1, y2 - y1
    placed = []
    for box in foregrounds:
        left, top, right, bottom = outward(box)
        x = int(rng.integers(max(left - w, 0), min(right, width)))
        y = int(rng.integers(max(top - h, 0), min(bottom, height)))
        placed.append((x, y, min(x + w, width), min(y + h, height)))
    return placed


def blend(
    latents: torch.Tensor,
    occluder: Sequence[int],
    occluded: Sequence[Sequence[int]],
    alpha: float,
) -> torch.Tensor:
    """Recombine occluder and foregrounds, Eq. 5 to 7.

    The occluder's crop is always the one of the given `latents`, even where an occluded box covers
    the occluder; occluded boxes that overlap are blended one after the other. Where an occluded
    box is smaller than the occluder (cut at the border), the occluder's crop is cut alike, from
    its top-left corner.

    Args:
        latents: z_0 (C, h, w).
        occluder: l'_o, integer cells.
        occluded: the l'_j, integer cells.
        alpha: degree of occlusion, 0 (nothing changes) to 1 (the occluder alone).

    Returns:
        z_0^h, a new tensor of the same shape.

    Raises:
        XsynError: alpha outside 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise XsynError(f"The degree of occlusion alpha is {alpha:g}; choose it from 0 to 1.")
    hidden = latents.clone()
    ox1, oy1, ox2, oy2 = occluder
    source = latents[:, oy1:oy2, ox1:ox2]
    for x1, y1, x2, y2 in occluded:
        h, w = min(y2 - y1, oy2 - oy1), min(x2 - x1, ox2 - ox1)
        region = hidden[:, y1 : y1 + h, x1 : x1 + w]
        hidden[:, y1 : y1 + h, x1 : x1 + w] = source[:, :h, :w] * alpha + region * (1 - alpha)
    return hidden


def beside(latents: torch.Tensor, patch: torch.Tensor) -> tuple[torch.Tensor, IntBox]:
    """Put an occluder's patch to the right of a window's latent, on one canvas.

    In window mode the occluder lies elsewhere in the scan; this way `blend` applies unchanged.
    What of the patch is wider or higher than the window can never fall into it and is cut off.

    Args:
        latents: (C, h, w).
        patch: (C, a, b).

    Returns:
        The canvas (C, h, w + min(b, w)) and the occluder's box on it.
    """
    height, width = latents.shape[-2:]
    patch = patch[:, :height, :width]
    h, w = patch.shape[-2:]
    canvas = latents.new_zeros(latents.shape[0], height, width + w)
    canvas[:, :, :width] = latents
    canvas[:, :h, width:] = patch
    return canvas, (width, 0, width + w, h)
