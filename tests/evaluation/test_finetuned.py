"""`evaluate finetuned`: what is held out, and the comparison from beginning to end."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from xsyn_core.cli.commands import app
from xsyn_core.curation.readers import read_dataset
from xsyn_core.errors import XsynError
from xsyn_core.evaluation import finetuned
from xsyn_core.evaluation.finetuned import Item, Training
from xsyn_core.training import finetuning, finetuning_data

SIZE = 96, 70
# More than enough of one category, and one of the other in every fourth scan.
SCANS = 16
# The first two scans that it holds out show a knife alone, half of them both categories.
SEED = 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "images").mkdir()
    images, annotations = [], []
    for number in range(1, SCANS + 1):
        pixels = np.full((*SIZE, 3), 255 - number, np.uint8)
        for category, (x, y, w, h) in ((1, (10, 10, 30, 20)), (2, (50, 40, 20, 40))):
            if category == 2 and number % 4:
                continue
            pixels[y : y + h, x : x + w] = (200, 60, 40) if category == 1 else (40, 60, 200)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                }
            )
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        size = {"height": SIZE[0], "width": SIZE[1]}
        images.append({"id": number, "file_name": f"{number}.png", **size})
    categories = [{"id": 1, "name": "Knife"}, {"id": 2, "name": "slingshot"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


MODEL = SimpleNamespace(side=64, multiple=16)
# of a run that held a quarter out
TRAINING = Training("", "embedded", "window", 0.25, 3)


def selected(dataset):
    return finetuning_data.select(read_dataset(dataset), (), 0.0)


@pytest.mark.parametrize("frame", ["window", "whole"])
def test_the_split_is_that_of_the_training(dataset, frame):
    selection = selected(dataset)
    learnt, unseen = finetuned.split(selection, {}, replace(TRAINING, frame=frame), MODEL)
    hashes = [selection.dataset.scan(k).sha256 for k in range(SCANS)]
    aside = {k for k in range(SCANS) if hashes[k] in finetuning_data.held_out(hashes, 0.25, 3)}
    assert len(aside) == 4
    assert {item.index for item in unseen} == aside
    assert {item.index for item in learnt} == set(range(SCANS)) - aside
    colours = {"Knife": (200, 60, 40), "slingshot": (40, 60, 200)}
    for item in (*learnt, *unseen):
        case = finetuned.case(selection, item)
        # the background tells the scan
        assert 254 - round(np.median(case.image)) == item.index
        assert case.image.shape[:2] == ((64, 64) if frame == "window" else (64, 48))
        x1, y1, x2, y2 = (round(v) for v in case.box)
        for middle in (case.image[(y1 + y2) // 2, (x1 + x2) // 2], item.crop[32, 32]):
            assert np.abs(middle.astype(int) - colours[item.category]).max() <= 2
        assert case.box == case.grounding
    with pytest.raises(XsynError, match="learnt from every scan"):
        finetuned.split(selection, {}, replace(TRAINING, share=0.0), MODEL)


def items(**counts):
    return [Item(name, k, None, None, None) for name, many in counts.items() for k in range(many)]


def test_categories_take_turns_and_every_item_has_a_learnt_one_of_its_category():
    names = ("a", "b", "c", "d")
    unseen, learnt = items(a=9, b=3, c=5, d=2), items(a=50, b=50, c=4, x=9)
    for count, expected in (
        (6, {"a": 2, "b": 2, "c": 2}),
        (10, {"a": 4, "b": 3, "c": 3}),
        (99, {"a": 9, "b": 3, "c": 4}),
    ):
        pairs = finetuned.paired(unseen, learnt, count, names)
        assert [one.category for one, _ in pairs] == list(Counter(expected).elements())
        assert all(one.category == other.category for one, other in pairs)
        for side in zip(*pairs, strict=True):
            assert len({id(item) for item in side}) == len(pairs)
    assert finetuned.paired(unseen, [], 10, names) == []


@pytest.fixture(scope="module")
def trained(dataset, tiny_files, tmp_path_factory):
    """The folder of a run whose model is its base."""
    (base, _), folder = tiny_files, tmp_path_factory.mktemp("trained")
    finetuning.main(
        dataset, str(base), folder / "run", generation_steps=0, inpainting_steps=1, batch=1,
        mirrors=1, held_out_share=0.5, sheet=0, seed=SEED, device="cpu",
    )  # fmt: skip
    shutil.rmtree(folder / "run" / "model")
    shutil.copytree(base, folder / "run" / "model")
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "run")


def change(run, **values):
    file = run / finetuning_data.SETTINGS
    known = json.loads(file.read_text())
    file.write_text(json.dumps({**known, **{k.replace("_", "-"): v for k, v in values.items()}}))


@pytest.mark.parametrize("frame", ["window", "whole"])
def test_from_beginning_to_end(dataset, run, tmp_path, capsys, monkeypatch, frame):
    monkeypatch.setattr(finetuned, "BATCH", 16)
    change(run, frame=frame)
    report = tmp_path / "report"
    capsys.readouterr()
    finetuned.main(dataset, run / "model", report, items=4, steps=1, judge_steps=30)
    found = json.loads((report / "finetuned.json").read_text())
    assert found == json.loads(capsys.readouterr().out)
    # no judge is left that another dataset's report could go on with
    assert sorted(file.name for file in report.iterdir()) == ["finetuned.json", "sheet.png"]
    assert found["items"] == 4
    assert found["settings"]["frame"] == frame
    # a red and a blue rectangle are easily told apart
    assert found["real"]["read right"] == 1
    # both models are one
    assert found["base"] == found["fine-tuned"]
    assert set(found["base"]["by category"]) == {"Knife", "slingshot"}
    sheet = cv2.imread(str(report / "sheet.png"))
    assert sheet.shape[0] == 3 * 128
    # what the models repaint is another picture
    assert np.abs(sheet[:128].astype(int) - sheet[128:256]).mean() > 1
    assert (sheet[128:256] == sheet[256:]).all()


def test_scans_of_several_sizes_are_painted_each_in_its_own(tiny_models):
    sizes = [(128, 96), (64, 128), (128, 96), (128, 128)]
    rng = np.random.default_rng(0)
    cases = []
    for size in sizes:
        image = rng.integers(0, 255, (*size, 3), np.uint8)
        box = (10.0, 10.0, 40.0, 40.0)
        cases.append(finetuned.Case("Knife", image, image, np.zeros(size, bool), box, box))
    painted = finetuned.repainted(tiny_models.diffusion, cases, 1, 4.0, 0)
    for image, case in zip(painted, cases, strict=True):
        assert image.shape == case.image.shape
        # far from the box nothing has changed
        assert (image[60:, 60:] == case.image[60:, 60:]).all()
        assert (image[15:35, 15:35] != case.image[15:35, 15:35]).any()


def refused(dataset, run, *options):
    """The message."""
    arguments = ["--data", dataset, "--tuned", run / "model", "--report", run / "report", *options]
    result = CliRunner().invoke(app, ["evaluate", "finetuned", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


def test_what_was_learnt_from_is_not_measured_on(dataset, run, monkeypatch):
    monkeypatch.setattr(finetuned.classifier, "learn", None)
    for option in (("--category", "Knife"), ("--min-area", "0.1")):
        told = refused(dataset, run, *option)
        assert "not those that" in told and "of the training" in told
    change(run, held_out=0)
    assert "learnt from every scan" in refused(dataset, run)
    change(run, frame="none")
    assert "damaged" in refused(dataset, run)
    (run / "settings.json").write_text("{}")
    assert "damaged" in refused(dataset, run)
    (run / "settings.json").unlink()
    told = refused(dataset, run)
    assert "There is no" in told and "put a copy of RUN/settings.json there" in told


def test_a_single_item_is_too_few_and_told_before_anything_is_learnt(dataset, run, monkeypatch):
    monkeypatch.setattr(finetuned.classifier, "learn", None)
    # one scan, with a knife alone
    change(run, held_out=0.01)
    assert "only 1 can be measured on: 2 are needed" in refused(dataset, run)


def test_two_items_are_enough(dataset, run, tmp_path):
    # two scans, with a knife each
    change(run, held_out=0.125)
    finetuned.main(dataset, run / "model", tmp_path / "report", steps=1, judge_steps=2)
    found = json.loads((tmp_path / "report" / "finetuned.json").read_text())
    assert found["items"] == 2
    name = "Frechet distance to held-out real crops"
    assert all(0 <= found[what][name] < np.inf for what in ("real", "base", "fine-tuned"))


def test_a_report_that_cannot_be_written_and_senseless_guidance_are_told_first(
    dataset, run, monkeypatch
):
    monkeypatch.setattr(finetuned.classifier, "learn", None)
    (run / "report").write_text("a file")
    assert "cannot be written" in refused(dataset, run)
    for scale in ("nan", "-1", "31"):
        assert "from 1 to 30" in refused(dataset, run, "--guidance", scale)
