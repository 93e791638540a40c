"""Datasets in, in every format, against hand-written files."""

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from curation_samples import made_sample, made_scan
from PIL import ExifTags, Image

from xsyn_core.catalogs import own_catalog
from xsyn_core.categories import CATALOGS, PIDRAY
from xsyn_core.curation import masks
from xsyn_core.curation.coco import write_dataset
from xsyn_core.curation.readers import Dataset, read_annotations, read_dataset
from xsyn_core.errors import XsynError

W, H = 60, 40


def put_image(path: Path, size: tuple[int, int] = (W, H)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "white").save(path)
    return path


def put_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def put_coco(path: Path, names: list[str], labels: list[tuple], categories: dict[int, str]) -> Path:
    """`labels` are (image number from 0, category id, bbox, further keys)."""
    return put_text(
        path,
        json.dumps(
            {
                "images": [
                    {"id": i, "file_name": name, "width": W, "height": H}
                    for i, name in enumerate(names)
                ],
                "annotations": [
                    {"id": i, "image_id": image, "category_id": category, "bbox": box, **more}
                    for i, (image, category, box, more) in enumerate(labels)
                ],
                "categories": [{"id": i, "name": name} for i, name in categories.items()],
            }
        ),
    )


def flat(dataset: Dataset) -> dict[str, list[tuple]]:
    """What was read, by path below the second last folder."""
    return {
        "/".join(path.parts[-2:]): [(known.category, known.box) for known in annotations]
        for path, annotations in dataset
    }


def test_our_own_export_comes_back(tmp_path):
    scans = [made_scan(seed) for seed in range(4)]
    samples = [made_sample(seed, scan) for seed, scan in enumerate(scans)]
    write_dataset(samples, tmp_path / "out", val=0.5)
    for path in (tmp_path / "out", tmp_path / "out" / "annotations" / "instances.json"):
        dataset = read_dataset(path)
        assert (len(dataset), dataset.catalog, dataset.notes) == (4, PIDRAY, ())
        for index, sample in enumerate(samples):
            scan = dataset.scan(index)
            assert np.array_equal(scan.pixels, sample.image)
            for known, painted in zip(scan.annotations, sample.objects, strict=True):
                assert known.category == painted.category
                assert known.box == pytest.approx(painted.refined, abs=0.011)
                assert np.array_equal(known.mask, painted.mask)


