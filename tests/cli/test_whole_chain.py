"""The command line over real modules with random weights."""

import json

import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from xsyn_core.cli.commands import app


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_scan_in_dataset_out(tiny_files, tmp_path):
    folder, sam = tiny_files
    models = ("--diffusion", folder, "--sam", sam, "--device", "cpu")
    pixels = np.full((300, 340, 3), 240, np.uint8)
    pixels[60:200, 80:260] = (220, 150, 60)
    pixels[100:140, 120:180] = (60, 90, 200)
    Image.fromarray(pixels).save(tmp_path / "bag.png")
    common = ("synthesize", tmp_path / "bag.png", "--category", "Knife", "--box", "100,90,190,150")
    for name in ("one", "two"):
        call(*common, "--steps", 2, "--seed", 3, "--out", tmp_path / name, *models)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*")]
    assert len(files) == 3
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    data = COCO(tmp_path / "one" / "annotations" / "instances.json")
    assert [data.cats[a["category_id"]]["name"] for a in data.anns.values()] == ["Knife"]
    line = json.loads((tmp_path / "one" / "provenance.jsonl").read_text())
    assert line["objects"][0]["grounding"] == [100, 90, 190, 150]
    assert len(line["weights"]) == 64
