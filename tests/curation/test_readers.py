"""Labels of every format, against hand-written files."""

import json
from pathlib import Path

import numpy as np
import pytest
from curation_samples import made_sample, made_scan
from dataset_files import OPIXRAY, VOC, H, W, flat, put_coco, put_image, put_text

from xsyn_core.catalogs import own_catalog
from xsyn_core.categories import CATALOGS, PIDRAY
from xsyn_core.curation import masks
from xsyn_core.curation.coco import write_dataset
from xsyn_core.curation.readers import read_annotations, read_dataset
from xsyn_core.errors import XsynError


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
    own = own_catalog("lab", {"tent": [(3, 3)], "AXE": [(3, 3)]}, (1, 1), 0, 1)
    dataset = read_dataset(tmp_path, own)
    assert dataset.catalog is own and dataset.categories == ("tent", "Gun", "AXE")
    assert len(dataset.notes) == 1 and "'Gun', which is no category of lab" in dataset.notes[0]


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
