import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from app import drawing, scene


def pixels_of(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


@given(st.integers(0, 2**32 - 1), st.integers(0, 6))
def test_patch_is_the_changed_box_and_lossless(seed, changes):
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 256, (17, 23, 3), dtype=np.uint8)
    after = before.copy()
    for _ in range(changes):
        y, x, c = rng.integers(17), rng.integers(23), rng.integers(3)
        after[y, x, c] ^= rng.integers(1, 256, dtype=np.uint8)
    found = drawing.patch(before, after)
    ys, xs = (before != after).any(2).nonzero()
    if not len(ys):
        assert found is None
        return
    crop = pixels_of(found["url"])
    assert (found["x"], found["y"]) == (xs.min(), ys.min())
    assert crop.shape[:2] == (np.ptp(ys) + 1, np.ptp(xs) + 1)
    shown = before.copy()
    shown[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = crop
    assert np.array_equal(shown, after)


def crossing(a, b):
    """Whether two masks, drawn together, cross or repeat each other."""
    shared = (a & b).sum() / min(a.sum(), b.sum())
    inside = shared > drawing.NESTED and max(a.sum(), b.sum()) > 2 * min(a.sum(), b.sum())
    return shared > drawing.SHARED and not inside


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_outlines_shown_at_once_do_not_cross(seed, count):
    rng = np.random.default_rng(seed)
    masks = [np.zeros((40, 50), bool) for _ in range(count)]
    for mask in masks:
        y, x = rng.integers(0, 30), rng.integers(0, 40)
        mask[y : y + rng.integers(2, 25), x : x + rng.integers(2, 25)] = True
    trust = rng.integers(0, 4, count) / 4
    shown = drawing.distinct(masks, trust)
    for k, mask in enumerate(masks):
        before = [j for j in range(count) if shown[j] and (-trust[j], j) < (-trust[k], k)]
        assert shown[k] == (not any(crossing(mask, masks[j]) for j in before))


def test_rounding_off_takes_ripples_and_keeps_thin_things():
    yy, xx = np.mgrid[:200, :200]
    angle, radius = np.arctan2(yy - 100, xx - 100), np.hypot(yy - 100, xx - 100)
    rippled, disc = radius < 60 + 2 * np.sin(100 * angle), radius < 60
    found = drawing.rounded_off(rippled)
    assert (found ^ disc).sum() < 0.5 * (rippled ^ disc).sum()
    wire = yy == xx
    assert np.array_equal(drawing.rounded_off(wire), wire)


def test_png_keeps_alpha_and_channel_order():
    pixels = np.arange(4 * 5 * 4, dtype=np.uint8).reshape(4, 5, 4)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(drawing.png(pixels)))), pixels)


def test_heat_of_a_flat_map_is_finite_and_clear():
    assert drawing.heat(np.zeros((6, 7), np.float32)).shape == (6, 7, 4)
    assert drawing.heat(np.zeros((6, 7), np.float32))[..., 3].max() == 0


def test_rings_enclose_the_mask():
    mask = np.zeros((60, 80), bool)
    mask[10:40, 20:70] = True
    mask[20:30, 40:50] = False
    rings = drawing.rings(mask, (0, 0, 80, 60))
    image = Image.new("1", (80, 60))
    outer, inner = sorted(rings, key=lambda r: -np.ptp(np.asarray(r), axis=0).prod())
    pen = ImageDraw.Draw(image)
    pen.polygon([tuple(p) for p in outer], fill=1)
    pen.polygon([tuple(p) for p in inner], fill=0)
    assert (np.asarray(image) != mask).sum() < 200


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0], [0]),
        ([1, 0], [1, 0]),
        ([1, 1, 1, 0], [1, 2, 2, 0]),
        ([1] * 7 + [0], [1, 2, 2, 3, 3, 3, 3, 0]),
    ],
)
def test_levels_follow_the_divisions(labels, expected):
    assert scene.levels(np.array(labels)) == expected
