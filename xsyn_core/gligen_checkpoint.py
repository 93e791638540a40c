"""Original GLIGEN files, as `gligen_inference.py` reads and `trainer.py` writes them.

One pickle holds state dicts in the layout of latent diffusion: `model` (the UNet), `autoencoder`,
`text_encoder`, `diffusion` (the noise schedule), and `config_dict`. The tensors tell the model.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from xsyn_core.checkpoint_files import Foreign, kind_of, read_checkpoint, tensors_in
from xsyn_core.errors import XsynError

Tensors = Mapping[str, torch.Tensor]

NEEDED = (
    "Xsyn needs a GLIGEN inpainting model: a diffusers folder (unet, vae, text_encoder, "
    "tokenizer and scheduler, the UNet with attention_type gated and 2c + 1 input channels, "
    "9 where c = 4), such as masterful/gligen-1-4-inpainting-text-box, or an original file, "
    "diffusion_pytorch_model.bin of gligen/gligen-inpainting-text-box."
)
PARTS = ("model", "autoencoder", "text_encoder", "diffusion")
CLIP = "openai/clip-vit-large-patch14"
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")
# What no tensor tells, of all published models; `config_dict` is asked first.
HEADS = 8
LATENT_SIZE = 64
SCALING = 0.18215
CLIP_HEAD_WIDTH = 64
# How diffusers' functions expect the names.
LDM = "model.diffusion_model."
TEXT = "transformer.text_model."


class Parts(NamedTuple):
    """A model in diffusers' parts, on the CPU, frozen; `scheduler` is a configuration."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: dict[str, Any]


