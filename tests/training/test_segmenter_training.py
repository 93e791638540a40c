"""What the segmenter is trained on and by, against slow and obvious versions."""

import numpy as np
import pytest
import torch

from xsyn_core.training import data, segmenter_data
from xsyn_core.training.segmenter import (
    KINDS,
    attended,
    heat_map,
    mask_losses,
    picture_of,
    prompt,
    sample,
)


@pytest.fixture(scope="module")
def shard(rendered):
    return segmenter_data.Pictures.open(rendered / "segmenter5" / "00000")


def test_each_scan_comes_before_windows_around_what_is_in_it(shard):
    assert shard.whole.sum() == 2 and shard.whole[0] and 6 <= len(shard.whole) <= 10
    sides = [np.ptp(boxes[0].reshape(2, 2), 0).max() for boxes in shard.boxes[~shard.whole]]
    assert min(sides) > 0 and max(sides) <= data.SIDE
    assert np.median(sides) > data.SIDE / 2.5


def test_pictures_repeat_themselves(shard, tmp_path, monkeypatch):
    monkeypatch.setattr(segmenter_data, "SCENES", 2)
    segmenter_data.make_pictures((tmp_path, 5, 0))
    again = segmenter_data.Pictures.open(tmp_path / "00000")
    for name in segmenter_data.Pictures.__dataclass_fields__:
        assert np.array_equal(getattr(again, name), getattr(shard, name))


@pytest.mark.parametrize("kind", [k for k in KINDS if k[0] and k[1]])
def test_points_with_a_box_are_those_of_an_attention_map(kind):
    rng = np.random.default_rng(0)
    mask = np.zeros((128, 128), bool)
    mask[30:90, 40:60] = mask[70:90, 40:100] = True
    box = np.array([70.0, 50, 210, 190])
    inside, background = [], []
    for _ in range(40):
        points, labels = attended(mask, box, kind, rng)
        assert points.shape == (kind[1] + 1, 2)
        assert labels.tolist() == [1] * kind[1] + [0]
        assert (points[:-1] >= box[:2] - 2).all() and (points[:-1] <= box[2:]).all()
        on = mask[(points[:, 1] / 2).astype(int), (points[:, 0] / 2).astype(int)]
        inside.append(on[:-1].mean())
        background.append(on[-1])
    # most are on the object, which fills two fifths of the box, and some beside it
    assert 0.6 < np.mean(inside) < 0.98
    assert np.mean(background) < 0.2


def test_mask_losses_against_a_loop():
    rng = np.random.default_rng(0)
    logits, shares = rng.normal(0, 2, (2, 3, 4, 4)), rng.random((2, 1, 4, 4))
    got = mask_losses(torch.from_numpy(logits), torch.from_numpy(shares)).numpy()
    for n in range(2):
        for k in range(3):
            focal = overlap = total = 0.0
            for x, share in zip(logits[n, k].flat, shares[n, 0].flat, strict=True):
                p = 1 / (1 + np.exp(-x))
                entropy = -share * np.log(p) - (1 - share) * np.log(1 - p)
                focal += (0.8 * share + 0.2 * (1 - share)) * abs(p - share) * entropy / 16
                overlap, total = overlap + p * share, total + p + share
            dice = 1 - (2 * overlap + 1) / (total + 1)
            assert got[n, k] == pytest.approx(10 * focal + dice, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_point_into_and_out_of_the_object(kind):
    rng = np.random.default_rng(1)
    mask = np.zeros((128, 128), bool)
    mask[30:60, 50:90] = True
    box = np.array([100, 60, 180, 120], np.float32)
    for _ in range(20):
        _, points, labels = prompt(mask, box, kind, rng)
        assert list(labels) == [1] * kind[1] + [0] * kind[2]
        for (x, y), label in zip(points, labels, strict=True):
            assert mask[int(y / 2), int(x / 2)] == bool(label)


def test_a_heat_map_is_warmest_on_the_object_and_warm_in_its_box():
    rng = np.random.default_rng(2)
    mask = np.zeros((128, 128), bool)
    mask[30:90, 40:60] = True
    filled = np.zeros(mask.shape, bool)
    filled[25:95, 30:100] = True
    maps = np.mean([heat_map(mask, np.array([30, 25, 100, 95]), rng) for _ in range(30)], 0)
    assert maps.min() >= 0
    on, around, far = (maps[m].mean() for m in (mask, filled & ~mask, ~filled))
    assert on > 1.5 * around and around > 4 * far
    picture = picture_of(maps)
    assert picture.shape == (data.SIDE, data.SIDE, 3) and picture.max() >= 250
    assert mask[np.unravel_index(picture[::2, ::2, 0].argmax(), mask.shape)]


def test_a_batch_holds_objects_and_maps_of_their_attention(shard):
    rng = np.random.default_rng(3)
    grey = []
    for kind in KINDS * 3:
        images, boxes, points, labels, masks = sample([shard], 2, 3, kind, rng)
        assert images.shape == (2, data.SIDE, data.SIDE, 3) and images.dtype == np.uint8
        count = kind[1] + kind[2]
        assert boxes.shape == (2, 3, 4) and points.shape == (2, 3, count, 2)
        assert labels.shape == (2, 3, count)
        assert masks.any((2, 3)).all()
        if kind == KINDS[0]:
            grey += [bool((i[..., :1] == i).all()) for i in images]
        else:
            assert not any((i[..., :1] == i).all() for i in images)
        for row, own in zip(masks.reshape(-1, *masks.shape[2:]), boxes.reshape(-1, 4), strict=True):
            x1, y1, x2, y2 = np.rint(own / 2).astype(int)
            assert row[y1 : y2 + 1, x1 : x2 + 1].any()
    assert 0 < np.mean(grey) < 1
