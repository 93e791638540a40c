"""Median point sampling against a recursive oracle; CAR with a segmenter that answers as told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xsyn_core.errors import XsynError
from xsyn_core.refinement import (
    active_region,
    median_points,
    refine,
    topk_points,
    without_specks,
)
from xsyn_core.segmentation import Segment


def recursive_medians(attention, region, divisions):
    """The foreground points as (x, y), level by level, from the paper's words."""
    pixels = [(y, x) for y, x in zip(*np.nonzero(region), strict=True)]
    pixels.sort(key=lambda p: (attention[p], p))
    levels = [[] for _ in range(divisions)]

    def divide(part, inherited, level):
        if level == divisions:
            return
        lower, upper, median = [], [], inherited
        if part:
            middle = (len(part) - 1) // 2
            lower, median, upper = part[:middle], part[middle], part[middle + 1 :]
        levels[level].append((median[1], median[0]))
        divide(lower, median, level + 1)
        divide(upper, median, level + 1)

    divide(pixels, None, 0)
    return [point for level in levels for point in level]


def least_active(attention, candidates):
    found = [(attention[y, x], y, x) for y, x in zip(*np.nonzero(candidates), strict=True)]
    _, y, x = min(found)
    return x, y


@st.composite
def situations(draw):
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    values = st.integers(0, 4).map(float) if draw(st.booleans()) else st.floats(0, 1, width=32)
    attention = draw(hnp.arrays(np.float64, shape, elements=values))
    x1, y1 = draw(st.integers(0, shape[1] - 1)), draw(st.integers(0, shape[0] - 1))
    box = x1, y1, draw(st.integers(x1 + 1, shape[1])), draw(st.integers(y1 + 1, shape[0]))
    inside = np.zeros(shape, bool)
    inside[box[1] : box[3], box[0] : box[2]] = True
    region = draw(hnp.arrays(bool, shape)) & inside
    if not region.any():
        region[y1, x1] = True
    return attention, region, box, inside


@given(situations(), st.integers(0, 5))
def test_median_points_are_the_recursive_medians(situation, divisions):
    attention, region, box, inside = situation
    points, labels = median_points(attention, region, box, divisions)
    assert points.shape == (2**divisions, 2)
    assert labels.tolist() == [1] * (2**divisions - 1) + [0]
    assert [tuple(p) for p in points[:-1]] == recursive_medians(attention, region, divisions)
    background = tuple(points[-1])
    if (inside & ~region).any():
        assert background == least_active(attention, inside & ~region)
    elif not region.all():
        assert not region[background[1], background[0]]
    again, _ = median_points(attention, region, box, divisions)
    assert np.array_equal(points, again)


@given(situations(), st.integers(0, 20))
def test_topk_points_are_the_most_active(situation, k):
    attention, region, box, _ = situation
    points, labels = topk_points(attention, region, box, k)
    order = sorted(zip(*np.nonzero(region), strict=True), key=lambda p: (-attention[p], p))
    expected = [order[min(i, len(order) - 1)] for i in range(k)]
    assert [(y, x) for x, y in points[:-1]] == expected
    assert labels.tolist() == [1] * k + [0]
    assert tuple(points[-1]) == tuple(median_points(attention, region, box, 1)[0][-1])


def test_background_comes_from_a_margin_where_the_region_fills_the_box():
    attention = np.arange(400, dtype=float).reshape(20, 20)
    region = np.zeros((20, 20), bool)
    region[8:12, 8:12] = True
    points, _ = median_points(attention, region, (8, 8, 12, 12), 2)
    assert tuple(points[-1]) == (7, 7)


def test_the_margin_of_the_background_point_is_a_tenth_of_the_box():
    attention = np.fromfunction(lambda y, x: np.hypot(y - 6, x - 6), (40, 40)) + 1
    region = np.zeros((40, 40), bool)
    region[10:30, 10:30] = True
    points, _ = median_points(attention, region, (10, 10, 30, 30), 2)
    assert tuple(points[-1]) == (8, 8)


def test_region_that_is_the_whole_map_still_gives_a_background_point():
    attention = np.arange(12, dtype=float).reshape(3, 4)[::-1]
    points, _ = median_points(attention, np.ones((3, 4), bool), (0, 0, 4, 3), 1)
    assert tuple(points[-1]) == (0, 2)


def test_points_refuse_what_they_cannot_do():
    attention, region = np.ones((8, 8)), np.zeros((8, 8), bool)
    with pytest.raises(XsynError, match="empty"):
        median_points(attention, region, (0, 0, 4, 4))
    region[:] = True
    with pytest.raises(XsynError, match="outside"):
        median_points(attention, ~region | region, (20, 20, 30, 30))
    for divisions in (-1, 9):
        with pytest.raises(XsynError, match="Divisions"):
            median_points(attention, region, (0, 0, 4, 4), divisions)
    with pytest.raises(XsynError, match="k must be"):
        topk_points(attention, region, (0, 0, 4, 4), -1)


class Answers:
    """A segmenter that gives its masks one after the other and remembers the prompts."""

    def __init__(self, *masks):
        self.masks, self.images, self.prompts = list(masks), [], []

    def embed(self, image):
        self.images.append(image)
        return len(self.images) - 1

    def segment(self, embedding, box=None, points=None, labels=None):
        self.prompts.append((embedding, box, points, labels))
        mask = self.masks.pop(0)
        return Segment(mask, (0.0, 0.0, 1.0, 1.0), int(mask.sum()), 0.9, 0.9)


SIDE = 40
BOX = (10.0, 10.0, 30.0, 30.0)
IMAGE = np.zeros((SIDE, SIDE, 3), np.uint8)


