"""Items after a painter's attention, from which the segmenter learns to label."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from xsyn_core.refinement import active_region
from xsyn_core.sam_checkpoint import load_sam, save_sam
from xsyn_core.segmentation import Segmenter
from xsyn_core.training import architectures, attended_items, data, painter_items
from xsyn_core.weights import load_models

ROOT = Path(__file__).parents[2]


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


@pytest.fixture(scope="module")
def made(rendered, tmp_path_factory):
    """Items of the shard of two scenes, some of them painted, and the segmenter of their r_i."""
    folder = tmp_path_factory.mktemp("items")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_sam(folder / "sam.safetensors", architectures.build_sam(), zoom=1.4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(painter_items, "PAINTING", 4)
        patch.setattr(attended_items, "TOGETHER", 2)
        patch.setattr(attended_items, "PAINTED", 0.5)
        painter, source = ROOT / "assets/diffusion", rendered / "seed5" / "00000"
        task = (folder / "sam.safetensors", painter, source, folder / "00000", 5, 0)
        attended_items.make_items(task)
    return attended_items.Items.open(folder / "00000"), Segmenter(
        load_sam(folder / "sam.safetensors")
    )


def test_items_keep_what_labels_are_made_of(made, shard):
    items, segmenter = made
    known = {shard.images[k].tobytes() for k in np.flatnonzero(shard.target >= 0)}
    assert 0 < items.painted.mean() < 1 and len(items.painted) >= 4
    for k in range(len(items.painted)):
        image = items.images[k]
        assert (image.tobytes() in known) != items.painted[k]
        if items.painted[k]:
            assert np.array_equal(data.halved(image).repeat(2, 0).repeat(2, 1), image)
        attention = items.attention[k].astype(np.float32)
        x1, y1, x2, y2 = items.boxes[k]
        region, _ = active_region(segmenter, attention, (x1, y1, x2, y2))
        kept = np.unpackbits(items.regions[k], axis=-1).astype(bool)
        # maps are kept in half precision
        assert (region != kept).mean() < 0.02
        assert np.unpackbits(items.masks[k]).any() and attention.max() > 0


def test_labels_are_made_from_all_their_prompts(made):
    items, _ = made
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(60):
        found = items.query(0, rng)
        grey = bool((found.window == found.window[..., :1]).all())
        assert len(found.box) == 4 and (found.truth > 0.5).any()
        assert not (grey and len(found.points))
        kinds.add((grey, len(found.points)))
    assert kinds >= {(True, 0), (False, 2), (False, 16)}


def test_points_lie_where_the_painter_looked(made):
    rng = np.random.default_rng(0)
    image = np.tile(np.arange(128, dtype=np.uint8)[:, None, None], (1, 128, 3))
    mask = np.zeros((128, 128), bool)
    mask[50:70, 40:60] = True
    attention = mask * rng.uniform(0.5, 1, mask.shape).astype(np.float32)
    inside = []
    for _ in range(30):
        found = attended_items.labelled(image, mask, (30.0, 40.0, 70.0, 80.0), attention, mask, rng)
        on = found.truth[
            (found.points[:, 1] // 4).astype(int), (found.points[:, 0] // 4).astype(int)
        ]
        inside += (on[found.labels == 1] > 0.3).tolist()
        assert not (on[found.labels == 0] > 0.9).any()
    assert len(inside) > 100 and np.mean(inside) > 0.97


def test_a_shade_keeps_the_item_and_what_lies_outside_the_box():
    rng = np.random.default_rng(0)
    image = np.full((128, 128, 3), 150, np.uint8)
    mask = np.zeros((128, 128), bool)
    mask[50:70, 50:70] = True
    found = [attended_items.shaded(image, mask, (40.0, 40.0, 90.0, 90.0), rng) for _ in range(20)]
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