def load_gligen(path: Path, dtype: torch.dtype) -> Parts:
    """Convert an original GLIGEN file (text boxes, for inpainting or for generation).

    Args:
        path: the file; its tokenizer is that of `find_tokenizer`.
        dtype: of the UNet and the text encoder; the autoencoder is float32.

    Raises:
        XsynError: missing, damaged, or not such a file; names what was found.
    """
    content, _ = read_checkpoint(path, NEEDED)
    parts = {name: tensors_in(content.get(name)) for name in PARTS}
    if not _grounds_text(parts["model"]):
        raise XsynError(f"{path.name} {_found(content)}. {NEEDED}")
    missing = [name for name, tensors in parts.items() if not tensors]
    if missing:
        raise XsynError(f"{path.name} is a GLIGEN without its {', '.join(missing)}. {NEEDED}")
    unet = parts["model"]
    inputs, outputs = (unet[name].shape for name in ("input_blocks.0.0.weight", "out.2.weight"))
    check_inputs(path, inputs[1], outputs[0])
    tokenizer = _tokenizer(path, parts["text_encoder"])
    config = content.get("config_dict")
    try:
        return Parts(
            convert_unet(unet, config, dtype),
            convert_autoencoder(parts["autoencoder"], config),
            convert_text_encoder(parts["text_encoder"], tokenizer, dtype),
            tokenizer,
            schedule(parts["diffusion"]),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise XsynError(
            f"{path.name} looks like a GLIGEN, but its tensors do not fit together "
            f"({type(error).__name__}: {reason}). {NEEDED}"
        ) from None


def check_inputs(source: Path, inputs: int, channels: int) -> None:
    """Refuse a UNet that is neither for inpainting nor for generation.

    Raises:
        XsynError: it takes neither 2c + 1 nor c channels.
    """
    needed = 2 * channels + 1
    if inputs not in (needed, channels):
        raise XsynError(
            f"The UNet in {source} takes {inputs} input channels, not {needed} (or {channels}, for "
            f"generation): it was trained for something else. {NEEDED}"
        )


def find_tokenizer(path: Path) -> Path:
    """The folder of the tokenizer that belongs to an original file, which holds none: `tokenizer`
    beside the file, or CLIP's in the cache of the Hugging Face hub. Nothing is fetched.

    Raises:
        XsynError: there is neither.
    """
    # Imported here: it is slow to import.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    beside = path.absolute().parent / "tokenizer"
    if beside.is_dir():
        return beside
    try:
        cached = Path(snapshot_download(CLIP, local_files_only=True))
    except LocalEntryNotFoundError:
        cached = beside
    if not any((cached / name).is_file() for name in TOKENIZER_FILES[:2]):
        raise XsynError(
            f"{path.name} is an original GLIGEN, and those hold no tokenizer. Put the files "
            f"vocab.json and merges.txt of {CLIP} (the folder tokenizer of Stable Diffusion 1.4 "
            f"holds the same) into {beside}."
        )
    return cached


def convert_unet(tensors: Tensors, config: Any, dtype: torch.dtype) -> UNet2DConditionModel:
    """The gated UNet with the weights of an original one, under diffusers' names.

    Raises:
        KeyError, ValueError, RuntimeError: the tensors are not those of one UNet.
    """
    first, middle = tensors["input_blocks.0.0.weight"], "middle_block.1."
    levels: list[list[tuple[int, bool]]] = [[]]
    for number in range(1, _count(tensors, "input_blocks.")):
        block = f"input_blocks.{number}."
        if block + "0.op.weight" in tensors:
            levels.append([])
        else:
            width = tensors[block + "0.out_layers.3.weight"].shape[0]
            levels[-1].append((width, block + "1.proj_in.weight" in tensors))
    if any(len(set(level)) != 1 or len(level) != len(levels[0]) for level in levels):
        raise ValueError("the blocks of one level differ")
    widths, attentive = zip(*(level[0] for level in levels), strict=True)
    settings = {
        "sample_size": _setting(config, "model", "image_size", LATENT_SIZE),
        "in_channels": first.shape[1],
        "out_channels": tensors["out.2.weight"].shape[0],
        "block_out_channels": widths,
        "layers_per_block": len(levels[0]),
        "down_block_types": [f"{'CrossAttn' * a}DownBlock2D" for a in attentive],
        "up_block_types": [f"{'CrossAttn' * a}UpBlock2D" for a in reversed(attentive)],
        "cross_attention_dim": tensors[middle + "transformer_blocks.0.attn2.to_k.weight"].shape[1],
        # diffusers' name for what is the number of heads
        "attention_head_dim": _setting(config, "model", "num_heads", HEADS),
        "transformer_layers_per_block": _count(tensors, middle + "transformer_blocks."),
        "use_linear_projection": tensors[middle + "proj_in.weight"].ndim == 2,
        "attention_type": "gated",
    }
    named = convert_ldm_unet_checkpoint({LDM + k: v for k, v in tensors.items()}, settings)
    named |= {name: v for name, v in tensors.items() if name.startswith("position_net.")}
    used = {id(tensor) for tensor in named.values()}
    left = [name for name, tensor in tensors.items() if id(tensor) not in used]
    if left:
        raise ValueError(f"{len(left)} tensors of its UNet have no place, such as {left[0]}")
    return _built(lambda: UNet2DConditionModel(**settings), named, dtype)


def convert_autoencoder(tensors: Tensors, config: Any) -> AutoencoderKL:
    """The autoencoder with the weights of an original one, under diffusers' names, float32.

    Raises:
        KeyError, ValueError, RuntimeError: the tensors are not those of one autoencoder.
    """
    levels = range(_count(tensors, "encoder.down."))
    settings = {
        "in_channels": tensors["encoder.conv_in.weight"].shape[1],
        "out_channels": tensors["decoder.conv_out.weight"].shape[0],
        "down_block_types": ["DownEncoderBlock2D"] * len(levels),
        "up_block_types": ["UpDecoderBlock2D"] * len(levels),
        "block_out_channels": [
            tensors[f"encoder.down.{k}.block.0.conv2.weight"].shape[0] for k in levels
        ],
        "layers_per_block": _count(tensors, "encoder.down.0.block."),
        "latent_channels": tensors["post_quant_conv.weight"].shape[1],
        "scaling_factor": _setting(config, "autoencoder", "scale_factor", SCALING),
        "sample_size": _setting(config, "model", "image_size", LATENT_SIZE)
        * 2 ** (len(levels) - 1),
    }
    named = convert_ldm_vae_checkpoint(dict(tensors), settings)
    return _built(lambda: AutoencoderKL(**settings), named, torch.float32)


def convert_text_encoder(
    tensors: Tensors, tokenizer: CLIPTokenizer, dtype: torch.dtype
) -> CLIPTextModel:
    """CLIP's text model with the weights of an original one.

    Raises:
        KeyError, ValueError, RuntimeError: the tensors are not those of one text model.
    """
    named = {name.removeprefix(TEXT): v for name, v in tensors.items() if name.startswith(TEXT)}
    named.pop("embeddings.position_ids", None)  # 0, 1, 2, ...: no weight
    vocabulary, width = named["embeddings.token_embedding.weight"].shape
    settings = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        projection_dim=width,
        intermediate_size=named["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=_count(named, "encoder.layers."),
        num_attention_heads=max(1, width // CLIP_HEAD_WIDTH),
        max_position_embeddings=named["embeddings.position_embedding.weight"].shape[0],
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model, told = CLIPTextModel.from_pretrained(
        None, config=settings, state_dict=named, dtype=dtype, output_loading_info=True
    )
    wrong = sorted(told["missing_keys"] | told["unexpected_keys"])
    if wrong:
        raise ValueError(f"its text model lacks or has too many weights, such as {wrong[0]}")
    return model.requires_grad_(False).eval()


def schedule(tensors: Tensors) -> dict[str, Any]:
    """The configuration of diffusers' DDIM scheduler for the noise of an original file.

    Raises:
        KeyError: it has no betas.
    """
    betas = tensors["betas"].double()
    start, end = float(betas[0]), float(betas[-1])
    straight = torch.linspace(start**0.5, end**0.5, len(betas), dtype=torch.float64) ** 2
    known = torch.allclose(straight, betas, rtol=1e-4, atol=0)
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": len(betas),
        # float32 in the file; the numbers meant are short ones
        "beta_start": float(f"{start:.5g}"),
        "beta_end": float(f"{end:.5g}"),
        "beta_schedule": "scaled_linear",
        "trained_betas": None if known else betas.tolist(),
        "steps_offset": 1,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "prediction_type": "epsilon",
    }


def _built(build: Callable[[], Any], tensors: Tensors, dtype: torch.dtype) -> Any:
    """A frozen model in memory of its own, which the file's pages are copied into."""
    with torch.device("meta"):
        model = build()
    copies = {name: tensor.to(dtype, copy=True) for name, tensor in tensors.items()}
    model.load_state_dict(copies, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def _tokenizer(path: Path, tensors: Tensors) -> CLIPTokenizer:
    folder = find_tokenizer(path)
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    except Exception as error:  # a damaged vocabulary fails in many ways
        reason = " ".join(str(error).split())[:200]
        raise XsynError(
            f"The tokenizer in {folder} cannot be read ({reason}). Copy the files vocab.json and "
            f"merges.txt of {CLIP} there again."
        ) from None
    words = tensors.get(TEXT + "embeddings.token_embedding.weight")
    if words is not None and len(tokenizer) != len(words):
        raise XsynError(
            f"The tokenizer in {folder} knows {len(tokenizer)} tokens, the text model of "
            f"{path.name} {len(words)}: they do not belong together. Put the files vocab.json and "
            f"merges.txt of {CLIP} there."
        )
    return tokenizer


def _count(tensors: Tensors, beginning: str) -> int:
    rests = (name[len(beginning) :] for name in tensors if name.startswith(beginning))
    return len({rest.split(".")[0] for rest in rests})


def _setting(config: Any, part: str, name: str, default: Any) -> Any:
    """A positive number among the parameters of a part in `config_dict`, or the default."""
    for key in (part, "params", name):
        config = _plain(config)
        config = config.get(key) if isinstance(config, dict) else None
    value = _plain(config)
    fits = isinstance(value, type(default)) and not isinstance(value, bool) and value > 0
    return value if fits else default


def _plain(value: Any) -> Any:
    """OmegaConf keeps a value as `_content` or `_val` in the state of an object."""
    for _ in range(4):
        if isinstance(value, Foreign):
            value = value.state
        elif isinstance(value, dict) and "_content" in value:
            value = value["_content"]
        elif isinstance(value, dict) and "_val" in value:
            value = value["_val"]
    return value


def _grounds_text(unet: Tensors) -> bool:
    needed = (
        "input_blocks.0.0.weight",
        "out.2.weight",
        "position_net.null_positive_feature",
    )
    return all(name in unet for name in needed) and any(".fuser.linear." in name for name in unet)


def _found(content: Mapping[Any, Any]) -> str:
    """What a file is that is not wanted: "is ..." or "holds ..."."""
    tensors = tensors_in(content)
    for part in ("state_dict", "model"):
        tensors |= tensors_in(content.get(part))
    if not tensors:
        return "holds no weights"
    unet = {name.removeprefix(LDM): tensor for name, tensor in tensors.items()}
    first = unet.get("input_blocks.0.0.weight")
    grounded = any(".fuser." in name for name in unet)
    if grounded and first is None and "conv_in.weight" not in unet:
        return "is GLIGEN's grounding layers alone, without the UNet that they belong to"
    if grounded and first is not None:
        return (
            "is a GLIGEN checkpoint, but not one of the original files for boxes with text (those "
            "hold model, autoencoder, text_encoder and diffusion)"
        )
    if first is not None and first.ndim == 4:
        inputs, outputs = first.shape[1], len(unet.get("out.2.weight", ()))
        what = "inpainting" if inputs == 2 * outputs + 1 else "ordinary"
        return (
            f"is an {what} Stable Diffusion model ({inputs} input channels) without GLIGEN's "
            "grounding layers: it knows no boxes"
        )
    kind = kind_of(tensors)
    if kind is not None:
        return f"is {kind}"
    some = ", ".join(sorted(tensors)[:3])
    return f"is no model that Xsyn knows: it has {len(tensors)} tensors such as {some}"
