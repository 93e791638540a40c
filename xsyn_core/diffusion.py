"""A grounded inpainting model (Section III): its parts, and one call of each."""

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from xsyn_core.attention import AttentionMaps, watch
from xsyn_core.attitudes import NONE, Attitudes
from xsyn_core.boxes import Box
from xsyn_core.categories import Catalog
from xsyn_core.compilation import Compiled
from xsyn_core.errors import XsynError
from xsyn_core.memory import Residence

# GLIGEN's number. Empty slots take part in the gated attention, so it must be that of training;
# a UNet trained with another one says so in its configuration, as "grounding_slots".
SLOTS = 30
# Entries of a UNet's configuration that are this module's own.
ENTRIES = ("grounding_slots", "guidance_rescale", "shaped", "finishing", "greyed")


@dataclass(frozen=True)
class Condition:
    """What to paint into one frame.

    Attributes:
        prompt: Y.
        phrases: e_i, the words of each object (`grounding.phrases`).
        boxes: l_i as shares of the frame, 0 to 1.
        hint: float32 (c, h, w), what the UNet sees where it repaints, of how the objects lie
            (`attitudes.laid`); None for nothing.
    """

    prompt: str
    phrases: tuple[str, ...]
    boxes: tuple[Box, ...]
    hint: np.ndarray | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Diffusion:
    """A frozen grounded inpainting model in diffusers' parts.

    Attributes:
        unet: gated, 2c + 1 input channels.
        vae: takes 3 p**2 channels: p x p pixel blocks as channels, p = 1 for full-size models.
        text_encoder, tokenizer: CLIP's.
        scheduler: the configuration from which every run builds a scheduler of its own.
        device: where the parts work.
        autocast: the type of the UNet's arithmetic; float32 switches autocast off.
        name: as it was asked for.
        attitudes: in which it can be told that items lie, if any.
        catalog: what it was fine-tuned to paint, if its folder says so.
        residence: brings the parts to the device where they do not stay there.
        compiled: the UNet behind `torch.compile`, or None.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: dict
    device: torch.device
    autocast: torch.dtype
    name: str
    attitudes: Attitudes = NONE
    catalog: Catalog | None = None
    residence: Residence = field(default_factory=Residence, repr=False)
    compiled: Compiled | None = field(default=None, repr=False)
    # Attention processors belong to the UNet, so that two runs must not call it at once.
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def channels(self) -> int:
        """c, latent channels."""
        return self.unet.config.out_channels

    @cached_property
    def patch(self) -> int:
        """p, the side of the pixel blocks that the autoencoder takes as channels."""
        return round((self.vae.config.in_channels / 3) ** 0.5)

    @cached_property
    def factor(self) -> int:
        """f, model pixels a latent cell."""
        return self.patch * 2 ** (len(self.vae.config.block_out_channels) - 1)

    @cached_property
    def multiple(self) -> int:
        """Sides of a frame must be multiples of this many model pixels."""
        return self.factor * 2 ** (len(self.unet.config.block_out_channels) - 1)

    @cached_property
    def side(self) -> int:
        """The frame side that the model was trained for, in model pixels."""
        size = self.unet.config.sample_size
        return (size if isinstance(size, int) else max(size)) * self.factor

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W), -1 to 1, to latents (B, c, h, w), float32 on the model's device.

        The mean of the posterior is taken, not a sample of it.
        """
        blocks = functional.pixel_unshuffle(images.to(self.device, self.vae.dtype), self.patch)
        with self.residence.at_work(self.vae):
            latents = self.vae.encode(blocks).latent_dist.mode().float()
        return latents * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (B, c, h, w) to images (B, 3, H, W), -1 to 1, float32 on the CPU."""
        latents = latents.to(self.device, torch.float32) / self.vae.config.scaling_factor
        with self.residence.at_work(self.vae):
            blocks = self.vae.decode(latents.to(self.vae.dtype)).sample
        return functional.pixel_shuffle(blocks, self.patch).float().clamp(-1, 1).cpu()

    @torch.no_grad()
    def text_states(self, prompts: Sequence[str]) -> torch.Tensor:
        """Token states of prompts, padded to the tokenizer's length: (B, length, width)."""
        tokens = self._tokens(prompts).input_ids
        with self.residence.at_work(self.text_encoder):
            return self.text_encoder(tokens.to(self.device)).last_hidden_state

    @torch.no_grad()
    def phrase_embeddings(self, phrases: Sequence[str]) -> torch.Tensor:
        """Pooled embeddings of phrases, as GLIGEN grounds with: (B, width)."""
        tokens = self._tokens(phrases).input_ids
        with self.residence.at_work(self.text_encoder):
            return self.text_encoder(tokens.to(self.device)).pooler_output

    def columns(self, prompt: str, spans: Sequence[tuple[int, int]]) -> list[list[int]]:
        """The token positions of parts of a prompt, given as (start, end) characters.

        Raises:
            XsynError: the prompt is longer than the model reads.
        """
        offsets = self._tokens([prompt], return_offsets_mapping=True).offset_mapping[0].tolist()
        found = [
            [i for i, (a, b) in enumerate(offsets) if a < b and a < end and b > start]
            for start, end in spans
        ]
        if not all(found) or max(end for _, end in spans) > max(b for _, b in offsets):
            raise XsynError(
                f"{len(spans)} items in one frame are more than the text model can read "
                f"({self.tokenizer.model_max_length} tokens). Paint fewer items at a time."
            )
        return found

    def _tokens(self, texts: Sequence[str], **options):
        return self.tokenizer(
            list(texts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
            **options,
        )

    @property
    def rescale(self) -> float:
        """How far guided outputs get the spread of conditional ones, 0 to 1: models with zero
        terminal SNR need it (Lin et al., WACV 2024)."""
        return self.unet.config.get("guidance_rescale", 0.0)

    @property
    def shaped(self) -> int:
        """The timestep below which the model asks for little guidance (see `inpainting.LITTLE`); 0
        for none: small models overdo what is in a shape that they were told (Kynkaanniemi et al.,
        "Applying Guidance in a Limited Interval", NeurIPS 2024)."""
        return self.unet.config.get("shaped", 0)

    @property
    def finishing(self) -> int:
        """The timestep below which the model can finish windows of twice its side (see
        `finishing`); 0 for none."""
        return self.unet.config.get("finishing", 0)

    @property
    def greyed(self) -> bool:
        """Whether the model sees the encoding of an image whose repainted cells are greyed out, as
        the embedded one learnt to, so that nothing of them reaches the cells around; else z_0
        times the mask, as GLIGEN's do."""
        return self.unet.config.get("greyed", False)

    @property
    def slots(self) -> int:
        """How many objects one frame can ground."""
        return self.unet.config.get("grounding_slots", SLOTS)

    def grounding_tokens(self, conditions: Sequence[Condition]) -> dict[str, torch.Tensor]:
        """The arguments of the UNet's `position_net`: boxes (B, slots, 4),
        positive_embeddings (B, slots, width) and masks (B, slots), 1 for the slots in use.

        Raises:
            XsynError: more objects in one frame than there are slots.
        """
        width, slots = self.text_encoder.config.hidden_size, self.slots
        boxes = torch.zeros(len(conditions), slots, 4)
        embeddings = torch.zeros(len(conditions), slots, width, device=self.device)
        masks = torch.zeros(len(conditions), slots)
        for row, condition in enumerate(conditions):
            count = len(condition.phrases)
            if count > slots:
                raise XsynError(
                    f"{count} items in one frame are too many: the model grounds {slots} at most. "
                    "Paint fewer items at a time."
                )
            boxes[row, :count] = torch.tensor(condition.boxes)
            embeddings[row, :count] = self.phrase_embeddings(condition.phrases).float()
            masks[row, :count] = 1
        dtype = self.unet.dtype
        return {
            "boxes": boxes.to(self.device, dtype),
            "positive_embeddings": embeddings.to(dtype),
            "masks": masks.to(self.device, dtype),
        }

    @torch.no_grad()
    def predict(
        self,
        inputs: torch.Tensor,
        timestep: torch.Tensor,
        text: torch.Tensor,
        grounding: dict[str, torch.Tensor],
        maps: AttentionMaps | None = None,
    ) -> torch.Tensor:
        """One call of the UNet: (B, 2c + 1, h, w) to (B, c, h, w), float32.

        Attention is captured into `maps` from the last rows of the batch.
        """
        enabled = self.autocast != torch.float32
        inputs = inputs.to(self.unet.dtype)
        with (
            self._lock,
            self.residence.at_work(self.unet),
            torch.autocast(self.device.type, self.autocast, enabled=enabled),
        ):
            if self.compiled is not None:
                return self.compiled.run(inputs, timestep, text, grounding, maps).float()
            return self._watched(inputs, timestep, text, grounding, maps).float()

    def _watched(self, inputs, timestep, text, grounding, maps) -> torch.Tensor:
        with watch(self.unet, maps) if maps is not None else nullcontext():
            return self.unet(
                inputs,
                timestep,
                encoder_hidden_states=text,
                cross_attention_kwargs={"gligen": grounding},
            ).sample
