"""What the models are trained on, against slow and obvious versions."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsyn_core.attitudes import PARTS
from xsyn_core.boxes import of_mask
from xsyn_core.simulation.physics import coefficients, transmission
from xsyn_core.simulation.scene import random_scene
from xsyn_core.training import data, segmenter_data
from xsyn_core.training.architectures import CELL
from xsyn_core.training.data import WINDOW
from xsyn_core.training.denoiser_batches import timesteps
from xsyn_core.training.denoiser_data import keep_mask, loosened, window


@pytest.fixture(scope="module")
def shard(rendered):
    return data.Shard.open(rendered / "seed5" / "00000", 0)


def test_boxes_are_those_of_the_silhouettes(shard, rendered):
    for index in range(len(shard.images)):
        for mask, box in zip(shard.silhouettes(index), shard.boxes[index], strict=True):
            tight = of_mask(mask)
            if tight is None or mask.sum() < 20:
                continue
            # masks are kept at half the resolution, where thin tips vanish
            assert np.abs(np.array(tight) * 2 - box).max() <= 8
    pictures = segmenter_data.Pictures.open(rendered / "segmenter5" / "00000")
    for index, boxes in enumerate(pictures.boxes):
        for which, box in enumerate(boxes):
            assert (of_mask(pictures.silhouette(index, which)) or (0, 0, 0, 0)) == tuple(box)


def test_a_window_is_cut_around_its_first_object(shard):
    assert (shard.target[shard.whole] == -1).all()
    for index in np.flatnonzero(~shard.whole):
        x1, y1, x2, y2 = shard.boxes[index][0]
        assert shard.target[index] == 0 and shard.categories[index][0] >= 0
        assert max(x2 - x1, y2 - y1) > data.SIDE / 5


def test_shards_repeat_themselves(shard, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SCENES", 2)
    data.make_shard((tmp_path, 5, 0))
    data.expose_shard((tmp_path, 5, 0, 0))
    again = data.Shard.open(tmp_path / "00000", 0)
    assert np.array_equal(again.images, shard.images)
    assert np.array_equal(again.masks, shard.masks)


def test_a_plain_window_shows_its_item_and_no_clutter(shard):
    for index in np.flatnonzero(shard.whole):
        assert not shard.plain[index].any()
    edges = []
    for index in np.flatnonzero(~shard.whole):
        item = shard.silhouettes(index)[0].repeat(2, 0).repeat(2, 1)
        # some way off the item's own edge
        around = cv2.dilate(item.astype(np.uint8), np.ones((13, 13), np.uint8))
        full, plain = (b[index].astype(float).sum(0) for b in (shard.basis, shard.plain_basis))
        assert plain[item].mean() > plain[around == 0].mean()
        assert plain.mean() <= 1.01 * full.mean()
        slopes = [np.abs(np.diff(x, axis=0))[around[1:] == 0].mean() for x in (full, plain)]
        edges.append(slopes)
    full, plain = np.mean(edges, 0)
    assert plain < full / 4


def test_what_covers_much_is_background_and_what_is_small_is_clutter():
    bag = np.full((2, data.SIDE, data.SIDE), 0.5, np.float32)
    bag[:, :, : data.SIDE // 2] = 1.5
    cluttered = bag.copy()
    cluttered[:, 100:120] += 2
    cluttered[:, 60:90, 150:180] += 1
    assert np.abs(data.background(cluttered) - data.background(bag)).max() < 0.05
    assert np.allclose(data.background(bag)[:, :, [10, -10]], bag[:, :, [10, -10]], atol=0.05)


def test_a_row_is_cut_painted_and_masked_alike(shard):
    rng = np.random.default_rng(0)
    for index in np.repeat(np.flatnonzero(~shard.whole), 4):
        row = window(shard, int(index), rng)
        keep = keep_mask(row["boxes"], WINDOW // CELL).repeat(CELL, 0).repeat(CELL, 1)
        assert np.array_equal(row["clean"][keep], row["masked"][keep])
        assert (row["masked"][~keep] == 127).all()
        used = row["categories"] >= 0
        assert used[0] and np.array_equal(used, (row["boxes"] != 0).any(1))
        # the item lies in what is repainted
        cells = row["silhouettes"].repeat(CELL // PARTS, 0).repeat(CELL // PARTS, 1)
        assert cells[~keep].sum() > 0.97 * cells.sum()
        # and takes light there
        assert row["clean"][cells > 200].mean() < row["clean"][~keep & (cells == 0)].mean()


def test_a_row_tells_where_an_item_lies_and_where_it_is_dense(shard):
    rng, apart = np.random.default_rng(0), []
    for index in np.repeat(np.flatnonzero(~shard.whole), 4):
        row = window(shard, int(index), rng)
        covered, shades = row["silhouettes"].astype(float), row["shades"].astype(float)
        assert ((shades > 0) <= (covered > 0)).all() and (shades <= covered).all()
        # half of what is told of a spot is that an item lies there
        assert (shades >= covered / 2 - 1).all()
        light = row["clean"].reshape(64, 2, 64, 2, 3).mean((1, 3, 4))
        item = covered == 255
        if item.sum() > 20 and np.ptp(shades[item]) > 60:
            middle = np.median(shades[item])
            apart.append(
                light[item & (shades > middle)].mean() < light[item & (shades < middle)].mean()
            )
    assert len(apart) > 5 and np.mean(apart) > 0.9


@pytest.mark.parametrize(("material", "mm"), [("steel", 0.2), ("plastic", 10.0), ("steel", 40.0)])
def test_density_is_the_root_of_the_optical_density(material, mm):
    low, high = transmission(np.reshape(coefficients(material), (2, 1, 1)) * np.float32(mm))
    optical = -np.log(max((low + high).item() / 2, 1e-6))
    maps = np.zeros((2, 3, 4), np.float32)
    maps[:, 1, 2] = np.multiply(coefficients(material), mm)
    found = data.density(maps)
    assert found[1, 2] == pytest.approx(min(1, (optical / data.DENSEST) ** 0.5), abs=1e-3)
    assert (found > 0).sum() == 1


def test_some_windows_lose_clutter_and_nothing_else():
    scene = random_scene(np.random.default_rng(0), categories=["Knife"])
    kept = []
    for seed in range(60):
        thinner = data._thinned(scene, np.random.default_rng(seed))
        assert thinner.prohibited == scene.prohibited and thinner.bag is scene.bag
        ids = [id(c) for c in scene.contents]
        order = [ids.index(id(c)) for c in thinner.contents]
        assert order == sorted(set(order))
        kept.append(len(order) / len(ids))
    assert 0.2 < np.mean(np.array(kept) == 1) < 0.6
    assert min(kept) < 0.2


def test_timesteps_reach_everywhere_and_gather_where_shapes_are_decided():
    t = timesteps(4000, np.random.default_rng(0))
    assert t.dtype == np.int64 and t.min() >= 0 and t.max() <= 999
    assert np.mean((t > 350) & (t < 750)) > 0.6
    assert np.mean(t > 950) > 0.005 and np.mean(t < 50) > 0.005


@given(
    st.lists(
        st.tuples(*[st.floats(0, 0.99)] * 2, *[st.floats(0.01, 1)] * 2),
        max_size=3,
    )
)
def test_keep_mask_greys_every_cell_that_a_box_touches(corners):
    boxes = [
        (x, y, min(1.0, x + w), min(1.0, y + h))
        for x, y, w, h in corners
        if x + w > x and y + h > y
    ]
    mask = keep_mask(np.array(boxes, np.float32).reshape(-1, 4), 16)
    for row in range(16):
        for column in range(16):
            touched = any(
                np.float32(x1) * 16 < column + 1
                and np.float32(x2) * 16 > column
                and np.float32(y1) * 16 < row + 1
                and np.float32(y2) * 16 > row
                for x1, y1, x2, y2 in boxes
            )
            assert mask[row, column] != touched


@given(st.integers(0, 10**6))
def test_a_loose_box_holds_the_item(seed):
    rng = np.random.default_rng(seed)
    x1, y1 = rng.uniform(0, 0.6, 2)
    box = np.array([x1, y1, x1 + rng.uniform(0.1, 0.4), y1 + rng.uniform(0.1, 0.4)], np.float32)
    loose = loosened(box, rng)
    assert (loose[:2] <= box[:2]).all() and (loose[2:] >= box[2:]).all()
    assert loose.min() >= 0 and loose.max() <= 1
