"""The embedded models' formats."""

import shutil

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from xsyn_core import files
from xsyn_core.categories import CATALOGS, phrase
from xsyn_core.sam_checkpoint import load_sam, save_sam
from xsyn_core.training import architectures
from xsyn_core.weight_sources import ASSETS
from xsyn_core.weights import load_diffusion


def test_every_word_of_every_phrase_is_one_token():
    tokenizer = architectures.build_tokenizer()
    for catalog in CATALOGS.values():
        for name in catalog.names:
            words = phrase(name).split()
            assert tokenizer.tokenize(phrase(name)) == [w + "</w>" for w in words]
    told = "scissors 210 nebn mirrored"
    assert tokenizer.tokenize(told) == [
        f"{w}</w>" for w in ["scissors", "2", "1", "0", "nebn", "mirrored"]
    ]
    assert tokenizer.tokenize("zebra") != ["zebra</w>"]


def test_the_tokenizer_is_always_the_same():
    a, b = architectures.build_tokenizer(), architectures.build_tokenizer()
    assert a.get_vocab() == b.get_vocab()
    assert a("folding knife, baton").input_ids == b("folding knife, baton").input_ids


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "diffusion"
    tokenizer = architectures.build_tokenizer()
    parts = (
        architectures.build_unet(),
        architectures.build_autoencoder(),
        architectures.build_text_encoder(tokenizer),
    )
    architectures.save_diffusion(folder, *parts, tokenizer, architectures.build_scheduler())
    return folder, parts


def test_a_saved_folder_opens_with_the_same_weights(saved):
    folder, (unet, vae, text) = saved
    again = (
        UNet2DConditionModel.from_pretrained(folder / "unet"),
        AutoencoderKL.from_pretrained(folder / "vae"),
        CLIPTextModel.from_pretrained(folder / "text_encoder"),
    )
    for old, new in zip((unet, vae, text), again, strict=True):
        for key, value in old.state_dict().items():
            assert torch.allclose(value, new.state_dict()[key].float(), atol=1e-3), key
    assert again[0].config.in_channels == 2 * again[1].config.latent_channels + 1
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    assert tokenizer.tokenize("utility knife") == ["utility</w>", "knife</w>"]


def test_a_folder_does_not_tell_where_its_parts_were_opened(saved, tmp_path):
    opened = load_diffusion(saved[0], torch.device("cpu"), "saved")
    parts = opened.unet, opened.vae, opened.text_encoder, opened.tokenizer
    architectures.save_diffusion(tmp_path / "again", *parts, architectures.build_scheduler())
    written = [file for file in (tmp_path / "again").rglob("*.json") if file.is_file()]
    assert len(written) >= 6
    assert not any(str(saved[0].parent) in file.read_text() for file in written)


def test_diffusers_own_pipeline_opens_the_folder(saved):
    from diffusers import StableDiffusionGLIGENPipeline

    pipeline = StableDiffusionGLIGENPipeline.from_pretrained(saved[0])
    assert pipeline.unet.config.attention_type == "gated"


def test_all_weights_together_stay_under_fifty_mebibytes(saved):
    folder, _ = saved
    diffusion = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    sam = 2 * sum(p.numel() for p in architectures.build_sam().parameters())
    assert diffusion + sam < 50 * 2**20
    assert sum(file.stat().st_size for file in ASSETS.rglob("*.safetensors")) < 50 * 2**20


def test_a_save_that_was_killed_leaves_the_earlier_model_and_its_copy_goes_with_the_next(
    saved, tmp_path, monkeypatch
):
    folder = shutil.copytree(saved[0], tmp_path / "model")
    before = {file: file.read_bytes() for file in folder.rglob("*.safetensors")}
    tokenizer, scheduler = architectures.build_tokenizer(), architectures.build_scheduler()

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files, "_exchange", kill)
        architectures.save_diffusion(folder, *saved[1], tokenizer, scheduler)
    assert {file: file.read_bytes() for file in folder.rglob("*.safetensors")} == before
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(files, "_alive", lambda *process: False)
    architectures.save_diffusion(folder, *saved[1], tokenizer, scheduler)
    assert list(tmp_path.iterdir()) == [folder]
    assert load_diffusion(folder, torch.device("cpu"), "model").channels == 16


def test_a_saved_segmenter_opens_with_the_same_weights(tmp_path):
    torch.manual_seed(0)
    sam = architectures.build_sam()
    save_sam(tmp_path / "sam.safetensors", sam)
    opened = load_sam(tmp_path / "sam.safetensors").state_dict()
    assert opened.keys() == sam.state_dict().keys()
    assert all(torch.equal(opened[k], v.half().float()) for k, v in sam.state_dict().items())


def test_tokens_of_the_stem_see_their_own_place():
    # what changes in one patch changes its token most
    torch.manual_seed(0)
    stem = architectures.build_sam().image_encoder.patch_embed
    image = torch.randn(1, 3, 96, 128)
    changed = image.clone()
    changed[..., 32:48, 64:80] += 1
    with torch.no_grad():
        before, after = stem(image)[0], stem(changed)[0]
    assert before.shape == (1, 6, 8, 192)
    moved = (after - before).abs().mean(-1)[0]
    assert moved.argmax() == 2 * 8 + 4
