"""What the refiner learns from, against pictures that tell where they come from and loops."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from xsyn_core.segmentation import Segmenter
from xsyn_core.training import architectures, data, painter_items, refiner
from xsyn_core.weights import load_models


@pytest.fixture(scope="module")
def segmenter():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sam = architectures.build_sam()
    sam.zoom = 1.4
    return Segmenter(sam)


@pytest.fixture(scope="module")
def shard(rendered):
    return data.Shard.open(rendered / "seed5" / "00000", 0)


@pytest.fixture(scope="module")
def windows(shard):
    """For every window: picture as it is painted, category, silhouette, and box in its pixels."""
    found = []
    for k in np.flatnonzero(shard.target >= 0):
        one = shard.target[k]
        name = data.NAMES[shard.categories[k][one]]
        box = tuple(float(v) / 2 for v in shard.boxes[k][one])
        found.append((data.halved(shard.images[k]), name, shard.silhouettes(k)[one], box))
    return found


@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize("pointed", [False, True])
def test_the_refiner_looks_where_the_segmenter_does(segmenter, side, pointed):
    """Each look against a picture whose every pixel tells where it is."""
    place = np.arange(side, dtype=np.uint8)
    image = np.stack([np.tile(place, (side, 1)), np.tile(place[:, None], (1, side))] * 2, -1)
    mask = np.zeros((128, 128), bool)
    mask[30:50, 60:72] = mask[45:50, 60:100] = True
    scale = side / 128
    box = np.float32([60, 30, 96, 50]) * scale
    points, labels = np.float32([[99, 48], [62, 32], [90, 33]]) * scale, np.float32([1, 1, 0])
    asked = (points, labels) if pointed else (None, None)
    pixels, logits, prompts, truth = refiner.look(
        segmenter, np.ascontiguousarray(image[..., :3]), mask, box, *asked
    )
    assert pixels.shape == (128, 128, 3) and prompts.shape == (3, 64, 64)
    assert logits.shape == truth.shape == (64, 64) and logits.dtype == np.float16
    xs, ys = (pixels[::2, ::2, k].astype(float) + 0.5 for k in (0, 1))
    inside = mask[(ys / scale).astype(int), (xs / scale).astype(int)]
    assert ((truth > 127) == inside).mean() > 0.97
    boxed = (xs >= box[0]) & (xs < box[2]) & (ys >= box[1]) & (ys < box[3])
    assert ((prompts[0] > 127) == boxed).mean() > 0.95
    # the window reaches as far as the box and the points inside, with some space around
    right = box[2] if not pointed else points[0, 0]
    assert right < xs.max() < right + 0.4 * (right - box[0])
    assert prompts[1:].any((1, 2)).tolist() == [pointed] * 2


def astray(rows):
    """By how much of a side the boxes of looks miss what is asked for, at the median."""
    found = []
    for _, _, prompts, truth in rows:
        for axis in (0, 1):
            there, asked = (np.flatnonzero(p.any(axis)) for p in (truth > 127, prompts[0] > 127))
            if len(there):
                ends = np.abs(np.subtract(there[[0, -1]], asked[[0, -1]]))
                found += (ends / len(there)).tolist()
    return np.median(found)


def test_anything_in_scans_and_windows_is_asked_for(segmenter, shard, monkeypatch):
    monkeypatch.setattr(refiner, "SCANS", 2)
    scans = refiner.in_scans(segmenter, np.random.default_rng(0))
    assert 6 < len(scans) <= 3 * 2 * refiner.ASKED and len(scans) % 3 == 0
    scans, clicked, again = scans[::3], scans[1::3], scans[2::3]
    windows = refiner.in_windows(segmenter, shard, np.random.default_rng(0))
    assert len(windows) == (shard.target >= 0).sum()
    bare = replace(shard, masks=np.zeros_like(shard.masks))
    assert refiner.in_windows(segmenter, bare, np.random.default_rng(0)) == []
    for rows in (scans, windows):
        for pixels, _, prompts, truth in rows:
            assert pixels.std() > 5 and not prompts[1:].any()
            boxed, there = prompts[0] > 127, truth > 127
            assert 0.02 < boxed.mean() < 1
            assert (truth > 0).any() and (there & boxed).sum() >= 0.9 * there.sum()
            if there.sum() > 100:
                reach = [
                    np.flatnonzero(plane.any(axis)) for plane in (there, boxed) for axis in (0, 1)
                ]
                for found, asked in zip(reach[:2], reach[2:], strict=True):
                    allowed = 2 + 0.08 * len(asked)
                    assert abs(found[0] - asked[0]) <= allowed
                    assert abs(found[-1] - asked[-1]) <= allowed
    # a click lies on what is meant, and is looked at again with a box that errs
    for rows, boxed in ((clicked, False), (again, True)):
        for _, _, prompts, truth in rows:
            assert (prompts[0] > 127).any() == boxed and not prompts[2].any()
            place = np.unravel_index(prompts[1].argmax(), truth.shape)
            assert truth[place] > 0
    assert astray(again) > 0.05 > astray(scans)


def test_labels_are_made_from_all_their_prompts(segmenter, windows):
    rng = np.random.default_rng(0)
    image, _, mask, box = max(windows, key=lambda w: w[2].sum())
    attention = np.zeros((128, 128), np.float32)
    attention[mask] = rng.uniform(0.5, 1, mask.sum())
    kinds = set()
    for _ in range(24):
        pixels, _, prompts, truth = refiner.attended(segmenter, image, mask, box, attention, rng)
        grey = bool((pixels == pixels[..., :1]).all())
        pointed = bool(prompts[1].any())
        assert (prompts[0] > 127).any() and (truth > 127).any()
        assert not (grey and pointed)
        kinds.add((grey, pointed))
    assert kinds == {(True, False), (False, True)}


def test_a_shade_keeps_the_item_and_what_lies_outside_the_box():
    rng = np.random.default_rng(0)
    image = np.full((128, 128, 3), 150, np.uint8)
    mask = np.zeros((128, 128), bool)
    mask[50:70, 50:70] = True
    found = [refiner.shaded(image, mask, (40.0, 40.0, 90.0, 90.0), rng) for _ in range(20)]
    means = []
    for shaded in found:
        assert (shaded[52:68, 52:68] == 150).all()
        assert (shaded[:20] == 150).all() and (shaded[:, 110:] == 150).all()
        means.append(shaded[75:85, 75:85].mean() / 150)
    assert 0.7 < min(means) < 0.95 and 1.02 < max(means) < 1.2


def test_the_painter_attends_to_items_where_they_are(windows):
    model = load_models("embedded", "embedded").diffusion
    images, names, masks, boxes = zip(*windows, strict=True)
    found = painter_items.attention(model, images, names, boxes, np.random.default_rng(0))
    again = painter_items.attention(model, images, names, boxes, np.random.default_rng(0))
    other = painter_items.attention(model, images, names, boxes, np.random.default_rng(1))
    sharper = []
    for a, b, c, mask, box in zip(found, again, other, masks, boxes, strict=True):
        assert a.shape == (128, 128) and a.dtype == np.float32 and (a >= 0).all()
        assert np.array_equal(a, b) and not np.array_equal(a, c)
        inside = np.zeros((128, 128), bool)
        x1, y1, x2, y2 = (round(v) for v in box)
        inside[y1:y2, x1:x2] = True
        assert a[inside].mean() > a[~inside].mean()
        sharper.append(a[mask].mean() > a[inside & ~mask].mean())
    assert np.mean(sharper) > 0.7


def test_looks_are_turned_together(segmenter, windows):
    rng = np.random.default_rng(3)
    rows = [
        refiner.look(segmenter, image, mask, np.float32(box)) for image, _, mask, box in windows[:4]
    ]
    looks = refiner.Looks(*(np.stack(column) for column in zip(*rows, strict=True)))
    pixels, logits, prompts, truth = refiner.sample([looks], 24, rng)
    assert pixels.shape == (24, 3, 128, 128) and truth.shape == logits.shape == (24, 1, 64, 64)
    ways = set()
    for k in range(24):
        planes = [p[k].numpy() for p in (pixels, logits, prompts, truth)]
        found = [
            (row, turns, mirrored)
            for row in range(len(rows))
            for turns in range(4)
            for mirrored in (False, True)
            if all(
                np.allclose(p, np.rot90(w, turns, (1, 2))[..., :: -1 if mirrored else 1], atol=1e-3)
                for p, w in zip(
                    planes,
                    (
                        looks.pixels[row].transpose(2, 0, 1) / 127.5 - 1,
                        looks.logits[row][None],
                        looks.prompts[row] / 255,
                        looks.truth[row][None] / 255,
                    ),
                    strict=True,
                )
            )
        ]
        assert found
        ways.update(way[1:] for way in found)
    assert len(ways) >= 6


def test_loss_of_the_refiner_against_a_loop():
    rng = np.random.default_rng(0)
    logits, shares = rng.normal(0, 2, (2, 1, 4, 4)), rng.random((2, 1, 4, 4))
    loss, iou = refiner.loss_of(torch.from_numpy(logits), torch.from_numpy(shares))
    losses, ious = [], []
    for n in range(2):
        entropy = overlap = total = both = either = 0.0
        for x, share in zip(logits[n].flat, shares[n].flat, strict=True):
            p = 1 / (1 + np.exp(-x))
            entropy += (-share * np.log(p) - (1 - share) * np.log(1 - p)) / 16
            overlap, total = overlap + p * share, total + p + share
            both += x > 0 and share > 0.5
            either += x > 0 or share > 0.5
        losses.append(entropy + 2 * (1 - (overlap + 1) / (total - overlap + 1)))
        ious.append(both / either)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(iou) == pytest.approx(np.mean(ious), rel=1e-5)


def test_painted_items_show_where_they_are_said_to(windows, monkeypatch):
    monkeypatch.setattr(painter_items, "PAINTING", 4)
    model = load_models("embedded", "embedded").diffusion
    images, names, _, boxes = zip(*windows[:3], strict=True)
    found = painter_items.paint(model, images, names, boxes, np.random.default_rng(0))
    for before, box, (image, mask, attention) in zip(images, boxes, found, strict=True):
        assert mask.shape == attention.shape == (128, 128)
        around = np.zeros((128, 128), bool)
        x1, y1, x2, y2 = box
        around[max(0, int(y1) - 7) : int(y2) + 8, max(0, int(x1) - 7) : int(x2) + 8] = True
        assert np.array_equal(image[~around], before[~around])
        assert not mask[~around].any()
        darker = before.astype(int).sum(-1) - image.astype(int).sum(-1)
        # an outline is smoothed over three pixels, so that it encloses a little more than the item
        assert cv2.dilate(np.uint8(darker > 0), np.ones((7, 7)))[mask].all()
        assert (darker[mask] > 0).mean() > 0.9
    assert any(mask.any() for _, mask, _ in found)
