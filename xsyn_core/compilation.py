"""The UNet behind `torch.compile`, capture of attention included.

A processor that adds to the maps while the network runs would break the graph at every layer.
Compiled, the network gives out the inputs of its text cross-attentions instead, and they are added
to the maps after the pass.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from xsyn_core.attention import AttentionMaps, Recorder, swapped, text_layers

log = logging.getLogger(__name__)


class Compiled:
    """A compiled UNet. It is compiled by its first call, and again for other numbers of frames;
    where that is impossible, it runs uncompiled, and the log says so once.

    One thread at a time may call it.

    Args:
        unet: a diffusers UNet; its parameters may move between calls.
    """

    def __init__(self, unet: nn.Module):
        self.unet = unet
        self._layers = text_layers(unet)
        self._recorders = [Recorder(layer.processor, k) for k, layer in enumerate(self._layers)]
        self._pass = torch.compile(_pass, fullgraph=True)

    def run(
        self,
        inputs: torch.Tensor,
        timestep: torch.Tensor,
        text: torch.Tensor,
        grounding: dict[str, torch.Tensor],
        maps: AttentionMaps | None,
    ) -> torch.Tensor:
        """The UNet's output; see `Diffusion.predict`."""
        if maps is None:
            return self._call((), inputs, timestep, text, grounding)[0]
        with swapped(self._layers, self._recorders):
            output, hidden = self._call(self._recorders, inputs, timestep, text, grounding)
        for recorder in self._recorders:
            recorder.seen = {}
        for number, values in hidden.items():
            maps.add(self._layers[number], values, text)
        return output

    def _call(self, *arguments: Any) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        try:
            return self._pass(self.unet, *arguments)
        except TorchDynamoException as error:
            reason = " ".join(str(error).split())[:200]
            log.warning(
                f"The UNet cannot be compiled here and runs uncompiled ({reason}). "
                "torch.compile needs Triton for a GPU and a C++ compiler for the CPU; "
                "without them leave out --compile."
            )
            self._pass = _pass
            return _pass(self.unet, *arguments)


def _pass(
    unet: nn.Module,
    recorders: Sequence[Recorder],
    inputs: torch.Tensor,
    timestep: torch.Tensor,
    text: torch.Tensor,
    grounding: dict[str, torch.Tensor],
) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """The UNet's output, and what the recorders saw."""
    seen: dict[int, torch.Tensor] = {}
    for recorder in recorders:
        recorder.seen = seen
    output = unet(
        inputs,
        timestep,
        encoder_hidden_states=text,
        cross_attention_kwargs={"gligen": grounding},
    ).sample
    return output, seen
