"""Taking annotated items out of scans."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from xsyn_core.compositing import FEATHER
from xsyn_core.removal import emptied
from xsyn_core.scan import Annotation, make_scan


def slope(height=160, width=200):
    """A smooth background: uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    x, y = x / width, y / height
    return np.stack([150 + 60 * x, 140 + 50 * y, 120 + 40 * (x + y)], -1).astype(np.uint8)


def disc(shape, x, y, radius):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def around(mask):
    ys, xs = np.nonzero(mask)
    return tuple(float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))


def holding(pixels, *items):
    """A scan with items annotated by their masks."""
    return make_scan(pixels, "a.png", tuple(Annotation("Gun", around(m), m) for m in items))


def segmenting(mask):
    """A segmenter that answers every box with a mask, and counts the questions."""
    asked = []

    def segment(embedding, box):
        asked.append(box)
        return SimpleNamespace(mask=mask)

    return SimpleNamespace(embed=lambda image: image, segment=segment, asked=asked)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("scale", [1, 4])
def test_a_smooth_background_comes_back(known, scale):
    pixels = slope(160 * scale, 200 * scale)
    item = disc(pixels.shape, 90 * scale, 80 * scale, 24 * scale)
    shown = pixels.copy()
    shown[item] = (shown[item] * (0.3, 0.4, 0.7)).astype(np.uint8)
    box = around(item)
    segmenter = segmenting(item)
    scan = make_scan(shown, "a.png", (Annotation("Gun", box, item if known else None),))
    found = emptied(segmenter, scan, (), [box])
    off = np.abs(found[item].astype(int) - pixels[item])
    assert off.max() <= 8 and off.mean() <= 2
    assert segmenter.asked == ([] if known else [box])


def test_nothing_changes_outside_its_places():
    rng = np.random.default_rng(0)
    pixels = rng.integers(100, 256, (160, 200, 3), dtype=np.uint8)
    items = [disc(pixels.shape, 50, 80, 24), disc(pixels.shape, 140, 60, 20)]
    for item in items:
        pixels[item] //= 3
    scan = holding(pixels, *items)
    # the second item is not to be replaced; the first one's place ends in its middle
    place = (20.0, 50.0, 50.0, 110.0)
    found = emptied(segmenting(None), scan, scan.annotations[1:], [place])
    far = np.ones(scan.size, bool)
    reach = int(FEATHER)
    far[50 - reach : 110 + reach, 20 - reach : 50 + reach] = False
    assert (found[far] == pixels[far]).all()
    inside = np.zeros(scan.size, bool)
    inside[50:110, 20:50] = True
    assert found[inside & items[0]].mean() > pixels[inside & items[0]].mean() + 60


def detail(pixels):
    """What is finer than two pixels, (height, width)."""
    grey = pixels.astype(np.float32).mean(-1)
    return grey - cv2.GaussianBlur(grey, (0, 0), 2)


@pytest.mark.parametrize("scale", [1, 4])
def test_grain_goes_on_where_an_item_was(scale):
    rng = np.random.default_rng(0)
    pixels = slope(160 * scale, 240 * scale).astype(np.float32)
    pixels = np.clip(pixels + rng.normal(0, 8, pixels.shape[:2])[..., None], 0, 255)
    item = disc(pixels.shape, 70 * scale, 80 * scale, 16 * scale)
    shown = pixels.astype(np.uint8)
    shown[item] //= 3
    found = emptied(segmenting(None), holding(shown, item), (), [around(item)])
    inside = disc(pixels.shape, 70 * scale, 80 * scale, 13 * scale)
    assert 0.75 < detail(found)[inside].std() / detail(pixels)[inside].std() < 1.25
    # it is no copy of what the item hid, but of grain elsewhere, and as bright on average
    assert abs(np.corrcoef(detail(found)[inside], detail(pixels)[inside])[0, 1]) < 0.3
    assert abs(found[inside].mean() - pixels[inside].mean()) < 3


