"""What several tests of training start from."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from made_bags import put_dataset
from transformers import CLIPTextConfig, CLIPTextModel

from xsyn_core.diffusion import Diffusion
from xsyn_core.training import architectures, data, segmenter_data
from xsyn_core.weights import load_models


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A small model in full-size proportions: p = 1, c = 4, GLIGEN's slots, epsilon."""
    folder = tmp_path_factory.mktemp("base") / "gligen"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = architectures.build_tokenizer()
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=9,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(32, 64),
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=8,
            attention_type="gated",
        )
        for name, parameter in unet.named_parameters():
            if name.endswith(("alpha_attn", "alpha_dense")):
                torch.nn.init.constant_(parameter, 0.7)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 16, 16),
            norm_num_groups=4,
            latent_channels=4,
            sample_size=64,
        )
        ends = {name: tokenizer.eos_token_id for name in ("eos_token_id", "pad_token_id")}
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
                bos_token_id=tokenizer.bos_token_id,
                **ends,
            )
        )
        scheduler = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        architectures.save_diffusion(folder, unet, vae, text, tokenizer, scheduler)
    return folder


@pytest.fixture(scope="module")
def diffusion(base) -> Diffusion:
    return load_models(base, device="cpu").diffusion


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return put_dataset(tmp_path_factory.mktemp("data") / "bags")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory) -> Path:
    """Training data of two scenes each: shard 0 of seed 5, in one look, and the segmenter's."""
    root = tmp_path_factory.mktemp("rendered")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "SCENES", 2)
        data.make_shard((root / "seed5", 5, 0))
        data.expose_shard((root / "seed5", 5, 0, 0))
        patch.setattr(segmenter_data, "SCENES", 2)
        segmenter_data.make_pictures((root / "segmenter5", 5, 0))
    return root
