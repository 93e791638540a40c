"""Which objects can be seen."""

import numpy as np
import pytest

from xsyn_core.simulation.visibility import edge_contrast


def disc(side, x, y, radius):
    ys, xs = np.mgrid[:side, :side]
    return (xs - x) ** 2 + (ys - y) ** 2 < radius**2


def scan(steps):
    """A 128 px scan of overlapping discs, each darker than what lies under it by a step."""
    masks = [disc(128, 45, 60, 30), disc(128, 80, 64, 34), disc(128, 64, 100, 18)]
    image = np.full((128, 128), 230.0)
    for mask, step in zip(masks, steps, strict=True):
        image -= mask * step
    return image, masks


@pytest.mark.parametrize("steps", [(40, 20, 0), (5, 60, 30), (0, 0, 0)])
def test_the_step_at_the_edge_is_found_whatever_else_overlaps(steps):
    image, masks = scan(steps)
    noisy = image + np.random.default_rng(0).normal(0, 3, image.shape)
    rgb = np.repeat(noisy.clip(0, 255).astype(np.uint8)[..., None], 3, 2)
    assert edge_contrast(rgb, masks) == pytest.approx(np.array(steps), abs=4.5)
    # a scan twice as fine as the masks
    fine = rgb.repeat(2, 0).repeat(2, 1)
    assert edge_contrast(fine, masks) == pytest.approx(np.array(steps), abs=4.5)


def test_nothing_to_look_at():
    image = np.zeros((16, 16, 3), np.uint8)
    assert edge_contrast(image, []).shape == (0,)
    assert edge_contrast(image, [np.zeros((16, 16), bool)]) == pytest.approx(0)
