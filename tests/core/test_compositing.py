"""What may change in an image, and how an item lies in it."""

import numpy as np
import pytest
from framed_scans import scans_with_boxes
from hypothesis import given, settings
from hypothesis import strategies as st

from xsyn_core import boxes
from xsyn_core.compositing import FEATHER, absorption, composite, harmonise, weight
from xsyn_core.frames import window_around


@given(scans_with_boxes(most=2), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_only_the_boxes_and_their_feather_change(case, seed):
    size, targets = case
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    frame = window_around(targets[0], size, 128)
    inside = frame.inside(size)
    x1, y1, x2, y2 = inside
    share = weight(targets, inside)
    image = source.copy()
    patch = rng.uniform(0, 255, (y2 - y1, x2 - x1, 3)).astype(np.float32)
    composite(image, patch, inside, share)
    allowed = np.zeros(size, bool)
    full = np.zeros(size, bool)
    for box in targets:
        bx1, by1, bx2, by2 = boxes.outward(boxes.clip(boxes.expand(box, FEATHER), size))
        allowed[by1:by2, bx1:bx2] = True
        bx1, by1, bx2, by2 = boxes.outward(box)
        full[by1:by2, bx1:bx2] = True
    changed = (image != source).any(-1)
    assert not (changed & ~allowed).any()
    here = full[y1:y2, x1:x2]
    assert (share[here] == 1).all()
    assert np.array_equal(image[y1:y2, x1:x2][here], np.rint(patch).astype(np.uint8)[here])


def test_harmonise_takes_out_a_constant_shift():
    source = np.random.default_rng(0).uniform(60, 180, (128, 128, 3)).astype(np.float32)
    repainted = np.zeros((128, 128), bool)
    repainted[40:88, 40:88] = True
    mended = harmonise(source - 10, source, repainted)
    assert np.abs(mended - source)[41:43, 41:87].max() < 5
    assert np.abs(mended - source)[~repainted].mean() < 1


def bar(side=128):
    """bool (side, side): an item that covers an eighth of the frame."""
    item = np.zeros((side, side), bool)
    item[side * 3 // 8 : side * 5 // 8, side // 4 : side * 3 // 4] = True
    return item


def boxed(side):
    """bool (side, side): the repainted cells around the `bar`."""
    cells = np.zeros((side, side), bool)
    cells[side // 4 : side * 3 // 4, side // 8 : side * 7 // 8] = True
    return cells


@pytest.mark.parametrize("side", [64, 128, 512])
def test_an_item_takes_what_it_takes_from_its_own_background(side):
    # painted on a background twice as bright as the source: transmissions multiply all the same
    item, colours = bar(side), np.float32([0.2, 0.5, 0.8])
    source = np.full((side, side, 3), 100, np.float32)
    painted = np.full((side, side, 3), 200, np.float32)
    painted[item] *= colours
    taken = absorption(painted, source, boxed(side))
    assert np.allclose(taken[item], 1 - colours, atol=0.02)
    assert np.allclose(taken[~item], 0, atol=0.02)


def test_an_item_that_fills_its_box_is_measured_against_the_scan():
    source = np.full((128, 128, 3), 200, np.float32)
    painted = np.full((128, 128, 3), 50, np.float32)
    taken = absorption(painted, source, np.ones((128, 128), bool))
    assert np.allclose(taken, 1 - 50 / (0.6 * 200), atol=0.02)


def test_a_large_item_is_as_dark_in_its_middle_as_at_its_edge():
    source = np.full((128, 128, 3), 180, np.float32)
    painted = source.copy()
    cells = np.zeros((128, 128), bool)
    cells[16:112, 16:112] = True
    item = np.zeros((128, 128), bool)
    item[28:100, 28:100] = True
    painted[cells] = 160
    painted[item] *= np.float32([0.5, 0.6, 0.7])
    taken = absorption(painted, source, cells)
    assert np.allclose(taken[item], 1 - np.float32([0.5, 0.6, 0.7]), atol=0.03)
    assert np.allclose(taken[~item], 0, atol=0.02)


def test_the_scans_own_texture_is_no_item():
    rng = np.random.default_rng(0)
    source = rng.uniform(120, 255, (128, 128, 3)).astype(np.float32)
    item, colours = bar(), np.float32([0.2, 0.5, 0.8])
    painted = source.copy()
    painted[boxed(128)] = source.mean() * 0.9
    painted[item] = source.mean() * 0.9 * colours
    taken = absorption(painted, source, boxed(128))
    assert np.allclose(taken[item], 1 - colours, atol=0.02)
    assert np.allclose(taken[~item], 0, atol=0.02)


@pytest.mark.parametrize("side", [64, 128, 512])
def test_a_background_painted_too_dark_is_no_item(side):
    # on a bright belt: the whole box came out darker, the item with it
    item, colours = bar(side), np.float32([0.2, 0.5, 0.8])
    source = np.full((side, side, 3), 250, np.float32)
    painted = source.copy()
    painted[boxed(side)] *= np.float32([0.85, 0.9, 0.95])
    painted[item] *= colours
    taken = absorption(painted, source, boxed(side))
    assert np.allclose(taken[item], 1 - colours, atol=0.02)
    assert np.allclose(taken[~item], 0, atol=0.02)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.sampled_from([48, 96, 128]))
def test_nothing_gets_brighter_and_faint_unevenness_is_no_item(seed, side):
    rng = np.random.default_rng(seed)
    source, painted = (rng.uniform(0, 255, (side, side, 3)).astype(np.float32) for _ in range(2))
    taken = absorption(painted, source, boxed(side))
    assert taken.dtype == np.float32 and taken.shape == source.shape
    assert (taken >= 0).all() and (taken <= 1).all()
    uneven = 200 * (1 - 0.02 * rng.random((side, side, 1), np.float32).repeat(3, 2))
    assert (absorption(uneven, np.full_like(uneven, 150), boxed(side)) == 0).all()
