"""Fine-tuning on a made-up dataset, with models of other proportions than the embedded ones."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from made_bags import SIZE, put_dataset
from PIL import Image
from pycocotools.coco import COCO
from transformers import CLIPTextModel
from typer.testing import CliRunner

from xsyn_core import catalogs, weight_sources
from xsyn_core.attitudes import Attitude, Attitudes
from xsyn_core.categories import PIDRAY
from xsyn_core.cli.commands import app
from xsyn_core.curation.coco import write_dataset
from xsyn_core.errors import XsynError
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import make_scan
from xsyn_core.synthesis import Synthesizer
from xsyn_core.training import finetuning, objective
from xsyn_core.weights import load_models


def tune(data: Path, base: Path, run: Path, **options) -> Path:
    """Fine-tune briefly; gives the folder of the model."""
    settings = {
        "generation_steps": 0, "inpainting_steps": 0, "batch": 2, "rate": 1e-2,
        "held_out_share": 0.25, "sheet": 0, "mirrors": 1, "device": "cpu",
    }  # fmt: skip
    finetuning.main(data=data, base=str(base), run=run, **{**settings, **options})
    return run / "model"


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    parts = {
        "unet": UNet2DConditionModel.from_pretrained(folder / "unet"),
        "vae": AutoencoderKL.from_pretrained(folder / "vae"),
        "text_encoder": CLIPTextModel.from_pretrained(folder / "text_encoder"),
    }
    return {
        f"{part}.{name}": value
        for part, model in parts.items()
        for name, value in model.state_dict().items()
    }


def changed(before: Path, after: Path) -> set[str]:
    old, new = tensors(before), tensors(after)
    assert old.keys() == new.keys()
    return {
        name
        for name in old
        if old[name].shape != new[name].shape or not torch.equal(old[name], new[name])
    }


def test_runs_that_were_killed_end_as_an_uninterrupted_one(base, dataset, tmp_path, monkeypatch):
    stages = {"generation_steps": 3, "inpainting_steps": 4, "save_every": 0.0, "ema": 0.5}
    whole = tune(dataset, base, tmp_path / "whole", **stages)
    real = objective.drops
    # the second step of the first stage, then the second of the other
    for survived in (1, 3):
        left = [survived]

        def drops(count, rng, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(count, rng)

        monkeypatch.setattr(objective, "drops", drops)
        with pytest.raises(KeyboardInterrupt):
            tune(dataset, base, tmp_path / "broken", **stages)
    monkeypatch.setattr(objective, "drops", real)
    broken = tune(dataset, base, tmp_path / "broken", **stages)
    assert changed(base, whole)
    assert not changed(whole, broken)
    logs = [(tmp_path / run / "inpainting" / "loss.csv").read_text() for run in ("whole", "broken")]
    assert logs[0].splitlines()[-1] == "4," + logs[0].splitlines()[-1].partition(",")[2]
    assert [p.name for p in (tmp_path / "broken" / "inpainting").glob("*.pt")] == ["checkpoint.pt"]


def test_the_generation_stage_trains_fusers_and_position_net_alone(base, dataset, tmp_path):
    names = changed(base, tune(dataset, base, tmp_path, generation_steps=3))
    assert all(".fuser." in n or n.startswith("unet.position_net.") for n in names)
    assert any(".fuser." in n for n in names)
    assert any(n.startswith("unet.position_net.") for n in names)


def test_the_inpainting_stage_trains_the_first_convolution_too(base, dataset, tmp_path):
    names = changed(base, tune(dataset, base, tmp_path, inpainting_steps=3))
    others = {n for n in names if ".fuser." not in n and not n.startswith("unet.position_net.")}
    assert others == {"unet.conv_in.weight", "unet.conv_in.bias"}


def test_all_trains_unet_and_text_encoder_but_never_the_autoencoder(base, dataset, tmp_path):
    model = tune(
        dataset, base, tmp_path, inpainting_steps=3, trainable="all", category=["knife", "gun"]
    )
    names = changed(base, model)
    assert {n.partition(".")[0] for n in names} == {"unet", "text_encoder"}
    for part in ("unet.conv_out.weight", "unet.down_blocks.0.resnets.0.conv1.weight"):
        assert part in names


def test_frozen_weights_are_neither_saved_nor_copied(base, dataset, tmp_path):
    tune(dataset, base, tmp_path, inpainting_steps=1, ema=0.9)
    state = torch.load(tmp_path / "inpainting" / "checkpoint.pt", weights_only=True)
    for part in ("model", "average"):
        assert state[part]
        assert all(
            ".fuser." in n or n.startswith(("unet.position_net.", "unet.conv_in."))
            for n in state[part]
        )


def test_the_saved_model_loads_and_paints(base, dataset, tmp_path):
    folder = tune(
        dataset, base, tmp_path, generation_steps=1, inpainting_steps=1, trainable="all", sheet=2
    )
    models = load_models(folder, device="cpu")
    assert (models.diffusion.patch, models.diffusion.channels, models.diffusion.slots) == (1, 4, 30)
    pixels = np.full((*SIZE, 3), 200, np.uint8)
    request = Request((Grounding("Knife", (30, 30, 60, 50)),), steps=2, occlude=False)
    *_, last = Synthesizer(models).paint(make_scan(pixels, "bag.png"), request)
    outside = np.ones(SIZE, bool)
    outside[20:60, 20:70] = False
    assert (last.result.clear != pixels).any()
    assert np.array_equal(last.result.clear[outside], pixels[outside])
    for stage in finetuning.STAGES:
        (sheet,) = (tmp_path / stage).glob("sheet-*.png")
        with Image.open(sheet) as image:
            assert image.height == 128 and image.width % 64 == 0


def test_learnt_categories_are_asked_for_as_they_were_learnt(base, dataset, tmp_path):
    """Bare: the embedded model is told how items lie, which real scans do not say."""
    knowing = shutil.copytree(base, tmp_path / "base")
    lies = Attitude("1 n", np.eye(4, dtype=np.uint8))
    Attitudes({"Gun": [lies], "Bat": [lies]}).save(knowing / "tokenizer")
    folder = tune(dataset, knowing, tmp_path / "run", inpainting_steps=1)
    models = load_models(folder, device="cpu")
    assert set(models.diffusion.attitudes.known) == {"Bat"}
    scan = make_scan(np.full((*SIZE, 3), 240, np.uint8), "bag.png")
    request = Request((Grounding("Gun", (30, 30, 60, 50)),), steps=1, occlude=False)
    assert Synthesizer(models).synthesize(scan, request).prompt == "gun"


def test_the_held_out_loss_falls_on_scans_like_the_learnt_ones(base, tmp_path, capsys):
    objects = tuple((("Gun", (20, 20, 60 + k % 2, 50)),) for k in range(8))
    data = put_dataset(tmp_path / "bags", objects=objects)
    tune(
        data, base, tmp_path / "run", inpainting_steps=60, trainable="all", batch=4, rate=1e-2,
        min_snr=5.0,
    )  # fmt: skip
    rows = (tmp_path / "run" / "inpainting" / "held_out.csv").read_text().splitlines()
    steps = [int(row.split(",")[0]) for row in rows]
    losses = [float(row.split("=")[1]) for row in rows]
    assert steps == [0, 60]
    assert losses[1] < 0.6 * losses[0]
    assert f"step 60: held-out loss {losses[1]:.5f}" in capsys.readouterr().err


MISTAKES = {
    "no dataset": ((), ("--data", "--embedded")),
    "no such dataset": (("--data", "none"), ("none", "Check the path")),
    "unknown category": (("--data", "bags", "--category", "banana"), ("banana", "Knife")),
    "boxes too small": (
        ("--data", "bags", "--min-area", "0.9"),
        ("nothing to learn", "--min-area"),
    ),
    "all held out": (("--data", "bags", "--held-out", "0.9"), ("--held-out 0",)),
    "held-out share of 2": (("--data", "bags", "--held-out", "2"), ("below 1",)),
    "no steps": (
        ("--data", "bags", "--generation-steps", "0", "--inpainting-steps", "0"),
        ("0 steps",),
    ),
    "no boxes": (("--data", "empty"), ("no boxes",)),
    "no images": (("--data", "lost"), ("not one labelled image", "not there")),
    "a file for a folder": (("--data", "bags", "--run", "file/run"), ("cannot be written",)),
    "folder of others": (("--data", "bags", "--run", "bags"), ("other things",)),
    "out over others": (("--data", "bags", "--out", "bags"), ("other things", "--out")),
    "out over the base": (("--data", "bags", "--base", "base", "--out", "base"), ("base itself",)),
    "no such model": (("--data", "bags", "--base", "./none"), ("none",)),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_one_message(name, dataset, base, tmp_path, monkeypatch):
    options, words = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(dataset, tmp_path / "bags")
    shutil.copytree(base, tmp_path / "base")
    put_dataset(tmp_path / "empty", objects=((), ()))
    shutil.rmtree(put_dataset(tmp_path / "lost") / "images")
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, ["train", "denoiser", "--device", "cpu", *options])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output, result.output


def test_another_setting_does_not_go_on_with_a_run(base, dataset, tmp_path):
    tune(dataset, base, tmp_path, inpainting_steps=1)
    with pytest.raises(XsynError, match="batch 2, not 3"):
        tune(dataset, base, tmp_path, inpainting_steps=1, batch=3)


def test_steps_that_a_run_cannot_go_on_with_are_told(base, dataset, tmp_path):
    tune(dataset, base, tmp_path, generation_steps=2, inpainting_steps=3)
    for steps in (0, 1, 9):
        with pytest.raises(XsynError, match="--generation-steps 2"):
            tune(dataset, base, tmp_path, generation_steps=steps, inpainting_steps=4)
    for steps in (0, 2):
        with pytest.raises(XsynError, match=f"of 3 steps, more than the {steps} asked for"):
            tune(dataset, base, tmp_path, generation_steps=2, inpainting_steps=steps)
    alone = tmp_path / "alone"
    tune(dataset, base, alone, generation_steps=2)
    # without it inpainting would not begin from what generation learnt
    with pytest.raises(XsynError, match="of 2 steps, more than the 0 asked for"):
        tune(dataset, base, alone, generation_steps=0, inpainting_steps=3)


def test_a_repeated_command_writes_the_model_but_no_row_again(base, dataset, tmp_path):
    stages = {"generation_steps": 2, "inpainting_steps": 3}
    folder = tune(dataset, base, tmp_path, **stages)
    logs = sorted(tmp_path.rglob("*.csv"))
    before = [log.read_text() for log in logs]
    assert len(logs) == 4
    moved = folder.rename(tmp_path / "moved")
    tune(dataset, base, tmp_path, **stages)
    assert not changed(moved, folder)
    assert [log.read_text() for log in logs] == before


def test_what_fails_in_training_is_not_taken_for_a_folder_that_cannot_be_written(
    base, dataset, tmp_path, monkeypatch
):
    def fail(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(finetuning.Frames, "batch", fail)
    options = ("--data", str(dataset), "--base", str(base), "--run", str(tmp_path / "run"))
    result = CliRunner().invoke(app, ["train", "denoiser", "--device", "cpu", *options])
    assert result.exit_code == 2 and "Error: Too many open files." in result.output


def test_a_mount_point_is_no_folder_for_a_model(base, dataset, tmp_path, monkeypatch):
    out = tmp_path / "disk"
    out.mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: path == out)
    monkeypatch.setattr(finetuning, "load_models", None)
    with pytest.raises(XsynError, match="mount point"):
        tune(dataset, base, tmp_path / "run", inpainting_steps=1, out=out)


def test_the_embedded_base_is_not_overwritten(base, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(weight_sources, "ASSETS", tmp_path)
    folder = shutil.copytree(base, tmp_path / "diffusion")
    with pytest.raises(XsynError, match="base itself"):
        tune(dataset, "embedded", tmp_path / "run", inpainting_steps=1, out=folder)
    assert not changed(base, folder) and not (tmp_path / "run").exists()


def test_a_run_that_diverges_keeps_its_last_model(base, dataset, tmp_path, monkeypatch):
    folder = tune(dataset, base, tmp_path, inpainting_steps=2)
    kept = shutil.copytree(folder, tmp_path / "kept")
    monkeypatch.setattr(objective, "mean_error", lambda error, weights: error.mean() * np.nan)
    with pytest.raises(XsynError, match=r"no number at step 3.*of step 2"):
        tune(dataset, base, tmp_path, inpainting_steps=4, save_every=0.0)
    assert not changed(kept, folder)


@pytest.mark.parametrize("greyed", [False, True])
def test_what_the_base_sees_of_kept_cells_its_model_sees_and_old_frames_are_told_by_it(
    base, dataset, tmp_path, greyed
):
    own = tmp_path / "base"
    shutil.copytree(base, own)
    file = own / "unet" / "config.json"
    config = json.loads(file.read_text())
    assert "greyed" not in config
    file.write_text(json.dumps({**config, **({"greyed": True} if greyed else {})}))
    folder = tune(dataset, own, tmp_path / "run", inpainting_steps=1)
    assert json.loads((folder / "unet" / "config.json").read_text()).get("greyed", False) == greyed
    assert load_models(folder, device="cpu").diffusion.greyed == greyed
    # a run from when all frames were greyed
    (settings,) = (tmp_path / "run").glob("*.json")
    old = json.loads(settings.read_text())
    del old["masked"]
    settings.write_text(json.dumps(old))
    if greyed:
        tune(dataset, own, tmp_path / "run", inpainting_steps=1)
    else:
        with pytest.raises(XsynError, match="masked None, not 'z_0'"):
            tune(dataset, own, tmp_path / "run", inpainting_steps=1)


def test_categories_of_ones_own_are_painted_by_the_saved_model(base, dataset, tmp_path):
    folder = tune(dataset, base, tmp_path, inpainting_steps=1)
    synthesizer = Synthesizer(load_models(folder, device="cpu"))
    own = synthesizer.catalog
    assert own.names == ("Knife", "Gun", "slingshot") and own.title == dataset.name
    # boxes of 198 and 1200, of 600, of 600 and 1200 square pixels, in scans of 7680
    assert own.groups == (("Gun", "slingshot", "Knife"),)
    assert own.scan_areas == (7680, 7680)
    assert (own.min_area_ratio, own.max_area_ratio) == (0.001, float(f"{1200 / 7680:.3g}"))
    scan = make_scan(np.full((*SIZE, 3), 200, np.uint8), "bag.png")
    request = Request(
        (Grounding("Sling-Shot", (30, 30, 60, 50)),), steps=1, occlude=False, catalog=own
    )
    sample = synthesizer.synthesize(scan, request)
    assert sample.prompt == "slingshot"
    report = write_dataset([sample], tmp_path / "out", own)
    data = COCO(report.path / "annotations" / "instances.json")
    assert [c["name"] for c in data.loadCats([1, 2, 3])] == list(own.names)
    assert [a["category_id"] for a in data.anns.values()] == [3]


def test_a_model_that_learns_a_datasets_categories_paints_its_catalogue(base, dataset, tmp_path):
    folder = tune(dataset, base, tmp_path, inpainting_steps=1, category=["gun", "knife"])
    assert (folder / "catalog.json").read_text() == '"pidray"\n'
    assert load_models(folder, device="cpu").diffusion.catalog is PIDRAY


def test_a_model_of_ones_own_categories_is_tuned_again(base, dataset, tmp_path):
    first = tune(dataset, base, tmp_path / "first", inpainting_steps=1)
    again = tune(
        dataset, first, tmp_path / "again", inpainting_steps=1, category=["sling shot"],
        held_out_share=0.0,
    )  # fmt: skip
    assert catalogs.of_model(again) == catalogs.of_model(first)


def test_a_name_that_cannot_be_asked_for_is_told_first(base, tmp_path):
    data = put_dataset(tmp_path / "bags")
    file = data / "annotations.json"
    file.write_text(file.read_text().replace("slingshot", "s" * 99))
    with pytest.raises(XsynError, match=r"longer than 80 characters.*Rename"):
        tune(data, base, tmp_path / "run", inpainting_steps=1)
    assert not (tmp_path / "run").exists()
