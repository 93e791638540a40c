"""What the segmenter learns of whole scans, against loops over objects and cells."""

import cv2
import numpy as np
import pytest
import torch

from xsyn_core.boxes import iou, of_mask
from xsyn_core.simulation.rendering import middle
from xsyn_core.training import all_objects, architectures
from xsyn_core.training.all_objects import CLICKS, GRID, Head, box_iou, marked, middle_loss
from xsyn_core.training.data import SIDE
from xsyn_core.training.queries import CELLS
from xsyn_core.training.segmenter import Learner
from xsyn_core.training.segmenter_data import Pictures

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shard(rendered):
    return Pictures.open(rendered / "segmenter5" / "00000")


@pytest.fixture
def learner():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Learner(architectures.build_sam())


def turns(values, axes=(0, 1)):
    """All eight ways in which a picture lies."""
    for k in range(4):
        yield np.rot90(values, k, axes)
        yield np.flip(np.rot90(values, k, axes), axes[1])


def test_each_row_is_a_whole_scan_with_clicks_on_what_is_in_it(shard):
    scans = all_objects.whole_scans([shard], 24, np.random.default_rng(0))
    whole, lying = np.flatnonzero(shard.whole), set()
    for row in range(24):
        ((index, way),) = (
            (int(k), n)
            for k in whole
            for n, image in enumerate(turns(shard.images[k]))
            if np.array_equal(image, scans.images[row])
        )
        lying.add((index, way))
        present = np.flatnonzero(shard.boxes[index][:, 2])
        masks = [list(turns(shard.silhouette(index, k)))[way] for k in present]
        asked = set()
        for n in range(CLICKS):
            x, y = scans.clicks[row, n].tolist()
            truth = scans.truth[row * CLICKS + n, 0].numpy()
            fits = [
                k
                for k, mask in enumerate(masks)
                if np.allclose(
                    cv2.resize(mask * 1.0, (CELLS, CELLS), interpolation=cv2.INTER_AREA),
                    truth,
                    atol=1e-3,
                )
            ]
            assert len(fits) == 1
            mask = masks[fits[0]]
            asked.add(fits[0])
            assert mask[min(int(y), SIDE - 1), min(int(x), SIDE - 1)]
            assert scans.boxes[row, n].tolist() == pytest.approx(list(of_mask(mask)))
        assert len(asked) == min(CLICKS, len(masks))
        # the deepest pixel may be another one of several once a picture is turned
        found = np.argwhere(scans.middles[row].numpy() > 0.3)
        middles = [middle(mask) / all_objects.STRIDE for mask in masks]
        assert len(found) >= 1 and scans.middles[row].max() <= 1
        if way == 0:
            for x, y in middles:
                assert scans.middles[row, int(y), int(x)] > 0.5
    assert {index for index, _ in lying} == set(whole.tolist()) and len(lying) > 8


def test_marks_of_middles_against_a_loop():
    middles = np.float32([[20.5, 100.5], [24.5, 100.5], [255.0, 3.0]])
    got = marked(middles)
    for j, i in np.ndindex(GRID, GRID):
        near = min((i + 0.5 - x / 8) ** 2 + (j + 0.5 - y / 8) ** 2 for x, y in middles)
        assert got[j, i] == pytest.approx(np.exp(-near / 0.72), rel=1e-4, abs=1e-30)
    assert got.shape == (GRID, GRID)


def test_loss_of_middles_against_a_loop():
    rng = np.random.default_rng(0)
    logits, marks = rng.normal(0, 2, (2, 3, 4)), rng.random((2, 3, 4)) ** 4
    total = 0.0
    for z, mark in zip(logits.flat, marks.flat, strict=True):
        p = 1 / (1 + np.exp(-z))
        total -= mark * (1 - p) ** 2 * np.log(p) + (1 - mark) ** 4 * p**2 * np.log(1 - p)
    got = middle_loss(torch.from_numpy(logits), torch.from_numpy(marks)).item()
    assert got == pytest.approx(total / marks.sum())
    # far off it is finite, and far right it is none
    sure = torch.tensor([[[-200.0, 200.0]]])
    assert middle_loss(sure, torch.tensor([[[0.0, 1.0]]])).item() == pytest.approx(0, abs=1e-6)
    assert 100 < middle_loss(-sure, torch.tensor([[[0.0, 1.0]]])).item() < 1000


