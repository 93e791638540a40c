"""Eq. 5 to 9 against plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xsyn_core.errors import XsynError
from xsyn_core.occlusion import beside, blend, occluded_boxes


@st.composite
def layouts(draw):
    height, width = draw(st.integers(4, 20)), draw(st.integers(4, 20))

    def box():
        x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        return x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))

    fronts = [box() for _ in range(draw(st.integers(1, 4)))]
    return (height, width), fronts, box(), draw(st.integers(0, 1000))


@given(layouts())
def test_occluded_boxes_stay_within_the_bounds_of_eq_9(layout):
    (height, width), fronts, occluder, seed = layout
    w, h = occluder[2] - occluder[0], occluder[3] - occluder[1]
    placed = occluded_boxes(fronts, occluder, (height, width), np.random.default_rng(seed))
    assert len(placed) == len(fronts)
    for (x1, y1, x2, y2), front in zip(placed, fronts, strict=True):
        assert max(front[0] - w, 0) <= x1 < front[2]
        assert max(front[1] - h, 0) <= y1 < front[3]
        assert (x2, y2) == (min(x1 + w, width), min(y1 + h, height))
        assert x2 > x1 and y2 > y1
    again = occluded_boxes(fronts, occluder, (height, width), np.random.default_rng(seed))
    assert again == placed


def test_occluded_boxes_reach_every_place_of_eq_9():
    rng = np.random.default_rng(0)
    xs, ys = set(), set()
    for _ in range(500):
        ((x1, y1, _, _),) = occluded_boxes([(3, 1, 5, 3)], (0, 0, 2, 4), (8, 8), rng)
        xs.add(x1)
        ys.add(y1)
    assert xs == {1, 2, 3, 4}
    assert ys == {0, 1, 2}


@given(layouts(), st.floats(0, 1))
def test_blend_is_eq_5_cell_by_cell(layout, alpha):
    (height, width), fronts, occluder, seed = layout
    rng = np.random.default_rng(seed)
    placed = occluded_boxes(fronts, occluder, (height, width), rng)
    z0 = torch.from_numpy(rng.standard_normal((3, height, width)))
    expected = z0.numpy().copy()
    for x1, y1, x2, y2 in placed:
        for c in range(3):
            for y in range(y1, y2):
                for x in range(x1, x2):
                    over = z0[c, occluder[1] + y - y1, occluder[0] + x - x1].item()
                    expected[c, y, x] = over * alpha + expected[c, y, x] * (1 - alpha)
    before = z0.clone()
    np.testing.assert_allclose(blend(z0, occluder, placed, alpha).numpy(), expected, atol=1e-12)
    assert torch.equal(z0, before)
    assert torch.equal(blend(z0, occluder, placed, 0.0), z0)


@given(layouts(), st.integers(1, 25), st.integers(1, 25))
def test_a_patch_beside_the_window_blends_like_one_inside(layout, rows, columns):
    (height, width), fronts, _, seed = layout
    rng = np.random.default_rng(seed)
    window = torch.from_numpy(rng.standard_normal((2, height, width)))
    patch = torch.from_numpy(rng.standard_normal((2, rows, columns)))
    canvas, occluder = beside(window, patch)
    assert torch.equal(canvas[:, :, :width], window)
    placed = occluded_boxes(fronts, occluder, (height, width), rng)
    hidden = blend(canvas, occluder, placed, 1.0)[..., :width]
    x1, y1, x2, y2 = placed[-1]
    assert torch.equal(hidden[:, y1:y2, x1:x2], patch[:, : y2 - y1, : x2 - x1])


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(XsynError, match="alpha"):
        blend(torch.zeros(1, 4, 4), (0, 0, 2, 2), [(1, 1, 3, 3)], alpha)
