"""What is said of painted items, with items, judges and boxes of known kinds."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xsyn_core.boxes import iou
from xsyn_core.evaluation import labelling, painting, sheets
from xsyn_core.evaluation.classifier import CLASSES, class_of
from xsyn_core.evaluation.held_out import Case
from xsyn_core.evaluation.painting import Painted

SIDE = 128
BOX = (32.0, 32.0, 96.0, 96.0)


def flat(value):
    return np.full((SIDE, SIDE, 3), value, np.uint8)


def made_case(category="Gun", value=0, benign=250, grounding=BOX):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[40:90, 40:90] = True
    return Case(category, flat(value), flat(benign), mask, (40.0, 40.0, 90.0, 90.0), grounding)


def made(category="Gun", value=0, **options):
    one = made_case(category, **options)
    return Painted(one, flat(value), np.zeros((SIDE, SIDE), np.float32))


class Judge:
    """Reads class k in grey level 10 k; its features are the mean colour."""

    def features(self, x):
        return (x.mean((2, 3)) + 1) * 127.5

    def __call__(self, x):
        level = (self.features(x)[:, 0] / 10).round().long()
        return torch.nn.functional.one_hot(level.clamp(0, len(CLASSES) - 1), len(CLASSES)).float()


def level(category):
    return 10 * class_of(category)


def test_categories_read_right():
    items = [
        made("Gun", level("Gun")),
        made("Gun", level("Knife")),
        made("Utility_Knife", level("Knife")),
        made("Laptop", 250),
    ]
    found = painting.categories(Judge(), items)
    assert found["items"] == 4
    assert found["painted right"] == 0.5 and found["nothing painted"] == 0.25
    assert found["by category"]["Gun"] == {"simulated": 0, "painted": 0.5}
    assert found["by category"]["Utility_Knife"]["painted"] == 1
    assert {k: v["painted"] for k, v in found["by catalogue"].items()} == {
        "PIDray": 0.5,
        "OPIXray": 1,
        "HiXray": 0,
    }


def test_realism_is_one_for_the_simulators_own():
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 250, (3, 20))
    others = [made_case(value=v) for v in levels[1]]

    def painted(values):
        return [
            Painted(made_case(value=v), flat(p), np.zeros((SIDE, SIDE), np.float32))
            for v, p in zip(levels[0], values, strict=True)
        ]

    name = "Frechet distance over the simulator's own"
    assert painting.realism(Judge(), painted(levels[0]), others)[name] == pytest.approx(1)
    far = painting.realism(Judge(), painted(np.full(20, 20)), others)
    # All alike at 20: the whole variance of the others, and the way to their mean, per colour.
    expected = 3 * ((20 - levels[1].mean()) ** 2 + levels[1].var(ddof=1))
    assert far["painted to simulated"] == pytest.approx(expected, rel=1e-3)
    assert far[name] > 1


def test_variety_compares_seeds_with_other_items(monkeypatch):
    requests = [made_case("Gun"), made_case("Knife")]
    values = iter([0, 10, 20, 100, 100, 100])
    monkeypatch.setattr(
        painting,
        "paint",
        lambda model, cases, *_, **__: [
            Painted(c, flat(next(values)), np.zeros((SIDE, SIDE), np.float32)) for c in cases
        ],
    )
    monkeypatch.setattr(
        painting,
        "case",
        lambda category, index, side, other, buried: made_case(category, 30 * other),
    )
    found, sheet = painting.variety(
        Judge(), SimpleNamespace(side=SIDE), requests, steps=1, guidance=1, seeds=3
    )
    # Distances of levels 0, 10, 20 in three colours; the second request's seeds are all alike.
    assert found["between painted"] == pytest.approx(3**0.5 * (10 + 10 + 20) / 3 / 2, rel=1e-3)
    assert found["between simulated"] == pytest.approx(3**0.5 * (30 + 30 + 60) / 3, rel=1e-3)
    assert found["distance between seeds over the simulator's own"] == pytest.approx(
        1 / 6, rel=1e-4
    )
    assert sheet.shape == (2 * SIDE, 6 * SIDE, 3)


def test_painting_stays_in_the_box_and_differs_by_seed(tiny_models):
    one = made_case(benign=200)
    first, second = painting.paint(tiny_models.diffusion, [one, one], steps=2, guidance=2.0)
    assert first.image.shape == (SIDE, SIDE, 3) and first.attention.shape == (SIDE, SIDE)
    outside = np.ones((SIDE, SIDE), bool)
    outside[24:104, 24:104] = False
    for painted in (first, second):
        assert (painted.image[outside] == 200).all()
    assert (first.attention != second.attention).any()
    again = painting.paint(tiny_models.diffusion, [one, one], steps=2, guidance=2.0)
    assert (again[0].image == first.image).all()


def labelled(car, kept, painted_box, grounding=BOX):
    image = flat(250)
    if painted_box is not None:
        x1, y1, x2, y2 = map(int, painted_box)
        image[y1:y2, x1:x2] = 100
    one = Painted(made_case(grounding=grounding), image, np.zeros((SIDE, SIDE), np.float32))
    label = SimpleNamespace(box=car, mask=None if kept else np.ones((SIDE, SIDE), bool))
    return labelling.Labelled(one, label, one.truth)


def test_boxes_filled():
    small = (32.0, 32.0, 48.0, 48.0)
    items = [
        labelled(BOX, False, BOX),  # fills it, and CAR sees so
        labelled(small, False, BOX),  # fills it, CAR does not
        labelled(BOX, True, BOX),  # CAR found no mask: its box says nothing
        labelled(BOX, False, None),  # nothing was painted
    ]
    found = labelling.grounding(items)
    assert found["filled, by CAR's box"] == 0.25
    assert found["filled, by the silhouette's box"] == 0.75
    assert found["CAR kept the grounding box"] == 0.25
    truths = [one.truth for one in items[:3]]
    assert iou(truths[0], BOX) > 0.9
    expected = np.mean([iou(BOX, truths[0]), iou(small, truths[1]), iou(BOX, truths[2])])
    assert found["IoU of CAR's box with the silhouette's"] == pytest.approx(expected)
    assert found["IoU of the grounding box with the silhouette's"] == pytest.approx(
        iou(BOX, truths[0])
    )


def test_grounding_without_any_item():
    found = labelling.grounding([labelled(BOX, False, None)])
    assert found["filled, by CAR's box"] == 0 and "spread" not in found


def test_the_sheet_for_a_hand_check():
    items = [labelled((40.0, 40.0, 90.0, 90.0), False, (50, 50, 80, 80)) for _ in range(130)]
    sheet = sheets.hand_check(items)
    assert sheet.shape == (10 * 2 * SIDE, 10 * 2 * SIDE, 3)
    tile = sheet[2 * SIDE : 4 * SIDE, : 2 * SIDE]
    assert tuple(tile[64, 100]) == sheets.GROUNDING
    assert tuple(tile[80, 100]) == sheets.CAR
    assert (tile == sheets.TRUTH).all(-1).any()
    assert sheets.hand_check(items[:3]).shape == (2 * SIDE, 20 * SIDE, 3)


def test_the_sheet_by_category_pads_short_rows():
    sheet = sheets.by_category([made("Gun", 90), made("Gun", 90), made("Laptop", 90)])
    # Two painted ones at the most, three simulated ones.
    assert sheet.shape == (2 * SIDE, 5 * SIDE, 3)
    assert (sheet[20:SIDE, 4 * SIDE :] == 255).all()
    assert (sheet[SIDE + 20 :, SIDE : 2 * SIDE] == 255).all()
