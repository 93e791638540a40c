"""Run-length encoding against brute force, and damaged encodings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xsyn_core.curation import masks


def uncompressed(mask: np.ndarray) -> dict:
    runs, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return {"size": list(mask.shape), "counts": runs}


shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(shapes.flatmap(lambda shape: arrays(bool, shape)))
def test_masks_come_back_from_both_forms_of_rle(mask):
    assert np.array_equal(masks.decode(masks.encode(mask), mask.shape), mask)
    assert np.array_equal(masks.decode(uncompressed(mask), mask.shape), mask)
    assert isinstance(masks.encode(mask)["counts"], str)


def test_long_runs_come_back():
    mask = np.zeros((700, 900), bool)
    mask[3:650, 100:800] = True
    mask[40:60, 200:210] = False
    assert np.array_equal(masks.decode(masks.encode(mask), mask.shape), mask)


def test_polygons_are_filled():
    mask = masks.decode(masks.box_polygon((2, 3, 7, 9)), (12, 10))
    expected = np.zeros((12, 10), bool)
    expected[3:9, 2:7] = True
    assert np.array_equal(mask, expected)
    assert np.array_equal(masks.box_mask((2, 3, 7, 9), (12, 10)), expected)


def test_polygons_are_cut_at_the_edge_of_the_image():
    mask = masks.decode(masks.box_polygon((-10, -12, 20, 24)), (12, 10))
    assert mask.shape == (12, 10) and mask.all()


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[0, 0, 1e9, 0, 1e9, 1e9]],
        [[0, 0, 4, 0, 4, -4.5]],
        [1, 2, 3],
        "text",
        None,
        {"size": [4, 4]},
        {"size": [5, 4], "counts": [20]},
        {"size": [4, 4], "counts": [20]},
        {"size": [4, 4], "counts": [-4, 20]},
        {"size": [4, 4], "counts": "PPPPPPPPPPPPPP0"},
        {"size": [4, 4], "counts": "~~~~"},
        {"size": [4, 4], "counts": 7},
        {"size": [4, 4], "counts": []},
        {"size": [4, 4], "counts": ""},
    ],
)
def test_damaged_segmentations_are_refused(segmentation):
    with pytest.raises((ValueError, TypeError)):
        masks.decode(segmentation, (4, 4))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20))
def test_any_counts_either_fill_the_image_or_are_refused(counts):
    try:
        mask = masks.decode({"size": [6, 5], "counts": counts}, (6, 5))
    except ValueError:
        return
    assert mask.shape == (6, 5)
