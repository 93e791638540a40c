"""What fine-tuning learns of a batch of frames, stage by stage (Section V-A)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from tokenizers import AddedToken
from transformers import CLIPTextModel, CLIPTokenizer

from xsyn_core import grounding
from xsyn_core.categories import phrase
from xsyn_core.training import objective
from xsyn_core.training.finetuning_frames import Batch
from xsyn_core.training.loop import autocast
from xsyn_core.training.objective import Denoiser

Stage = Literal["generation", "inpainting"]
STAGES: tuple[Stage, ...] = ("generation", "inpainting")


@dataclass(frozen=True)
class Recipe:
    """How a batch becomes a loss.

    Attributes:
        stage: "generation" repaints everything and names all objects of a frame; "inpainting"
            repaints the boxes of some and names those.
        names: the categories by number.
        tokenizer: of the text encoder.
        signal: float (T,), alpha-bar by timestep.
        kind: what the UNet predicts.
        gamma: of min-SNR weighting, 0 for none.
    """

    stage: Stage
    names: tuple[str, ...]
    tokenizer: CLIPTokenizer
    signal: torch.Tensor
    kind: str
    gamma: float = 0.0

    def used(self, batch: Batch) -> torch.Tensor:
        """Which slots are grounded: bool (B, slots)."""
        return batch.repainted if self.stage == "inpainting" else batch.categories >= 0

    def kept(self, batch: Batch) -> torch.Tensor:
        """The mask: float32 (B, 1, h, w)."""
        return batch.keep if self.stage == "inpainting" else torch.zeros_like(batch.keep)

    def loss(
        self, model: Denoiser, batch: Batch, rng: np.random.Generator, dropped: np.ndarray
    ) -> torch.Tensor:
        """Eq. 1, averaged over the batch.

        Args:
            model: UNet and text encoder, on one device.
            batch: B frames.
            rng: of noise and timesteps.
            dropped: bool (B,), rows without text and grounding.
        """
        where = next(model.parameters()).device
        count = len(batch.clean)
        keep, clean = self.kept(batch).to(where), batch.clean.to(where)
        levels = objective.spread(count, rng) * len(self.signal)
        t = torch.from_numpy(levels.astype(np.int64)).to(where)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32)).to(where)
        signal = self.signal.to(where)[t].view(-1, 1, 1, 1)
        inputs = objective.unet_input(
            objective.noised(clean, noise, signal), batch.masked.to(where), keep
        )
        with autocast(where):
            text, conditions = self.conditions(model.text_encoder, batch, dropped)
            output = model.unet(
                inputs, t, text, cross_attention_kwargs={"gligen": conditions}
            ).sample.float()
        error = (output - objective.target(clean, noise, signal, self.kind)).square()
        if self.gamma:
            error = error * objective.min_snr(signal, self.gamma, self.kind)
        return objective.mean_error(error, objective.weights(keep)).mean()

    def conditions(
        self, text_encoder: CLIPTextModel, batch: Batch, dropped: np.ndarray
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Token states (B, length, width) and the arguments of the UNet's `position_net`.

        In a dropped row the text is empty and no slot is in use.
        """
        where = text_encoder.device
        used = self.used(batch) & ~torch.from_numpy(dropped)[:, None]
        rows = [
            [self.names[k] for k in row[own].tolist()]
            for row, own in zip(batch.categories, used, strict=True)
        ]
        phrases = sorted({phrase(name) for row in rows for name in row}) or [""]
        states = text_encoder(self._tokens([grounding.prompt(row) for row in rows]).to(where))
        pooled = text_encoder(self._tokens(phrases).to(where)).pooler_output
        place = torch.zeros(used.shape, dtype=torch.int64)
        for r, row in enumerate(rows):
            place[r, used[r]] = torch.tensor([phrases.index(phrase(n)) for n in row]).long()
        masks = used.to(where, torch.float32)
        return states.last_hidden_state, {
            "boxes": batch.boxes.to(where) * masks[..., None],
            "positive_embeddings": pooled[place.to(where)] * masks[..., None],
            "masks": masks,
        }

    def _tokens(self, texts: list[str]) -> torch.Tensor:
        return self.tokenizer(
            texts,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids


def choose_trainable(model: Denoiser, trainable: str, stage: Stage) -> None:
    """Let gradients only to what a stage trains.

    Args:
        trainable: "grounding" for the fusers and the position net, with the first convolution in
            the inpainting stage; "all" for UNet and text encoder.
    """
    model.requires_grad_(trainable == "all")
    if trainable == "all":
        return
    for name, parameter in model.unet.named_parameters():
        grounded = ".fuser." in name or name.startswith("position_net.")
        first = stage == "inpainting" and name.startswith("conv_in.")
        parameter.requires_grad_(grounded or first)


def learn_words(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, names: list[str]) -> None:
    """Give each word of the categories that the vocabulary spells in pieces a token of its own,
    which begins as the mean of the pieces. For a text encoder that is trained."""
    words = sorted({word for name in names for word in phrase(name).split()})
    pieces = {word: tokenizer(word, add_special_tokens=False).input_ids for word in words}
    new = {word: ids for word, ids in pieces.items() if len(ids) > 1}
    if not new:
        return
    old = text_encoder.get_input_embeddings().weight.detach()
    means = [old[ids].mean(0) for ids in new.values()]
    tokenizer.add_tokens([AddedToken(w, single_word=True, normalized=True) for w in new])
    text_encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        weight = text_encoder.get_input_embeddings().weight
        for word, mean in zip(new, means, strict=True):
            weight[tokenizer.convert_tokens_to_ids(word)] = mean
    # Old configurations take the token of the highest number for the end; new words are higher.
    for owner in (text_encoder.config, *text_encoder.modules()):
        if hasattr(owner, "eos_token_id"):
            owner.eos_token_id = tokenizer.eos_token_id
