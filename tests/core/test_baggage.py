"""Where the baggage lies, against outlines that are known."""

import cv2
import numpy as np
import pytest

from xsyn_core.baggage import baggage
from xsyn_core.simulation.dataset import photograph
from xsyn_core.simulation.looks import LOOKS
from xsyn_core.simulation.scene import random_scene

SIZE = (256, 256)


@pytest.mark.parametrize("look", LOOKS)
def test_it_is_where_the_simulator_packs(look):
    for seed in range(4):
        rng = np.random.default_rng((5, seed))
        scene = random_scene(rng)
        parts = [*scene.bag.parts, *scene.contents]
        found = baggage(photograph(parts, scene.view, SIZE, rng, look))
        left, top, right, _ = scene.view
        corners = (scene.bag.interior - [left, top]) * (SIZE[1] / (right - left))
        packed = np.zeros(SIZE, np.uint8)
        cv2.fillPoly(packed, [np.rint(corners).astype(np.int32)], 1)
        far = cv2.dilate(packed, np.ones((81, 81), np.uint8)) == 0
        assert found[packed > 0].mean() > 0.9
        assert not far.any() or found[far].mean() < 0.1


@pytest.mark.parametrize("air", [(255, 255, 255), (250, 250, 205), (205, 210, 200)])
@pytest.mark.parametrize("size", [(300, 400), (1500, 900), (240, 320)])
def test_a_case_is_filled_and_its_wheels_and_handle_are_left_out(air, size):
    height, width = size
    pixels = np.full((*size, 3), air, np.uint8)

    def box(x1, y1, x2, y2):
        return slice(round(y1 * height), round(y2 * height)), slice(
            round(x1 * width), round(x2 * width)
        )

    body, inside = box(0.2, 0.2, 0.8, 0.8), box(0.23, 0.23, 0.77, 0.77)
    wheel, handle = box(0.25, 0.8, 0.3, 0.9), box(0.47, 0.1, 0.53, 0.2)
    for where in (body, wheel, handle):
        pixels[where] = (40, 90, 160)
    # as bright as air
    pixels[inside] = air
    found = baggage(pixels)
    assert found.shape == size and found.dtype == bool
    assert found[inside].all()
    for outside in (box(0, 0, 1, 0.15), box(0, 0.84, 1, 1), box(0, 0, 0.17, 1)):
        assert not found[outside].any()


def test_a_scan_of_one_colour_shows_none_and_a_full_one_is_all_baggage():
    assert not baggage(np.full((90, 120, 3), 230, np.uint8)).any()
    full = np.full((90, 120, 3), 90, np.uint8)
    full[:, :1] = 255
    full[:, -2:] = 255
    assert baggage(full)[10:-10, 10:-10].all()
