"""What each step of the embedded denoiser is shown: windows to paint or, every third time, windows
of twice the side to finish."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import CLIPTokenizer

from xsyn_core import grounding
from xsyn_core.inpainting import SKETCHED
from xsyn_core.training import objective
from xsyn_core.training.architectures import FINISHING
from xsyn_core.training.denoiser_data import Latents, keep_mask

# Share of the timesteps that are drawn evenly.
EVEN = 0.15
# Share of windows whose attitudes are not told: labels and fine-tuning know none.
UNTOLD = 0.25
# Windows to finish are so many times fewer, for each costs so many times as much.
FEWER = 4


def timesteps(count: int, rng: np.random.Generator) -> np.ndarray:
    """Timesteps to learn from, int64 (count,) in 0..999.

    Most are drawn logit-normally (Esser et al., ICML 2024) around the noise at which the shapes of
    items are decided on a grid this small; some evenly, for painting starts from pure noise.
    """
    even = objective.spread(count, rng)
    normal = torch.special.ndtri(torch.from_numpy(even))
    middle = torch.sigmoid(0.5 + 0.9 * normal).numpy()
    return (np.where(rng.random(count) < EVEN, even, middle) * 1000).astype(np.int64)


def finishing_timesteps(count: int, rng: np.random.Generator) -> np.ndarray:
    """Timesteps to learn from at twice the side, int64 (count,) in 0..FINISHING - 1."""
    return (objective.spread(count, rng) * FINISHING).astype(np.int64)


def chances(categories: np.ndarray) -> np.ndarray:
    """The chance of each window to be drawn, float64 (N,), by the category of its item (N,).

    A category with a quarter of another's windows is drawn half as often: the catalogues share
    the simulator's scans unevenly, and every category is asked for as often as any other.
    """
    rarity = 1 / np.sqrt(np.bincount(categories)[categories])
    return rarity / rarity.sum()


def finishes(k: int) -> bool:
    """Whether step k is of windows to finish, not to paint."""
    return k % 3 == 1


class Batches:
    """Draws the batch of each step.

    Args:
        painting, finishing: windows to paint and to finish.
        tokenizer: of prompts.
        batch: how many windows to paint.
    """

    def __init__(self, painting: Latents, finishing: Latents, tokenizer: CLIPTokenizer, batch: int):
        self._tokenizer = tokenizer
        self._painting = _source(painting, batch)
        self._finishing = _source(finishing, batch // FEWER)

    def __call__(self, k: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """The B rows of `Latents` that step k learns from and, beside them,

        keep: float32 (B, 1, g, g), the inpainting mask, 1 keeps.
        hints: float32 (B, c, g, g), what the UNet sees where it repaints: attitudes, or what is
            to be finished. known: float32 (B, 1, 1, 1), the mask that it sees there.
        dropped: bool (B,), rows without text and grounding. told: bool (B,), those whose
            attitudes are told. timesteps: int64 (B,).
        noise: float32 (B, c, g, g).
        text: int64 (B, 77), prompts. phrases: int64 (P, length), of all objects of all rows.
        """
        finishing = finishes(k)
        latents, chance, count = self._finishing if finishing else self._painting
        rows = np.sort(rng.choice(len(chance), count, replace=False, p=chance))
        dropped = objective.drops(count, rng)
        told = ~((rng.random(count) < UNTOLD) | dropped)
        described = [latents.phrases(row, t) for row, t in zip(rows, told, strict=True)]
        texts = [
            "" if d else grounding.SEPARATOR.join(said)
            for d, said in zip(dropped.tolist(), described, strict=True)
        ]
        boxes, clean = latents.boxes[rows], latents.clean[rows]
        coarse = latents.coarse[rows].astype(np.float32)
        hints = coarse
        if not finishing:
            hints = np.stack([latents.hints(row, t) for row, t in zip(rows, told, strict=True)])
        keep = np.stack([keep_mask(some, clean.shape[-1]) for some in boxes])
        columns = {
            "clean": clean.astype(np.float32),
            "coarse": coarse,
            "masked": latents.masked[rows].astype(np.float32),
            "keep": keep[:, None].astype(np.float32),
            "hints": hints,
            "known": np.full((count, 1, 1, 1), SKETCHED if finishing else 0, np.float32),
            "items": latents.items(rows)[:, None],
            "boxes": boxes,
            "categories": latents.categories[rows].astype(np.int64),
            "dropped": dropped,
            "told": told,
            "timesteps": (finishing_timesteps if finishing else timesteps)(count, rng),
            "noise": rng.standard_normal(clean.shape, np.float32),
        }
        return {
            **{name: torch.from_numpy(values) for name, values in columns.items()},
            "text": self._tokens(texts, "max_length"),
            # the text model is causal: what follows a phrase does not change it
            "phrases": self._tokens([text for said in described for text in said], "longest"),
        }

    def _tokens(self, texts: Sequence[str], padding: str) -> torch.Tensor:
        return self._tokenizer(
            list(texts), padding=padding, max_length=77, truncation=True, return_tensors="pt"
        ).input_ids


def _source(latents: Latents, count: int) -> tuple[Latents, np.ndarray, int]:
    return latents, chances(latents.categories[:, 0]), max(1, count)
