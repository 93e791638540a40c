"""`evaluate finetuned`: what is held out, and the comparison from beginning to end."""

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from xsyn_core.curation.readers import read_dataset
from xsyn_core.errors import XsynError
from xsyn_core.evaluation import finetuned
from xsyn_core.training import finetuning_data

SIZE = 96
# More than enough of one category, and one of the other in every fourth scan.
SCANS = 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "images").mkdir()
    images, annotations = [], []
    for number in range(1, SCANS + 1):
        pixels = np.full((SIZE, SIZE, 3), 255 - number, np.uint8)
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
        images.append({"id": number, "file_name": f"{number}.png", "height": SIZE, "width": SIZE})
    categories = [{"id": 1, "name": "Knife"}, {"id": 2, "name": "slingshot"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def test_the_split_is_that_of_the_training(dataset):
    selection = finetuning_data.select(read_dataset(dataset), (), 0.0)
    parts = finetuned.split(selection, {}, 0.25, 3, 64)
    hashes = [selection.dataset.scan(k).sha256 for k in range(SCANS)]
    aside = finetuning_data.held_out(hashes, 0.25, 3)
    unseen = {k for k in range(SCANS) if hashes[k] in aside}
    assert len(unseen) == 4
    # the background tells the scan
    for cases, expected in ((parts.unseen, unseen), (parts.learnt, set(range(SCANS)) - unseen)):
        assert {254 - round(np.median(case.image)) for case in cases} == expected
    knife = next(c for c in parts.learnt if c.category == "Knife")
    x1, y1, x2, y2 = (round(v) for v in knife.box)
    middle = knife.image[(y1 + y2) // 2, (x1 + x2) // 2]
    assert np.abs(middle.astype(int) - (200, 60, 40)).max() <= 2
    assert knife.box == knife.grounding
    with pytest.raises(XsynError, match="Nothing is held out"):
        finetuned.split(selection, {}, 0.0, 3, 64)


def test_categories_take_turns(dataset):
    parts = finetuned.split(finetuning_data.select(read_dataset(dataset), (), 0.0), {}, 0.5, 0, 64)
    every = [*parts.learnt, *parts.unseen]
    chosen = finetuned.evenly(every, 6, parts.names)
    assert [c.category for c in chosen] == ["Knife"] * 3 + ["slingshot"] * 3
    chosen = finetuned.evenly(every, 10, parts.names)
    assert [c.category for c in chosen] == ["Knife"] * 6 + ["slingshot"] * 4
    assert len({id(c) for c in chosen}) == 10
    assert len(finetuned.evenly(every, 100, parts.names)) == len(every)


def test_from_beginning_to_end(dataset, tiny_files, tmp_path, capsys):
    folder, _ = tiny_files
    shutil.copytree(folder, tmp_path / "tuned")
    report = tmp_path / "report"
    finetuned.main(
        dataset,
        str(tmp_path / "tuned"),
        str(folder),
        report=report,
        min_area=0.0,
        held_out_share=0.5,
        items=4,
        steps=1,
        judge_steps=30,
    )
    found = json.loads((report / "finetuned.json").read_text())
    assert found == json.loads(capsys.readouterr().out)
    # no judge is left that another dataset's report could go on with
    assert sorted(file.name for file in report.iterdir()) == ["finetuned.json", "sheet.png"]
    assert found["items"] == 4
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
