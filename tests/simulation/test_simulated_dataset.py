import json
import multiprocessing
from pathlib import Path

import cv2
import numpy as np
import pytest

from xsyn_core.categories import CATALOGS
from xsyn_core.curation.masks import decode
from xsyn_core.errors import XsynError
from xsyn_core.simulation.dataset import simulate


def content(folder: Path) -> dict[str, bytes]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def test_dataset_is_coco_and_repeatable(tmp_path):
    seen = []
    path = simulate(
        5, 3, tmp_path / "a", size=(96, 128), progress=lambda done, count: seen.append(done)
    )
    data = json.loads(path.read_text())
    assert seen == [1, 2, 3, 4, 5]
    names = [c["name"] for c in data["categories"]]
    assert tuple(names) == CATALOGS["pidray"].names
    assert [c["id"] for c in data["categories"]] == list(range(1, 13))
    assert [a["id"] for a in data["annotations"]] == list(range(1, len(data["annotations"]) + 1))
    assert data["annotations"]
    for image in data["images"]:
        pixels = cv2.imread(str(tmp_path / "a" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3) == (96, 128, 3)
    for a in data["annotations"]:
        mask = decode(a["segmentation"], (96, 128))
        ys, xs = np.nonzero(mask)
        assert a["bbox"] == [
            xs.min(),
            ys.min(),
            xs.max() + 1 - xs.min(),
            ys.max() + 1 - ys.min(),
        ]
        assert a["area"] == mask.sum() and a["iscrowd"] == 0
    simulate(5, 3, tmp_path / "b", size=(96, 128), workers=2)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    simulate(5, 4, tmp_path / "b", size=(96, 128))
    assert content(tmp_path / "a") != content(tmp_path / "b")


def test_a_killed_worker_is_told_and_ctrl_c_ends_all(tmp_path):
    def kill(done, count):
        multiprocessing.active_children()[0].kill()

    def press(done, count):
        raise KeyboardInterrupt

    for meanwhile, error in ((kill, XsynError), (press, KeyboardInterrupt)):
        with pytest.raises(error):
            simulate(500, 0, tmp_path / "a", size=(64, 64), workers=2, progress=meanwhile)
        assert multiprocessing.active_children() == []
        assert list(tmp_path.iterdir()) == []


def test_values_that_make_no_sense(tmp_path):
    with pytest.raises(XsynError, match="count"):
        simulate(0, 0, tmp_path / "x")
    with pytest.raises(XsynError, match="too small"):
        simulate(1, 0, tmp_path / "x", size=(8, 8))
    with pytest.raises(XsynError, match="too large: 50 million"):
        simulate(1, 0, tmp_path / "x", size=(100_000, 100_000))
    with pytest.raises(XsynError, match="sixray"):
        simulate(1, 0, tmp_path / "x", look="nonesuch")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep")
    with pytest.raises(XsynError, match="something else"):
        simulate(1, 0, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "keep"


def test_a_dataset_of_the_users_own_is_not_replaced(tmp_path):
    mine = tmp_path / "mine"
    made = simulate(1, 0, mine, size=(64, 64))
    document = json.loads(made.read_text())
    document["info"]["description"] = "Scans of mine"
    made.write_text(json.dumps(document))
    before = content(mine)
    with pytest.raises(XsynError, match=r"something else .*instances\.json"):
        simulate(1, 0, mine, size=(64, 64))
    assert content(mine) == before


@pytest.mark.parametrize("name", ["images/holiday.png", "images/000002.png", "notes/a.txt"])
def test_files_added_to_an_earlier_result_are_not_lost(tmp_path, name):
    simulate(1, 0, tmp_path / "a", size=(64, 64))
    added = tmp_path / "a" / name
    added.parent.mkdir(exist_ok=True)
    added.write_bytes(b"mine")
    before = content(tmp_path / "a")
    with pytest.raises(XsynError, match="something else"):
        simulate(1, 0, tmp_path / "a", size=(64, 64))
    assert content(tmp_path / "a") == before


@pytest.mark.parametrize("workers", [1, 2])
def test_images_that_cannot_be_written_whole_are_told(tmp_path, workers):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))  # room for labels only
    try:
        with pytest.raises(XsynError, match="cannot be written"):
            simulate(2, 0, tmp_path / "a", size=(256, 256), workers=workers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
