"""What the segmenter is trained on and by, against slow and obvious versions."""

import numpy as np
import pytest
import torch

from xsyn_core.sam_refiner import Refiner
from xsyn_core.training import architectures, data, segmenter_data
from xsyn_core.training.segmenter import WAYS, asked, losses, refined_losses, sample


@pytest.fixture(scope="module")
def shard(rendered):
    return segmenter_data.Pictures.open(rendered / "segmenter5" / "00000")


def test_each_scan_comes_before_windows_around_what_is_in_it(shard):
    assert shard.whole.sum() == 2 and shard.whole[0] and len(shard.whole) == 4
    sides = [np.ptp(boxes[0].reshape(2, 2), 0).max() for boxes in shard.boxes[~shard.whole]]
    assert min(sides) > 0 and max(sides) <= data.SIDE
    assert np.median(sides) > data.SIDE / 2.5


def test_pictures_repeat_themselves(shard, tmp_path, monkeypatch):
    monkeypatch.setattr(segmenter_data, "SCENES", 2)
    segmenter_data.make_pictures((tmp_path, 5, 0))
    again = segmenter_data.Pictures.open(tmp_path / "00000")
    for name in segmenter_data.Pictures.__dataclass_fields__:
        assert np.array_equal(getattr(again, name), getattr(shard, name))


def test_loss_of_the_refiner_against_a_loop():
    rng = np.random.default_rng(0)
    logits, shares = rng.normal(0, 2, (2, 1, 4, 4)), rng.random((2, 1, 4, 4))
    got = refined_losses(torch.from_numpy(logits), torch.from_numpy(shares)).tolist()
    expected = []
    for n in range(2):
        entropy = overlap = total = 0.0
        for x, share in zip(logits[n].flat, shares[n].flat, strict=True):
            p = 1 / (1 + np.exp(-x))
            entropy += (-share * np.log(p) - (1 - share) * np.log(1 - p)) / 16
            overlap, total = overlap + p * share, total + p + share
        expected.append(entropy + 2 * (1 - (overlap + 1) / (total - overlap + 1)))
    assert got == pytest.approx(expected, rel=1e-5)


def test_anything_in_scans_and_windows_is_asked_for(shard):
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(80):
        found = asked([shard], "click", rng)
        seen |= {k for k, image in enumerate(shard.images) if np.array_equal(found.window, image)}
    assert seen == set(range(len(shard.images)))


def test_a_batch_is_asked_for_as_often_as_it_is_said(shard):
    rng = np.random.default_rng(0)
    kinds = {"box": (4, 0), "click": (0, 1), "again": (4, 1)}
    for only, (way, shape) in enumerate(kinds.items()):
        assert list(WAYS)[only] == way
        (found,) = sample([shard], [], 6, np.eye(4)[only], rng)
        assert (found.box.shape[1], found.labels.shape[1]) == shape
        assert len({window.numpy().tobytes() for window in found.window}) > 1
    counts = {}
    for some in sample([shard], [], 200, np.array([0.5, 0.3, 0.2, 0]), rng):
        counts[some.box.shape[1], some.labels.shape[1]] = len(some.truth)
    assert counts[4, 0] > counts[0, 1] > counts[4, 1] and sum(counts.values()) == 200


def test_sam_and_its_refiner_learn_from_their_own_masks(shard):
    torch.manual_seed(0)
    sam = architectures.build_sam()
    sam.refiner = Refiner()
    queries = sample([shard], [], 8, np.array([0.4, 0.4, 0.2, 0]), np.random.default_rng(1))
    told = losses(sam, queries, torch.device("cpu"))
    # untrained the refiner leaves masks as they are
    assert {name for name in told if name.startswith("sam_")} == {
        "sam_box",
        "sam_click",
        "sam_again",
    }
    for name in ("box", "click", "again"):
        assert told[name] == told["sam_" + name]
    together = torch.autograd.grad(told["loss"], list(sam.parameters()), allow_unused=True)
    given = {
        name.split(".")[0]
        for (name, _), gradient in zip(sam.named_parameters(), together, strict=True)
        if gradient is not None and gradient.any()
    }
    assert given == {"image_encoder", "prompt_encoder", "mask_decoder", "refiner"}
    # the loss is the same whatever the prompts are batched with
    alone = [losses(sam, [some], torch.device("cpu"))["loss"] * len(some.truth) for some in queries]
    mean = sum(alone) / sum(len(some.truth) for some in queries)
    assert told["loss"].item() == pytest.approx(mean.item(), rel=2e-2)
