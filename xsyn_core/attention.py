"""Capture of the text cross-attention while the UNet runs, for CAR (Section IV-B)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from xsyn_core.errors import XsynError

MIN_GRID = 8
MAX_GRID = 32


class AttentionMaps:
    """A running sum of cross-attention probabilities, one map an object.

    Only the conditional half of a batch is looked at (its last rows), and only layers whose
    longer grid side lies within `sides`: finer ones are dear, coarser ones say little.

    Args:
        columns: for each row of the batch, for each object, the token positions of its phrase.
        latent_size: (h, w) of the latents.
        sides: smallest and largest grid side that counts, in cells.
    """

    def __init__(
        self,
        columns: Sequence[Sequence[Sequence[int]]],
        latent_size: tuple[int, int],
        sides: tuple[int, int] = (MIN_GRID, MAX_GRID),
    ):
        self.columns = columns
        self.latent_size = latent_size
        self.sides = sides
        self._sums: dict[tuple[int, int], list[list[torch.Tensor]]] = {}
        self._counts: dict[tuple[int, int], int] = {}

    def grid(self, tokens: int) -> tuple[int, int]:
        """The (rows, columns) of a layer with that many image tokens."""
        h, w = self.latent_size
        factor = round((h * w / tokens) ** 0.5)
        return -(-h // factor), -(-w // factor)

    def add(self, attn: Any, hidden: torch.Tensor, text: torch.Tensor) -> None:
        """Add one layer's probabilities at one step.

        Args:
            attn: a diffusers `Attention` with text as its context.
            hidden: (B, tokens, channels), the layer's input, conditional rows last.
            text: (B, length, width), the text states.
        """
        grid = self.grid(hidden.shape[1])
        if grid[0] * grid[1] != hidden.shape[1] or not (
            self.sides[0] <= max(grid) <= self.sides[1]
        ):
            return
        rows = len(self.columns)
        query = attn.to_q(hidden[-rows:]).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        key = attn.to_k(text[-rows:]).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        query = query.float() * query.shape[-1] ** -0.5
        probabilities = (query @ key.float().transpose(-1, -2)).softmax(-1)
        # the mean over heads comes after the choice of tokens, which leaves little of 77
        new = [
            [probabilities[row][..., list(tokens)].mean((0, -1)) for tokens in objects]
            for row, objects in enumerate(self.columns)
        ]
        if grid in self._sums:
            for total, row in zip(self._sums[grid], new, strict=True):
                for running, value in zip(total, row, strict=True):
                    running += value
        else:
            self._sums[grid] = new
        self._counts[grid] = self._counts.get(grid, 0) + 1

    def maps(self, row: int, size: tuple[int, int]) -> list[np.ndarray]:
        """The mean maps M_i of one row's objects, resized to `size` (height, width).

        Returns:
            float32 (height, width) an object: the probability that a place attends to the phrase,
            averaged over heads, layers, steps and the tokens of the phrase.

        Raises:
            XsynError: no layer had a grid within `sides`.
        """
        if not self._counts:
            raise XsynError(
                f"The model has no text cross-attention of {self.sides[0]} to {self.sides[1]} "
                "cells a side at this frame size, so labels cannot be refined. "
                "Use the other frame, or another model."
            )
        total = sum(self._counts.values())
        finest = max(self._counts)
        result = []
        for number in range(len(self.columns[row])):
            mean = np.zeros(finest, np.float32)
            for grid in sorted(self._counts):
                values = self._sums[grid][row][number].reshape(grid).cpu().numpy() / total
                mean += cv2.resize(values, finest[::-1], interpolation=cv2.INTER_LINEAR)
            resized = cv2.resize(mean, size[::-1], interpolation=cv2.INTER_CUBIC)
            result.append(np.maximum(resized, 0))
        return result


class _Watching:
    """A processor that leaves the output to the original one, bit for bit."""

    def __init__(self, original, maps: AttentionMaps):
        self.original = original
        self.maps = maps

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ):
        self.maps.add(attn, hidden_states, encoder_hidden_states)
        return self.original(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


@contextmanager
def watch(unet: nn.Module, maps: AttentionMaps) -> Iterator[None]:
    """While open, every text cross-attention of a diffusers UNet also adds to `maps`.

    The original processors are back when it closes, also after an error.
    """
    layers = [module for name, module in unet.named_modules() if name.endswith("attn2")]
    originals = [layer.processor for layer in layers]
    try:
        for layer, original in zip(layers, originals, strict=True):
            layer.set_processor(_Watching(original, maps))
        yield
    finally:
        for layer, original in zip(layers, originals, strict=True):
            layer.set_processor(original)
