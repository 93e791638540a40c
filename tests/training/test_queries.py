"""What the segmenter learns from, against pictures that tell where they come from."""

import numpy as np
import pytest
import torch

from xsyn_core import sam_refiner
from xsyn_core.boxes import of_mask
from xsyn_core.prompt_windows import window
from xsyn_core.segmentation import Segmenter
from xsyn_core.training import architectures, queries, segmenter_data
from xsyn_core.training.data import SIDE
from xsyn_core.training.queries import CELLS, Query, batched, query


@pytest.fixture(scope="module")
def pictures(rendered):
    return segmenter_data.Pictures.open(rendered / "segmenter5" / "00000")


def placed(side: int) -> np.ndarray:
    """A picture whose every pixel tells its column and its row."""
    place = np.arange(side, dtype=np.uint8)
    rows = np.tile(place[:, None], (1, side))
    return np.stack([np.tile(place, (side, 1)), rows, rows], -1)


def bent(side: int) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    one = side // 128
    mask[30 * one : 50 * one, 60 * one : 72 * one] = True
    mask[45 * one : 50 * one, 60 * one : 100 * one] = True
    return mask


@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize("pointed", [False, True])
def test_a_query_is_what_the_segmenter_sees(side, pointed):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sam = architectures.build_sam()
    sam.zoom = queries.ZOOM
    seen = {}

    class Watching(sam_refiner.Refiner):
        def forward(self, pixels, logits, prompts):
            seen.update(pixels=pixels[0], drawing=prompts[0])
            return super().forward(pixels, logits, prompts)

    sam.refiner = Watching()
    sam.image_encoder.register_forward_pre_hook(lambda _, given: seen.update(window=given[0][0]))
    scale = side // 128
    box = np.float32([60, 30, 96, 50]) * scale
    points, labels = np.float32([[99, 48], [62, 32], [90, 33]]) * scale, np.float32([1, 1, 0])
    asked = (points, labels) if pointed else (None, None)
    segmenter = Segmenter(sam)
    image = placed(side)
    embedding = segmenter.embed(image)
    segmenter.segment(embedding, box, *asked)
    got = query(image, bent(128), box, *asked)
    window = torch.from_numpy(got.window).permute(2, 0, 1).float()
    torch.testing.assert_close(seen["window"], sam.preprocess(window))
    pixels = sam_refiner.seen(torch.from_numpy(got.pixels)[None])[0]
    torch.testing.assert_close(seen["pixels"], pixels)
    torch.testing.assert_close(seen["drawing"], torch.from_numpy(got.drawing), atol=1e-4, rtol=0)
    # the truth lies where its pixels come from
    xs, ys = (got.pixels[::2, ::2, k].astype(float) + 0.5 for k in (0, 1))
    inside = bent(128)[(ys / scale).astype(int), (xs / scale).astype(int)]
    assert ((got.truth > 0.5) == inside).mean() > 0.97
    # and so do the box and the points
    for x, y in [got.box[:2] + 0.5, got.box[2:] - 0.5, *(got.points - 0.01)]:
        where = got.window[int(y), int(x), :2] + 0.5
        expected = [box[:2], box[2:], *(points if pointed else ())]
        assert min(np.abs(where - e).max() for e in expected) <= 1.6 * scale
    assert len(got.points) == len(got.labels) == (3 if pointed else 0)


@pytest.mark.parametrize("box", [None, (20, 30, 40, 40), (100, 20, 220, 90), (10, 10, 141, 40)])
def test_truth_is_the_share_of_each_cell(box):
    rng = np.random.default_rng(0)
    mask = np.kron(rng.random((32, 32)) < 0.4, np.ones((8, 8), bool))
    found = query(placed(SIDE), mask, None if box is None else np.float32(box))
    whole = 0, 0, SIDE, SIDE
    x1, y1, x2, y2 = whole if box is None else window(box, (SIDE, SIDE), queries.ZOOM)
    shares = np.zeros((CELLS, CELLS))
    for row in range(CELLS):
        for column in range(CELLS):
            # the mean of many places in the cell
            at = (np.arange(12) + 0.5) / 12
            xs = x1 + (column + at) * (x2 - x1) / CELLS
            ys = y1 + (row + at) * (y2 - y1) / CELLS
            shares[row, column] = mask[np.ix_(ys.astype(int), xs.astype(int))].mean()
    error = found.truth - shares
    assert np.abs(error).mean() < 0.05
    # and on no side of it more than on the other
    for axis in (0, 1):
        slope = np.gradient(shares, axis=axis)
        assert abs((error * slope).sum() / (slope**2).sum()) < 0.03


