"""The silhouette of what was painted, against pasted discs and the simulator's own silhouettes."""

import cv2
import numpy as np
import pytest

from xsyn_core.boxes import iou
from xsyn_core.evaluation.held_out import case
from xsyn_core.extent import added_attenuation, silhouette, visible_box

GROUNDING = (20.0, 30.0, 90.0, 100.0)


def bag():
    """A bag with a bright half, a dark half and some texture, 128 x 128."""
    pixels = np.full((128, 128, 3), (230, 180, 90), np.float32)
    pixels[:, 64:] = (90, 60, 40)
    return pixels + np.random.default_rng(0).normal(0, 3, pixels.shape)


def as_image(pixels):
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def test_a_pasted_disc_is_found_in_the_bright_and_in_the_dark():
    disc = np.zeros((128, 128), np.uint8)
    cv2.circle(disc, (60, 66), 25, 1, -1)
    pixels = bag()
    image = as_image(np.where(disc[..., None] > 0, pixels * np.exp(-0.5), pixels))
    benign = as_image(pixels)
    found = silhouette(image, benign)
    assert (found & (disc > 0)).sum() / (found | (disc > 0)).sum() > 0.93
    np.testing.assert_allclose(visible_box(image, benign, GROUNDING), (35, 41, 86, 92), atol=1)


def test_added_attenuation_is_the_items_own():
    before = np.full((8, 8, 3), 200, np.uint8)
    after = np.full((8, 8, 3), 100, np.uint8)
    assert added_attenuation(after, before) == pytest.approx(np.log(2), abs=0.05)
    assert added_attenuation(before, before) == pytest.approx(0)


def test_nothing_painted():
    pixels = bag()
    benign = as_image(pixels)
    brighter, hardly = pixels.copy(), pixels.copy()
    brighter[30:100, 20:90] *= 1.3
    hardly[30:100, 20:90] *= 0.98
    specks = pixels.copy()
    specks[40:43, 40:43] *= 0.2
    for image in (pixels, brighter, hardly, specks):
        assert visible_box(as_image(image), benign, GROUNDING) is None


@pytest.mark.parametrize("category", ["Gun", "Wrench", "Laptop"])
def test_simulated_items_are_found_where_they_are(category):
    one = case(category, 1, 96)
    assert iou(visible_box(one.image, one.benign, one.grounding), one.box) > 0.7
    assert visible_box(one.benign, one.benign, one.grounding) is None