def test_exports_inside_a_dataset_are_not_read_as_part_of_it(tmp_path):
    put_image(tmp_path / "images" / "a.png")
    put_text(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.2 0.4\n")
    put_text(tmp_path / "classes.txt", "Gun\n")
    write_dataset([made_sample(0, made_scan())], tmp_path / "painted" / "one")
    read = read_dataset(tmp_path)
    assert flat(read) == {"images/a.png": [("Gun", pytest.approx((24, 12, 36, 28)))]}
    assert any("exported" in note and "painted/one" in note for note in read.notes)
    # a folder of nothing else is meant as it is
    assert len(read_dataset(tmp_path / "painted")) == 1


def test_categories_come_in_the_order_of_their_list(tmp_path):
    put_image(tmp_path / "a.png")
    names = {7: "tent", 2: "Gun", 9: "axe", 4: "Axe_"}
    labels = [(0, number, [1, 2, 3, 4], {}) for number in (4, 9, 2, 7)]
    put_coco(tmp_path / "labels.json", ["a.png"], labels, names)
    dataset = read_dataset(tmp_path)
    # what is alike is one
    assert dataset.categories == ("tent", "Gun", "Axe_")
    (known,) = (annotations for _, annotations in dataset)
    assert [a.category for a in known] == ["Axe_", "Axe_", "Gun", "tent"]
    own = own_catalog("lab", {"tent": [9], "AXE": [9]}, (1, 1), 0, 1)
    dataset = read_dataset(tmp_path, own)
    assert dataset.catalog is own and dataset.categories == ("tent", "Gun", "AXE")
    assert len(dataset.notes) == 1 and "'Gun', which is no category of lab" in dataset.notes[0]


def test_pidray_finds_images_of_the_same_name_by_their_folder(tmp_path):
    categories = {1: "Baton", 11: "Knife"}
    for part, folder in (("train", "train"), ("test_easy", "easy"), ("test_hard", "hard")):
        put_image(tmp_path / folder / "a.png")
        number = 11 if part == "test_hard" else 1
        label = (0, number, [1, 2, 3, 4], {})
        put_coco(tmp_path / "annotations" / f"xray_{part}.json", ["a.png"], [label], categories)
    put_text(tmp_path / "annotations" / "._xray_train.json", "\x00 Mac")
    dataset = read_dataset(tmp_path)
    assert flat(dataset) == {
        "train/a.png": [("Baton", (1, 2, 4, 6))],
        "easy/a.png": [("Baton", (1, 2, 4, 6))],
        "hard/a.png": [("Knife", (1, 2, 4, 6))],
    }
    assert dataset.notes == ()
    assert len(read_dataset(tmp_path / "annotations" / "xray_test_hard.json")) == 1


def test_coco_names_are_found_whatever_tool_wrote_them(tmp_path):
    names = ["a.png", "deep/b.png", "images/c.png", "/data/upload/d.png", "D:\\scans\\e.png"]
    names += ["../../f.png", "gone.png"]
    for name in ("a.png", "deep/b.png", "c.png", "d.png", "e.png", "f.png"):
        put_image(tmp_path / "images" / name)
    put_image(tmp_path.parent / "f.png")
    put_coco(tmp_path / "labels.json", names, [], {0: "Gun"})
    dataset = read_dataset(tmp_path)
    assert sorted(flat(dataset)) == [
        "deep/b.png", "images/a.png", "images/c.png", "images/d.png", "images/e.png",
        "images/f.png",
    ]  # fmt: skip
    assert len(dataset.notes) == 1
    assert "not there" in dataset.notes[0] and "1 (the first: gone.png" in dataset.notes[0]


@pytest.mark.skipif(os.name == "nt", reason="links need privileges there")
def test_images_may_lie_behind_a_link(tmp_path):
    put_image(tmp_path / "elsewhere" / "pictures" / "a.png")
    folder = tmp_path / "dataset"
    put_coco(folder / "annotations.json", ["a.png"], [(0, 1, [1, 2, 10, 20], {})], {1: "Gun"})
    (folder / "images").symlink_to(tmp_path / "elsewhere")
    # one that leads back does not lead round and round, nor does it show an image twice
    (tmp_path / "elsewhere" / "pictures" / "back").symlink_to(folder)
    assert flat(read_dataset(folder)) == {"pictures/a.png": [("Gun", (1, 2, 11, 22))]}


def test_coco_masks_in_all_forms(tmp_path):
    expected = masks.box_mask((10, 10, 20, 30), (H, W))
    runs = [10 * H + 10] + [20, 20] * 9 + [20, H * W - 20 * H + 10]
    labels = [
        (0, 1, [10, 10, 10, 20], {"segmentation": masks.box_polygon((10, 10, 20, 30))}),
        (0, 1, [10, 10, 10, 20], {"segmentation": masks.encode(expected)}),
        (0, 1, [10, 10, 10, 20], {"segmentation": {"size": [H, W], "counts": runs}, "iscrowd": 1}),
        (0, 1, [10, 10, 10, 20], {"segmentation": []}),
        (0, 1, [10, 10, 10, 20], {"segmentation": [[1, 2, 3]]}),
        (0, 1, [10, 10, 10, 20], {"segmentation": {"size": [9, 9], "counts": [81]}}),
    ]
    put_image(tmp_path / "a.png")
    dataset = read_dataset(put_coco(tmp_path / "x.json", ["a.png"], labels, {1: "gun"}))
    ((_, known),) = dataset
    assert [k.category for k in known] == ["Gun"] * 6
    assert [k.iscrowd for k in known] == [False, False, True, False, False, False]
    for annotation in known[:3]:
        assert np.array_equal(annotation.mask, expected)
    assert all(annotation.mask is None for annotation in known[3:])
    assert len(dataset.notes) == 2 and all("Masks" in note for note in dataset.notes)


def test_coco_leaves_out_what_cannot_be_used_and_counts_it(tmp_path):
    labels = [
        (0, 1, [1, 2, 3, 4], {}),
        (0, 1, [1, 2, 0, 4], {}),
        (0, 1, [1, 2, 3], {}),
        (0, 1, None, {}),
        (0, 1, [1, 2, float("nan"), 4], {}),
        (0, 7, [1, 2, 3, 4], {}),
        (9, 1, [1, 2, 3, 4], {}),
        (0, 1, [100, 2, 3, 4], {}),
        (0, 99, [5, 5, 100, 100], {}),
    ]
    put_image(tmp_path / "a.png")
    dataset = read_dataset(
        put_coco(tmp_path / "x.json", ["a.png"], labels, {1: "Gun", 99: "Other"})
    )
    assert list(flat(dataset).values()) == [[("Gun", (1, 2, 4, 6)), ("Other", (5, 5, W, H))]]
    notes = " ".join(dataset.notes)
    assert "box of positive size, left out: 4 " in notes
    assert "categories that are not listed, left out: 1 " in notes
    assert "images that are not listed, left out: 1 " in notes
    assert "outside their image, left out: 1 " in notes
    assert "'Other'" in notes and "no category of PIDray" in notes


OPIXRAY = {
    "train/train_annotation/009000.txt": "009000.jpg Straight_Knife 7 4 30 20\n\n",
    "train/train_annotation/009001.txt": "009001.jpg Multi-tool_Knife 1 2 3 4\n"
    "009001.jpg Scissor 5 6 17 18\n009001.jpg Scissor 5 6 5 18\nnonsense\n",
    "test/test_annotation/009000.txt": "009000.TIFF Folding_Knife 1 1 9 9\n",
}


def test_opixray(tmp_path):
    for name, text in OPIXRAY.items():
        put_text(tmp_path / name, text)
    put_text(tmp_path / "train" / "train_knife.txt", "009000\n009001\n")
    put_image(tmp_path / "train/train_image/009000.jpg")
    put_image(tmp_path / "train/train_image/009001.tiff")
    put_image(tmp_path / "test/test_image/009000.TIFF")
    dataset = read_dataset(tmp_path)
    assert dataset.catalog is CATALOGS["opixray"]
    assert flat(dataset) == {
        "test_image/009000.TIFF": [("Folding_Knife", (1, 1, 9, 9))],
        "train_image/009000.jpg": [("Straight_Knife", (7, 4, 30, 20))],
        "train_image/009001.tiff": [
            ("Multi-tool_Knife", (1, 2, 3, 4)),
            ("Scissor", (5, 6, 17, 18)),
        ],
    }
    assert "left out: 2 (the first: 009001.txt, line 3)" in dataset.notes[0]


def test_hixray_is_told_by_its_names(tmp_path):
    put_text(tmp_path / "train/train_annotation/1.txt", "1.jpg Portable_Charger_1 1 2 30 40\n")
    put_image(tmp_path / "train/train_image/1.jpg")
    dataset = read_dataset(tmp_path)
    assert dataset.catalog is CATALOGS["hixray"]
    assert flat(dataset) == {"train_image/1.jpg": [("Portable_Charger_1", (1, 2, 30, 40))]}
    assert read_dataset(tmp_path, PIDRAY).notes != ()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("data.yaml", "names: [Gun, knife]\n"),
        ("data.yaml", "names:\n  0: Gun\n  1: knife\n"),
        ("classes.txt", "Gun\nknife\n"),
        ("labels/classes.txt", "Gun\nknife\n"),
    ],
)
def test_yolo(tmp_path, file, text):
    put_text(tmp_path / file, text)
    for name in ("a", "b", "c"):
        put_image(tmp_path / "images" / "train" / f"{name}.png")
    put_text(
        tmp_path / "labels" / "train" / "a.txt",
        "1 0.5 0.5 0.5 0.5\n0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n"
        "5 0.5 0.5 0.1 0.1\n1 a b c d\n",
    )
    put_text(tmp_path / "labels" / "train" / "b.txt", "")
    dataset = read_dataset(tmp_path)
    assert flat(dataset) == {
        "train/a.png": [("Knife", (15, 10, 45, 30)), ("Gun", (15, 10, 45, 30))],
        "train/b.png": [],
        "train/c.png": [],
    }
    mask = dataset.annotations(0)[1].mask
    assert np.array_equal(mask, masks.box_mask((15, 10, 45, 30), (H, W)))
    assert len(dataset.notes) == 2


