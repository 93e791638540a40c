"""Which images a dataset has, and which of them its labels mean."""

import os
import unicodedata

import pytest
from curation_samples import made_sample, made_scan
from dataset_files import VOC, H, W, flat, put_coco, put_image, put_text
from PIL import ExifTags, Image

from xsyn_core.categories import PIDRAY
from xsyn_core.curation.coco import write_dataset
from xsyn_core.curation.readers import read_annotations, read_dataset
from xsyn_core.errors import XsynError


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


def test_images_of_opixray_may_have_blanks_in_their_names(tmp_path):
    text = "my bag 1.jpg Scissor 5 6 17 18\n"
    put_text(tmp_path / "train/Train_Annotation/my bag 1.txt", text)
    put_image(tmp_path / "train/train_image/my bag 1.jpg")
    dataset = read_dataset(tmp_path)
    assert flat(dataset) == {"train_image/my bag 1.jpg": [("Scissor", (5, 6, 17, 18))]}
    assert dataset.notes == ()


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
