"""Where occluders fall, against all draws of Eq. 8 and 9, and how they fade into the scan."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from xsyn_core.concealment import (
    DRAWS,
    Concealment,
    conceal,
    conceal_pixels,
    encode_patch,
    place,
    to_tensor,
)
from xsyn_core.frames import Frame
from xsyn_core.occlusion import occluded_boxes

FACTOR, CELLS = 8, 16
MODEL = SimpleNamespace(factor=FACTOR)
FRAME = Frame((40, 20, 40 + 2 * CELLS * FACTOR, 20 + 2 * CELLS * FACTOR), (CELLS * FACTOR,) * 2)
OCCLUDER = (60.0, 40.0, 140.0, 120.0)
# A scan that is baggage all over.
ALL = np.ones((400, 500), bool)


def bag(edge, air=(250, 246, 220)):
    """A scan whose bag ends at a column."""
    pixels = np.full((400, 500, 3), air, np.uint8)
    pixels[:, :edge] = np.random.default_rng(0).integers(60, 200, (400, edge, 3))
    return pixels


def inside(box, edge):
    """The share of a box of cells that lies over the bag."""
    x1, y1, x2, y2 = box
    columns = [40 + 2 * FACTOR * (x + 0.5) < edge for x in range(x1, x2) for _ in range(y1, y2)]
    return sum(columns) / len(columns)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_of_several_draws_the_one_over_least_air_and_what_is_hidden_yet_is_taken(seed, count):
    edge = 40 + 2 * FACTOR * 10  # ten of sixteen columns of cells
    pixels = bag(edge)
    rng = np.random.default_rng((seed, 1))
    fronts = [(int(x), int(y), int(x) + 3, int(y) + 2) for x, y in rng.integers(0, 12, (count, 2))]
    # FRAME starts at (40, 20), and a cell is 16 pixels of the scan
    boxes = [tuple(16.0 * np.array(b) + (40, 20, 40, 20)) for b in fronts]
    # what another frame hid, and what lies outside this one
    x, y = rng.integers(0, 12, 2).tolist()
    before = [(x, y, x + 4, y + 4)]
    others = [tuple(16.0 * np.array(before[0]) + (40, 20, 40, 20)), (0.0, 0.0, 38.0, 18.0)]
    chance = np.random.default_rng(seed)
    got = place(MODEL, FRAME, pixels, OCCLUDER, boxes, None, ALL, chance, others)
    again = np.random.default_rng(seed)
    assert len(got.occluded) == count
    for found, front in zip(got.occluded, fronts, strict=True):
        size = (CELLS, CELLS)
        draws = [occluded_boxes([front], got.occluder, size, again)[0] for _ in range(DRAWS)]
        avoided = []
        for x1, y1, x2, y2 in draws:
            cells = [(x, y) for x in range(x1, x2) for y in range(y1, y2)]
            over_air = sum(x >= 10 for x, _ in cells)
            hidden = sum(a <= x < c and b <= y < d for x, y in cells for a, b, c, d in before)
            avoided.append(over_air + hidden)
        assert found == draws[avoided.index(min(avoided))]
        before.append(found)


def test_an_item_at_the_edge_of_a_bag_is_hidden_by_what_lies_in_the_bag():
    edge = 40 + 2 * FACTOR * 10
    box = (edge - 80.0, 150.0, edge - 20.0, 200.0)
    shares = {}
    for name, pixels in (("bag", bag(edge)), ("all bag", bag(500))):
        places = [
            place(MODEL, FRAME, pixels, OCCLUDER, [box], None, ALL, np.random.default_rng(k))
            for k in range(60)
        ]
        shares[name] = np.mean([inside(p.occluded[0], edge) for p in places])
        assert len({p.occluded for p in places}) > 20
    assert shares["bag"] > 0.99 > 0.9 > shares["all bag"]


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_scan_of_one_grey_takes_the_first_draw(grey):
    pixels, box = np.full((400, 500, 3), grey, np.uint8), (90.0, 90.0, 150.0, 160.0)
    for seed in range(5):
        got = place(MODEL, FRAME, pixels, OCCLUDER, [box], None, ALL, np.random.default_rng(seed))
        front = FRAME.cells(box, FACTOR)
        rng = np.random.default_rng(seed)
        first = occluded_boxes([front], got.occluder, (CELLS, CELLS), rng)
        assert list(got.occluded) == first


class Blocks:
    """An autoencoder whose cells are the colours of 8 x 8 pixels."""

    factor = FACTOR

    @staticmethod
    def decode(latents):
        return latents.repeat_interleave(FACTOR, 2).repeat_interleave(FACTOR, 3)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_an_occluder_is_blended_in_full_inside_and_not_at_all_at_its_ends(alpha):
    side = CELLS * FACTOR
    cells = np.random.default_rng(0).integers(0, 256, (CELLS, CELLS, 3)).astype(np.float32)
    clear = cells.astype(np.uint8).repeat(FACTOR, 0).repeat(FACTOR, 1)
    occluder, occluded = (0, 0, 6, 7), (8, 5, 14, 12)
    frame, source = Frame((0, 0, side, side), (side, side)), (0, 0, 48, 56)
    baggage = np.ones((side, side), bool)
    falls = Concealment(frame, FACTOR, source, None, occluder, (occluded,), baggage)
    image = clear.copy()
    conceal(image, Blocks, to_tensor(cells), falls, alpha)
    x1, y1, x2, y2 = (FACTOR * v for v in occluded)
    over = clear[: y2 - y1, : x2 - x1].astype(np.float64)
    mixed = (1 - alpha) * clear[y1:y2, x1:x2] + alpha * over
    found, before = (pixels[y1:y2, x1:x2].astype(np.float64) for pixels in (image, clear))
    assert np.abs(found - mixed)[12:-12, 12:-12].max() <= 0.51
    # by less than a tenth at the ends, more and more further in
    different = np.abs(mixed - before) > 20
    share = np.where(different, (found - before) / np.where(different, mixed - before, 1), np.nan)
    for edge in (share[0], share[-1], share[:, 0], share[:, -1]):
        assert np.nanmax(np.abs(edge)) < 0.1
    middle = [np.nanmean(share[12:-12, k]) for k in range(8)]
    assert (np.diff(middle) > 0.01).sum() >= 5
    # and outside nothing at all
    image[y1:y2, x1:x2] = clear[y1:y2, x1:x2]
    assert np.array_equal(image, clear)


def test_the_air_beside_the_baggage_stays_air():
    side = CELLS * FACTOR
    clear = np.full((side, side, 3), 250, np.uint8)
    baggage = np.zeros((side, side), bool)
    baggage[:, :64] = True
    # in the bag it may be as bright as outside; something dark hangs out of it, and it is all to
    # be hidden by what is at its top
    clear[:48, :48] = 90
    clear[80:104, 40:96] = 20
    cells = clear[::FACTOR, ::FACTOR].astype(np.float32)
    frame, source = Frame((0, 0, side, side), (side, side)), (0, 0, 48, 48)
    occluder, occluded = (0, 0, 6, 6), (6, 8, 12, 14)
    image = clear.copy()
    falls = Concealment(frame, FACTOR, source, None, occluder, (occluded,), baggage)
    conceal(image, Blocks, to_tensor(cells), falls, 0.5)
    assert np.abs(image[72:76, 56:60].astype(int) - 170).max() <= 1, "the bag, half hidden"
    assert np.abs(image[86:98, 56:88].astype(int) - 55).max() <= 1, "what hangs out of it"
    air = np.ones((side, side), bool)
    air[:, :70] = False
    air[74:110, 34:102] = False
    assert np.array_equal(image[air], clear[air])


def test_pixels_are_hidden_by_the_occluder_as_it_was_though_another_window_hides_it_too():
    side = CELLS * FACTOR
    clear = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    frame, baggage = Frame((0, 0, side, side), (side, side)), np.ones((side, side), bool)
    falls = [
        Concealment(frame, FACTOR, (0, 0, 32, 32), None, (0, 0, 4, 4), (box,), baggage)
        for box in ((2, 2, 6, 6), (10, 10, 14, 14))
    ]
    before = clear.copy()
    image = conceal_pixels(clear, falls, 1.0)
    assert np.array_equal(image[16:48, 16:48], clear[:32, :32])
    assert np.array_equal(image[80:112, 80:112], clear[:32, :32])
    assert np.array_equal(clear, before)


class Blurring:
    """An encoder whose cells are 8 x 8 pixels, blurred with the cells around them."""

    factor = FACTOR

    @staticmethod
    def encode(images):
        return functional.avg_pool2d(functional.avg_pool2d(images, FACTOR), 3, 1, 1)


@pytest.mark.parametrize(
    ("occluder", "cells"),
    [((96, 64, 192, 144), (6, 4, 12, 9)), ((96.0, 64.0, 182.0, 130.5), (6, 4, 12, 9)),
     ((32, 48, 480, 128), (2, 3, 18, 8))],
)  # fmt: skip
def test_an_occluders_patch_is_its_place_in_the_scan_seen_at_the_frames_scale(occluder, cells):
    pixels = np.random.default_rng(0).integers(0, 256, (400, 512, 3), np.uint8)
    # all of the scan at the scale of FRAME, two of its pixels a model pixel
    scan = Frame((0, 0, 512, 400), (200, 256))
    everything = Blurring.encode(to_tensor(scan.cut(pixels))[None])[0]
    x1, y1, x2, y2 = cells
    found = encode_patch(Blurring, pixels, occluder, FRAME)
    torch.testing.assert_close(found, everything[:, y1:y2, x1:x2], atol=1e-3, rtol=0)


def test_blended_at_every_step_an_occluder_is_as_noisy_as_the_rest():
    rng = np.random.default_rng(0)
    patch, latents, noise = (
        torch.from_numpy(rng.standard_normal(shape)) for shape in ((2, 3, 5), *[(2, 16, 16)] * 2)
    )
    frame = Frame((0, 0, 128, 128), (128, 128))
    falls = Concealment(frame, FACTOR, OCCLUDER, patch, (0, 0, 5, 3), ((8, 4, 13, 7),), ALL)
    found = falls.hidden_noisy(latents, noise, 0.36, 1.0)
    wanted = latents.clone()
    # 0.36 of the signal's and 0.64 of the noise's variance
    wanted[:, 4:7, 8:13] = 0.6 * patch + 0.8 * noise[:, :3, :5]
    torch.testing.assert_close(found, wanted)


def test_a_patch_falls_as_wide_and_high_as_it_is():
    box, sizes = (150.0, 120.0, 200.0, 160.0), set()
    for seed in range(20):
        chance = np.random.default_rng(seed)
        got = place(MODEL, FRAME, bag(500), OCCLUDER, [box], torch.zeros(2, 2, 6), ALL, chance)
        ((x1, y1, x2, y2),) = got.occluded
        sizes.add((x2 - x1, y2 - y1))
    assert sizes == {(6, 2)}, "nothing is cut so far from the border"
