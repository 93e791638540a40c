"""`evaluate models` from beginning to end with random models, and its table."""

import json

import cv2
import numpy as np
import pytest
from real_folder import write_scans
from safetensors.torch import save_file
from typer.testing import CliRunner

from xsyn_core.cli.commands import app
from xsyn_core.errors import XsynError
from xsyn_core.evaluation import models
from xsyn_core.evaluation.classifier import Classifier
from xsyn_core.evaluation.report import markdown, tried


@pytest.fixture
def judge(tmp_path, monkeypatch):
    file = tmp_path / "judge.safetensors"
    save_file({k: v.contiguous() for k, v in Classifier().state_dict().items()}, file)
    monkeypatch.setattr(models, "JUDGE", file)


PAINTED = ("judge", "categories", "realism", "grounding")
OTHERS = ("autoencoder", "segmenter", "labels")
ROWS = {
    PAINTED: (
        *(
            "simulated right",
            "painted right",
            "nothing painted",
            "Frechet distance over the simulator's own",
        ),
        *("filled, by CAR's box", "by catalogue | PIDray"),
    ),
    ("variety",): ("distance between seeds over the simulator's own",),
    ("finishing",): ("finished right", "detail, finished, over the simulator's own"),
    OTHERS: ("PSNR, dB", "IoU from a point", "everything finds", "top-15"),
    models.REAL_PARTS: ("PSNR, dB", "IoU from a box", "with five or more"),
}
SHEETS = {
    PAINTED: ("painted", "boxes"),
    ("variety",): ("seeds",),
    ("finishing",): ("finished",),
    OTHERS: ("autoencoder",),
    models.REAL_PARTS: ("real",),
}


@pytest.mark.parametrize("parts", ROWS, ids=" ".join)
def test_every_part_is_measured(tiny_files, tmp_path, judge, parts):
    write_scans(tmp_path / "scans")
    folder, sam = map(str, tiny_files)
    report = tmp_path / "new" / "report"
    only = ",".join(parts)
    # two do not come to the little noise from which items are finished
    steps = 5 if "finishing" in parts else 2
    models.main(report, folder, sam, items=2, steps=steps, scans=tmp_path / "scans", only=only)
    found = json.loads((report / "models.json").read_text())
    assert list(found) == [*parts, "settings"]
    table = (report / "models.md").read_text()
    assert all(row in table for row in ROWS[parts])
    for name in SHEETS[parts]:
        assert cv2.imread(str(report / f"{name}.png")) is not None


def test_no_part_is_left_untested():
    assert sorted(part for parts in ROWS for part in parts) == sorted(
        [*models.PARTS, *models.REAL_PARTS]
    )


def test_parts_can_be_chosen(tiny_files, tmp_path):
    folder, sam = map(str, tiny_files)
    models.main(tmp_path, folder, sam, items=2, steps=1, only=" autoencoder, ")
    assert list(json.loads((tmp_path / "models.json").read_text())) == ["autoencoder", "settings"]


def test_what_cannot_be_measured(tmp_path, monkeypatch):
    with pytest.raises(XsynError, match=r"no part 'nonsense'\. Choose from: judge, categories"):
        models.main(tmp_path, only="nonsense")
    with pytest.raises(XsynError, match="--scans FOLDER"):
        models.main(tmp_path, only="real segmenter")
    with pytest.raises(XsynError, match="--items 2"):
        models.main(tmp_path, items=1)
    with pytest.raises(XsynError, match=r"annotations\.json"):
        models.main(tmp_path, scans=tmp_path)
    monkeypatch.setattr(models, "JUDGE", tmp_path / "none.safetensors")
    with pytest.raises(XsynError, match="train classifier"):
        models.main(tmp_path, only="realism")


def test_what_is_missing_or_senseless_is_told_before_models_are_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "load_models", None)
    write_scans(tmp_path / "scans")
    asked = {"scans": tmp_path / "scans", "only": "real segmenter,autoencoder"}
    (tmp_path / "file").write_text("mine")
    with pytest.raises(XsynError, match="cannot be written"):
        models.main(tmp_path / "file" / "report", **asked)
    mask = tmp_path / "scans" / "masks" / "threat.png"
    cv2.imwrite(str(mask), np.ones((10, 10), np.uint8))
    with pytest.raises(XsynError, match="does not fit its scan"):
        models.main(tmp_path / "report", **asked)
    mask.unlink()
    with pytest.raises(XsynError, match=r"pixel mask.*--only"):
        models.main(tmp_path / "report", **asked)
    # nothing was left by trying
    assert list((tmp_path / "report").iterdir()) == []
    for scale in ("nan", "0", "1e9"):
        result = CliRunner().invoke(app, ["evaluate", "models", "--guidance", scale])
        assert result.exit_code == 2 and "from 1 to 30" in result.stderr


def test_what_was_measured_stays_when_a_later_part_fails(tiny_files, tmp_path, monkeypatch):
    folder, sam = map(str, tiny_files)

    def full(model, count):
        raise OSError("broken")

    monkeypatch.setattr(models, "segmenter", full)
    with pytest.raises(OSError, match="broken"):
        models.main(tmp_path, folder, sam, items=2, steps=1, only="autoencoder,segmenter")
    assert list(json.loads((tmp_path / "models.json").read_text())) == ["autoencoder", "settings"]
    assert "| autoencoder | PSNR, dB |" in (tmp_path / "models.md").read_text()


def test_a_path_is_tried_and_left_as_it_was(tmp_path):
    file = tmp_path / "new" / "models.json"
    assert tried(file) == file
    assert file.parent.is_dir() and not file.exists()
    file.write_text("before")
    assert tried(file).read_text() == "before"
    with pytest.raises(XsynError, match=r"new is a folder\. Give the path of a file"):
        tried(file.parent)
    with pytest.raises(XsynError, match=r"models\.json/a cannot be written"):
        tried(file / "a")


def test_the_table():
    lines = markdown(
        {
            "labels": {"items": 3, "n = 4": 0.61234, "spread": {"n = 4": 0.2}},
            "categories": {"by category": {"Gun": {"painted": 0.5, "simulated": 1.0}}},
        }
    ).splitlines()
    assert lines[2:] == [
        "| labels | items | 3 |",
        "| labels | n = 4 | 0.612 ± 0.200 |",
        "| categories, by category | Gun | 0.50 (1.00) |",
    ]