def block(x1, y1, x2, y2):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def bump(x=20.0, y=20.0, width=5.0):
    ys, xs = np.mgrid[:SIDE, :SIDE]
    return np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * width**2)).astype(np.float32)


def test_active_region_is_sams_mask_within_the_box():
    segmenter = Answers(block(15, 15, 36, 25))
    region, flag = active_region(segmenter, bump(), BOX)
    assert flag is None
    assert np.array_equal(region, block(15, 15, 30, 25))
    shown = segmenter.images[0]
    assert shown.dtype == np.uint8 and shown.shape == (SIDE, SIDE, 3)
    assert shown.max() == 255 and shown[20, 20, 0] == 255
    assert segmenter.prompts[0][1] == BOX and segmenter.prompts[0][2] is None


@pytest.mark.parametrize(
    "answer",
    [block(0, 0, 0, 0), block(0, 0, 40, 40), block(31, 31, 40, 40), block(10, 10, 13, 30)],
    ids=["empty", "fills the box", "outside the box", "inactive part"],
)
def test_active_region_falls_back_to_a_threshold(answer):
    attention = bump()
    region, flag = active_region(Answers(answer), attention, BOX)
    assert "threshold" in flag
    assert region[20, 20] and not (region & ~block(10, 10, 30, 30)).any()
    inside = block(10, 10, 30, 30)
    assert 0 < region.sum() < inside.sum()
    assert attention[region].min() >= attention[inside & ~region].max()


@given(hnp.arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=32)))
def test_active_region_is_never_empty(attention):
    answer = np.zeros((6, 7), bool)
    region, flag = active_region(Answers(answer), attention, (1, 1, 5, 6))
    assert flag and region.any() and not region[0].any() and not region[:, 5:].any()


@pytest.mark.parametrize("value", [0.0, 0.3, float("nan")])
def test_flat_map_leaves_the_box_alone(value):
    attention = np.full((SIDE, SIDE), value, np.float32)
    segmenter = Answers(block(12, 12, 28, 28))
    result = refine(segmenter, IMAGE, attention, BOX)
    assert result.box == (12, 12, 28, 28)
    assert result.points.shape == (0, 2) and result.labels.shape == (0,)
    assert np.array_equal(result.region, block(10, 10, 30, 30))
    assert len(result.flags) == 1 and "flat" in result.flags[0]


def test_refine_prompts_sam_with_box_and_points():
    segmenter = Answers(block(14, 14, 26, 26), block(13, 12, 27, 29))
    result = refine(segmenter, IMAGE, bump(), BOX, divisions=3)
    assert result.box == (13, 12, 27, 29) and result.flags == ()
    assert np.array_equal(result.mask, block(13, 12, 27, 29))
    _, box, points, labels = segmenter.prompts[1]
    expected, _ = median_points(bump(), result.region, BOX, 3)
    assert box == BOX and np.array_equal(points, expected) and labels.tolist() == [1] * 7 + [0]
    assert np.array_equal(result.points, points)


def test_refine_strategies_and_a_given_embedding():
    segmenter = Answers(block(14, 14, 26, 26), block(13, 12, 27, 29))
    result = refine(segmenter, IMAGE, bump(), BOX, 2, "topk", embedding="given")
    assert segmenter.prompts[1][0] == "given" and len(segmenter.images) == 1
    assert np.array_equal(result.points, topk_points(bump(), result.region, BOX, 3)[0])
    segmenter = Answers(block(14, 14, 26, 26), block(13, 12, 27, 29))
    result = refine(segmenter, IMAGE, bump(), BOX, 0)
    assert len(result.points) == 0 and result.box == (13, 12, 27, 29)
    with pytest.raises(XsynError, match="strategy"):
        refine(Answers(block(14, 14, 26, 26)), IMAGE, bump(), BOX, 2, "best")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (block(0, 0, 0, 0), "nothing"),
        (block(30, 30, 38, 38), "apart"),
        (block(0, 0, 40, 40), "far larger"),
        (block(20, 20, 22, 22), "far smaller"),
    ],
)
def test_implausible_masks_keep_the_grounding_box(answer, words):
    result = refine(Answers(block(14, 14, 26, 26), answer), IMAGE, bump(), BOX)
    assert result.box == BOX and result.mask is None
    assert len(result.flags) == 1 and words in result.flags[0] and "kept" in result.flags[0]


def test_modestly_larger_box_and_specks():
    mask = block(8, 9, 32, 31)
    speck = mask.copy()
    speck[0, 39] = True
    result = refine(Answers(block(14, 14, 26, 26), speck), IMAGE, bump(), BOX)
    assert result.box == (8, 9, 32, 31) and result.flags == ()
    assert np.array_equal(result.mask, mask)


def test_a_part_of_a_twentieth_is_no_speck_and_of_a_hundredth_it_is():
    item = block(5, 5, 25, 25)
    for speck, stays in ((block(30, 30, 34, 35), True), (block(30, 30, 32, 32), False)):
        assert np.array_equal(without_specks(item | speck), item | speck if stays else item)


def test_of_many_equal_parts_one_is_no_speck():
    mask = np.zeros((80, 80), bool)
    mask[2:80:10, 2:80:10] = mask[3:80:10, 2:80:10] = True
    left = without_specks(mask)
    assert left.sum() == 2 and (left & mask).sum() == 2


def test_box_beyond_the_window():
    result = refine(
        Answers(block(0, 0, 10, 10), block(0, 0, 12, 12)), IMAGE, bump(3, 3), (-5, -5, 14.5, 14.5)
    )
    assert result.box == (0, 0, 12, 12)
    with pytest.raises(XsynError, match="outside"):
        refine(Answers(), IMAGE, bump(), (50, 50, 60, 60))
    with pytest.raises(XsynError, match="fit"):
        refine(Answers(), IMAGE, np.ones((4, 4)), BOX)