def test_iou_of_boxes_is_that_of_single_ones():
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 60, (2, 200, 2, 2))
    found, true = np.concatenate([corners.min(2), corners.max(2) + 2], 2).astype(np.float32)
    got = box_iou(torch.from_numpy(found), torch.from_numpy(true))
    expected = [iou(tuple(a), tuple(b)) for a, b in zip(found, true, strict=True)]
    assert min(expected) == 0 < max(expected)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


class Told(torch.nn.Module):
    """A head that knows the answers to one batch."""

    def __init__(self, scans, wrong=0.0):
        super().__init__()
        self.scans, self.wrong = scans, wrong

    def forward(self, tokens, details):
        scans = self.scans
        count = len(scans.images)
        logits = scans.middles.logit(1e-4)
        reach = torch.zeros(count, 4, GRID, GRID)
        weights = torch.zeros(count, all_objects.PROTOTYPES + 1, GRID, GRID)
        prototypes = torch.zeros(count, all_objects.PROTOTYPES, CELLS, CELLS)
        for row, n in np.ndindex(count, CLICKS):
            x, y = scans.clicks[row, n].tolist()
            x1, y1, x2, y2 = scans.boxes[row, n].tolist()
            i, j = min(int(x / 8), GRID - 1), min(int(y / 8), GRID - 1)
            ends = torch.tensor([x - x1, y - y1, x2 - x, y2 - y]).clamp(min=1)
            reach[row, :, j, i] = (ends / 32).log() + self.wrong
            prototypes[row, n] = 80 * (scans.truth[row * CLICKS + n, 0] > 0.5) - 40.0
            weights[row, n, j, i] = 4.0
        return logits, reach, weights, prototypes


def alone(shard):
    """Scans no two of whose clicks share a cell."""
    for seed in range(100):
        scans = all_objects.whole_scans([shard], 2, np.random.default_rng(seed))
        cells = [{(int(x / 8), int(y / 8)) for x, y in row.tolist()} for row in scans.clicks]
        if all(len(some) == CLICKS for some in cells):
            return scans
    raise AssertionError("clicks always share cells")


def test_a_head_that_knows_the_answers_loses_least(shard, learner):
    scans = alone(shard)
    right, wrong = (
        all_objects.losses(learner.sam, Told(scans, off), scans, CPU) for off in (0.0, 0.5)
    )
    assert right["scan_reach"] > 0.97 > wrong["scan_reach"]
    blank = all_objects.losses(learner.sam, learner.head, scans, CPU)
    assert right["loss"] < min(wrong["loss"], blank["loss"])
    assert right["scan_click"] == wrong["scan_click"] <= right["scan_best"]


def test_encoder_and_head_learn_together(shard, learner):
    scans = all_objects.whole_scans([shard], 2, np.random.default_rng(3))
    loss = all_objects.losses(learner.sam, learner.head, scans, CPU)["loss"]
    names = [name for name, _ in learner.named_parameters()]
    given = torch.autograd.grad(loss, list(learner.parameters()), allow_unused=True)
    learning = {
        ".".join(name.split(".")[:2])
        for name, gradient in zip(names, given, strict=True)
        if gradient is not None and gradient.any()
    }
    assert learning == {
        *("sam.image_encoder", "sam.prompt_encoder", "sam.mask_decoder"),
        *("head.mix", "head.places", "head.weights", "head.prototypes"),
    }
    untold = {n for n, g in zip(names, given, strict=True) if "head." in n and g is None}
    assert not untold


def test_a_head_tells_at_every_cell(learner):
    head = Head(128, (64, 24))
    features = torch.randn(2, 128, 16, 16), (torch.randn(2, 64, 32, 32), torch.randn(2, 24, 64, 64))
    shapes = [tuple(told.shape) for told in head(*features)]
    kinds = all_objects.PROTOTYPES
    assert shapes == [
        *((2, GRID, GRID), (2, 4, GRID, GRID)),
        *((2, kinds + 1, GRID, GRID), (2, kinds, CELLS, CELLS)),
    ]
