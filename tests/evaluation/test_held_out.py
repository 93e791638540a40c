"""Cases: their grounding boxes, and other items in the same place."""

import numpy as np
import pytest

from xsyn_core.boxes import area
from xsyn_core.evaluation.held_out import case, loosened


def test_grounding_boxes_are_loose_and_shifted():
    rng = np.random.default_rng(0)
    boxes = np.array([loosened((400.0, 400.0, 500.0, 440.0), 1000, rng) for _ in range(2000)])
    low, high = boxes.min(0), boxes.max(0)
    # A quarter out and a tenth either way, of 100 and of 40 pixels.
    np.testing.assert_allclose(low, (365, 386, 490, 436), atol=3)
    np.testing.assert_allclose(high, (410, 404, 535, 454), atol=3)
    assert np.mean([area(b) for b in boxes]) == pytest.approx(1.25**2 * 4000, rel=0.02)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    np.testing.assert_allclose(centres.mean(0), (450, 420), atol=1)
    assert (boxes[:, 0] > 400).mean() > 0.05  # some cut the item


def test_grounding_boxes_stay_inside():
    rng = np.random.default_rng(0)
    for _ in range(100):
        x1, y1, x2, y2 = loosened((0.0, 2.0, 64.0, 60.0), 64, rng)
        assert 0 <= x1 < x2 <= 64 and 0 <= y1 < y2 <= 64


def test_cases_repeat_and_other_items_take_their_place():
    first, again = case("Wrench", 0, 64), case("Wrench", 0, 64)
    assert (first.image == again.image).all() and first.grounding == again.grounding
    itself = case("Wrench", 0, 64, other=0)
    assert (itself.image == first.image).all()
    other = case("Wrench", 0, 64, other=1)
    assert other.category == "Wrench" and (other.mask != first.mask).any()
    assert not (other.image == first.image).all()


def test_contents_cross_only_buried_items():
    brighter = 0
    for index in range(6):
        buried, clear = (case("Gun", index, 64, buried=b) for b in (True, False))
        assert buried.box == clear.box and buried.grounding == clear.grounding
        # taking things away makes nothing darker
        assert clear.benign.mean() >= buried.benign.mean()
        x1, y1, x2, y2 = map(round, clear.box)
        inside = np.s_[y1:y2, x1:x2]
        levels = [c.benign[inside].mean(-1) for c in (buried, clear)]
        assert levels[1].std() <= levels[0].std() + 1
        brighter += clear.benign[inside].mean() > buried.benign[inside].mean() + 1
    assert brighter >= 3