def test_queries_turn_whole():
    mask = bent(SIDE)
    box, points = np.float32([120, 60, 200, 100]), np.float32([[130, 70], [190, 95]])
    one = query(placed(SIDE), mask, box, points, np.float32([1, 0]))
    ways = set()
    for turns in range(4):
        for mirrored in (False, True):
            got = one.turned(turns, mirrored)
            ways.add(got.window.tobytes())
            # every coordinate points at the same picture as before
            for before, after in zip(one.points, got.points, strict=True):
                there = one.window[int(before[1]), int(before[0])].astype(int)
                here = got.window[int(after[1] - 0.01), int(after[0] - 0.01)]
                assert np.abs(there - here).max() <= 2
            x1, y1, x2, y2 = got.box / SIDE * CELLS
            boxed = got.drawing[0] > 0.5
            rows, columns = (np.flatnonzero(boxed.any(axis)) for axis in (1, 0))
            assert np.abs(np.subtract([x1, x2], columns[[0, -1]] + [0, 1])).max() <= 0.51
            assert np.abs(np.subtract([y1, y2], rows[[0, -1]] + [0, 1])).max() <= 0.51
            assert np.abs(got.truth.sum() - one.truth.sum()) < 1e-2
            xs, ys = (got.pixels[::2, ::2, k].astype(int) for k in (0, 1))
            assert ((got.truth > 0.5) == mask[ys, xs]).mean() > 0.96
    assert len(ways) == 8


def astray(found: list[Query]) -> float:
    """By how much of a side boxes miss what is asked for, at the median."""
    off = []
    for one in found:
        tight = np.array(of_mask(one.truth > 0.5)) * (SIDE / CELLS)
        off += (np.abs(tight - one.box) / np.ptp(tight.reshape(2, 2), 0)[[0, 1, 0, 1]]).tolist()
    return float(np.median(off))


def test_anything_is_asked_for_in_three_ways(pictures):
    rng = np.random.default_rng(0)
    boxed, clicked, again = [], [], []
    for index in range(len(pictures.images)):
        for which in np.flatnonzero(pictures.boxes[index][:, 2]):
            asked = (
                np.array(pictures.images[index]),
                pictures.silhouette(index, int(which)),
                pictures.boxes[index][which],
                rng,
            )
            boxed.append(queries.by_box(*asked))
            clicked.append(queries.by_click(*asked))
            again.append(queries.again(*asked))
    assert len(boxed) > 20
    assert all(len(one.box) == 4 and not len(one.points) for one in boxed)
    assert all(not len(one.box) and len(one.points) == 1 for one in clicked)
    assert all(len(one.box) == 4 and len(one.points) == 1 for one in again)
    for one in clicked + again:
        assert one.labels.tolist() == [1] and not one.drawing[2].any()
        place = np.unravel_index(one.drawing[1].argmax(), one.truth.shape)
        assert one.truth[place] > 0
    for one in again:
        assert (one.box[:2] < one.points[0]).all() and (one.points[0] < one.box[2:]).all()
    for one in boxed + again:
        # what lies in a box is looked at closely
        assert np.ptp(one.box.reshape(2, 2), 0).max() > SIDE / 3
    large = [one for one in boxed if (one.truth > 0.5).sum() > 200]
    erring = [one for one in again if (one.truth > 0.5).any()]
    assert astray(erring) > 0.08 > 0.05 > astray(large)
    # some by much, and yet none is empty
    assert max(astray([one]) for one in erring) > 0.4


def test_clicks_are_on_the_middle_of_things_more_often_than_not(pictures):
    rng = np.random.default_rng(1)
    image, mask = np.array(pictures.images[0]), bent(SIDE)
    tight = np.array(of_mask(mask), np.float32)
    found = [queries.by_click(image, mask, tight, rng).points[0] for _ in range(60)]
    middle = queries.middle(mask)
    share = np.mean([np.abs(xy - middle).max() < 1e-3 for xy in found])
    assert 0.4 < share < 0.8
    assert all(mask[int(y), int(x)] for x, y in found)


def test_batches_are_of_one_kind(pictures):
    rng = np.random.default_rng(2)
    image, mask = np.array(pictures.images[0]), bent(SIDE)
    tight = np.array(of_mask(mask), np.float32)
    some = [way(image, mask, tight, rng) for way in (queries.by_box, queries.by_click) * 3]
    found = batched(some)
    assert [(b.box.shape, b.points.shape) for b in found] == [
        ((3, 4), (3, 0, 2)),
        ((3, 0), (3, 1, 2)),
    ]
    assert torch.equal(found[1].window[2], torch.from_numpy(some[5].window))
    assert torch.equal(found[0].box[1], torch.from_numpy(some[2].box))