VOC = """<annotation><filename>{name}</filename>
<size><width>{w}</width><height>{h}</height><depth>3</depth></size>
<object><name>knife</name><bndbox><xmin>1</xmin><ymin>3</ymin><xmax>10</xmax><ymax>8</ymax></bndbox>
</object>
<object><name>gun</name><bndbox><xmin>9</xmin><ymin>3</ymin><xmax>1</xmax><ymax>8</ymax></bndbox>
</object></annotation>"""


def test_voc_counts_pixels_from_one(tmp_path):
    put_text(tmp_path / "Annotations" / "a.xml", VOC.format(name="a.jpg", w=W, h=H))
    put_text(tmp_path / "Annotations" / "b.xml", VOC.format(name="b.jpg", w=0, h=0))
    put_image(tmp_path / "JPEGImages" / "a.jpg")
    put_image(tmp_path / "JPEGImages" / "b.png")
    dataset = read_dataset(tmp_path)
    assert flat(dataset) == {
        "JPEGImages/a.jpg": [("Knife", (0, 2, 10, 8))],
        "JPEGImages/b.png": [("Knife", (0, 2, 10, 8))],
    }
    assert "left out: 2 (the first: a.xml, object 2)" in dataset.notes[0]


def test_annotations_of_one_scan(tmp_path):
    label = (1, 11, [1, 2, 3, 4], {})
    coco = put_coco(tmp_path / "x.json", ["a.png", "dir/b.png"], [label], {11: "Knife"})
    voc = put_text(tmp_path / "b.xml", VOC.format(name="b.png", w=W, h=H))
    opixray = put_text(tmp_path / "b.txt", "b.jpg knife 1 2 4 6\n")
    yolo = put_text(tmp_path / "yolo" / "b.txt", "0 0.5 0.5 0.5 0.5\n")
    with pytest.raises(XsynError, match=r"classes\.txt"):
        read_annotations(yolo, "b.png", (H, W))
    put_text(tmp_path / "classes.txt", "knife\n")
    expected = {
        coco: (1, 2, 4, 6),
        voc: (0, 2, 10, 8),
        opixray: (1, 2, 4, 6),
        yolo: (15, 10, 45, 30),
    }
    for file, box in expected.items():
        known, _ = read_annotations(file, "b.png", (H, W))
        assert [(k.category, k.box) for k in known] == [("Knife", box)]
    assert read_annotations(coco, "a.jpg", (H, W)) == ((), ())
    with pytest.raises(XsynError, match="does not list it"):
        read_annotations(coco, "c.png", (H, W))
    single = put_coco(tmp_path / "one.json", ["a.png"], [], {11: "Knife"})
    with pytest.raises(XsynError, match=r"It has 1 image, such as a\.png"):
        read_annotations(single, "c.png", (H, W))
    with pytest.raises(XsynError, match="60 x 40"):
        read_annotations(coco, "b.png", (H * 2, W))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.json", "{", "not valid JSON"),
        pytest.param("x.json", 200_000 * "[", "not valid JSON", id="deep"),
        ("x.json", "[]", "not COCO"),
        ("x.json", '{"images": {}}', "not COCO"),
        ("x.xml", "<a", "not valid XML"),
        ("x.xml", "<a/>", "not VOC"),
        ("x.txt", "knife here\n", "no annotation that can be used"),
        ("x.csv", "1,2", "no known kind"),
    ],
)
def test_broken_files_are_explained(tmp_path, name, text, message):
    with pytest.raises(XsynError, match=message):
        read_annotations(put_text(tmp_path / name, text), "a.png", (H, W))


