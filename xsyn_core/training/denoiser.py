"""Train the embedded denoiser: grounded inpainting (Eq. 1)."""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTokenizer

from xsyn_core.attitudes import Attitude, Attitudes, levelled
from xsyn_core.categories import phrase
from xsyn_core.diffusion import Diffusion
from xsyn_core.errors import XsynError
from xsyn_core.training import architectures, objective, options
from xsyn_core.training.architectures import CELL, FINISHING, SHAPED
from xsyn_core.training.attending import Attending, attention_loss
from xsyn_core.training.data import NAMES, SIDE, WINDOW
from xsyn_core.training.denoiser_batches import Batches
from xsyn_core.training.denoiser_data import Latents, cache_latents
from xsyn_core.training.loop import Plan, autocast, pick_device, train
from xsyn_core.training.objective import Denoiser
from xsyn_core.weights import load_autoencoder, load_diffusion

# How many attitudes of each category the model is written with.
LISTED = 240
# Kinds, by their first digits, that are learnt but not asked for, since they come out badly:
# cleavers without corners, and pepper sprays as two things.
MUDDLED = {"Knife": ("17",), "Sprayer": ("2",)}
# Weight of `attention_loss`.
ATTENDED = 0.5
# How much more it counts in windows whose attitudes are not told, as those that labels are made of.
SEARCHED = 4


def listed(cached: Latents, seed: int) -> Attitudes:
    """`LISTED` attitudes of each category by chance, none of `MUDDLED` kinds, from windows with a
    single item that lies wholly in them."""
    rng = np.random.default_rng(seed)
    known: dict[str, list[Attitude]] = {}
    for row in rng.permutation(len(cached.categories)):
        if (cached.categories[row, 1:] >= 0).any():
            continue
        name, told = NAMES[cached.categories[row, 0]], str(cached.attitudes[row, 0])
        some = known.setdefault(name, [])
        if len(some) >= LISTED or told.startswith(MUDDLED.get(name, ())):
            continue
        covered, shades = cached.silhouettes[row] / 255, cached.shades[row] / 255
        cut_off = (np.r_[covered[[0, -1]].ravel(), covered[:, [0, -1]].ravel()] > 0.5).any()
        density = levelled(covered, shades)
        if density is not None and not cut_off:
            some.append(Attitude(told, density))
    return Attitudes({name: known[name] for name in NAMES if name in known})


def _opened(
    folder: Path, tokenizer: CLIPTokenizer, vae: AutoencoderKL, where: torch.device
) -> Diffusion:
    """A diffusers folder that this recipe can go on from.

    Raises:
        XsynError: it cannot be read, its text encoder reads other words, or its UNet paints the
            latents of another autoencoder.
    """
    opened = load_diffusion(folder, where, folder.name)
    words, channels = opened.text_encoder.config.vocab_size, opened.unet.config.out_channels
    if words != len(tokenizer):
        raise XsynError(
            f"{folder} knows {words} tokens where this recipe has {len(tokenizer)}. Name "
            "weights of this recipe, or leave it out."
        )
    if channels != vae.config.latent_channels:
        raise XsynError(
            f"{folder} paints latents of {channels} channels, the autoencoder's have "
            f"{vae.config.latent_channels}. Name the autoencoder that it was trained with by --vae."
        )
    return opened


def _speaker(opened: Diffusion) -> Denoiser:
    return Denoiser(opened.unet, opened.text_encoder).float()


