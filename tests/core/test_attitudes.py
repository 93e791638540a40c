"""Attitudes: words from which the simulator lays an item down again as it lay."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsyn_core import painter
from xsyn_core.attitudes import (
    COMPASS,
    FAINTEST,
    FILE,
    LEVELS,
    MARGIN,
    MIRRORED,
    NEAREST,
    PARTS,
    UNTOLD,
    Attitude,
    Attitudes,
    hint,
    laid,
    levelled,
    shade,
    tight,
    words,
)
from xsyn_core.errors import XsynError
from xsyn_core.inpainting import denoise
from xsyn_core.sample import Grounding, Request
from xsyn_core.simulation.items import ITEMS
from xsyn_core.simulation.parts import Placement
from xsyn_core.simulation.rendering import attitude, bounds, silhouette
from xsyn_core.synthesis import Synthesizer
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


BOXES = st.tuples(*[st.floats(0, 0.5)] * 2, *[st.floats(0.2, 0.5)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
CELLS = 12


def parts_of(hinted):
    """The shade of each part of each cell, (h PARTS, w PARTS), out of a hint."""
    return np.block(
        [
            [
                hinted[: PARTS**2, row, column].reshape(PARTS, PARTS) / 2 + 0.5
                for column in range(hinted.shape[2])
            ]
            for row in range(hinted.shape[1])
        ]
    )


@pytest.mark.parametrize(("channels", "parts"), [(1, 1), (3, 1), (4, 2), (9, 2), (16, 4), (20, 4)])
def test_a_hint_tells_each_cell_the_shades_of_its_parts(channels, parts):
    shades = np.random.default_rng(channels).random((3 * 8, 2 * 8))
    found = hint(shades, (channels, 3, 2))
    assert found.shape == (channels, 3, 2) and found.dtype == np.float32
    side = 8 // parts
    for row in range(3):
        for column in range(2):
            for k in range(parts**2):
                top, left = 8 * row + k // parts * side, 8 * column + k % parts * side
                share = shades[top : top + side, left : left + side].mean()
                assert found[k, row, column] == pytest.approx(2 * share - 1, abs=1e-6)
    assert not found[parts**2 :].any()


@given(BOXES, st.integers(10, 60), st.integers(10, 60))
def test_an_item_lies_in_the_middle_of_its_box_as_large_as_it_fits(box, height, width):
    solid = Attitude("3 nne", np.full((height, width), LEVELS, np.uint8))
    found = laid([solid], [box], (PARTS**2, CELLS, CELLS))
    x1, y1, x2, y2 = box
    cells = np.arange(CELLS)
    rows = (cells + 1 > y1 * CELLS) & (cells < y2 * CELLS)
    columns = (cells + 1 > x1 * CELLS) & (cells < x2 * CELLS)
    touched = rows[:, None] & columns
    assert not found[:, ~touched].any() and (np.abs(found[:, touched]) <= 1).all()
    ys, xs = np.nonzero(parts_of(np.where(touched, found, -1)) > 0.25)
    side = PARTS * CELLS
    scale = (1 - 2 * MARGIN) * min((y2 - y1) / height, (x2 - x1) / width) * side
    for there, low, high, extent in ((ys, y1, y2, height), (xs, x1, x2, width)):
        middle = (low + high) / 2 * side
        assert there.min() == pytest.approx(middle - scale * extent / 2, abs=1)
        assert there.max() + 1 == pytest.approx(middle + scale * extent / 2, abs=1)


def test_a_density_map_is_laid_as_it_is():
    gun = drawn(Placement(ITEMS["Gun"](np.random.default_rng(1)), angle=25.0))
    outline = tight(gun)
    h, w = outline.shape
    box = (0.1, 0.1, 0.1 + 0.8 * min(1, w / h), 0.1 + 0.8 * min(1, h / w))
    # dense on the left, faint on the right
    faint = shade(True, 1 / (LEVELS - 1))
    dense = np.where(np.arange(w) < w / 2, LEVELS, 2)
    density = (outline * dense).astype(np.uint8)
    found = laid([Attitude("", density)], [box], (PARTS**2, CELLS, CELLS))
    shades = parts_of(np.where(found.any(0), found, -1))
    got = tight(np.where(shades > FAINTEST / 2, shades, 0))
    alike = cv2.resize(got, (w, h), interpolation=cv2.INTER_NEAREST)
    ious = [
        ((alike > 0) & other).sum() / ((alike > 0) | other).sum()
        for other in (outline, outline[::-1], outline[:, ::-1], outline[::-1, ::-1])
    ]
    assert ious[0] > 0.8 > 0.7 > max(ious[1:])
    # some way off the outline
    inner = cv2.erode(np.pad(outline, 5).astype(np.uint8), np.ones((9, 9)))[5:-5, 5:-5] > 0
    columns = np.broadcast_to(np.arange(w), (h, w))
    left, right = (inner & there for there in (columns < 0.45 * w, columns > 0.55 * w))
    assert left.any() and right.any()
    assert np.allclose(alike[left], 1, atol=0.05) and np.allclose(alike[right], faint, atol=0.05)


@given(st.integers(0, 2**32 - 1))
def test_a_density_map_keeps_outline_and_density(seed):
    rng = np.random.default_rng(seed)
    covered, dense = rng.random((2, *rng.integers(1, 9, 2)))
    # whole parts have one density
    found = levelled(covered, covered * shade(np.ones_like(dense), dense))
    there = covered > 0.5
    assert (found is None) == (not there.any())
    if found is None:
        return
    expected = tight(np.where(there, 1 + dense * (LEVELS - 1), 0))
    assert found.dtype == np.uint8 and np.array_equal(found > 0, expected > 0)
    assert np.abs(found - expected).max() <= 0.5 + 1e-9


def test_a_shade_parts_items_from_air_and_dense_ones_from_faint_ones():
    shades = shade(np.array([False, True, True, True]), np.array([1.0, 0.0, 0.5, 1.0]))
    assert shades.tolist() == [0, FAINTEST, (1 + FAINTEST) / 2, 1]
    assert 0.2 < FAINTEST < 0.8


def test_what_is_told_of_nothing_leaves_no_hint():
    shape = (PARTS**2, CELLS, CELLS)
    boxes = [(0.0, 0.0, 0.5, 0.5), (0.25, 0.25, 1.0, 1.0)]
    solid = Attitude("", np.full((4, 4), LEVELS, np.uint8))
    assert not laid([UNTOLD, UNTOLD], boxes, shape).any()
    assert laid([], [], shape).shape == shape
    assert np.array_equal(laid([UNTOLD, solid], boxes, shape), laid([solid], boxes[1:], shape))
    # where boxes meet, what either of them covers counts
    first, second, both = (
        laid(some, where, shape)
        for some, where in (
            ([solid], boxes[:1]),
            ([solid], boxes[1:]),
            ([solid, solid], boxes),
        )
    )
    inside = (first != 0).any(0) & (second != 0).any(0)
    assert inside.any()
    assert np.array_equal(both[:, inside], np.maximum(first, second)[:, inside])


@given(st.integers(0, 2**32 - 1))
def test_tight_leaves_nothing_but_air_outside(seed):
    rng = np.random.default_rng(seed)
    covered = rng.random(rng.integers(1, 9, 2)) < rng.random() / 2
    found = tight(covered)
    if found is None:
        assert not covered.any()
        return
    assert found.sum() == covered.sum()
    assert all(edge.any() for edge in (found[0], found[-1], found[:, 0], found[:, -1]))


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


def solid(told, ratio):
    """An attitude of so many times the width that it has height."""
    return Attitude(told, np.ones((round(20 / ratio**0.5), round(20 * ratio**0.5)), np.uint8))


KNOWN = Attitudes({"Gun": [solid(f"{k % 10} e", 2 ** (k / 10)) for k in range(-40, 40)]})


@given(st.floats(0.1, 10), st.integers(0, 5))
def test_an_attitude_of_the_nearest_proportions_is_chosen(ratio, seed):
    told = KNOWN.choose("Gun", (5.0, 5.0, 5.0 + 20 * ratio, 25.0), np.random.default_rng(seed))

    def apart(one):
        return abs(np.log(one.density.shape[1] / one.density.shape[0]) - np.log(ratio))

    assert apart(told) <= sorted(map(apart, KNOWN.known["Gun"]))[NEAREST - 1]


def test_chance_alone_decides_among_the_nearest_and_repeats_itself():
    def some(first):
        box = (0.0, 0.0, 10.0, 10.0)
        chosen = [KNOWN.choose("Gun", box, np.random.default_rng(first + k)) for k in range(60)]
        return [id(one) for one in chosen]

    assert some(0) == some(0) != some(60)
    assert len(set(some(0))) > 5
    assert KNOWN.choose("Knife", (0.0, 0.0, 1.0, 1.0), np.random.default_rng(0)) is UNTOLD


def test_the_attitudes_go_with_the_tokenizer(tmp_path):
    assert Attitudes.open(tmp_path).known == {}
    Attitudes({}).save(tmp_path)
    assert not (tmp_path / FILE).exists()
    rng = np.random.default_rng(0)
    known = {
        name: [
            Attitude(f"{k} n", rng.integers(0, LEVELS + 1, rng.integers(1, 30, 2), np.uint8))
            for k in range(7)
        ]
        for name in ("Gun", "Knife")
    }
    Attitudes(known).save(tmp_path)
    written = (tmp_path / FILE).read_bytes()
    found = Attitudes.open(tmp_path).known
    assert list(found) == list(known)
    for name, some in known.items():
        for one, again in zip(some, found[name], strict=True):
            assert one.words == again.words
            assert again.density.dtype == np.uint8
            assert np.array_equal(one.density, again.density)
    Attitudes(found).save(tmp_path)
    assert (tmp_path / FILE).read_bytes() == written


DAMAGE = {
    "not an archive": lambda columns: None,
    "a column missing": lambda columns: columns.pop("sizes"),
    "too few levels": lambda columns: columns.update(levels=columns["levels"][:-2]),
    "no such level": lambda columns: columns.update(levels=columns["levels"] + np.uint8(LEVELS)),
    "a name missing": lambda columns: columns.update(names=columns["names"][:-1]),
    "no height": lambda columns: columns.update(sizes=columns["sizes"] * (0, 1)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named(tmp_path, damage):
    KNOWN.save(tmp_path)
    file = tmp_path / FILE
    columns = dict(np.load(file))
    DAMAGE[damage](columns)
    if damage == "not an archive":
        file.write_text("{")
    else:
        np.savez_compressed(file, **columns)
    with pytest.raises(XsynError, match=re.escape(f"{file} cannot be read")):
        Attitudes.open(tmp_path)


def test_a_request_tells_its_attitudes(drawn_models, drawn_scan, monkeypatch):
    """The page's way: the painter is told one for every object, and the sample says which."""
    known = {"Gun": [solid("1 nne", 1.0)], "Knife": [solid("2 s", 1.0)]}
    model = replace(drawn_models.diffusion, attitudes=Attitudes(known))
    synthesizer = Synthesizer(replace(drawn_models, diffusion=model))
    boxes = {"Gun": (10.0, 10.0, 60.0, 60.0), "Knife": (80.0, 20.0, 120.0, 60.0)}
    asked = []

    def seen(model, images, masks, conditions, **options):
        asked.extend(conditions)
        return denoise(model, images, masks, conditions, **options)

    monkeypatch.setattr(painter, "denoise", seen)
    request = Request(tuple(Grounding(*some) for some in boxes.items()), steps=1)
    *_, last = synthesizer.paint(drawn_scan, request)
    assert last.result.prompt == "gun 1 nne, knife 2 s"
    painted = [w for w in last.result.windows if w.grounded]
    assert len(painted) == len(asked) == 2
    for window, condition, (name, box) in zip(painted, asked, boxes.items(), strict=True):
        shape = (model.channels, *(side // model.factor for side in window.frame.size))
        assert np.array_equal(condition.hint, laid(known[name], [window.frame.unit(box)], shape))
        assert condition.hint.any()
