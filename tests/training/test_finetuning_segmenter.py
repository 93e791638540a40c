"""Fine-tuning of SAM's mask decoder on a made-up dataset."""

import copy
import shutil

import numpy as np
import pytest
import torch
from made_bags import put_dataset
from original_mobile_sam import tiny_mobile_sam
from safetensors.torch import load_file
from typer.testing import CliRunner

from xsyn_core import weight_sources
from xsyn_core.boxes import of_mask
from xsyn_core.cli.commands import app
from xsyn_core.curation.readers import read_dataset
from xsyn_core.errors import XsynError
from xsyn_core.sam_checkpoint import load_sam, save_sam
from xsyn_core.training import finetuning_segmenter, parts
from xsyn_core.training.finetuning_data import select
from xsyn_core.training.finetuning_segmenter import PROMPTS, cache_pictures, draw, on_grid
from xsyn_core.training.prompting import KINDS
from xsyn_core.weights import load_segmenter

# One thing a scan, in many places; its mask is the left half.
OBJECTS = tuple(
    (("Gun", (8 + 5 * k, 10 + 4 * k, 44 + 5 * k, 34 + 4 * k)),) for k in range(8)
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return put_dataset(tmp_path_factory.mktemp("data") / "bags", masks=True, objects=OBJECTS)


def tune(data, base, run, **options):
    settings = {"batch": 2, "rate": 1e-3, "held_out_share": 0.25, "device": "cpu"}
    finetuning_segmenter.main(data=data, base=str(base), run=run, **{**settings, **options})
    return run / "sam.safetensors"


def test_iou_rises_and_the_decoder_alone_changes(dataset, tmp_path, capsys):
    file = tune(dataset, "embedded", tmp_path, steps=60)
    rows = (tmp_path / "held_out.csv").read_text().splitlines()
    told = [dict(cell.split("=") for cell in row.split(",")[1:]) for row in rows]
    assert [int(row.split(",")[0]) for row in rows] == [0, 60]
    before, after = ({name: float(v) for name, v in values.items()} for values in told)
    # at first a click means the whole thing, of which half is right
    assert before["iou_point"] < 0.6 and after["iou_point"] > before["iou_point"] + 0.1
    assert after["iou_box"] > before["iou_box"]
    assert after["loss_box"] < before["loss_box"]
    assert f"iou_point {after['iou_point']:.4f}" in capsys.readouterr().err
    old, new = load_segmenter().sam, load_sam(file)
    differing = {
        name.partition(".")[0]
        for name, value in old.state_dict().items()
        if not torch.equal(value, new.state_dict()[name])
    }
    assert differing == {"mask_decoder"}
    assert new.thresholds == pytest.approx(old.thresholds)


def test_mobile_sam_learns_in_its_decoder_alone(dataset, tmp_path):
    base = tmp_path / "base.safetensors"
    save_sam(base, tiny_mobile_sam())
    new = load_file(tune(dataset, base, tmp_path / "run", steps=3, ema=0.5))
    differing = {n for n, value in load_file(base).items() if not torch.equal(value, new[n])}
    assert {name.partition(".")[0] for name in differing} == {"mask_decoder"}
    assert load_sam(tmp_path / "run" / "sam.safetensors").image_encoder.img_size == 64


def test_a_killed_run_ends_as_an_uninterrupted_one(dataset, tiny_files, tmp_path, monkeypatch):
    whole = tune(dataset, tiny_files[1], tmp_path / "whole", steps=4, save_every=0.0, ema=0.5)
    real, left = finetuning_segmenter.draw, [7]

    def draw_some(*arguments):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(finetuning_segmenter, "draw", draw_some)
        with pytest.raises(KeyboardInterrupt):
            tune(dataset, tiny_files[1], tmp_path / "broken", steps=4, save_every=0.0, ema=0.5)
    assert torch.load(tmp_path / "broken" / "checkpoint.pt", weights_only=True)["step"] < 4
    broken = tune(dataset, tiny_files[1], tmp_path / "broken", steps=4, save_every=0.0, ema=0.5)
    one, other = load_file(whole), load_file(broken)
    assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


def test_scans_that_a_killed_run_encoded_are_not_encoded_again(
    dataset, tiny_models, tmp_path, monkeypatch
):
    monkeypatch.setattr(parts, "PART", 3)
    selection = select(read_dataset(dataset))
    segmenter = copy.copy(tiny_models.segmenter)
    whole = cache_pictures(selection, {}, tmp_path / "whole", segmenter)
    real, seen = segmenter.embed, []

    def embed(image):
        seen.append(image)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return real(image)

    segmenter.embed = embed
    with pytest.raises(KeyboardInterrupt):
        cache_pictures(selection, {}, tmp_path / "broken", segmenter)
    broken = cache_pictures(selection, {}, tmp_path / "broken", segmenter)
    # of the second part all, of the first none
    assert len(seen) == 6 + len(OBJECTS) - 3
    assert list(broken.sources) == list(whole.sources)
    for row in range(len(OBJECTS)):
        assert np.array_equal(broken.features(row), whole.features(row))
        assert np.array_equal(broken.truth(row), whole.truth(row))


def test_prompts_lie_on_the_masks_where_sam_sees_them(dataset, tiny_models, tmp_path):
    segmenter = tiny_models.segmenter
    pictures = cache_pictures(select(read_dataset(dataset)), {}, tmp_path / "cache", segmenter)
    assert len(pictures.counts) == len(OBJECTS)
    rng = np.random.default_rng(0)
    features, boxes, points, labels, masks = draw(pictures, [2, 5], KINDS[3], segmenter.side, rng)
    scan = read_dataset(dataset).scan(2)
    assert torch.allclose(features[0], segmenter.embed(scan.pixels).features[0], atol=1e-2)
    assert boxes.shape == (2, PROMPTS, 4) and labels.shape == (2, PROMPTS, 2)
    # the long side of the scan, 96 pixels, fills the model's
    scale = segmenter.side / 96
    (x1, y1, x2, y2), side = of_mask(scan.annotations[0].mask), masks.shape[-1]
    assert np.abs(boxes[0].numpy() / scale - (x1, y1, x2, y2)).max() < 0.6 * max(x2 - x1, y2 - y1)
    for (x, y), label in zip(points[0].flatten(0, 1), labels[0].flatten(), strict=True):
        cell = int(y * side / segmenter.side), int(x * side / segmenter.side)
        assert masks[0, 0][cell] == bool(label)


def test_a_model_that_zooms_learns_from_windows_too(dataset, tiny_models, tmp_path):
    segmenter = copy.copy(tiny_models.segmenter)
    segmenter.zoom = 1.5
    selection = select(read_dataset(dataset))
    pictures = cache_pictures(selection, {}, tmp_path / "cache", segmenter)
    scan = read_dataset(dataset).scan(0)
    box = of_mask(scan.annotations[0].mask)
    x1, y1, x2, y2 = segmenter.view(box, scan.size)
    assert len(pictures.counts) > len(OBJECTS) and pictures.sources[0] == pictures.sources[1]
    near = segmenter.embed(scan.pixels[y1:y2, x1:x2]).features[0]
    assert torch.allclose(torch.tensor(pictures.features(1)).float(), near, atol=1e-2)
    # the object fills its window
    left, top, right, bottom = of_mask(pictures.truth(1)[0])
    assert max(right - left, bottom - top) > pictures.truth(1).shape[-1] / 2


def test_the_embedded_base_is_not_overwritten(dataset, tiny_files, tmp_path, monkeypatch):
    monkeypatch.setattr(weight_sources, "ASSETS", tmp_path)
    (tmp_path / "segmenter").mkdir()
    file = shutil.copy(tiny_files[1], tmp_path / "segmenter" / "sam.safetensors")
    before = file.read_bytes()
    with pytest.raises(XsynError, match="base itself"):
        tune(dataset, "embedded", tmp_path / "run", steps=1, out=file)
    assert file.read_bytes() == before and not (tmp_path / "run").exists()


def test_a_repeated_command_writes_no_row_again(dataset, tiny_files, tmp_path):
    file = tune(dataset, tiny_files[1], tmp_path, steps=2)
    logs = [tmp_path / "held_out.csv", tmp_path / "loss.csv"]
    before = [log.read_text() for log in logs]
    file.unlink()
    assert tune(dataset, tiny_files[1], tmp_path, steps=2).is_file()
    assert [log.read_text() for log in logs] == before
    with pytest.raises(XsynError, match="of 2 steps, more than the 1 asked for"):
        tune(dataset, tiny_files[1], tmp_path, steps=1)


def test_masks_keep_their_place_on_the_padded_square():
    mask = np.zeros((50, 100), bool)
    mask[10:40, 20:60] = True
    square = on_grid(mask, 50)
    assert square.shape == (50, 50) and of_mask(square) == (10, 5, 30, 20)


MISTAKES = {
    "no dataset": ((), ("--data", "--embedded")),
    "boxes alone": (("--data", "boxes"), ("boxes alone do not teach masks",)),
    "unknown category": (("--data", "masks", "--category", "banana"), ("banana", "Gun")),
    "a file for a folder": (("--data", "masks", "--run", "file/run"), ("cannot be written",)),
    "no such SAM": (("--data", "masks", "--base", "none.pth"), ("none.pth",)),
    "out is a folder": (("--data", "masks", "--out", "masks"), ("is a folder",)),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_one_message(name, tmp_path, monkeypatch):
    options, words = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    put_dataset(tmp_path / "boxes", objects=OBJECTS)
    put_dataset(tmp_path / "masks", masks=True, objects=OBJECTS)
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, ["train", "segmenter", "--device", "cpu", *options])
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output, result.output
