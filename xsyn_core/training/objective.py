"""What a denoiser learns (Eq. 1 over the input of grounded inpainting), embedded or full-size.

A batch is B latents (c, h, w). `signal` is alpha-bar of each row's timestep, float (B, 1, 1, 1).
"""

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

# Share of the batch whose text and grounding are dropped together, for classifier-free guidance.
DROPPED = 0.1
# The weight of what is kept: only the repainted cells are ever used.
KEPT = 0.05


class Denoiser(torch.nn.Module):
    """A gated UNet with the text encoder that it listens to."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel):
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder


def drops(count: int, rng: np.random.Generator) -> np.ndarray:
    """Which rows of a batch are unconditional: bool (count,)."""
    return rng.random(count) < DROPPED


def spread(count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise levels, float (count,) in 0..1, in random order: one from each `count`-th of the
    interval, a steadier gradient than chance."""
    return rng.permutation((np.arange(count) + rng.random(count)) / count)


def noised(clean: torch.Tensor, noise: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
    """z_t."""
    return signal.sqrt() * clean + (1 - signal).sqrt() * noise


def leading(
    noise: torch.Tensor, coarse: torch.Tensor, clean: torch.Tensor, signal: torch.Tensor
) -> torch.Tensor:
    """The noise that makes of the clean latents, at this signal, what `noise` makes of coarse ones.

    On the way from there to the clean latents what is left of the faults is in proportion to the
    noise, so that a denoiser that learns with it mends them.
    """
    return noise + (coarse - clean) * (signal / (1 - signal)).sqrt()


def target(
    clean: torch.Tensor, noise: torch.Tensor, signal: torch.Tensor, kind: str
) -> torch.Tensor:
    """What the UNet should say of z_t: the noise ("epsilon") or the velocity ("v_prediction")."""
    if kind == "v_prediction":
        return signal.sqrt() * noise - (1 - signal).sqrt() * clean
    return noise


def unet_input(
    noisy: torch.Tensor,
    masked: torch.Tensor,
    keep: torch.Tensor,
    hints: torch.Tensor | float = 0.0,
    known: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """(B, 2c + 1, h, w): z_t, the latent of the masked image, the mask (1 keeps, 0 repaints).

    Args:
        hints: what stands in the place of the masked image where it is repainted.
        known: the mask that the UNet sees there.
    """
    repainted = 1 - keep
    return torch.cat([noisy, masked * keep + hints * repainted, keep + known * repainted], 1)


def weights(keep: torch.Tensor, items: torch.Tensor | float = 0.0) -> torch.Tensor:
    """How much each cell counts: float (B, 1, h, w).

    Args:
        keep: the mask, (B, 1, h, w).
        items: share of each cell that the items cover, 0 to 1, where known: they matter most, and
            what surrounds them in the box is clutter that nobody can foresee.
    """
    return (1 - keep) * (1 + 7 * items) + KEPT * keep


def mean_error(error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The weighted mean of (B, c, h, w) for each row, under a weight (B, 1, h, w): (B,)."""
    return (weight * error).sum((1, 2, 3)) / (weight.sum((1, 2, 3)) * error.shape[1])


def min_snr(signal: torch.Tensor, gamma: float, kind: str) -> torch.Tensor:
    """Min-SNR weights of rows (Hang et al., ICCV 2023), shaped as `signal`, which may be 0.

    Args:
        gamma: signal-to-noise ratio above which a row counts less; 5 in the paper.
        kind: what the UNet predicts.
    """
    if kind == "v_prediction":
        return torch.minimum(signal, gamma * (1 - signal))
    return torch.clamp(gamma * (1 - signal) / signal, max=1.0)
