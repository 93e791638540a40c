"""`synthesize` into a dataset, with a stand-in for the models."""

import json
from pathlib import Path

import numpy as np
from calling import SIZE, fails, lines, passes, put_dataset, put_scan
from made_synthesizer import REGIONS, MadeSynthesizer
from PIL import Image
from pycocotools.coco import COCO

from xsyn_core import catalogs
from xsyn_core.categories import CATALOGS


def test_synthesize_writes_a_dataset_and_prints_its_path(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    result = passes(
        *("synthesize", scan, "--category", "knife", "--box", "100,20,200,120"),
        *("--seed", 5, "--alpha", 0.4, "--steps", 3, "--placement", 8, "--out", out),
    )
    assert result.stdout == f"{out}/annotations/instances.json\n"
    assert "Images: 1; 1 annotation, 1 of them painted." in result.stderr
    data = COCO(out / "annotations" / "instances.json")
    assert [a["bbox"] for a in data.anns.values()] == [[100, 20, 100, 100]]
    assert data.cats[data.anns[1]["category_id"]]["name"] == "Knife"
    (line,) = lines(out)
    assert (line["seed"], line["alpha"], line["prompt"]) == (5, 0.4, "knife")
    assert (line["settings"]["placement"], line["settings"]["steps"]) == (8, 3)
    with Image.open(out / line["file_name"]) as image:
        expected = np.full((SIZE[1], SIZE[0], 3), 250)
        expected[20:120, 100:200] = 90
        assert np.array_equal(np.asarray(image), expected)


def test_without_a_box_an_idle_region_is_picked(made, tmp_path):
    scan = put_scan(tmp_path / "bag.png")
    for seed in range(4):
        out = tmp_path / f"out{seed}"
        passes("synthesize", scan, "--seed", seed, "--steps", 1, "--out", out)
        (entry,) = lines(out)[0]["objects"]
        x1, y1, x2, y2 = entry["grounding"]
        assert (x1, y1, x2, y2) in REGIONS
        assert entry["category"] in CATALOGS["pidray"].candidates((x2 - x1) * (y2 - y1))
        passes(
            *("synthesize", scan, "--category", "Hammer", "--category", "Lighter"),
            *("--seed", seed, "--steps", 1, "--out", out),
        )
        places = [tuple(entry["grounding"]) for entry in lines(out)[0]["objects"]]
        assert places == [REGIONS[1], REGIONS[0]]


def test_what_there_is_to_know_of_samples_is_told(made, tmp_path):
    places = ("--box", "100,20,200,120", "--box", "10,10,60,70", "--box", "300,20,310,29")
    names = ("--category", "gun", "--category", "gun", "--category", "knife")
    data = put_dataset(tmp_path / "bags", 2, [(1, 1, (400, 150, 50, 40))], {1: "Baton"})
    result = passes(
        *("synthesize", data, *places, *names),
        *("--count", 2, "--steps", 1, "--out", tmp_path / "out"),
    )
    small = (
        "The box of Knife is smaller than the smallest that the catalogue keeps (0.1% of the scan)"
    )
    flat = "The attention map is flat: the box alone located the item"
    told = [line for line in result.stderr.splitlines() if "the first" in line]
    assert told == [f"{what}: 2 (the first: 1.png)." for what in (small, flat)]
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "other"
    result = passes(
        *("synthesize", scan, *places[:4], "--category", "knife", "--steps", 1, "--out", out)
    )
    assert "the first" not in result.stderr


def test_boxes_and_categories_go_together(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    two = ("--box", "10,10,60,60", "--box", "100,10,180,90")
    common = ("synthesize", scan, *two, "--steps", 1, "--out", out)

    def painted() -> list[str]:
        return [entry["category"] for entry in lines(out)[0]["objects"]]

    passes(*common, "--category", "Gun", "--category", "Hand_cuffs")
    assert painted() == ["Gun", "HandCuffs"]
    passes(*common, "--category", "Gun")
    assert painted() == ["Gun", "Gun"]
    passes(*common)
    assert all(name in CATALOGS["pidray"].candidates(2500) for name in painted())
    fails("3 categories for 2 boxes", *common, *("--category", "Gun") * 3)


def test_mistakes_are_told_before_the_models_are_loaded(no_models, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    box = ("--box", "10,10,60,60")
    fails("no file", "synthesize", tmp_path / "none.png", "--out", out)
    fails("Choose one of", "synthesize", scan, "--category", "Banana", *box, "--out", out)
    fails("write --box", "synthesize", scan, "--box", "1,2,3", "--out", out)
    fails("no catalogue", "synthesize", scan, "--catalog", "x", "--out", out)
    fails("steps", "synthesize", scan, "--steps", 0, "--out", out)
    fails("--variant", "synthesize", scan, "--variant", "remove", "--out", out)
    fails("share", "synthesize", scan, "--val", 2, "--out", out)
    fails("not an image", "synthesize", Path(__file__), "--out", out)
    fails("no file", "synthesize", scan, "--annotations", tmp_path / "x.json", "--out", out)
    (out / "mine").mkdir(parents=True)
    fails("mine", "synthesize", scan, *box, "--category", "Gun", "--out", out)
    fails("is a file", "synthesize", scan, *box, "--category", "Gun", "--out", scan)
    fails("no workspace", "export", tmp_path / "none", "--out", out)
    fails("--seed", "synthesize", scan, "--seed", 2**31, "--out", out)
    fails("--size", "simulate", "--size", "7", "--out", out)


def test_a_request_that_cannot_be_met_leaves_nothing(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    common = ("synthesize", scan, "--category", "Gun", "--steps", 1, "--out", out)
    fails("outside the scan", *common, "--box", "900,900,950,950")
    fails("alpha", *common, "--box", "10,10,60,60", "--alpha", 3)
    fails("no annotated item", "synthesize", scan, "--variant", "modify", "--out", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bag.png"]


def test_modify_repaints_annotated_items(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.jpg"), tmp_path / "out"
    put_scan(tmp_path / "set" / "x.png")
    known = tmp_path / "bag.txt"
    known.write_text(
        "bag.jpg Gun 10 10 60 60\nbag.jpg knife 100 10 160 60\nbag.jpg Tent 5 5 90 90\n"
    )
    common = ("--variant", "modify", "--annotations", known, "--steps", 1, "--out", out)
    result = passes("synthesize", scan, *common)
    assert "'Tent'" in result.stderr
    data = COCO(out / "annotations" / "instances.json")
    assert [data.cats[a["category_id"]]["name"] for a in data.anns.values()] == ["Gun", "Knife"]
    passes("synthesize", scan, *common, "--category", "Knife")
    (line,) = lines(out)
    assert [entry["category"] for entry in line["objects"]] == ["Knife"]
    assert len(line["kept"]) == 1
    fails("no annotated item of Hammer", "synthesize", scan, *common, "--category", "hammer")
    fails("needs to know", "synthesize", scan, *common, "--box", "10,10,60,60")


def test_every_scan_of_a_dataset(made, tmp_path):
    labels = [(1, 3, [10, 10, 50, 60]), (2, 9, [300, 20, 100, 100])]
    file = put_dataset(tmp_path / "set", 3, labels, {3: "Laptop", 9: "Water"})
    for path in (file, tmp_path / "set"):
        passes("synthesize", path, "--seed", 7, "--steps", 1, "--out", tmp_path / "out")
        found = lines(tmp_path / "out")
        assert [(line["source"]["name"], line["seed"]) for line in found] == [
            ("1.png", 7), ("2.png", 8), ("3.png", 9)
        ]  # fmt: skip
    data = COCO(tmp_path / "out" / "annotations" / "instances.json")
    assert [c["name"] for c in data.cats.values()] == list(CATALOGS["hixray"].names)
    assert len(data.anns) == 5
    fails("leave --annotations out", "synthesize", file, "--annotations", file, "--out", "x")


def test_a_folder_of_images_alone(made, tmp_path):
    for i in (1, 2):
        put_scan(tmp_path / "set" / f"{i}.png", 200 + i)
    out = tmp_path / "out"
    result = passes("synthesize", tmp_path / "set", "--count", 4, "--steps", 1, "--out", out)
    assert [line["source"]["name"] for line in lines(out)] == ["1.png", "1.png", "2.png", "2.png"]
    assert all(line["kept"] == [] for line in lines(out))
    assert "without annotations" in result.stderr and ": 2 (the first: 1.png)" in result.stderr
    fails("no annotated item", "synthesize", tmp_path / "set", "--variant", "modify",
          "--out", tmp_path / "none")  # fmt: skip
    for command in (("train", "denoiser"), ("train", "segmenter")):
        fails("known format", *command, "--data", tmp_path / "set", "--run", tmp_path / "run")
    fails("known format", "evaluate", "detection", "--data", tmp_path / "set", "--test",
          tmp_path / "set", "--added", tmp_path / "set")  # fmt: skip


def test_count_spreads_over_the_scans(made, tmp_path):
    file = put_dataset(tmp_path / "set", 3, [], {1: "Gun"})
    for count, expected in ((7, [1, 1, 1, 2, 2, 3, 3]), (2, [1, 2])):
        passes("synthesize", file, "--count", count, "--steps", 1, "--out", tmp_path / "out")
        found = lines(tmp_path / "out")
        assert [int(line["source"]["name"][0]) for line in found] == expected
        assert [line["seed"] for line in found] == list(range(count))
        assert [line["settings"]["placement"] for line in found] == list(range(count))


def test_scans_that_fail_in_a_batch_are_left_out_and_named(made, tmp_path):
    file = put_dataset(tmp_path / "set", 3, [], {1: "Gun"})
    (tmp_path / "set" / "images" / "2.png").write_bytes(b"no image")
    result = passes("synthesize", file, "--steps", 1, "--out", tmp_path / "out")
    assert len(lines(tmp_path / "out")) == 2
    assert "2.png" in result.stderr and "left out" in result.stderr
    for name in ("1.png", "3.png"):
        (tmp_path / "set" / "images" / name).write_bytes(b"no image")
    fails("not an image", "synthesize", file, "--out", tmp_path / "none")


def test_validation_split(made, tmp_path):
    file = put_dataset(tmp_path / "set", 8, [], {1: "Gun"})
    arguments = ("--count", 16, "--steps", 1, "--val", 0.5, "--out", tmp_path / "out")
    result = passes("synthesize", file, *arguments)
    assert "for validation" in result.stderr
    sides: dict[str, set[str]] = {}
    for line in lines(tmp_path / "out"):
        sides.setdefault(line["source"]["name"], set()).add(line["part"])
    assert all(len(parts) == 1 for parts in sides.values())
    assert set.union(*sides.values()) == {"train", "val"}


def test_a_model_of_ones_own_categories_is_asked_for_them(made, tmp_path):
    scan, model = put_scan(tmp_path / "bag.png"), tmp_path / "model"
    sizes = {"gas can": [(50, 50), (50, 52)], "tent": [(100, 100)]}
    model.mkdir()
    catalogs.save(catalogs.own_catalog("Lab 7", sizes, (1e5, 1e5), 0.001, 0.25), model)
    out, common = tmp_path / "out", ("--steps", 1, "--out", tmp_path / "out")
    for options in (("--diffusion", model), ("--catalog", model / "catalog.json")):
        passes("synthesize", scan, "--category", "Gas_Can", *options, *common)
        assert [entry["category"] for entry in lines(out)[0]["objects"]] == ["gas can"]
        data = COCO(out / "annotations" / "instances.json")
        assert [c["name"] for c in data.cats.values()] == ["gas can", "tent"]
    fails("is not a category of Lab 7. Choose one of: gas can, tent", "synthesize", scan,
          "--category", "Gun", "--diffusion", model, *common)  # fmt: skip
    passes("synthesize", scan, "--category", "Gun", "--diffusion", model, "--catalog", "pidray",
           *common)  # fmt: skip
    found = json.loads(passes("regions", scan, "--catalog", model).stdout)
    assert {tuple(region["candidates"]) for region in found} == {("gas can",), ("tent",)}
    (model / "catalog.json").write_text("{}")
    fails("catalog.json is no catalogue (it has no title)", "synthesize", scan, "--diffusion",
          model, *common)  # fmt: skip


def test_what_annotations_leave_out_is_told(made, tmp_path):
    scan, known = put_scan(tmp_path / "bag.png"), tmp_path / "bag.txt"
    known.write_text("bag.png Gun 10 10 60 60\nnonsense\n")
    for command in (["regions", scan], ["synthesize", scan, "--steps", 1, "--out", tmp_path / "o"]):
        result = passes(*command, "--annotations", known)
        assert "left out: 1 (the first: bag.txt, line 2)" in result.stderr


def test_every_setting_reaches_the_request_and_the_occlusion(made, monkeypatch, tmp_path):
    scan, out, occluded = put_scan(tmp_path / "bag.png"), tmp_path / "out", []
    occlude = MadeSynthesizer.occlude

    def spy(self, painting, *settings):
        occluded.append(settings)
        return occlude(self, painting, *settings)

    monkeypatch.setattr(MadeSynthesizer, "occlude", spy)
    asked = {
        "seed": 5, "steps": 3, "guidance": 4.5, "sampler": "dpm++", "frame": "whole",
        "background": "repaint", "points": "topk", "divisions": 2, "alpha": 0.4,
        "occlusion": "pixel", "occluder": 3, "placement": 8,
    }  # fmt: skip
    options = [word for name, value in asked.items() for word in (f"--{name}", value)]
    common = ("synthesize", scan, "--category", "Gun", "--box", "10,10,60,60", "--out", out)
    passes(*common, *options, "--no-occlude")
    (line,) = lines(out)
    assert asked.items() <= line["settings"].items() and line["settings"]["occlude"] is False
    passes(*common, *options, "--count", 2)
    assert [line["settings"]["occlude"] for line in lines(out)] == [True, True]
    assert occluded == [(0.4, 3, placement, "pixel", on) for placement, on in (
        (8, False), (8, True), (9, True)
    )]  # fmt: skip


def test_categories_and_places_left_out_are_drawn_anew_for_each_sample(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    common = ("synthesize", scan, "--count", 12, "--steps", 1, "--out", out)

    def painted() -> list[dict]:
        return [entry for line in lines(out) for entry in line["objects"]]

    passes(*common, "--box", "10,10,60,60")
    assert {entry["category"] for entry in painted()} == {"Bullet", "Lighter"}
    passes(*common)
    assert len({(entry["category"], *entry["grounding"]) for entry in painted()}) > 2
    first = lines(out)
    passes(*common)
    assert lines(out) == first


def test_items_left_to_choose_their_places_keep_clear_of_each_other(made, tmp_path):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    two = ("--category", "Hammer", "--category", "Hammer", "--count", 20)
    passes("synthesize", scan, *two, "--steps", 1, "--out", out)
    places = [[tuple(entry["grounding"]) for entry in line["objects"]] for line in lines(out)]
    # one region alone is of a hammer's size
    assert all(first == REGIONS[1] != second for first, second in places)
    assert {second for _, second in places} == {REGIONS[0], REGIONS[2]}


def test_after_the_last_seed_comes_the_first(made, tmp_path):
    scan, out, last = put_scan(tmp_path / "bag.png"), tmp_path / "out", 2**31 - 1
    seeds = ("--seed", last, "--placement", last, "--count", 2)
    passes("synthesize", scan, *seeds, "--steps", 1, "--out", out)
    found = [(line["seed"], line["settings"]["placement"]) for line in lines(out)]
    assert found == [(last, last), (0, 0)]
