"""Train the embedded autoencoder on simulated windows and scans."""

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from xsyn_core.training import architectures, options
from xsyn_core.training.data import SIDE, WINDOW, Shard, halved, shards
from xsyn_core.training.loop import Plan, autocast, pick_device, train
from xsyn_core.weights import load_autoencoder

CROP = WINDOW
# The most noise on latents, in their standard deviations. A painter is never sure of its latents to
# the last digit: without noise here, what is uncertain in an item comes out as patches and bent
# edges (Yang et al., "Latent Denoising Makes Good Visual Tokenizers", 2025).
NOISE = 0.5
# Weight of the squared distance, in standard deviations, of latents from those of the base: a
# painter that learnt on the base's finds new detail in small differences, not in another language.
NEAR = 1.0


def crops(data: list[Shard], batch: int, rng: np.random.Generator) -> torch.Tensor:
    """Random squares, turned and flipped: cut at native size, or windows shrunk to the size that
    is painted. Whole scans are never shrunk: no window shows that much in so few pixels.

    Returns:
        float32 (batch, 3, CROP, CROP) in [-1, 1].
    """
    out = np.empty((batch, CROP, CROP, 3), np.uint8)
    for k in range(batch):
        shard = data[rng.integers(len(data))]
        index = rng.integers(len(shard.images))
        image = shard.images[index]
        if shard.whole[index] or rng.random() < 0.4:
            x, y = rng.integers(0, SIDE - CROP + 1, 2)
            piece = image[y : y + CROP, x : x + CROP]
        else:
            piece = halved(image)
        piece = np.rot90(piece, rng.integers(4))  # type: ignore[call-overload]
        out[k] = piece[:, ::-1] if rng.random() < 0.5 else piece
    return torch.from_numpy(out).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared and absolute error of pixels plus absolute error of their differences, which
    keeps thin edges that a plain mean would blur away."""
    error = output - target
    dx, dy = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    return 20 * error.square().mean() + error.abs().mean() + dx.abs().mean() + dy.abs().mean()


def main(
    out: options.Out = Path("assets/diffusion/vae"),
    data: options.Data = Path("runs/data"),
    run: options.Run = Path("runs/autoencoder"),
    base: options.Base = None,
    steps: options.Steps = 6000,
    batch: options.Batch = 8,
    rate: options.Rate = 6e-4,
    shard_count: options.ShardCount = 40,
    seed: options.Seed = 0,
    workers: options.Workers = 2,
    device: options.Device = "auto",
) -> None:
    """Train the autoencoder; resumes from RUN, else goes on from the diffusers folder BASE, near
    whose latents it stays, else starts anew; writes a diffusers folder to OUT.

    Raises:
        XsynError: BASE cannot be read, or OUT is BASE.
    """
    options.writable_file(out, base)
    torch.manual_seed(seed)
    where = pick_device(device)
    model = (load_autoencoder(base) if base else architectures.build_autoencoder()).to(where)
    options.writable_file(run / "checkpoint.pt")
    pictures = shards(data, seed, shard_count, workers=workers)
    known = copy.deepcopy(model).requires_grad_(False) if base else None

    def draw(k: int, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        # mostly little: noise costs detail, and much of it more than it helps
        amount = NOISE * rng.random((batch, 1, 1, 1)) ** 2
        grid = CROP // architectures.CELL
        shape = batch, model.config.latent_channels, grid, grid
        noise = rng.standard_normal(shape, np.float32)
        return crops(pictures, batch, rng), *map(torch.from_numpy, (np.float32(amount), noise))

    def step(k: int, drawn: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        images, amount, noise = (x.to(where) for x in drawn)
        with autocast(where):
            blocks = F.pixel_unshuffle(images, architectures.PATCH)
            posterior = model.encode(blocks).latent_dist
            mean = posterior.mean
            spread = (posterior.var + (amount * mean.std()).square()).sqrt()
            latents = mean + spread * noise
            output = F.pixel_shuffle(model.decode(latents).sample, architectures.PATCH).float()
        # the prior only keeps latents near unit scale: a strong one would cost detail
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        mse = (output.detach() - images).square().mean()
        loss = reconstruction_loss(output, images) + 1e-4 * kl
        told = {"psnr": 10 * torch.log10(4 / mse), "kl": kl.detach()}
        if known is not None:
            with torch.no_grad(), autocast(where):
                before = known.encode(blocks).latent_dist.mean
            told["moved"] = ((mean - before) / before.std()).square().mean()
            loss = loss + NEAR * told["moved"]
        return {"loss": loss, **{name: value.detach() for name, value in told.items()}}

    def on_save(average, done: int) -> None:
        # scaled to unit variance, as the noise schedule expects
        images = crops(pictures, 32, np.random.default_rng(1)).to(where)
        with torch.no_grad():
            latents = average.encode(F.pixel_unshuffle(images, architectures.PATCH))
        average.register_to_config(scaling_factor=float(1 / latents.latent_dist.mean.std()))
        average.to(torch.float16).save_pretrained(out)
        average.to(torch.float32)

    plan = Plan(steps=steps, rate=rate, seed=seed, ema=0.998)
    train(model, draw, step, plan, run, on_save, workers)