def _fresh(tokenizer: CLIPTokenizer) -> Denoiser:
    unet = architectures.build_unet(WINDOW // CELL)
    # zero gates would leave grounding without a gradient for long
    for name, parameter in unet.named_parameters():
        if name.endswith(("alpha_attn", "alpha_dense")):
            torch.nn.init.constant_(parameter, 0.5)
    return Denoiser(unet, architectures.build_text_encoder(tokenizer))


def _answer(
    speaker: Denoiser, inputs: torch.Tensor, drawn: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a denoiser makes of its inputs, and the states of its text."""
    used = drawn["categories"] >= 0
    text = speaker.text_encoder(drawn["text"]).last_hidden_state
    pooled = speaker.text_encoder(drawn["phrases"]).pooler_output
    embeddings = pooled.new_zeros(*used.shape, pooled.shape[1])
    embeddings[used] = pooled
    grounded = {
        "boxes": drawn["boxes"],
        "positive_embeddings": embeddings,
        "masks": (used & ~drawn["dropped"][:, None]).float(),
    }
    output = speaker.unet(
        inputs.to(memory_format=torch.channels_last),
        drawn["timesteps"],
        text,
        cross_attention_kwargs={"gligen": grounded},
    ).sample.float()
    return output, text


class _Losses:
    """What a step's batch says of the model.

    Args:
        alphas: float (1000,), the signal's share by timestep, on the models' device.
        tokenizer: of prompts.
    """

    def __init__(self, model: Denoiser, alphas: torch.Tensor, tokenizer: CLIPTokenizer):
        self._model, self._alphas = model, alphas
        self._attending = Attending(model.unet)
        # a phrase stands between the token of the beginning and that of the end
        ids = tokenizer([phrase(name) for name in NAMES]).input_ids
        self._lengths = torch.tensor([len(some) - 2 for some in ids], device=alphas.device)

    def __call__(self, k: int, drawn: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The losses of a batch of `Batches`, by name; of any step k."""
        where = self._alphas.device
        drawn = {name: values.to(where) for name, values in drawn.items()}
        z0, keep, items = drawn["clean"], drawn["keep"], drawn["items"]
        used = drawn["categories"] >= 0
        a = self._alphas[drawn["timesteps"]].view(-1, 1, 1, 1)
        start = self._alphas[FINISHING - 1]
        noise = objective.leading(drawn["noise"], drawn["coarse"], z0, start)
        noisy = objective.noised(z0, noise, a)
        velocity = objective.target(z0, noise, a, "v_prediction")
        inputs = objective.unet_input(noisy, drawn["masked"], keep, drawn["hints"], drawn["known"])
        with autocast(where):
            output, text = _answer(self._model, inputs, drawn)
            place = torch.arange(text.shape[1], device=where)[None]
            last = self._lengths[drawn["categories"][:, :1].clamp(min=0)]
            named = (place > 0) & (place <= last)
            lit = self._attending.map(text, named.float(), z0.shape[-1])
        error = (output - velocity).square()
        # at low noise the velocity is mostly scanner noise, which cannot be learnt
        balance = torch.clamp(5 * (1 - a) / a, max=1.0)
        share = objective.mean_error(balance * error, objective.weights(keep, items))
        inside = ((1 - keep) * error).sum() / ((1 - keep).sum() * z0.shape[1])
        # what covers the silhouettes of several items is no item's own
        alone = (~drawn["dropped"] & (used.sum(1) == 1)).float()
        # a density map that is told tells where to attend as well
        alone = torch.where(drawn["told"], 1, SEARCHED) * alone
        attention = (alone * attention_loss(lit, items[:, 0])).sum() / alone.sum().clamp(min=1)
        return {
            "loss": 4 * share.mean() + ATTENDED * attention,
            "inside": inside.detach(),
            "attention": attention.detach(),
        }


def main(
    vae: Annotated[Path, typer.Option(help="Autoencoder, a diffusers folder.")] = Path(
        "assets/diffusion/vae"
    ),
    base: options.Base = None,
    out: options.Out = Path("assets/diffusion"),
    data: options.Data = Path("runs/data"),
    latents: Annotated[
        Path, typer.Option(help="Cache of encoded windows, of one SEED and BASE alone.")
    ] = Path("runs/latents"),
    run: options.Run = Path("runs/denoiser"),
    steps: options.Steps = 6000,
    batch: options.Batch = 64,
    rate: options.Rate = 1.2e-3,
    shard_count: options.ShardCount = 100,
    looks: Annotated[int, typer.Option(min=1, help="Scanners that show each window.")] = 2,
    copies: Annotated[int, typer.Option(min=1, help="Times each is turned and boxed anew.")] = 1,
    seed: options.Seed = 0,
    workers: options.Workers = 2,
    device: options.Device = "auto",
) -> None:
    """Train the embedded denoiser on simulated scans; resumes from RUN, else goes on from the
    diffusers folder BASE, else starts anew; writes a diffusers folder to OUT.

    Raises:
        XsynError: for BASE see `_opened`; OUT is BASE; or VAE cannot be read.
    """
    options.writable_file(out, base)
    torch.manual_seed(seed)
    where = pick_device(device)
    tokenizer = architectures.build_tokenizer()
    autoencoder = load_autoencoder(vae).eval().to(where)
    painter = _opened(base, tokenizer, autoencoder, where) if base else None
    options.writable_file(run / "checkpoint.pt")
    cached, finer = (
        cache_latents(
            *(autoencoder, data, folder, seed, shard_count, looks, times, workers, where),
            side,
            painter,
        )
        for folder, times, side in ((latents, copies, WINDOW), (latents / "finer", 1, SIDE))
    )
    scheduler = architectures.build_scheduler()
    model = (_speaker(painter) if painter else _fresh(tokenizer)).to(where).requires_grad_(True)
    # `window` greys the boxes of its pictures
    model.unet.register_to_config(shaped=SHAPED, finishing=FINISHING, greyed=True)
    # the backward of fused attention is slow on a CPU
    if where.type == "cpu":
        model.unet.set_attn_processor(AttnProcessor())
    losses = _Losses(model, scheduler.alphas_cumprod.to(where), tokenizer)
    attitudes = listed(cached, seed)
    batches = Batches(cached, finer, tokenizer, batch)

    def on_save(average: Denoiser, done: int) -> None:
        # the tokenizer in use would write down how it padded last
        fresh = architectures.build_tokenizer()
        architectures.save_diffusion(
            *(out, average.unet, autoencoder, average.text_encoder, fresh, scheduler), attitudes
        )

    plan = Plan(steps=steps, rate=rate, seed=seed)
    train(model, batches, losses, plan, run, on_save, workers)  # type: ignore[arg-type]
