"""The embedded models' shapes: small, and in the formats of the full-size ones."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from segment_anything.modeling import PromptEncoder, Sam, TwoWayTransformer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from xsyn_core import catalogs
from xsyn_core.attitudes import COMPASS, MIRRORED, Attitudes
from xsyn_core.categories import CATALOGS, Catalog, phrase
from xsyn_core.files import replacing, sync_file
from xsyn_core.sam_detail import STRIDE, DetailDecoder, DetailEncoder

LATENT_CHANNELS = 16
TEXT_WIDTH = 128
# The autoencoder sees 4x4 pixel blocks as channels: three quarters of the arithmetic of a plain
# f = 8 autoencoder is spent at full resolution, where it buys little.
PATCH = 4
# Pixels a side of a latent cell.
CELL = 8
# Empty grounding slots take part in the gated attention: few of them leave it to the objects.
GROUNDING_SLOTS = 8
# How far guided outputs get the spread of conditional ones (see `inpainting.guided`): measured by
# `evaluate models --only categories,realism`.
GUIDANCE_RESCALE = 0.7
# Below this timestep there is little guidance (see `inpainting.LITTLE`): measured in the same way.
SHAPED = 600
# Large windows are finished from this timestep on (see `xsyn_core.finishing`).
FINISHING = 400


def vocabulary() -> list[str]:
    """Every word of every category phrase and attitude (digits are tokens anyway), sorted."""
    words = {w for c in CATALOGS.values() for n in c.names for w in phrase(n).split()}
    return sorted({*words, *COMPASS, MIRRORED})


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer in which each word of `vocabulary` is one token; other words fall apart
    into pieces and characters."""
    characters = [chr(c) for c in range(33, 127)]
    words = [[*word[:-1], word[-1] + "</w>"] for word in vocabulary()]
    tokens = dict.fromkeys([*characters, *(c + "</w>" for c in characters)])
    merges = []
    # byte-pair encoding carried on until every word is whole; ties go by spelling
    while pairs := Counter(pair for word in words for pair in pairwise(word)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        tokens["".join(best)] = None
        for word in words:
            for k in range(len(word) - 2, -1, -1):
                if k + 1 < len(word) and (word[k], word[k + 1]) == best:
                    word[k : k + 2] = ["".join(best)]
    vocab = {token: number for number, token in enumerate(tokens)}
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocab[token] = len(vocab)
    return CLIPTokenizer(
        vocab=vocab,
        merges=merges,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=77,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A two-layer CLIP text model of width `TEXT_WIDTH`."""
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).eval()
    # neighbours on the compass begin alike
    weight = model.get_input_embeddings().weight
    turn = 2 * torch.pi * torch.arange(len(COMPASS))[:, None] / len(COMPASS) * 2 ** torch.arange(3)
    waves = torch.cat([turn.cos(), turn.sin()], 1)
    points = tokenizer.convert_tokens_to_ids([point + "</w>" for point in COMPASS])
    with torch.no_grad():
        weight[points] = waves @ torch.randn(waves.shape[1], TEXT_WIDTH) * weight.std()
    return model


def build_autoencoder() -> AutoencoderKL:
    """An f = 8 autoencoder on pixel-unshuffled input (`PATCH`), 16 latent channels."""
    return AutoencoderKL(
        in_channels=3 * PATCH**2,
        out_channels=3 * PATCH**2,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(96, 128),
        layers_per_block=2,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=16,
        mid_block_add_attention=False,
        sample_size=128,
    ).eval()


def build_unet(sample_size: int = 16) -> UNet2DConditionModel:
    """A gated (GLIGEN) inpainting UNet: 2c + 1 channels in, c out."""
    unet = UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=2 * LATENT_CHANNELS + 1,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(64, 128, 256),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
        attention_type="gated",
    ).eval()
    unet.register_to_config(
        grounding_slots=GROUNDING_SLOTS,
        guidance_rescale=GUIDANCE_RESCALE,
        shaped=SHAPED,
        finishing=FINISHING,
        greyed=True,
    )
    return unet


def build_scheduler() -> DDIMScheduler:
    """The schedule of Stable Diffusion and GLIGEN, with v-prediction, and stretched until nothing
    of the signal is left at its end: where painting starts from pure noise, training must have
    seen it, or every background drifts to the mean brightness (Lin et al., WACV 2024)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def build_sam() -> Sam:
    """A `Sam` for 256 px images: a 16 x 16 token grid, masks of 64 x 64 logits."""
    side, width, prompt_dim, details = 256, 192, 128, (64, 24)
    grid = side // STRIDE
    encoder = DetailEncoder(
        fine=40,
        middle=80,
        details=details,
        depths=((2, 3), (1, 2)),
        narrow=80,
        img_size=side,
        patch_size=STRIDE,
        embed_dim=width,
        depth=4,
        num_heads=6,
        mlp_ratio=4,
        out_chans=prompt_dim,
        qkv_bias=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        # on a grid this small, attention over all of it is cheaper than windows
        use_rel_pos=False,
        window_size=0,
    )
    return Sam(
        image_encoder=encoder,
        prompt_encoder=PromptEncoder(prompt_dim, (grid, grid), (side, side), mask_in_chans=16),
        mask_decoder=DetailDecoder(
            details,
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=prompt_dim, mlp_dim=512, num_heads=4
            ),
            transformer_dim=prompt_dim,
            iou_head_depth=3,
            iou_head_hidden_dim=128,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    ).eval()


@contextmanager
def _halved(part: torch.nn.Module) -> Iterator[None]:
    """While open, a module is float16; then its tensors are again what they were, to the bit."""
    tensors = [t for t in (*part.parameters(), *part.buffers()) if t.is_floating_point()]
    originals = [t.data for t in tensors]
    try:
        for tensor in tensors:
            tensor.data = tensor.data.to(torch.float16)
        yield
    finally:
        for tensor, original in zip(tensors, originals, strict=True):
            tensor.data = original


def save_diffusion(
    folder: Path,
    unet,
    vae,
    text_encoder,
    tokenizer,
    scheduler,
    attitudes: Attitudes | None = None,
    catalog: Catalog | None = None,
) -> None:
    """Write a diffusers folder (float16 safetensors, `model_index.json`) that
    `StableDiffusionGLIGENPipeline.from_pretrained` opens too, with the attitudes that the model
    knows and the catalogue that it paints, if any; the folder appears whole or not. The parts
    themselves stay as they are."""
    with replacing(Path(folder).resolve()) as made:
        new = made.fresh
        for name, part in (("unet", unet), ("vae", vae), ("text_encoder", text_encoder)):
            with _halved(part):
                part.save_pretrained(new / name, safe_serialization=True)
            # a path on this machine means nothing on others
            config = json.loads((new / name / "config.json").read_text())
            config.pop("_name_or_path", None)
            (new / name / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        tokenizer.save_pretrained(new / "tokenizer")
        if attitudes is not None:
            attitudes.save(new / "tokenizer")
        if catalog is not None:
            catalogs.save(catalog, new)
        scheduler.save_pretrained(new / "scheduler")
        index = {
            "_class_name": "StableDiffusionGLIGENPipeline",
            "_diffusers_version": diffusers.__version__,
            "feature_extractor": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", type(scheduler).__name__],
            "text_encoder": ["transformers", type(text_encoder).__name__],
            "tokenizer": ["transformers", type(tokenizer).__name__],
            "unet": ["diffusers", type(unet).__name__],
            "vae": ["diffusers", type(vae).__name__],
        }
        (new / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        for file in new.rglob("*"):
            if file.is_file():
                sync_file(file)
