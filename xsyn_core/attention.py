"""Capture of the text cross-attention while the UNet runs, for CAR (Section IV-B)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from xsyn_core.errors import XsynError

MIN_GRID = 8
MAX_GRID = 32


class AttentionMaps:
    """A running sum of cross-attention probabilities, one map an object, for one run of a UNet.

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
        # by grid: (rows, tokens, objects)
        self._sums: dict[tuple[int, int], torch.Tensor] = {}
        self._counts: dict[tuple[int, int], int] = {}
        self._probes: dict[Any, _Probe] = {}
        self._layers: dict[nn.Module, list[Any]] = {}

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
            text: (B, length, width), the text states; the same tensor at every step of a run
                saves the work of projecting it again.
        """
        grid = self.grid(hidden.shape[1])
        if grid[0] * grid[1] != hidden.shape[1] or not (
            self.sides[0] <= max(grid) <= self.sides[1]
        ):
            return
        with torch.autocast(hidden.device.type, enabled=False):
            probe = self._probes.get(attn)
            if probe is None or probe.text is not text:
                probe = self._probes[attn] = _probe(attn, text, self.columns)
            inputs = hidden[-len(self.columns) :].float()
            scores = torch.baddbmm(probe.shift, inputs, probe.keys)
            shares = scores.unflatten(-1, (attn.heads, -1)).softmax(-1).flatten(2)
            if grid in self._sums:
                self._sums[grid].baddbmm_(shares, probe.choice)
            else:
                self._sums[grid] = shares @ probe.choice
        self._counts[grid] = self._counts.get(grid, 0) + 1

    def layers(self, unet: nn.Module) -> list[Any]:
        """The text cross-attentions of a diffusers UNet."""
        # A walk over all modules at every step would cost more than the capture itself.
        if unet not in self._layers:
            self._layers[unet] = text_layers(unet)
        return self._layers[unet]

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
                values = self._sums[grid][row, :, number].reshape(grid).cpu().numpy() / total
                mean += cv2.resize(values, finest[::-1], interpolation=cv2.INTER_LINEAR)
            resized = cv2.resize(mean, size[::-1], interpolation=cv2.INTER_CUBIC)
            result.append(np.maximum(resized, 0))
        return result


@dataclass(frozen=True, eq=False)
class _Probe:
    """What one layer's input is multiplied with, the same at every step; all float32.

    Attributes:
        text: the text states that it was made from.
        keys: (rows, channels, heads * length), the text's keys seen through the query's weights:
            a layer's input times them is its scores, all heads at once.
        shift: (rows, 1, heads * length), what a bias of the query adds to the scores.
        choice: (rows, heads * length, objects), takes the mean over the heads and the tokens of
            each phrase.
    """

    text: torch.Tensor
    keys: torch.Tensor
    shift: torch.Tensor
    choice: torch.Tensor


def _probe(attn: Any, text: torch.Tensor, columns: Sequence[Sequence[Sequence[int]]]) -> _Probe:
    heads, (rows, length) = attn.heads, (len(columns), text.shape[1])
    weight = attn.to_q.weight
    key = attn.to_k(text[-rows:].to(weight.dtype)).float()
    key = key.unflatten(-1, (heads, -1)).permute(0, 2, 3, 1)  # rows, heads, size, length
    key = key * key.shape[2] ** -0.5
    # The layer itself is asked for its weights, which may be more than `weight` (adapters).
    ask = torch.zeros(weight.shape[1] + 1, weight.shape[1], dtype=weight.dtype, device=text.device)
    ask.fill_diagonal_(1)
    answers = attn.to_q(ask).float()
    bias = answers[-1:]
    query = torch.cat([answers[:-1] - bias, bias]).unflatten(-1, (heads, -1)).transpose(0, 1)
    # heads, channels + 1, size times rows, heads, size, length
    keys = (query @ key).transpose(1, 2).flatten(2)
    choice = torch.zeros(rows, heads, length, max(map(len, columns), default=0))
    for row, objects in enumerate(columns):
        for number, tokens in enumerate(objects):
            choice[row, :, list(tokens), number] = 1 / (heads * len(tokens))
    return _Probe(
        text,
        keys[:, :-1].contiguous(),
        keys[:, -1:].contiguous(),
        choice.flatten(1, 2).to(text.device),
    )


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


class Recorder:
    """A processor that notes its layer's input and leaves the output to the original one.

    Attributes:
        number: the layer's.
        seen: inputs by the number of the layer; several recorders may share it.
    """

    def __init__(self, original, number: int):
        self.original = original
        self.number = number
        self.seen: dict[int, torch.Tensor] = {}

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None
    ):
        self.seen[self.number] = hidden_states
        return self.original(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


def text_layers(unet: nn.Module) -> list[Any]:
    """The text cross-attentions of a diffusers UNet."""
    return [module for name, module in unet.named_modules() if name.endswith("attn2")]


@contextmanager
def swapped(layers: Sequence[Any], processors: Sequence[Any]) -> Iterator[None]:
    """While open, layers have other processors; the original ones are back when it closes, also
    after an error."""
    originals = [layer.processor for layer in layers]
    try:
        for layer, processor in zip(layers, processors, strict=True):
            layer.set_processor(processor)
        yield
    finally:
        for layer, original in zip(layers, originals, strict=True):
            layer.set_processor(original)


@contextmanager
def watch(unet: nn.Module, maps: AttentionMaps) -> Iterator[None]:
    """While open, every text cross-attention of a diffusers UNet also adds to `maps`.

    The original processors are back when it closes, also after an error.
    """
    layers = maps.layers(unet)
    with swapped(layers, [_Watching(layer.processor, maps) for layer in layers]):
        yield
