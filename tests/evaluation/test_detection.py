"""`evaluate detection`: what a detector sees, how its answers are measured, and the comparison."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from xsyn_core import boxes
from xsyn_core.curation.coco import PROVENANCE
from xsyn_core.curation.readers import read_dataset
from xsyn_core.errors import XsynError
from xsyn_core.evaluation import detection, detector
from xsyn_core.evaluation.average_precision import average_precision
from xsyn_core.scan import Annotation, make_scan

COLOURS = {"Knife": (200, 60, 40), "slingshot": (40, 60, 200)}
NAMES = tuple(COLOURS)
SIZE = 96


def coloured(size: tuple[int, int], items: list[tuple[str, tuple[int, int, int, int]]]):
    """A white scan with rectangles (x1, y1, x2, y2) in the colours of their categories."""
    pixels = np.full((*size, 3), 255, np.uint8)
    for name, (x1, y1, x2, y2) in items:
        pixels[y1:y2, x1:x2] = COLOURS[name]
    return make_scan(pixels, "scan.png")


def found_by_colour(image: np.ndarray) -> tuple[list[tuple[float, ...]], list[int]]:
    """Boxes and labels of what has the colours of the categories, in an image (H, W, 3)."""
    places, labels = [], []
    for label, colour in enumerate(COLOURS.values()):
        rows, columns = np.nonzero(np.abs(image - np.array(colour, float)).max(2) < 60)
        if len(rows):
            places.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
            labels.append(label)
    return places, labels


class ByColour(torch.nn.Module):
    """Answers as a detector does, without having learnt anything."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        places, labels = found_by_colour(images[0].permute(1, 2, 0).numpy() * 255)
        return [
            {
                "boxes": torch.tensor(np.array(places, np.float32).reshape(-1, 4)),
                "labels": torch.tensor(labels),
                "scores": torch.ones(len(labels)),
            }
        ]