def test_edges_nearby_are_not_taken_for_grain():
    # wherever one looks, some line crosses
    pixels = np.full((200, 300, 3), 200, np.uint8)
    pixels[:, 30::60] = 90
    item = disc(pixels.shape, 150, 100, 32)
    pixels[disc(pixels.shape, 150, 100, 44)] = 200
    pixels[item] = 40
    found = emptied(segmenting(None), holding(pixels, item), (), [around(item)])
    assert np.abs(found[item].astype(int) - 200).max() <= 4


def test_air_has_no_grain():
    # an item in the only air there is
    rng = np.random.default_rng(0)
    pixels = rng.normal(150, 12, (160, 240, 1)).clip(0, 255).astype(np.uint8).repeat(3, 2)
    pixels[disc(pixels.shape, 60, 60, 28)] = 255
    item = disc(pixels.shape, 60, 60, 16)
    pixels[item] = 40
    found = emptied(segmenting(None), holding(pixels, item), (), [around(item)])
    assert (found[item] == 255).all()


def test_what_is_brighter_than_its_surroundings_stays():
    # the hole of a ring shows what lies behind it, here something brighter than around the ring
    pixels = np.full((120, 120, 3), 150, np.uint8)
    hole, ring = disc(pixels.shape, 60, 60, 12), disc(pixels.shape, 60, 60, 20)
    pixels[ring] = 60
    pixels[hole] = 220
    scan = holding(pixels, ring)
    found = emptied(segmenting(None), scan, (), [around(ring)])
    assert (found[disc(pixels.shape, 60, 60, 10)] == 220).all()
    assert (np.abs(found[ring & ~disc(pixels.shape, 60, 60, 15)].astype(int) - 150) <= 4).all()


def test_a_bright_seam_around_an_item_goes_with_it():
    # scanners sharpen: beside a dark edge the scan is brighter than it is
    pixels = np.full((160, 160, 3), 180, np.uint8)
    seam, item = disc(pixels.shape, 80, 80, 36), disc(pixels.shape, 80, 80, 34)
    pixels[seam] = 240
    pixels[item] = 60
    scan = holding(pixels, item)
    found = emptied(segmenting(None), scan, (), [around(seam)])
    assert (found == 180).all()


def test_a_kept_item_that_crosses_stays():
    pixels = np.full((160, 160, 3), 200, np.uint8)
    item, kept = np.zeros((2, 160, 160), bool)
    item[70:90, 40:120] = kept[40:120, 70:90] = True
    for bar in (item, kept):
        pixels[bar] //= 2
    scan = holding(pixels, item, kept)
    known = scan.annotations
    found = emptied(segmenting(None), scan, known[1:], [around(item)])
    assert (found[item & ~kept] == 200).all() and (found[kept] == pixels[kept]).all()
    assert emptied(segmenting(None), scan, known, [around(item)]) is scan.pixels


def test_two_items_side_by_side_are_not_carried_into_each_other():
    pixels = np.full((120, 200, 3), 200, np.uint8)
    items = [disc(pixels.shape, 70, 60, 28), disc(pixels.shape, 130, 60, 28)]
    for item in items:
        pixels[item] = 40
    scan = holding(pixels, *items)
    found = emptied(segmenting(None), scan, (), [a.box for a in scan.annotations])
    assert (found == 200).all()


def test_a_box_in_which_nothing_is_found_is_taken_for_the_item():
    pixels = np.full((120, 120, 3), 200, np.uint8)
    pixels[40:80, 30:90] = 50
    box = (30.0, 40.0, 90.0, 80.0)
    scan = make_scan(pixels, "a.png", (Annotation("Gun", box),))
    found = emptied(segmenting(np.zeros(scan.size, bool)), scan, (), [box])
    assert (found == 200).all()


def test_an_item_that_fills_the_scan_stays():
    pixels = np.full((64, 64, 3), 90, np.uint8)
    scan = make_scan(pixels, "a.png", (Annotation("Gun", (0.0, 0.0, 64.0, 64.0)),))
    segmenter = segmenting(np.ones(scan.size, bool))
    assert (emptied(segmenter, scan, (), [scan.annotations[0].box]) == 90).all()
