"""Attitudes: words from which the simulator lays an item down again as it lay."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsyn_core.attitudes import COMPASS, FILE, MIRRORED, NEAREST, Attitudes, hint, words
from xsyn_core.errors import XsynError
from xsyn_core.simulation.items import ITEMS
from xsyn_core.simulation.parts import Placement
from xsyn_core.simulation.rendering import attitude, bounds, silhouette
from xsyn_core.training.denoiser_data import turned_pose

SIZE = (128, 128)


def drawn(placement):
    """Its silhouette in a square view around its middle."""
    x1, y1, x2, y2 = bounds(placement)
    x, y, half = (x1 + x2) / 2, (y1 + y2) / 2, 0.6 * max(x2 - x1, y2 - y1)
    return silhouette(placement, (x - half, y - half, x + half, y + half), SIZE)


@given(
    angle=st.floats(0, 360),
    mirror=st.booleans(),
    turns=st.integers(0, 3),
    flip=st.booleans(),
    seed=st.integers(0, 20),
)
def test_an_item_can_be_laid_down_from_its_attitude(angle, mirror, turns, flip, seed):
    item = ITEMS["Gun"](np.random.default_rng(seed))
    placed = Placement(item, 30.0, -20.0, angle, mirror=mirror)
    seen = np.rot90(drawn(placed), turns)
    seen = seen[:, ::-1] if flip else seen
    told = words(item.kind, *turned_pose(*attitude(placed), turns, flip)).split()
    mirrored = told[-1] == MIRRORED
    # a mirrored item's x axis points left before it is turned
    points = COMPASS.index(told[1]) * 360 / len(COMPASS) + 180 * mirrored
    assert told[0] == item.kind

    def fit(turn, mirror):
        again = drawn(Placement(item, 0.0, 0.0, points + turn, mirror=mirror))
        return (seen & again).sum() / (seen | again).sum()

    # half a point of the compass is left open
    right = fit(0, mirrored)
    assert right > 0.5
    assert all(fit(turn, mirrored) < right for turn in (90, 180, 270))
    assert all(fit(turn, not mirrored) < right for turn in (0, 90, 180, 270))


BOXES = st.tuples(*[st.floats(0, 0.6)] * 2, *[st.floats(0.1, 0.4)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(BOXES, st.sampled_from(COMPASS), st.booleans())
def test_a_hint_tells_each_cell_its_place_in_the_item(box, point, mirrored):
    cells = 12
    found = hint([" ".join(["21", point] + [MIRRORED] * mirrored)], [box], (8, cells, cells))
    angle = np.deg2rad(360 / len(COMPASS) * COMPASS.index(point))
    x1, y1, x2, y2 = box
    half = max(x2 - x1, y2 - y1) / 2
    for row in range(cells):
        for column in range(cells):
            lies_in = x1 * cells < column + 1 and column < x2 * cells
            if not (lies_in and y1 * cells < row + 1 and row < y2 * cells):
                assert not found[:, row, column].any()
                continue
            away = complex((column + 0.5) / cells - (x1 + x2) / 2, (row + 0.5) / cells)
            away = (away - 1j * (y1 + y2) / 2) / half * np.exp(-1j * angle)
            u, v = np.pi * away.real, np.pi * (-away.imag if mirrored else away.imag)
            wanted = [np.sin(u / 2), np.cos(u / 2), np.sin(v / 2), np.cos(v / 2)]
            wanted += [np.sin(u), np.cos(u), np.sin(v), np.cos(v)]
            assert np.allclose(found[:, row, column], wanted, atol=1e-4)


@given(BOXES, st.floats(0, 360), st.booleans(), st.integers(0, 3), st.booleans())
def test_the_hint_of_a_turned_picture_is_the_turned_hint(box, angle, mirrored, turns, flip):
    # halves between two points of the compass may round either way
    angle = round(angle / 360 * 32) * 360 / 32
    x1, y1, x2, y2 = (round(v * 16) / 16 for v in box)
    turned = np.rot90(
        hint([words("0", angle, mirrored)], [(x1, y1, x2, y2)], (8, 16, 16)), turns, (1, 2)
    )
    turned = turned[:, :, ::-1] if flip else turned
    for _ in range(turns):
        x1, y1, x2, y2 = y1, 1 - x2, y2, 1 - x1
    if flip:
        x1, x2 = 1 - x2, 1 - x1
    told = words("0", *turned_pose(angle, mirrored, turns, flip))
    assert np.allclose(hint([told], [(x1, y1, x2, y2)], (8, 16, 16)), turned, atol=1e-5)


def test_without_a_direction_there_is_no_hint():
    assert not hint(["", "3"], [(0, 0, 1, 1)] * 2, (8, 4, 4)).any()
    assert hint([], [], (4, 4, 4)).shape == (4, 4, 4)


def test_channels_beyond_the_features_stay_empty():
    found = hint(["3 nne"], [(0, 0, 1, 1)], (20, 4, 4))
    assert found[:16].any((1, 2)).all() and not found[16:].any()
    assert (found[:8] == hint(["3 nne"], [(0, 0, 1, 1)], (8, 4, 4))).all()


def test_a_tilted_item_still_points_where_its_axis_does():
    item = ITEMS["Gun"](np.random.default_rng(0))
    angle, mirrored = attitude(Placement(item, angle=40.0, tilt=50.0, tilt_axis=0.0))
    assert angle == pytest.approx(40) and not mirrored
    assert attitude(Placement(item, angle=40.0, mirror=True)) == (pytest.approx(220), True)


def test_every_category_has_few_kinds_told_in_digits():
    for name, build in ITEMS.items():
        kinds = {build(np.random.default_rng(k)).kind for k in range(60)}
        assert 2 <= len(kinds) <= 45, name
        assert all(kind.isdigit() and len(kind) <= 5 for kind in kinds), name


KNOWN = Attitudes({"Gun": [(f"{k % 10} e", 2 ** (k / 10)) for k in range(-40, 40)]})


@given(st.floats(0.1, 10), st.integers(0, 5))
def test_an_attitude_of_the_nearest_proportions_is_chosen(ratio, seed):
    told = KNOWN.choose("Gun", (5.0, 5.0, 5.0 + 20 * ratio, 25.0), np.random.default_rng(seed))
    ranked = sorted(KNOWN.known["Gun"], key=lambda one: abs(np.log(one[1]) - np.log(ratio)))
    assert told in [name for name, _ in ranked[:NEAREST]]


def test_chance_alone_decides_among_the_nearest_and_repeats_itself():
    def some(first):
        box = (0.0, 0.0, 10.0, 10.0)
        return [KNOWN.choose("Gun", box, np.random.default_rng(first + k)) for k in range(60)]

    assert some(0) == some(0) != some(60)
    assert len(set(some(0))) > 5
    assert KNOWN.choose("Knife", (0.0, 0.0, 1.0, 1.0), np.random.default_rng(0)) == ""


def test_the_list_goes_with_the_tokenizer(tmp_path):
    assert Attitudes.open(tmp_path).known == {}
    Attitudes({}).save(tmp_path)
    assert not (tmp_path / FILE).exists()
    KNOWN.save(tmp_path)
    assert Attitudes.open(tmp_path).known == KNOWN.known


@pytest.mark.parametrize(
    "broken",
    [
        *("{", "[]", json.dumps({"Gun": [["0 e", 0]]}), '{"Gun": [1]}'),
        pytest.param(200_000 * "[", id="deep"),
    ],
)
def test_a_damaged_list_is_told(tmp_path, broken):
    (tmp_path / FILE).write_text(broken)
    with pytest.raises(XsynError, match=r"attitudes\.json"):
        Attitudes.open(tmp_path)


def test_a_request_tells_its_attitudes(drawn_models, drawn_scan):
    """The page's way: the painter is told one for every object, and the sample says which."""
    from xsyn_core.sample import Grounding, Request
    from xsyn_core.synthesis import Synthesizer

    model = replace(drawn_models.diffusion, attitudes=Attitudes({"Gun": [("1 nne", 1.0)]}))
    synthesizer = Synthesizer(replace(drawn_models, diffusion=model))
    request = Request((Grounding("Gun", (10.0, 10.0, 60.0, 60.0)),), steps=1)
    *_, last = synthesizer.paint(drawn_scan, request)
    assert last.result.prompt == "gun 1 nne"
