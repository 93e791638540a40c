"""Eq. 3 against brute force on pixels."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xsyn_core.regions import idle_regions, occluders, within
from xsyn_core.scan import Annotation

SIZE = (40, 50)


@dataclass(frozen=True, eq=False)
class Mask:
    mask: np.ndarray
    box: tuple[float, float, float, float]
    area: int


def rectangle(x1: int, y1: int, x2: int, y2: int) -> Mask:
    mask = np.zeros(SIZE, bool)
    mask[y1:y2, x1:x2] = True
    return Mask(mask, (x1, y1, x2, y2), int(mask.sum()))


def pixels_iou(a, b) -> float:
    first, second = rectangle(*a).mask, rectangle(*b).mask
    return (first & second).sum() / max((first | second).sum(), 1)


@st.composite
def box(draw):
    x1, y1 = draw(st.integers(0, SIZE[1] - 1)), draw(st.integers(0, SIZE[0] - 1))
    return x1, y1, draw(st.integers(x1 + 1, SIZE[1])), draw(st.integers(y1 + 1, SIZE[0]))


@given(
    st.lists(box(), max_size=8),
    st.lists(box(), max_size=3),
    st.lists(box(), max_size=2),
    st.sampled_from([0.05, 0.2, 0.5]),
    st.sampled_from([0.0, 0.01, 0.1]),
)
def test_equation_3_by_counting_pixels(shapes, annotated, grounded, d, ratio):
    segments = [rectangle(*shape) for shape in shapes]

    def expected(taken):
        rest = list(segments)
        for _ in range(min(2, len(rest))):
            largest = max(s.area for s in rest)
            rest.remove(next(s for s in rest if s.area == largest))
        return [
            s
            for s in rest
            if s.area >= ratio * SIZE[0] * SIZE[1]
            and not any(pixels_iou(s.box, b) >= d for b in taken)
        ]

    assert idle_regions(segments, annotated, SIZE, d, ratio) == expected(annotated)
    assert occluders(segments, annotated, grounded, SIZE, d, ratio) == expected(
        annotated + grounded
    )


def test_two_largest_go_by_mask_not_by_box():
    thin = rectangle(0, 0, 50, 40)
    frame = thin.mask.copy()
    frame[1:-1, 1:-1] = False
    segments = [
        Mask(frame, thin.box, int(frame.sum())),
        rectangle(5, 5, 25, 25),
        rectangle(25, 5, 45, 25),
    ]
    assert idle_regions(segments, [], SIZE) == segments[:1]


def test_order_is_kept_and_annotations_are_understood():
    segments = [rectangle(2 * k, 20, 2 * k + 2 + k, 22 + k) for k in range(6)]
    kept = idle_regions(segments, [Annotation("Gun", segments[1].box)], SIZE)
    assert kept == [segments[0], segments[2], segments[3]]


def test_fewer_than_three_segments_leave_nothing():
    assert idle_regions([], [], SIZE) == []
    assert idle_regions([rectangle(0, 0, 9, 9), rectangle(9, 9, 20, 20)], [], SIZE) == []


@given(st.lists(box(), max_size=8), box(), st.integers(0, 3))
def test_within_the_baggage_by_counting_pixels(shapes, case, margin):
    baggage = rectangle(*case).mask
    baggage[:, :margin] = True
    segments = [rectangle(*shape) for shape in shapes]
    inside = [s for s in segments if (s.mask & baggage).sum() >= 0.95 * s.area]
    assert within(segments, baggage) == inside


def test_as_in_the_paper_a_fifth_of_overlap_and_a_thousandth_of_the_image_are_the_limits():
    largest = [rectangle(0, 0, 50, 40), rectangle(0, 0, 50, 39)]
    taken = (10, 10, 20, 20)
    less, more = rectangle(17, 10, 27, 20), rectangle(10, 16, 20, 26)
    assert pixels_iou(less.box, taken) < 0.2 < pixels_iou(more.box, taken)
    tiny, small = rectangle(40, 30, 41, 31), rectangle(40, 30, 41, 32)
    segments = [*largest, less, more, tiny, small]
    assert idle_regions(segments, [taken], SIZE) == [less, small]
    assert occluders(segments, [], [taken], SIZE) == [less, small]
