"""Geometry of frames."""

import numpy as np
import pytest
from framed_scans import scans_with_boxes
from hypothesis import given, settings
from hypothesis import strategies as st

from xsyn_core import boxes
from xsyn_core.frames import (
    MIN_WINDOW,
    WINDOW_LIMIT,
    Frame,
    whole,
    window_around,
    windows,
)


@given(scans_with_boxes(most=1))
def test_a_window_holds_its_box_and_lies_in_the_scan(case):
    (h, w), (box,) = case
    frame = window_around(box, (h, w), 128)
    x1, y1, x2, y2 = frame.box
    extent = max(box[2] - box[0], box[3] - box[1])
    assert x2 - x1 == y2 - y1
    assert max(1.6 * extent, MIN_WINDOW) <= x2 - x1 < max(1.6 * extent, MIN_WINDOW) + 1
    assert x1 <= box[0] and y1 <= box[1] and x2 >= box[2] and y2 >= box[3]
    if x2 - x1 <= w:
        assert x1 >= 0 and x2 <= w
    else:
        assert x1 <= 0 and x2 >= w
    if y2 - y1 <= h:
        assert y1 >= 0 and y2 <= h
    assert all(0 <= v <= 1 for v in frame.unit(box))


@given(scans_with_boxes())
def test_windows_partition_the_boxes(case):
    size, found = case
    result = windows(found, size, 128)
    assert sorted(i for _, members in result for i in members) == list(range(len(found)))
    for frame, members in result:
        x1, y1, x2, y2 = frame.box
        assert all(
            x1 <= found[i][0] and y1 <= found[i][1] and x2 >= found[i][2] and y2 >= found[i][3]
            for i in members
        )
        extents = [max(b[2] - b[0], b[3] - b[1]) for b in (found[i] for i in members)]
        alone = all(
            boxes.area(boxes.intersection(found[i], found[j])) == 0
            for i in members
            for j in members
            if i != j
        )
        if alone and len(members) > 1:
            assert x2 - x1 <= max(WINDOW_LIMIT * max(extents) + 1, MIN_WINDOW)
    for k, (_, a) in enumerate(result):
        for _, b in result[k + 1 :]:
            for i in a:
                for j in b:
                    assert boxes.area(boxes.intersection(found[i], found[j])) == 0


@given(st.integers(32, 900), st.integers(32, 900), st.sampled_from([(128, 32), (512, 64)]))
def test_the_whole_frame_fits_the_model(h, w, model):
    side, multiple = model
    frame = whole((h, w), side, multiple)
    assert max(frame.size) == side
    assert all(v % multiple == 0 for v in frame.size)
    assert frame.box[:2] == (0, 0) and frame.box[2] >= w and frame.box[3] >= h
    sx, sy = frame.scale
    assert sx == pytest.approx(sy, rel=0.05)


@given(scans_with_boxes(most=1))
def test_cells_cover_the_box_outward(case):
    size, (box,) = case
    frame = window_around(box, size, 128)
    x1, y1, x2, y2 = frame.cells(box, 8)
    fx1, fy1, fx2, fy2 = (v / 8 for v in frame.to_frame(box))
    assert 0 <= x1 < x2 <= 16 and 0 <= y1 < y2 <= 16
    assert x1 <= fx1 + 1e-5 and y1 <= fy1 + 1e-5 and x2 >= fx2 - 1e-5 and y2 >= fy2 - 1e-5
    assert x1 > fx1 - 1 - 1e-5 and x2 < fx2 + 1 + 1e-5
    assert np.allclose(frame.to_scan(frame.to_frame(box)), box)


def test_a_thin_box_takes_one_cell():
    frame = Frame((0, 0, 128, 128), (128, 128))
    assert frame.cells((64.0, 64.0, 64.0, 65.0), 8) == (8, 8, 9, 9)
    assert frame.cells((127.9, 0.0, 128.0, 8.0), 8) == (15, 0, 16, 1)
    assert frame.cells((0.0, 0.0, 8.0, 16.0), 8) == (0, 0, 1, 2)


@settings(max_examples=30)
@given(scans_with_boxes(most=1), st.integers(0, 99))
def test_a_cut_put_back_at_the_same_scale_is_the_scan(case, seed):
    (h, w), (box,) = case
    pixels = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    around = window_around(box, (h, w), 128)
    side = around.box[2] - around.box[0]
    frame = Frame(around.box, (side, side))
    x1, y1, x2, y2 = frame.inside((h, w))
    assert np.array_equal(frame.restore(frame.cut(pixels), (h, w)), pixels[y1:y2, x1:x2])


def test_a_frame_shows_means_of_pixels_and_beyond_the_scan_its_edge():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    frame = Frame((-16, -8, 80, 56), (32, 48))
    shown = np.pad(pixels, ((8, 16), (16, 20), (0, 0)), "edge").astype(float)
    means = shown.reshape(32, 2, 48, 2, 3).mean((1, 3))
    assert np.allclose(frame.cut(pixels), means, atol=0.01)


def test_an_enlarged_frame_has_no_more_than_black_and_white():
    stripes = np.zeros((40, 60, 3), np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = 255
    shown = Frame((4, 4, 36, 36), (128, 128)).cut(stripes)
    assert shown.min() == 0 and shown.max() == 255
