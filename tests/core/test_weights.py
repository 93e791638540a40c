"""Loading models, and saying what is wrong with those that cannot be loaded."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from xsyn_core.categories import CATALOGS
from xsyn_core.errors import XsynError
from xsyn_core.gligen_checkpoint import NEEDED
from xsyn_core.training.architectures import LATENT_CHANNELS
from xsyn_core.weight_sources import fingerprint
from xsyn_core.weights import load_models


@pytest.fixture
def broken(tiny_files, tmp_path):
    """A copy of the diffusers folder's configurations, with links to its weights."""
    folder = tmp_path / "model"
    for file in tiny_files[0].rglob("*"):
        target = folder / file.relative_to(tiny_files[0])
        if file.is_dir():
            target.mkdir(parents=True)
        elif file.suffix == ".json":
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
    return folder


def edit(file, **changes):
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, **changes}))


def refused(diffusion, sam, device="cpu"):
    with pytest.raises(XsynError) as caught:
        load_models(diffusion, sam, device)
    return str(caught.value)


def test_models_are_frozen_and_whole(tiny_models):
    parts = tiny_models.diffusion
    for part in (parts.unet, parts.vae, parts.text_encoder):
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())
        assert all(p.dtype == torch.float32 for p in part.parameters())


def test_sound_weights_load_in_silence(broken, tiny_files):
    code = "import sys; from xsyn_core import weights; weights.load_models(*sys.argv[1:], 'cpu')"

    def load(folder):
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder), str(tiny_files[1])],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert load(broken) == ""
    edit(broken / "unet" / "config.json", some_slots=3)
    assert "some_slots" in load(broken)


def test_the_fingerprint_follows_the_weights(tiny_files, tiny_models, broken):
    folder, sam = tiny_files
    assert tiny_models.fingerprint == fingerprint(folder, sam) == fingerprint(broken, sam)
    edit(broken / "scheduler" / "scheduler_config.json", prediction_type="epsilon")
    assert fingerprint(broken, sam) != tiny_models.fingerprint


def test_a_unet_without_grounding_is_named(broken, tiny_files):
    edit(broken / "unet" / "config.json", attention_type="default")
    message = refused(broken, tiny_files[1])
    assert "attention_type 'default'" in message and NEEDED in message


def test_a_broken_catalogue_is_named(broken, tiny_files):
    (broken / "catalog.json").write_text('{"title": "lab"}')
    message = refused(broken, tiny_files[1])
    assert "catalog.json is no catalogue (it has no names)" in message and "remove it" in message
    (broken / "catalog.json").write_text('"opixray"')
    models = load_models(broken, tiny_files[1], "cpu")
    assert models.diffusion.catalog is CATALOGS["opixray"]
    # what can be asked for is no weight
    assert models.fingerprint == fingerprint(*tiny_files)


def test_a_unet_with_other_inputs_is_named(broken, tiny_files):
    edit(broken / "unet" / "config.json", in_channels=9)
    message = refused(broken, tiny_files[1])
    assert f"takes 9 input channels, not {2 * LATENT_CHANNELS + 1}" in message


@pytest.mark.parametrize("text", ["{", "[]", "7", pytest.param(200_000 * "[", id="deep")])
@pytest.mark.parametrize("part", ["unet", "scheduler"])
def test_a_broken_configuration_is_named(part, text, broken, tiny_files):
    (file,) = (broken / part).glob("*config.json")
    file.write_text(text)
    message = refused(broken, tiny_files[1])
    assert str(broken) in message and NEEDED in message


def test_parts_that_do_not_fit(broken, tiny_files):
    edit(broken / "scheduler" / "scheduler_config.json", prediction_type="sample")
    assert "predicts 'sample'" in refused(broken, tiny_files[1])
    edit(broken / "scheduler" / "scheduler_config.json", prediction_type="epsilon")
    assert "starts from pure noise" in refused(broken, tiny_files[1])
    shutil.rmtree(broken / "vae")
    assert "has no vae" in refused(broken, tiny_files[1])
    (broken / "unet" / "config.json").write_text("{")
    assert "has no vae" in refused(broken, tiny_files[1])


def test_damaged_weights_are_told(broken, tiny_files):
    (weights,) = (broken / "unet").glob("*.safetensors")
    weights.unlink()
    weights.write_bytes(b"nothing")
    assert "cannot be read" in refused(broken, tiny_files[1])


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_told(broken, tiny_files, part, value):
    (weights,) = (broken / part).glob("*.safetensors")
    tensors = load_file(weights)
    name = sorted(tensors)[-1]
    tensors[name].view(-1)[0] = value
    weights.unlink()
    save_file(tensors, weights, {"format": "pt"})
    told = refused(broken, tiny_files[1])
    assert str(broken) in told and name in told and "no numbers" in told


def test_single_files_are_named(tmp_path, tiny_files):
    pickled = tmp_path / "diffusion_pytorch_model.bin"
    assert "There is no file" in refused(pickled, tiny_files[1])
    pickled.write_bytes(b"\x80\x02")
    message = refused(pickled, tiny_files[1])
    assert "none that PyTorch wrote" in message and NEEDED in message
    assert "Segment Anything" in refused(tiny_files[1], tiny_files[1])


def test_what_is_not_there(tmp_path, tiny_files):
    assert "There is no folder" in refused(tmp_path / "nowhere", tiny_files[1])
    assert "There is no file" in refused(tiny_files[0], tmp_path / "sam.pth")
    assert "device" in refused(*tiny_files, "abacus")


def test_a_hub_id_without_a_network(tiny_files, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refused("owner/some-model-that-is-not-here", tiny_files[1])
    assert "hub" in message and "path" in message