@pytest.mark.parametrize("size", [(120, 200), (200, 120), (500, 640), (64, 64)])
def test_answers_come_back_in_pixels_of_the_scan(size):
    height, width = size
    knife = (width // 8, height // 8, width // 2, height // 3)
    sling = (width // 2, height // 2, width, height - 4)
    scan = coloured(size, [("Knife", knife), ("slingshot", sling)])
    places, labels, scores = detector.detect(ByColour(), scan, 128)
    assert labels.tolist() == [0, 1] and len(scores) == 2
    for place, truth in zip(places, (knife, sling), strict=True):
        # a pixel of the square may be five of the scan's
        assert boxes.iou(tuple(place), truth) > 0.85
        assert (place >= 0).all() and (place <= (width, height, width, height)).all()


@pytest.mark.parametrize("seed", range(6))
def test_every_distance_can_be_learnt_whatever_the_seed(seed):
    torch.manual_seed(seed)
    model = detector.build(2, 128).eval()
    seen = model.backbone(torch.rand(1, 3, 128, 128))
    distances = model.head(list(seen.values()))["bbox_regression"]
    # what begins at zero stays there, for ReLU has no gradient
    assert (distances > 0).all()


def test_what_is_learnt_from_has_its_boxes_on_its_items():
    scan = coloured((150, 220), [("Knife", (0, 30, 60, 60)), ("slingshot", (190, 60, 220, 140))])
    known = np.array([[0, 30, 60, 60], [190, 60, 220, 140]], np.float32)
    rng = np.random.default_rng(0)
    widths, cut = [], 0
    for _ in range(200):
        example = detector.shown(scan, known, np.array([0, 1]), 96, rng)
        assert example.image.shape == (96, 96, 3) and example.boxes.dtype == np.float32
        places, labels = found_by_colour(example.image)
        seen = dict(zip(labels, places, strict=True))
        for place, label in zip(example.boxes, example.labels.tolist(), strict=True):
            assert np.abs(place - seen[label]).max() <= 1.5
            assert (place >= 0).all() and (place <= 96).all()
            widths.append(place[2] - place[0])
        cut += 2 - len(example.labels)
    # turned, smaller and larger; at the border some are cut away, but few
    assert min(widths) < 13 and max(widths) > 40
    assert 0 < cut < 100


def brute_force(truth, found, label: int, least: float) -> float:
    """The average precision of one category at one IoU, by COCO's 101 recalls."""
    total = sum(a.category == NAMES[label] for known in truth for a in known)
    answers = sorted(
        (
            (-score, image, tuple(place))
            for image, own in enumerate(found)
            for place, its, score in zip(*own, strict=True)
            if its == label
        ),
    )
    taken, hits = set(), []
    for _, image, place in answers:
        matches = [
            (boxes.iou(place, a.box), k)
            for k, a in enumerate(truth[image])
            if a.category == NAMES[label] and (image, k) not in taken
        ]
        iou, k = max(matches, default=(0.0, -1))
        hits.append(iou >= least)
        if hits[-1]:
            taken.add((image, k))
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    # recall as a ratio of whole numbers, so that no rounding decides
    return float(
        np.mean(
            [
                max(
                    (p for p, r in zip(precision, right, strict=True) if 100 * r >= step * total),
                    default=0.0,
                )
                for step in range(101)
            ]
        )
    )


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_is_that_of_its_definition(seed):
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(7):
        known, places, labels = [], [], []
        for _ in range(int(rng.integers(0, 5))):
            corner, ends = rng.uniform(0, 50, 2), rng.uniform(10, 40, 2)
            label = int(rng.integers(2))
            box = (*map(float, corner), *map(float, corner + ends))
            known.append(Annotation(NAMES[label], box))
            # most are found, some twice, some as the other category
            for _ in range(int(rng.integers(0, 3))):
                places.append(np.array(box) + rng.normal(0, 4, 4))
                labels.append(label if rng.random() < 0.8 else 1 - label)
        truth.append(known)
        scores = rng.permutation(1000)[: len(labels)] / 1000
        found.append((np.array(places).reshape(-1, 4), np.array(labels, int), scores))
    measured = average_precision(truth, found, [(100, 100)] * 7, NAMES)
    thresholds = np.arange(50, 100, 5) / 100
    there = [k for k in range(2) if any(a.category == NAMES[k] for own in truth for a in own)]
    expected = {k: [brute_force(truth, found, k, t) for t in thresholds] for k in there}
    assert measured["AP"] == pytest.approx(np.mean(list(expected.values())), abs=1e-9)
    assert measured["AP50"] == pytest.approx(np.mean([v[0] for v in expected.values()]), abs=1e-9)
    assert measured["AP75"] == pytest.approx(np.mean([v[5] for v in expected.values()]), abs=1e-9)
    for k, values in expected.items():
        assert measured["by category"][NAMES[k]] == pytest.approx(np.mean(values), abs=1e-9)


def test_nothing_found_is_nothing_and_crowds_are_neither_asked_for_nor_wrong():
    truth = [[Annotation("Knife", (10, 10, 30, 30)), Annotation("Gun", (50, 50, 60, 60))]]
    nothing = (np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    measured = average_precision(truth, [nothing], [(100, 100)], NAMES)
    assert measured == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0, "by category": {"Knife": 0.0}}
    crowd = Annotation("Knife", (40, 40, 90, 90), iscrowd=True)
    places = np.array([[42, 42, 60, 60], [10, 10, 30, 30]], float)
    answers = [(places, np.array([0, 0]), np.array([0.9, 0.8]))]
    for known, ap in ((truth[0], 0.5), ([*truth[0], crowd], 1.0)):
        measured = average_precision([known], answers, [(100, 100)], NAMES)
        assert measured["AP"] == pytest.approx(ap)


def test_the_sheet_shows_what_is_there_above_what_is_found(data):
    scans = detection.Scans.read(read_dataset(data / "test"), {}, "test")
    places = [np.array([a.box for a in known]) for known in scans.known]
    # a detector that finds the first item and thinks of the second, and one that finds nothing
    first = [(p, np.array([0, 1]), np.array([0.9, 0.1])) for p in places]
    nothing = [(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))] * len(places)
    made = detection.sheet(scans, [first, nothing], NAMES, SIZE).astype(int)
    for column in range(6):
        rows = made[: 3 * SIZE, column * SIZE : (column + 1) * SIZE].reshape(3, SIZE, SIZE, 3)
        plain = scans.dataset.scan(scans.rows[column]).pixels
        known = scans.known[column]
        for k, expected in enumerate(({0, 1}, {0}, set())):
            drawn = {
                n
                for n, a in enumerate(known)
                for x1, y1, x2, y2 in [map(round, a.box)]
                # its left side is drawn
                if (rows[k][(y1 + y2) // 2, x1] == (200, 0, 0)).all()
            }
            assert drawn == expected
        assert (rows[2] == plain).all()


def put_dataset(folder, count: int, seed: int, names=NAMES) -> None:
    """Scans with an item of each category somewhere."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        items = []
        for k, name in enumerate(NAMES):
            w, h = rng.integers(16, 34, 2).tolist()
            x, y = int(rng.integers(0, SIZE - w)), int(k * SIZE / 2 + rng.integers(0, 14))
            items.append((name, (x, y, x + w, y + h)))
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": k + 1}
                | {"bbox": [x, y, w, h]}
            )
        Image.fromarray(coloured((SIZE, SIZE), items).pixels).save(
            folder / "images" / f"{number}.png"
        )
        images.append({"id": number, "file_name": f"{number}.png", "height": SIZE, "width": SIZE})
    categories = [{"id": k, "name": name} for k, name in enumerate(names, 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("detection")
    for seed, (name, count) in enumerate((("train", 24), ("added", 12), ("test", 12))):
        put_dataset(root / name, count, seed)
    return root


def options(root, tmp_path, **more):
    return {
        "data": root / "train", "test": root / "test", "added": [root / "added"],
        "run": tmp_path / "run", "steps": 3, "batch": 2, "rate": 2e-3, "side": 64,
        "repeats": 1, "catalog": None, "seed": 0, "workers": 1, "device": "cpu", **more,
    }  # fmt: skip


def test_detectors_learn_and_are_compared(data, tmp_path, capsys):
    asked = options(data, tmp_path, steps=50, batch=6, rate=4e-3)
    detection.main(**asked)
    kinds = json.loads((tmp_path / "run" / "detection.json").read_text())
    assert list(kinds) == ["real only", f"with {data / 'added'}"]
    for (one,) in kinds.values():
        assert one["AP50"] > 0.5, one
        assert set(one["by category"]) == set(NAMES)
    table = capsys.readouterr().out
    assert (tmp_path / "run" / "detection.md").read_text() in table
    # how many items there are to learn from
    assert "(24)" in table and "(36)" in table
    # two rows of six scans, each with what is there above what both detectors find
    with Image.open(tmp_path / "run" / "sheet.png") as shown:
        assert shown.size == (6 * 64, 2 * 3 * 64)
    # what is there is not trained again
    before = [file.stat().st_mtime_ns for file in sorted(tmp_path.rglob("checkpoint.pt"))]
    detection.main(**asked)
    assert json.loads((tmp_path / "run" / "detection.json").read_text()) == kinds
    assert before == [file.stat().st_mtime_ns for file in sorted(tmp_path.rglob("checkpoint.pt"))]
    assert len(before) == 2
    with pytest.raises(XsynError, match="holds a run with"):
        detection.main(**{**asked, "steps": 51})


def test_seeds_differ_and_their_spread_is_told(data, tmp_path, capsys):
    detection.main(**options(data, tmp_path, added=None, repeats=3))
    kinds = json.loads((tmp_path / "run" / "detection.json").read_text())
    assert [len(several) for several in kinds.values()] == [3]
    losses = [file.read_text() for file in sorted(tmp_path.rglob("loss.csv"))]
    assert all(one != other for one, other in pairwise(losses))
    assert capsys.readouterr().out.count("±") == 3 + 2


def test_scans_to_measure_on_may_not_be_learnt_from(data, tmp_path):
    with pytest.raises(XsynError, match=r"12 scans of .* are learnt from .real only."):
        detection.main(**options(data, tmp_path, data=data / "test"))
    # nor painted into
    painted = tmp_path / "painted"
    shutil.copytree(data / "added", painted)
    with Image.open(data / "test" / "images" / "3.png") as image:
        hashed = make_scan(np.array(image), "3.png").sha256
    line = {"file_name": "images/2.png", "source": {"name": "3.png", "sha256": hashed}}
    (painted / PROVENANCE).write_text(json.dumps(line) + "\n")
    with pytest.raises(XsynError, match=r"1 scans of .* are learnt from .with "):
        detection.main(**options(data, tmp_path, added=[painted]))
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_measured_is_explained(data, tmp_path):
    with pytest.raises(XsynError, match="multiple of 32, such as 96"):
        detection.main(**options(data, tmp_path, side=100))
    put_dataset(tmp_path / "others", 2, 9, ("Gun", "Sprayer"))
    with pytest.raises(XsynError, match=r"no item of the categories of .*: Knife, slingshot"):
        detection.main(**options(data, tmp_path, test=tmp_path / "others"))
