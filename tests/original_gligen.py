"""Files in the layout of the original GLIGEN, made from diffusers' parts.

The names follow the constructors of GLIGEN's own UNet and autoencoder (one list of input blocks,
one of output blocks), not diffusers' converter.
"""

import re
import sys
from contextlib import contextmanager
from types import ModuleType
from unittest.mock import patch

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def text_settings(width=64, layers=2, words=100, heads=1):
    return CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        projection_dim=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=77,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )


def make_unet(
    widths=(32, 64), layers=1, text=64, inputs=9, attentive=None, heads=8, gated=True, size=8
):
    """Published sizes: widths (320, 640, 1280, 1280), 2 layers, text 768."""
    attentive = attentive or [True] * (len(widths) - 1) + [False]
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=inputs,
        out_channels=4,
        down_block_types=[f"{'CrossAttn' * a}DownBlock2D" for a in attentive],
        up_block_types=[f"{'CrossAttn' * a}UpBlock2D" for a in reversed(attentive)],
        block_out_channels=widths,
        layers_per_block=layers,
        cross_attention_dim=text,
        attention_head_dim=heads,
        attention_type="gated" if gated else "default",
    ).eval()


def make_autoencoder(widths=(32, 32, 32, 32), layers=1, size=64):
    """Published sizes: widths (128, 256, 512, 512), 2 layers."""
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths),
        block_out_channels=widths,
        layers_per_block=layers,
        latent_channels=4,
        sample_size=size,
    ).eval()


def full_size():
    """UNet, autoencoder and text model of the published sizes."""
    return (
        make_unet((320, 640, 1280, 1280), 2, 768, size=64),
        make_autoencoder((128, 256, 512, 512), 2, 512),
        CLIPTextModel(text_settings(768, 12, 49408, 12)).eval(),
    )


def unet_name(name, layers, attentive):
    """The original's name of a weight of diffusers' UNet."""
    if name.startswith("position_net."):
        return name
    for here, there in TOP.items():
        if name.startswith(here + "."):
            return there + name[len(here) :]
    place = re.match(r"(down|mid|up)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.(.*)", name)
    side, block, kind, number, rest = place.groups()
    block, number = int(block or 0), int(number)
    if kind == "resnets":
        part, ending = rest.rsplit(".", 1)
        rest = f"{RESNET[part]}.{ending}"
    if side == "mid":
        return f"middle_block.{2 * number if kind == 'resnets' else 1}.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{(block + 1) * (layers + 1)}.0.{rest.replace('conv', 'op')}"
    if side == "down":
        index = 1 + block * (layers + 1) + number
        return f"input_blocks.{index}.{0 if kind == 'resnets' else 1}.{rest}"
    if kind == "upsamplers":
        last = 2 if attentive[-1 - block] else 1
        return f"output_blocks.{block * (layers + 1) + layers}.{last}.{rest}"
    return f"output_blocks.{block * (layers + 1) + number}.{0 if kind == 'resnets' else 1}.{rest}"


def autoencoder_name(name, levels):
    """The original's name of a weight of diffusers' autoencoder."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(
        r"up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)",
        lambda m: (
            f"up.{levels - 1 - int(m[1])}." + (f"block.{m[3]}" if m[2] == "resnets" else "upsample")
        ),
        name,
    )
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    return re.sub(
        r"mid_block\.attentions\.0\.(.+)\.(weight|bias)",
        lambda m: f"mid.attn_1.{ATTENTION[m[1]]}.{m[2]}",
        name,
    )


def original_unet(unet):
    """The state dict under the original's names."""
    config = unet.config
    attentive = [kind.startswith("Cross") for kind in config.down_block_types]
    return {
        unet_name(name, config.layers_per_block, attentive): tensor
        for name, tensor in unet.state_dict().items()
    }


def original_autoencoder(vae):
    """The state dict under the original's names; its attention is convolutions of 1 x 1."""
    state = {}
    for name, tensor in vae.state_dict().items():
        name = autoencoder_name(name, len(vae.config.block_out_channels))
        convolution = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", name)
        state[name] = tensor[:, :, None, None] if convolution else tensor
    return state


def original_text_encoder(text):
    """The state dict under the original's names, with the positions that were saved then."""
    state = {f"transformer.text_model.{name}": t for name, t in text.state_dict().items()}
    state["transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return state


def original_noise(steps=1000):
    """A part of the schedule's buffers."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, steps, dtype=torch.float64) ** 2
    return {"betas": betas.float(), "alphas_cumprod": (1 - betas).cumprod(0).float()}


class DictConfig:
    """Pickles as OmegaConf's class of that name does: a state of plain dictionaries and nodes."""

    def __init__(self, values):
        self._parent = self
        self._content = {
            key: DictConfig(value) if isinstance(value, dict) else AnyNode(value)
            for key, value in values.items()
        }


class AnyNode:
    """Pickles as OmegaConf's class of that name does."""

    def __init__(self, value):
        self._val = value


DictConfig.__module__ = "omegaconf.dictconfig"
AnyNode.__module__ = "omegaconf.nodes"


@contextmanager
def omegaconf():
    """While open, `DictConfig` can be pickled; OmegaConf need not be installed."""
    modules = {
        "omegaconf": ModuleType("omegaconf"),
        "omegaconf.dictconfig": ModuleType("omegaconf.dictconfig"),
        "omegaconf.nodes": ModuleType("omegaconf.nodes"),
    }
    modules["omegaconf.dictconfig"].DictConfig = DictConfig
    modules["omegaconf.nodes"].AnyNode = AnyNode
    with patch.dict(sys.modules, modules):
        yield


def save_original(path, unet, vae, text, settings=None, zipped=True, **more):
    """Write such a file; `settings` go into `config_dict`, `more` replaces or adds parts."""
    content = {
        "model": original_unet(unet),
        "autoencoder": original_autoencoder(vae),
        "text_encoder": original_text_encoder(text),
        "diffusion": original_noise(),
        "config_dict": vars(DictConfig(settings or {})),
        **more,
    }
    with omegaconf():
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
