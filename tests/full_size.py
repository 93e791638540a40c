"""Full-size models with random weights, written, loaded, run for one step and saved again.

    PYTHONPATH=. python tests/full_size.py [gligen] [mobile_sam] [vit_b] [vit_l] [vit_h]
        [--side 256] [--folder DIR] [--device cpu]

Not part of the test run: GLIGEN takes some minutes, 3 GB of disk and 8 GiB of memory, ViT-H as
much, MobileSAM a minute. The weights have the names, shapes and types (GLIGEN's in half precision)
of the published ones, and mean nothing.
"""

import argparse
import gc
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from original_gligen import (
    full_size,
    original_autoencoder,
    original_text_encoder,
    original_unet,
    save_original,
)
from original_mobile_sam import published_shapes, random_weights
from segment_anything import sam_model_registry
from transformers import CLIPTokenizer

from xsyn_core.diffusion import Condition, Diffusion
from xsyn_core.gligen_checkpoint import Parts
from xsyn_core.inpainting import denoise
from xsyn_core.sam_checkpoint import load_sam, save_sam
from xsyn_core.segmentation import Segmenter
from xsyn_core.training.architectures import save_diffusion
from xsyn_core.weights import load_diffusion

WORDS = 49408
SAMS = ("mobile_sam", "vit_b", "vit_l", "vit_h")


def tell(what: str, began: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what}: {time.monotonic() - began:.1f} s, peak {peak:.1f} GiB so far", flush=True)


def save_tokenizer(folder: Path) -> None:
    """A vocabulary of CLIP's size: 256 characters, inside and at the end, and their pairs."""
    characters = [chr(c) for c in range(33, 127)] + [chr(c) for c in range(256, 418)]
    tokens = [*characters, *(c + "</w>" for c in characters)]
    pairs = [(a, b) for a in characters for b in characters][: WORDS - 2 - len(tokens)]
    tokens += [*(a + b for a, b in pairs), "<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=pairs,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=77,
    ).save_pretrained(folder)


def filled(tensors: dict[str, torch.Tensor], generator: torch.Generator) -> dict:
    """Random weights of half precision: as a fresh network's, so that nothing overflows."""
    made = {}
    for name, tensor in tensors.items():
        if tensor.dtype == torch.int64:
            made[name] = torch.arange(tensor.numel()).reshape(tensor.shape)
            continue
        made[name] = torch.zeros(tensor.shape, dtype=torch.float16)
        if "norm" in name.lower() and name.endswith("weight") and tensor.ndim == 1:
            made[name].fill_(1)
        elif "alpha" in name:
            made[name].fill_(0.7)
        elif tensor.ndim > 1:
            fan_in = tensor[0].numel()
            made[name].normal_(0, min(0.02, fan_in**-0.5), generator=generator)
    return made


def write_original(path: Path, generator: torch.Generator) -> None:
    with torch.device("meta"):
        unet, vae, text = full_size()
    parts = {
        "model": original_unet(unet),
        "autoencoder": original_autoencoder(vae),
        "text_encoder": original_text_encoder(text),
    }
    for name, tensors in parts.items():
        count = sum(tensor.numel() for tensor in tensors.values())
        print(f"{name}: {len(tensors)} tensors, {count / 1e6:.1f} M numbers")
    content = {name: filled(tensors, generator) for name, tensors in parts.items()}
    save_original(path, unet, vae, text, **content)


def one_step(diffusion: Diffusion, side: int) -> torch.Tensor:
    """The image after one denoising step, with guidance."""
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mask = torch.ones(1, 1, side // 8, side // 8)
    mask[..., side // 32 : side // 16, side // 32 : side // 16] = 0
    condition = Condition("gun", ("gun",), ((0.25, 0.25, 0.5, 0.5),))
    (step,) = denoise(
        diffusion,
        image,
        mask,
        [condition],
        steps=1,
        guidance=7.5,
        sampler="ddim",
        generator=torch.Generator().manual_seed(0),
    )
    painted = diffusion.decode(step.latents)
    assert painted.shape == image.shape and bool(painted.isfinite().all())
    return painted


def loaded(source: Path, side: int, device: torch.device) -> tuple[Parts, torch.Tensor]:
    began = time.monotonic()
    diffusion = load_diffusion(source, device, source.name)
    tell(f"loaded {source.name}", began)
    began = time.monotonic()
    painted = one_step(diffusion, side)
    tell(f"one step at {side} px", began)
    names = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    return Parts(*(getattr(diffusion, name) for name in names)), painted


def try_gligen(home: Path, side: int, device: torch.device) -> None:
    save_tokenizer(home / "tokenizer")
    original, folder = home / "diffusion_pytorch_model.bin", home / "model"
    began = time.monotonic()
    write_original(original, torch.Generator().manual_seed(0))
    tell(f"wrote {original.stat().st_size / 1e9:.2f} GB", began)
    gc.collect()
    parts, first = loaded(original, side, device)
    original.unlink()
    began = time.monotonic()
    save_diffusion(folder, *parts[:4], DDIMScheduler.from_config(parts.scheduler))
    tell("saved as a diffusers folder", began)
    del parts
    gc.collect()
    config = json.loads((folder / "unet" / "config.json").read_text())
    print({key: config[key] for key in ("in_channels", "block_out_channels", "sample_size")})
    _, second = loaded(folder, side, device)
    assert torch.equal(first, second)
    print("the same image from both")


def embedded(source: Path, device: torch.device) -> tuple[Segmenter, torch.Tensor]:
    began = time.monotonic()
    segmenter = Segmenter(load_sam(source), device)
    tell(f"loaded {source.name}", began)
    image = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    began, worked = time.monotonic(), time.process_time()
    embedding = segmenter.embed(image)
    tell(f"embedded ({time.process_time() - worked:.1f} s of CPU)", began)
    assert embedding.features.shape == (1, 256, 64, 64)
    assert bool(embedding.features.isfinite().all())
    began = time.monotonic()
    segment = segmenter.segment(embedding, box=(100, 100, 300, 250))
    tell(f"segmented {segment.mask.shape}", began)
    return segmenter, embedding.features


def original_sam(name: str) -> dict[str, torch.Tensor]:
    """The state of a published SAM's own modules, at random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "mobile_sam":
            return random_weights(published_shapes(), torch.Generator().manual_seed(0))
        return sam_model_registry[name]().state_dict()


def try_sam(home: Path, name: str, device: torch.device) -> None:
    # the tensors tell which model it is, not the name of the file
    original, written = home / "weights.pth", home / "sam.safetensors"
    weights = original_sam(name)
    torch.save(weights, original)
    print(f"{name}: {len(weights)} tensors, {original.stat().st_size / 1e6:.1f} MB")
    del weights
    gc.collect()
    segmenter, first = embedded(original, device)
    began = time.monotonic()
    save_sam(written, segmenter.sam)
    tell(f"saved {written.stat().st_size / 1e6:.1f} MB", began)
    del segmenter
    gc.collect()
    _, second = embedded(written, device)
    error = (first - second).abs().max() / first.std()
    print(f"features differ by {error:.4f} of their deviation: weights are rounded to float16")
    assert error < 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    models = ("gligen", *SAMS)
    parser.add_argument(
        "models", nargs="*", default=models, metavar="MODEL", help=" or ".join(models)
    )
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    if unknown := set(chosen.models) - set(models):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    device = torch.device(chosen.device)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as temporary:
        home = Path(temporary)
        if "gligen" in chosen.models:
            try_gligen(home, chosen.side, device)
        for name in SAMS:
            if name in chosen.models:
                try_sam(home, name, device)


if __name__ == "__main__":
    main()
