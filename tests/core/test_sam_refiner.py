"""The second look at a mask, against loops and against SAM without it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything import SamPredictor

from xsyn_core import sam_refiner
from xsyn_core.sam_checkpoint import load_sam, save_sam
from xsyn_core.sam_refiner import POINT, Refiner, drawn, shrunk
from xsyn_core.segmentation import Segmenter
from xsyn_core.training import architectures

CELLS = 64
BOX = np.array([40.0, 30.0, 90.0, 110.0])


@pytest.fixture(scope="module")
def sam():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = architectures.build_sam()
    for mlp in made.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.data.mul_(30)
    made.zoom = 1.4
    return made.requires_grad_(False)


@pytest.fixture
def refined(sam):
    """The same with an untrained refiner, which leaves masks as they are."""
    sam.refiner = Refiner((8, 16), (2, 1)).requires_grad_(False).eval()
    yield sam
    del sam.refiner


@pytest.fixture(scope="module")
def image():
    coarse = np.random.default_rng(1).integers(0, 256, (12, 15, 3), dtype=np.uint8)
    return coarse.repeat(12, 0).repeat(12, 1)


edge = st.floats(-8, 24, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.tuples(edge, edge, edge, edge))
def test_a_box_is_drawn_as_the_share_of_each_cell(ends):
    x1, x2 = sorted(ends[:2])
    y1, y2 = sorted(ends[2:])
    got = drawn(np.array([x1, y1, x2, y2]), None, None, 16)
    assert got.shape == (3, 16, 16) and got.dtype == np.float32 and not got[1:].any()
    for y in range(16):
        for x in range(16):
            width = max(0.0, min(x + 1, x2) - max(x, x1))
            height = max(0.0, min(y + 1, y2) - max(y, y1))
            assert got[0, y, x] == pytest.approx(width * height, abs=1e-5)


def test_points_are_drawn_as_bumps_each_kind_in_its_own_picture():
    points, labels = np.array([[3.5, 4.5], [10.0, 2.0], [8.0, 8.0]]), np.array([1, 1, 0])
    got = drawn(None, points, labels, 16)
    assert not got[0].any()
    for channel, label in ((1, 1), (2, 0)):
        for y in range(16):
            for x in range(16):
                near = min(
                    np.hypot(x + 0.5 - px, y + 0.5 - py)
                    for (px, py), own in zip(points, labels, strict=True)
                    if own == label
                )
                expected = np.exp(-((near / POINT) ** 2) / 2)
                assert got[channel, y, x] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("size", "kept"), [((50, 100), (8, 16)), ((9, 3), (16, 5)), ((1, 1), (16, 16))]
)
def test_pictures_keep_their_shape_in_the_square(size, kept):
    got = shrunk(np.full((*size, 3), 200, np.uint8), 8)
    assert got.shape == (16, 16, 3)
    assert (got[: kept[0], : kept[1]] == 200).all()
    assert got.sum() == 3 * 200 * kept[0] * kept[1]


def test_shrinking_averages():
    fine = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    means = fine.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(shrunk(fine, 8) - means).max() <= 1


def test_untrained_it_leaves_masks_as_they_are(refined, image):
    both, plain = Segmenter(refined), Segmenter(refined)
    plain.refiner = None
    assert both.refiner is not None
    for prompt in (
        {"box": BOX},
        {"box": (2, 2, 178, 140)},
        {"box": BOX, "points": np.array([[60, 60], [80, 100]]), "labels": np.array([1, 0])},
        {"points": np.array([[60, 60]]), "labels": np.array([1])},
    ):
        got, expected = (m.segment(m.embed(image), **prompt) for m in (both, plain))
        assert got.area and np.array_equal(got.mask, expected.mask)


def test_it_sees_the_window_the_prompt_and_the_logits(refined, image):
    """A refiner that is one sum of what it sees, against the same sum by hand."""
    seen = []

    class Sum(torch.nn.Module):
        masks = 2

        def forward(self, pixels, logits, prompts):
            seen.append((pixels, logits, prompts))
            mean = torch.nn.functional.avg_pool2d(pixels.mean(1, keepdim=True), 2)
            return 0.1 * logits.mean(1, keepdim=True) + 2 * mean + prompts[:, :1] - 0.6

    segmenter = Segmenter(refined)
    segmenter.refiner = Sum()
    points, labels = np.array([[60.0, 60.0], [5.0, 5.0]]), np.array([1, 0])
    got = segmenter.segment(segmenter.embed(image), box=BOX, points=points, labels=labels)
    x1, y1, x2, y2 = segmenter.view(BOX, image.shape[:2])
    window = image[y1:y2, x1:x2]
    pixels, logits, prompts = seen[0]
    assert pixels.shape == (1, 3, 2 * CELLS, 2 * CELLS)
    torch.testing.assert_close(
        pixels, sam_refiner.seen(torch.from_numpy(shrunk(window, CELLS))[None])
    )
    scale = CELLS / (x2 - x1)
    here = (BOX - (x1, y1, x1, y1)) * scale
    # the point outside the window is left out
    expected = drawn(here, (points[:1] - (x1, y1)) * scale, labels[:1], CELLS)
    np.testing.assert_allclose(prompts[0].numpy(), expected, atol=1e-4)
    predictor = SamPredictor(refined)
    predictor.set_image(window)
    own = predictor.predict(
        points[:1] - (x1, y1),
        labels[:1],
        BOX - (x1, y1, x1, y1),
        multimask_output=False,
        return_logits=True,
    )[2]
    alike = {"rtol": 1e-3, "atol": 1e-3}
    torch.testing.assert_close(logits[0, 0], torch.from_numpy(own[0]), **alike)
    several = predictor.predict(
        points[:1] - (x1, y1), labels[:1], BOX - (x1, y1, x1, y1), return_logits=True
    )[2]
    torch.testing.assert_close(logits[0, 1], torch.from_numpy(several[0]), **alike)
    total = Sum()(pixels, logits, prompts)
    fine = torch.nn.functional.interpolate(total, (y2 - y1, x2 - x1), mode="bilinear")[0, 0] > 0
    there = got.mask[y1:y2, x1:x2]
    assert 0.1 < there.mean() < 0.9
    assert (there == fine.numpy()).mean() > 0.99


def test_it_travels_with_the_weights(refined, tmp_path, image):
    for parameter in refined.refiner.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    refined.half().float()
    save_sam(tmp_path / "sam.safetensors", refined, zoom=1.4)
    loaded = load_sam(tmp_path / "sam.safetensors")
    old, new = refined.state_dict(), loaded.state_dict()
    assert list(old) == list(new) and all(old[k].equal(new[k]) for k in old)
    one, two = (m.segment(m.embed(image), box=BOX) for m in map(Segmenter, (refined, loaded)))
    assert np.array_equal(one.mask, two.mask)
    without = Segmenter(loaded)
    without.refiner = None
    assert (without.segment(without.embed(image), box=BOX).mask != two.mask).any()


def test_every_weight_takes_part():
    torch.manual_seed(0)
    refiner = Refiner()
    torch.nn.init.normal_(refiner.leave.weight)
    one = refiner(torch.rand(2, 3, 128, 128), torch.randn(2, 4, 64, 64), torch.rand(2, 3, 64, 64))
    assert one.shape == (2, 1, 64, 64)
    one.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in refiner.parameters())
