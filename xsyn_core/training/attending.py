"""Attention that lies on the item: what a denoiser learns beside Eq. 1.

Cross-attention refinement (Section IV-B) reads an item's place from the attention to its phrase. A
large model has learnt of millions of pictures where to look; a small one's attention glows all over
the box. The simulator knows each silhouette, so the attention can be told to lie on it (as in Wang
et al., "TokenCompose", CVPR 2024).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xsyn_core.attention import MIN_GRID, Recorder, text_layers

# Probabilities nearer to 0 or 1 teach no more.
LEAST = 1e-3


class Attending:
    """Watches the text cross-attentions of a UNet that is trained.

    Args:
        unet: a diffusers UNet; its processors note their inputs from now on.
    """

    def __init__(self, unet: nn.Module):
        self._layers = text_layers(unet)
        self._seen: dict[int, Tensor] = {}
        for number, layer in enumerate(self._layers):
            recorder = Recorder(layer.processor, number)
            recorder.seen = self._seen
            layer.set_processor(recorder)

    def map(self, text: Tensor, words: Tensor, side: int) -> Tensor:
        """The probability that a place attends to any of some words, averaged over heads and
        layers, at the last call of the UNet; with gradients.

        Args:
            text: (B, length, width), the text states of that call.
            words: float (B, length), 1 at the words.
            side: of the latents, which are square.

        Returns:
            float32 (B, side, side).
        """
        found = []
        for number, layer in enumerate(self._layers):
            hidden = self._seen.pop(number)
            grid = round(hidden.shape[1] ** 0.5)
            if grid < MIN_GRID:
                continue
            query, key = (
                layer.head_to_batch_dim(project(x))
                for project, x in ((layer.to_q, hidden), (layer.to_k, text))
            )
            shares = layer.get_attention_scores(query, key).float()
            shares = shares.unflatten(0, (-1, layer.heads)).mean(1)
            lit = (shares @ words[..., None]).reshape(-1, 1, grid, grid)
            found.append(F.interpolate(lit, (side, side), mode="bilinear"))
        return torch.stack(found).mean(0)[:, 0].float()


def attention_loss(lit: Tensor, items: Tensor) -> Tensor:
    """Cross-entropy of maps float (B, h, w) with the share of each cell that the item covers: the
    mean of each row, (B,)."""
    lit = lit.clamp(LEAST, 1 - LEAST)
    return F.binary_cross_entropy(lit, items, reduction="none").mean((1, 2))
