"""PSNR and the busiest windows of scans."""

import numpy as np
import pytest

from xsyn_core.evaluation.autoencoding import busiest, psnr, shrunk


def test_psnr_of_a_known_error():
    a = np.full((8, 8, 3), 100, np.uint8)
    assert psnr(a, a + 5) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(a, a) == float("inf")


def test_the_busiest_window_holds_the_texture():
    image = np.full((300, 500, 3), 200, np.uint8)
    image[120:180, 330:390] = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    window = busiest(image, 64, 8)
    assert window.shape == (64, 64, 3)
    # All of the texture but what its frame of 64 leaves over.
    assert (window == 200).all(-1).mean() < 0.2
    assert busiest(image, 1000, 8).shape == (296, 496, 3)
    assert busiest(image, 256, 8).shape == (256, 256, 3)


def test_scans_are_brought_to_one_size():
    assert shrunk(np.zeros((1000, 600, 3), np.uint8)).shape == (512, 307, 3)
    assert shrunk(np.full((100, 256, 3), 77, np.uint8)).shape == (200, 512, 3)
    assert (shrunk(np.full((100, 256, 3), 77, np.uint8)) == 77).all()
