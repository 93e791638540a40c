"""COCO exports, read back with the reference implementation."""

import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from curation_samples import made_sample, made_scan
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from xsyn_core.catalogs import from_entry, own_catalog
from xsyn_core.categories import CATALOGS
from xsyn_core.curation import coco
from xsyn_core.curation.coco import export, on_validation_side, write_dataset
from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError
from xsyn_core.scan import Annotation


@pytest.fixture
def workspace(tmp_path):
    with Workspace(tmp_path / "work") as opened:
        for seed in range(3):
            opened.decide(opened.add(made_sample(seed, masked=seed != 1)), "accept")
        opened.decide(opened.add(made_sample(8)), "reject")
        opened.decide(opened.add(made_sample(9)), "skip")
        opened.add(made_sample(10))
        yield opened


def read(folder: Path, name: str = "instances.json") -> COCO:
    return COCO(folder / "annotations" / name)


def content(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_pycocotools_reads_the_export(workspace, tmp_path):
    report = export(workspace, tmp_path / "out")
    data = read(tmp_path / "out")
    assert (report.images, report.annotations, report.painted) == (3, 12, 6)
    assert (report.notes, report.validation) == ((), None)
    assert [c["name"] for c in data.loadCats(range(1, 13))] == list(CATALOGS["pidray"].names)
    assert len(data.getCatIds()) == 12
    assert data.getImgIds() == [1, 2, 3]
    assert data.getAnnIds() == list(range(1, 13))
    for image in data.loadImgs(data.getImgIds()):
        sample = workspace.load(image["id"])
        assert not Path(image["file_name"]).is_absolute()
        with Image.open(tmp_path / "out" / image["file_name"]) as shown:
            assert np.array_equal(np.asarray(shown), sample.image)
            assert shown.size == (image["width"], image["height"])
        labels = data.loadAnns(data.getAnnIds(imgIds=image["id"]))
        names = [data.cats[label["category_id"]]["name"] for label in labels]
        assert names == ["Knife", "Gun", "Hammer", "Wrench"]
        known_masks = [p.mask for p in sample.objects] + [k.mask for k in sample.kept]
        for label, mask in zip(labels, known_masks, strict=True):
            x, y, w, h = label["bbox"]
            assert w > 0 and h > 0 and x >= 0 and y >= 0
            assert x + w <= image["width"] and y + h <= image["height"]
            assert label["iscrowd"] == 0
            if mask is None:
                assert label["area"] == pytest.approx(w * h, abs=0.01)
                assert len(label["segmentation"][0]) == 8
            else:
                assert label["area"] == mask.sum()
                assert np.array_equal(data.annToMask(label), mask)
        for label, painted in zip(labels, sample.objects, strict=False):
            x1, y1, x2, y2 = painted.refined
            assert label["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.011)


def test_provenance_tells_all_of_a_sample(workspace, tmp_path):
    export(workspace, tmp_path / "out")
    lines = (tmp_path / "out" / "provenance.jsonl").read_text().splitlines()
    data = read(tmp_path / "out")
    assert len(lines) == 3
    for line in map(json.loads, lines):
        sample = workspace.load(line["sample"])
        assert data.imgs[line["image_id"]]["file_name"] == line["file_name"]
        assert line["source"] == {"name": sample.scan.name, "sha256": sample.scan.sha256}
        assert (line["seed"], line["prompt"]) == (sample.request.seed, "knife, gun")
        assert (line["weights"], line["decision"], line["alpha"]) == ("ab" * 32, "accept", 0.3)
        assert line["occlusion"]["occluded"] == [[10.0, 10.0, 20.0, 20.0]]
        assert line["settings"]["steps"] == 4
        assert line["part"] is None
        for entry, painted in zip(line["objects"], sample.objects, strict=True):
            label = data.anns[entry["annotation_id"]]
            assert data.cats[label["category_id"]]["name"] == entry["category"]
            assert tuple(entry["grounding"]) == painted.grounding
            assert tuple(entry["refined"]) == painted.refined
            assert tuple(entry["flags"]) == painted.flags
        kept = [data.anns[number] for number in line["kept"]]
        assert [data.cats[label["category_id"]]["name"] for label in kept] == ["Hammer", "Wrench"]
        assert {label["image_id"] for label in kept} == {line["image_id"]}


def test_what_is_not_hidden_has_no_alpha(tmp_path):
    write_dataset([made_sample(0, occluded=False), made_sample(1)], tmp_path / "out")
    found = map(json.loads, (tmp_path / "out" / "provenance.jsonl").open())
    assert [(line["alpha"], line["occlusion"] is None) for line in found] == [
        (None, True), (0.3, False)
    ]  # fmt: skip


def test_the_same_workspace_gives_the_same_bytes(workspace, tmp_path):
    export(workspace, tmp_path / "one", val=0.5)
    workspace.decide(6, "accept")
    export(workspace, tmp_path / "two", val=0.5)
    assert content(tmp_path / "one") != content(tmp_path / "two")
    workspace.undo()
    export(workspace, tmp_path / "two", val=0.5)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    with Workspace(workspace.path) as again:
        export(again, tmp_path / "three", val=0.5)
    assert content(tmp_path / "one") == content(tmp_path / "three")


def test_an_export_reads_what_it_writes_and_no_more(workspace, tmp_path):
    export(workspace, tmp_path / "one")
    for record in workspace.records("accept"):
        for name in ("original.png", "clear.png", "attention.npz", "thumb.jpg", "mask.png"):
            (record.folder / name).unlink()
    told = []
    export(workspace, tmp_path / "two", progress=lambda *now: told.append(now))
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert told == [(1, 3), (2, 3), (3, 3)]
    samples = (made_sample(seed, masked=seed != 1) for seed in range(3))
    write_dataset(samples, tmp_path / "three")
    one, three = content(tmp_path / "one"), content(tmp_path / "three")
    assert one.keys() == three.keys()
    assert {name for name in one if one[name] != three[name]} == {"provenance.jsonl"}


def test_names_of_scans_become_unique_posix_names(tmp_path):
    samples = [
        made_sample(seed, made_scan(seed, name=name))
        for seed, name in enumerate(("a b.jpg", "../../é?.tiff", "a b.png", "..", "Ж" * 300))
    ]
    write_dataset(samples, tmp_path / "out")
    names = [image["file_name"] for image in read(tmp_path / "out").imgs.values()]
    assert len(set(names)) == 5
    for name in names:
        assert name.startswith("images/") and name.isascii() and " " not in name
        assert (tmp_path / "out" / name).resolve().parent == tmp_path / "out" / "images"
        assert (tmp_path / "out" / name).is_file()


def test_annotations_outside_the_catalogue_are_left_out_and_counted(tmp_path):
    known = (
        Annotation("Other", (1, 1, 9, 9)),
        Annotation("hand cuffs", (1, 1, 9, 9)),
        Annotation("Other", (2, 2, 9, 9)),
        Annotation("Gun", (200, 2, 300, 9)),
        Annotation("Bullet", (1, 1, 40, 40), iscrowd=True),
    )
    report = write_dataset([made_sample(0, made_scan(0, known))], tmp_path / "out")
    data = read(tmp_path / "out")
    labels = [(data.cats[a["category_id"]]["name"], a["iscrowd"]) for a in data.anns.values()]
    assert labels == [("Knife", 0), ("Gun", 0), ("HandCuffs", 0), ("Bullet", 1)]
    assert data.annToMask(data.anns[4]).sum() == data.anns[4]["area"] == 39 * 39
    assert set(data.anns[4]["segmentation"]) == {"size", "counts"}, "crowds are RLE"
    assert len(report.notes) == 2
    assert "2 annotations" in report.notes[0] and "'Other'" in report.notes[0]
    assert "1 annotation " in report.notes[1] and "outside the image" in report.notes[1]


def test_a_catalogue_of_ones_own_lives_in_the_workspace(workspace, tmp_path):
    own = own_catalog(
        "Lab 7", {"tent": [(30, 30)], "Gas can": [(9, 10), (8, 10)]}, (1e4, 2e4), 0.001, 0.25
    )
    for seed, catalog, names in ((20, own, ("Gas can", "tent")), (21, CATALOGS["hixray"], ())):
        sample = made_sample(seed, made_scan(seed), catalog, names or ("Water",))
        workspace.decide(workspace.add(sample), "accept")
    with Workspace(workspace.path) as again:
        # three samples of PIDray's, one of each other
        assert again.catalogs() == (CATALOGS["pidray"], own, CATALOGS["hixray"])
        report = export(again, tmp_path / "out", again.catalogs()[1])
    data = read(tmp_path / "out")
    assert data.loadCats([1, 2]) == [
        {"id": 1, "name": "tent", "supercategory": "prohibited item"},
        {"id": 2, "name": "Gas can", "supercategory": "prohibited item"},
    ]
    assert [a["category_id"] for a in data.anns.values()] == [2, 1]
    assert report.images == 1 and "categories of Lab 7" in data.dataset["info"]["description"]
    (line,) = (tmp_path / "out" / "provenance.jsonl").read_text().splitlines()
    assert from_entry(json.loads(line)["settings"]["catalog"]) == own


def test_samples_of_another_catalogue_are_left_out_and_counted(workspace, tmp_path):
    other = made_sample(20, made_scan(20), CATALOGS["opixray"], ("Scissor",))
    workspace.decide(workspace.add(other), "accept")
    report = export(workspace, tmp_path / "out")
    assert report.images == 3
    assert "1 sample of the catalogue 'opixray'" in report.notes[0]
    report = export(workspace, tmp_path / "knives", CATALOGS["opixray"])
    data = read(tmp_path / "knives")
    assert report.images == 1
    assert [a["category_id"] for a in data.anns.values()] == [3]
    with pytest.raises(XsynError, match=r"no accepted sample of HiXray.*3 samples"):
        export(workspace, tmp_path / "none", CATALOGS["hixray"])
    assert not (tmp_path / "none").exists()


def test_of_samples_of_several_catalogues_one_is_written(tmp_path):
    other = made_sample(20, made_scan(20), CATALOGS["opixray"], ("Scissor",))
    report = write_dataset([made_sample(0), other, made_sample(1)], tmp_path / "out")
    assert report.images == 2 and "1 sample of the catalogue 'opixray'" in report.notes[0]


def test_no_source_scan_lies_on_both_sides(tmp_path):
    scans = [made_scan(seed) for seed in range(12)]
    samples = [made_sample(i, scans[i % 12]) for i in range(36)]
    report = write_dataset(samples, tmp_path / "out", val=0.4)
    data, train, val = (
        read(tmp_path / "out", name)
        for name in ("instances.json", "instances_train.json", "instances_val.json")
    )
    assert set(train.imgs) | set(val.imgs) == set(data.imgs)
    assert not set(train.imgs) & set(val.imgs)
    assert set(train.anns) | set(val.anns) == set(data.anns)
    assert report.validation == len(val.imgs) > 0
    source = {
        line["image_id"]: (line["source"]["sha256"], line["part"])
        for line in map(json.loads, (tmp_path / "out" / "provenance.jsonl").open())
    }
    sides = [{source[i] for i in part.imgs} for part in (train, val)]
    assert not {sha for sha, _ in sides[0]} & {sha for sha, _ in sides[1]}
    assert {part for _, part in sides[0]} == {"train"} and {p for _, p in sides[1]} == {"val"}


def test_a_split_that_leaves_a_part_empty_says_which(tmp_path):
    for val, empty in ((0.001, "validation"), (0.999, "training")):
        report = write_dataset([made_sample(0), made_sample(1)], tmp_path / empty, val=val)
        assert report.validation == (0 if empty == "validation" else 2)
        (note,) = report.notes
        assert f"The {empty} part is empty" in note


def test_the_share_of_the_split_holds_on_average():
    hashes = [made_scan(seed).sha256 for seed in range(300)]
    assert sum(on_validation_side(sha, 0.2) for sha in hashes) / 300 == pytest.approx(0.2, abs=0.08)
    assert not any(on_validation_side(sha, 0.0) for sha in hashes)


@given(
    st.tuples(*[st.floats(-20, 120, allow_nan=False)] * 4).filter(
        lambda b: coco.boxes.area(coco.boxes.clip(b, (72, 97))) > 0
    )
)
def test_boxes_stay_inside_the_image(box):
    size = (72, 97)
    x, y, w, h = coco._bbox(coco.rounded(coco.boxes.clip(box, size)))
    assert x >= 0 and y >= 0 and x + w <= 97 and y + h <= 72
    assert all(len(repr(v).partition(".")[2]) <= 2 or "e" in repr(v) for v in (x, y, w, h))


def test_json_holds_native_numbers_even_from_numpy(tmp_path):
    sample = made_sample()
    request = replace(sample.request, seed=np.int64(3), guidance=np.float32(7.5))
    painted = replace(sample.objects[0], refined=tuple(np.float32([1, 2, 30, 40])))
    kept = (Annotation(np.str_("Gun"), tuple(np.float64([1, 2, 30, 40])), iscrowd=np.bool_(0)),)
    write_dataset([replace(sample, request=request, objects=(painted,), kept=kept)], tmp_path / "o")
    labels = list(read(tmp_path / "o").anns.values())
    assert [label["bbox"] for label in labels] == [[1.0, 2.0, 29.0, 38.0]] * 2


def test_an_empty_refined_box_falls_back_to_the_grounding(tmp_path):
    sample = made_sample(masked=False)
    painted = replace(sample.objects[0], refined=(5.0, 5.0, 5.0, 9.0))
    write_dataset([replace(sample, objects=(painted,), kept=())], tmp_path / "out")
    assert read(tmp_path / "out").anns[1]["bbox"] == [4.0, 5.5, 30.25, 25.5]


def test_folders_with_other_files_are_refused(workspace, tmp_path):
    out = tmp_path / "out"
    (out / "images").mkdir(parents=True)
    export(workspace, out)
    (out / "images" / "holiday.png").write_bytes(b"mine")
    with pytest.raises(XsynError, match="holiday"):
        export(workspace, out)
    (out / "images" / "holiday.png").unlink()
    (out / "README.md").write_text("mine")
    with pytest.raises(XsynError, match=r"README\.md"):
        write_dataset(iter([]), out)
    (out / "README.md").unlink()
    (out / "provenance.jsonl").unlink()
    with pytest.raises(XsynError, match="not of an earlier export"):
        export(workspace, out)
    with pytest.raises(XsynError, match="is a file"):
        export(workspace, workspace.path / "workspace.sqlite")
    with pytest.raises(XsynError, match=r"workspace|earlier export"):
        export(workspace, workspace.path)
    with pytest.raises(XsynError, match="share"):
        export(workspace, tmp_path / "x", val=1.0)


@pytest.mark.parametrize("name", ["model.bin", None])
def test_what_a_sample_lacks_is_not_blamed_on_the_folder(tmp_path, name):
    def samples():
        yield made_sample(0, made_scan())
        raise OSError(5, "Input/output error", name)

    with pytest.raises(XsynError, match="cannot be read") as caught:
        write_dataset(samples(), tmp_path / "out")
    assert str(caught.value).startswith(name or "A file")
    assert str(tmp_path) not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_fails_leaves_the_earlier_one(workspace, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export(workspace, out)
    before = content(out)
    folder = workspace.records()[1].folder
    for name in ("image.png", "sample.json"):
        whole = (folder / name).read_bytes()
        for broken in (b"", whole[: len(whole) // 2]):
            (folder / name).write_bytes(broken)
            with pytest.raises(XsynError, match="incomplete or damaged"):
                export(workspace, out)
        (folder / name).write_bytes(whole)
    assert content(out) == before
    assert {file.name for file in tmp_path.iterdir()} == {"work", "out"}


KILLED = """
    import os, signal, sys
    sys.path[:0] = {paths!r}
    from xsyn_core import files
    from xsyn_core.curation import coco
    from xsyn_core.curation.workspace import Workspace
    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)
    {patch}
    coco.export(Workspace({workspace!r}), {out!r})
"""


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize(
    "patch",
    [
        "coco.write_synced = lambda path, data: die() if path.name == 'instances.json' else None",
        "files.sync_folder = die",
        "files.shutil.rmtree = die",
    ],
)
def test_a_killed_export_leaves_the_earlier_one_or_the_new_one(workspace, tmp_path, patch, exists):
    out = tmp_path / "out"
    if exists:
        export(workspace, out)
    before = content(out)
    workspace.decide(1, "reject")
    export(workspace, tmp_path / "expected")
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    code = textwrap.dedent(KILLED).format(
        paths=paths, workspace=str(workspace.path), out=str(out), patch=patch
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert content(out) in (before, content(tmp_path / "expected"))
    export(workspace, out)
    assert content(out) == content(tmp_path / "expected")
    assert {file.name for file in tmp_path.iterdir()} == {"work", "out", "expected"}