def test_files_that_are_not_text_or_not_there(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(XsynError, match="not a text file"):
        read_annotations(tmp_path / "x.txt", "a.png", (H, W))
    with pytest.raises(XsynError, match="no file"):
        read_annotations(tmp_path / "y.json", "a.png", (H, W))
    with pytest.raises(XsynError, match="no file or folder"):
        read_dataset(tmp_path / "none")
    with pytest.raises(XsynError, match="known format"):
        read_dataset(tmp_path)


def test_images_alone_are_scans_without_annotations_where_that_is_asked_for(tmp_path):
    for name in ("a.png", "deep/b.jpg"):
        put_image(tmp_path / name)
    put_text(tmp_path / "c.png", "no image")
    with pytest.raises(XsynError, match="known format"):
        read_dataset(tmp_path)
    dataset = read_dataset(tmp_path, unlabelled=True)
    assert [entry.image.name for entry in dataset.entries] == ["a.png", "b.jpg"]
    assert dataset.catalog is PIDRAY and dataset.scan(0).annotations == ()
    alone, unreadable = sorted(dataset.notes, reverse=True)
    assert "without annotations" in alone and ": 2 (the first: a.png)" in alone
    assert "cannot be read" in unreadable
    # what may be labels is never passed over
    for name in ("a.json", "a.xml", "list.csv", "a.txt", "data.yaml"):
        put_text(tmp_path / name, "")
        with pytest.raises(XsynError):
            read_dataset(tmp_path, unlabelled=True)
        (tmp_path / name).unlink()


def test_an_image_of_another_size_than_its_labels_is_refused(tmp_path):
    put_image(tmp_path / "a.png", (W * 2, H))
    dataset = read_dataset(put_coco(tmp_path / "x.json", ["a.png"], [], {1: "Gun"}))
    with pytest.raises(XsynError, match=r"120 x 40 pixels, but its labels were made for 60 x 40"):
        dataset.scan(0)


@pytest.mark.parametrize("folder", ["scans", "parcels"])
def test_real_datasets_are_read(folder):
    path = Path(__file__).parents[3] / "shared" / folder / "annotations.json"
    if not path.exists():
        pytest.skip("the real scans are not here")
    dataset = read_dataset(path)
    document = json.loads(path.read_text())
    assert len(dataset) == len(document["images"])
    assert sum(len(e.objects) for e in dataset.entries) == len(document["annotations"])
    assert dataset.catalog is PIDRAY


def test_an_empty_text_file_means_no_annotations(tmp_path):
    for text in ("", " \n\n"):
        assert read_annotations(put_text(tmp_path / "a.txt", text), "a.png", (H, W)) == ((), ())


@pytest.mark.parametrize(
    ("flag", "crowd"), [("0", False), ("1", True), (0, False), (True, True), (1.0, True)]
)
def test_crowds_are_told_whatever_the_flag_is_written_as(tmp_path, flag, crowd):
    put_image(tmp_path / "a.png")
    label = (0, 1, [1, 2, 3, 4], {"iscrowd": flag})
    ((known,),) = (a for _, a in read_dataset(put_coco(tmp_path / "x.json", ["a.png"], [label],
                                                        {1: "Gun"})))  # fmt: skip
    assert known.iscrowd is crowd


def test_class_names_that_are_not_numbered_are_explained(tmp_path):
    put_image(tmp_path / "images" / "a.png")
    put_text(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.5 0.5\n")
    put_text(tmp_path / "data.yaml", "names: {0: Knife, one: Gun}\n")
    with pytest.raises(XsynError, match="must be numbered"):
        read_dataset(tmp_path)
    put_text(tmp_path / "data.yaml", f"names: {2000 * '['}\n")
    with pytest.raises(XsynError, match="not valid YAML"):
        read_dataset(tmp_path)


def test_images_of_too_many_pixels_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", W * H)
    for name, size in (("a", (W, H)), ("b", (W * 3, H))):
        put_image(tmp_path / "images" / f"{name}.png", size)
        put_text(tmp_path / "labels" / f"{name}.txt", "0 0.5 0.5 0.5 0.5\n")
    put_text(tmp_path / "classes.txt", "Gun\n")
    dataset = read_dataset(tmp_path)
    assert [entry.image.name for entry in dataset.entries] == ["a.png"]
    assert "cannot be read, left out: 1 (the first: b.png)" in dataset.notes[0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
def test_images_that_exif_turns_keep_their_labels(tmp_path, suffix, orientation):
    path = tmp_path / "images" / f"a.{suffix}"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (W, H), "white").save(path, exif=exif)
    put_text(tmp_path / "labels" / "a.txt", "0 0.25 0.5 0.5 1\n")
    put_text(tmp_path / "classes.txt", "Gun\n")
    scan = read_dataset(tmp_path).scan(0)
    height, width = (H, W) if orientation < 5 else (W, H)
    assert scan.size == (height, width)
    assert scan.annotations[0].box == (0, 0, width / 2, height)


def test_problems_of_an_image_count_once_however_often_it_is_opened(tmp_path):
    far, damaged = [100, 2, 3, 4], {"segmentation": [[1, 2, 3]]}
    labels = [(0, 1, far, {}), (0, 1, far, {}), (0, 1, [1, 2, 3, 4], damaged)]
    put_image(tmp_path / "a.png")
    dataset = read_dataset(put_coco(tmp_path / "x.json", ["a.png"], labels, {1: "Gun"}))
    for masked in (False, True, True):
        dataset.annotations(0, masked)
    outside, mask = dataset.notes
    assert "outside their image, left out: 2 " in outside
    assert "Masks that cannot be used" in mask and ": 1 (the first: a.png)" in mask


def test_images_of_the_same_name_are_told_apart_by_their_listed_folders(tmp_path):
    for folder in ("one/left", "one/right", "two/left"):
        put_image(tmp_path / "pictures" / folder / "a.png")
    names = ["/data/one/left/a.png", "two/left/a.png", "right/a.png", "left/a.png"]
    dataset = read_dataset(put_coco(tmp_path / "x.json", names, [], {1: "Gun"}))
    assert ["/".join(entry.image.parts[-3:-1]) for entry in dataset.entries] == [
        "one/left", "two/left", "one/right"
    ]  # fmt: skip
    assert "not by one name, left out: 1 (the first: left/a.png" in dataset.notes[0]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_with_accents_are_found_in_either_form(tmp_path, form):
    name = unicodedata.normalize(form, "bag\u00e9.png")
    other = unicodedata.normalize({"NFC": "NFD", "NFD": "NFC"}[form], name)
    put_image(tmp_path / "deep" / name)
    label = (0, 1, [1, 2, 3, 4], {})
    for listed in (other, f"deep/{other}"):
        file = put_coco(tmp_path / "x.json", [listed], [label], {1: "Gun"})
        assert len(read_dataset(file)) == 1
        assert len(read_annotations(file, name, (H, W))[0]) == 1


def test_a_coco_file_of_one_other_image_or_of_several_of_the_name_is_refused(tmp_path):
    label = (0, 1, [1, 2, 3, 4], {})
    for names, words in ((["a.png"], "does not list it"), (["x/b.png", "y/b.png"], "several")):
        file = put_coco(tmp_path / "x.json", names, [label], {1: "Gun"})
        with pytest.raises(XsynError, match=words):
            read_annotations(file, "b.png", (H, W))


def test_other_json_files_may_lie_beside_the_labels(tmp_path):
    put_image(tmp_path / "a.png")
    put_coco(tmp_path / "labels.json", ["a.png"], [(0, 1, [1, 2, 3, 4], {})], {1: "Gun"})
    put_text(tmp_path / "settings.json", '{"tool": "of another program"}')
    put_text(tmp_path / "broken.json", "[1,")
    assert flat(read_dataset(tmp_path)) == {f"{tmp_path.name}/a.png": [("Gun", (1, 2, 4, 6))]}


def test_coco_ids_compare_as_they_read_and_the_first_image_of_an_id_is_kept(tmp_path):
    for name in ("a.png", "b.png"):
        put_image(tmp_path / name)
    document = {
        "images": [{"id": "7", "file_name": "a.png"}, {"id": 7, "file_name": "b.png"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": "2", "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 2, "name": "Gun"}],
    }
    put_text(tmp_path / "labels.json", json.dumps(document))
    dataset = read_dataset(tmp_path)
    assert flat(dataset) == {f"{tmp_path.name}/a.png": [("Gun", (1, 2, 4, 6))]}
    (note,) = dataset.notes
    assert "whose id another one has, left out: 1 (the first: labels.json, b.png)" in note


def test_images_of_opixray_may_have_blanks_in_their_names(tmp_path):
    text = "my bag 1.jpg Scissor 5 6 17 18\n"
    put_text(tmp_path / "train/Train_Annotation/my bag 1.txt", text)
    put_image(tmp_path / "train/train_image/my bag 1.jpg")
    dataset = read_dataset(tmp_path)
    assert flat(dataset) == {"train_image/my bag 1.jpg": [("Scissor", (5, 6, 17, 18))]}
    assert dataset.notes == ()


@pytest.mark.parametrize(
    "file", ["set/data.yml", "set/obj.names", "set/labels.txt", "set/labels/obj.names", "data.yaml"]
)
@pytest.mark.parametrize("images", ["images", "train/images", "images/train/images"])
def test_class_names_and_labels_of_yolo_lie_where_tools_put_them(tmp_path, file, images):
    names = "names: [Gun, knife]\n" if "y" in file else "Gun\n\nknife\n"
    put_text(tmp_path / file, names)
    put_image(tmp_path / "set" / images / "a.png")
    labels = images[: -len("images")] + "labels"
    put_text(tmp_path / "set" / labels / "a.txt", "1 0.5 0.5 0.5 0.5\n")
    dataset = read_dataset(tmp_path / "set")
    assert flat(dataset) == {"images/a.png": [("Knife", (15, 10, 45, 30))]}


def test_voc_files_may_be_named_otherwise_than_their_images(tmp_path):
    put_text(tmp_path / "Annotations" / "0001.xml", VOC.format(name="a.jpg", w=W, h=H))
    put_image(tmp_path / "JPEGImages" / "a.jpg")
    assert flat(read_dataset(tmp_path)) == {"JPEGImages/a.jpg": [("Knife", (0, 2, 10, 8))]}


def test_opixray_images_of_one_name_are_told_apart_by_the_folders_of_their_labels(tmp_path):
    for part, name in (("train", "Scissor"), ("test", "Folding_Knife")):
        put_text(tmp_path / part / "annotation" / "1.txt", f"1.jpg {name} 5 6 17 18\n")
        put_image(tmp_path / part / "image" / "1.jpg")
    found = {p.parts[-3]: [a.category for a in known] for p, known in read_dataset(tmp_path)}
    assert found == {"train": ["Scissor"], "test": ["Folding_Knife"]}
