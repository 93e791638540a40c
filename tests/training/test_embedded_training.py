"""A few steps of the embedded models' own training, on a shard of two scenes."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, TwoWayTransformer

from xsyn_core.errors import XsynError
from xsyn_core.evaluation import classifier
from xsyn_core.sam_checkpoint import load_sam, save_sam
from xsyn_core.sam_refiner import Refiner
from xsyn_core.training import architectures, autoencoder, denoiser, painter_items, segmenter

SEED = 5
PAINTER = Path(__file__).parents[2] / "assets/diffusion"
BRIEFLY = {"seed": SEED, "shard_count": 1, "steps": 2, "device": "cpu"}


def changed(before: torch.nn.Module, after: torch.nn.Module) -> set[str]:
    old = before.half().float().state_dict()
    return {
        name
        for name, value in after.state_dict().items()
        if name not in old or not value.equal(old[name])
    }


def test_the_autoencoder_learns_and_scales_its_latents(rendered, tmp_path):
    base = architectures.build_autoencoder()
    base.register_to_config(scaling_factor=0.123)
    base.save_pretrained(tmp_path / "base")
    out = tmp_path / "vae"
    autoencoder.main(out, rendered, tmp_path / "run", base=tmp_path / "base", batch=2, **BRIEFLY)
    learnt = AutoencoderKL.from_pretrained(out).float()
    parts = {name.split(".")[0] for name in changed(base, learnt)}
    assert parts == {"encoder", "quant_conv", "post_quant_conv", "decoder"}
    assert learnt.config.scaling_factor != 0.123


def test_the_autoencoder_stays_near_the_latents_of_its_base(rendered, tmp_path, monkeypatch):
    torch.manual_seed(2)
    base = architectures.build_autoencoder()
    base.save_pretrained(tmp_path / "base")
    blocks = torch.randn(4, 48, 32, 32)
    moved = []
    for weight in (0.0, 100.0):
        monkeypatch.setattr(autoencoder, "NEAR", weight)
        folder = tmp_path / str(weight)
        told = {**BRIEFLY, "steps": 4, "rate": 0.05, "batch": 1}
        autoencoder.main(folder, rendered, folder / "run", base=tmp_path / "base", **told)
        learnt = AutoencoderKL.from_pretrained(folder).float()
        with torch.no_grad():
            one, two = (m.encode(blocks).latent_dist.mean for m in (base, learnt))
        moved.append(((one - two) / one.std()).square().mean().item())
    assert 0 < moved[1] < 0.5 * moved[0]


def test_the_segmenter_learns_from_nothing(rendered, tmp_path):
    out = tmp_path / "sam.safetensors"
    segmenter.main(out, rendered, tmp_path / "run", batch=4, **BRIEFLY)
    learnt = load_sam(out)
    torch.manual_seed(SEED)
    fresh = architectures.build_sam()
    fresh.refiner = Refiner()
    parts = {name.split(".")[0] for name in changed(fresh, learnt)}
    assert parts == {"image_encoder", "mask_decoder", "prompt_encoder", "refiner"}
    assert learnt.zoom == 1.4


def test_the_segmenter_goes_on_with_its_refiner(rendered, tmp_path, monkeypatch):
    monkeypatch.setattr(painter_items, "PAINTING", 2)
    torch.manual_seed(1)
    base, out = tmp_path / "base.safetensors", tmp_path / "sam.safetensors"
    sam = architectures.build_sam()
    sam.refiner = Refiner()
    save_sam(base, sam, (0.4, 0.5), 1.4)
    told = {**BRIEFLY, "batch": 6, "item_shards": 1, "workers": 1}
    segmenter.main(out, rendered, tmp_path / "run", base, PAINTER, **told)
    before, after = load_sam(base), load_sam(out)
    assert {"refiner.leave.weight", "mask_decoder.iou_token.weight"} <= changed(before, after)
    for old, new in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.allclose(old, new, atol=2e-2)
    assert (tmp_path / "run/items/00000").is_dir()


def test_the_embedded_segmenter_goes_on_from_its_like(rendered, tmp_path):
    sam = architectures.build_sam()
    sam.image_encoder.img_size = 128
    sam.image_encoder.pos_embed = torch.nn.Parameter(sam.image_encoder.pos_embed[:, :8, :8])
    save_sam(tmp_path / "base.safetensors", sam)
    with pytest.raises(XsynError, match="sees scans in 128 pixels"):
        segmenter.main(
            tmp_path / "out", rendered, tmp_path, tmp_path / "base.safetensors", **BRIEFLY
        )
    sam.image_encoder = ImageEncoderViT(
        256, 16, 32, depth=1, num_heads=2, out_chans=128, qkv_bias=True
    )
    two_ways = TwoWayTransformer(depth=1, embedding_dim=128, mlp_dim=16, num_heads=2)
    sam.mask_decoder = MaskDecoder(transformer_dim=128, transformer=two_ways)
    save_sam(tmp_path / "plain.safetensors", sam)
    with pytest.raises(XsynError, match="draws masks without details"):
        segmenter.main(
            tmp_path / "out", rendered, tmp_path, tmp_path / "plain.safetensors", **BRIEFLY
        )


def test_the_judge_learns_on_from_weights(rendered, tmp_path):
    torch.manual_seed(1)
    base, file, out = classifier.Classifier(), tmp_path / "base.safetensors", tmp_path / "new"
    save_file({k: v.half() for k, v in base.state_dict().items()}, file)
    classifier.main(out, rendered, tmp_path / "run", base=file, batch=4, **BRIEFLY)
    learnt = classifier.load(out)
    assert changed(base, learnt)
    for old, new in zip(base.parameters(), learnt.parameters(), strict=True):
        assert torch.allclose(old, new, atol=2e-3)


@pytest.mark.parametrize(
    "command", [autoencoder.main, denoiser.main, segmenter.main, classifier.main]
)
@pytest.mark.parametrize(
    ("wrong", "told"), [("base", "none"), ("device", "'abacus' cannot be used")]
)
def test_what_cannot_be_used_is_told_before_anything_is_rendered(command, wrong, told, tmp_path):
    asked = {"base": tmp_path / "none", "device": "abacus"}
    folders = {name: tmp_path / name for name in ("out", "data", "run")}
    with pytest.raises(XsynError, match=told):
        command(**folders, **{wrong: asked[wrong]})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", [autoencoder.main, denoiser.main, segmenter.main])
def test_what_is_learnt_from_is_not_overwritten(command, tmp_path):
    (tmp_path / "other").mkdir()
    same = tmp_path / "other" / ".." / "base"
    with pytest.raises(XsynError, match="Choose another place with --out"):
        command(out=tmp_path / "base", data=tmp_path / "data", run=tmp_path / "run", base=same)
    assert list(tmp_path.iterdir()) == [tmp_path / "other"]


def test_a_painter_that_cannot_be_read_is_told_before_anything_is_rendered(tmp_path):
    folders = {name: tmp_path / name for name in ("out", "data", "run", "painter")}
    with pytest.raises(XsynError, match="painter has no unet"):
        segmenter.main(**folders, base=PAINTER.parent / "segmenter/sam.safetensors")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", [autoencoder.main, denoiser.main, segmenter.main, classifier.main]
)
@pytest.mark.parametrize("option", ["out", "run"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_rendered(
    command, option, tmp_path
):
    (tmp_path / "file").touch()
    folders = {name: tmp_path / name for name in ("out", "data", "run")}
    with pytest.raises(XsynError, match="cannot be written"):
        command(**{**folders, option: tmp_path / "file" / "below" / option})
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "run"}
