"""Large windows are gone through once more with cells half as large."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xsyn_core import boxes, finishing, inpainting
from xsyn_core.compositing import FEATHER, harmonise
from xsyn_core.concealment import to_pixels, to_tensor
from xsyn_core.frames import Frame
from xsyn_core.inpainting import guided, make_scheduler
from xsyn_core.painting import Window
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import make_scan
from xsyn_core.synthesis import Synthesizer

# windows of 179, and of 80 pixels: the model's side is 128
LARGE = Grounding("Gun", (150.0, 60.0, 262.0, 150.0))
SMALL = Grounding("Knife", (30.0, 40.0, 80.0, 80.0))
FIVE = Request((LARGE,), steps=5)


@pytest.fixture(scope="module")
def synthesizer(drawn_models):
    with pytest.MonkeyPatch.context() as patch:
        # two of five steps
        patch.setitem(drawn_models.diffusion.unet.config, "finishing", 400)
        yield Synthesizer(drawn_models)


def painted(synthesizer, scan, request):
    """Every `Progress` and the painting."""
    steps = list(synthesizer.paint(scan, request))
    assert all(step.result is None for step in steps[:-1])
    return steps, steps[-1].result


def watched(model, monkeypatch):
    """Inputs (B, 2c + 1, h, w) and timestep of every call of the UNet."""
    calls, forward = [], model.unet.forward

    def spy(sample, timestep, **options):
        calls.append((sample.clone(), int(timestep)))
        return forward(sample, timestep, **options)

    monkeypatch.setattr(model.unet, "forward", spy)
    return calls


@given(st.integers(1, 60), st.sampled_from(["ddim", "dpm++"]), st.integers(1, 1000))
def test_the_steps_of_less_noise_than_the_model_begins_from(tiny_models, steps, sampler, begin):
    model = tiny_models.diffusion
    coarse, as_fine = (
        Window(Frame((9, 9, 9 + side, 9 + side), (128, 128)), torch.zeros(0), (0,), ())
        for side in (129, 128)
    )
    request = Request((LARGE,), steps=steps, sampler=sampler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(model.unet.config, "finishing", begin)
        found = finishing.finishing_steps(model, request, [as_fine, coarse])
        counted = min(steps, finishing.STEPS)
        noises = make_scheduler(model.scheduler, sampler, counted).timesteps.tolist()
        assert found == len([t for t in noises if t < begin])
        assert finishing.finishing_steps(model, request, [as_fine]) == 0
        patch.setitem(model.unet.config, "finishing", 0)
        assert finishing.finishing_steps(model, request, [as_fine, coarse]) == 0


def test_a_longer_run_is_finished_with_the_steps_of_a_shorter(synthesizer, drawn_scan, monkeypatch):
    monkeypatch.setattr(finishing, "STEPS", 4)
    calls = watched(synthesizer.models.diffusion, monkeypatch)
    steps, result = painted(synthesizer, drawn_scan, FIVE)
    # of five steps, then those of four with less noise than 400
    assert [t for _, t in calls] == [999, 799, 599, 399, 199, 249]
    assert [(s.step, s.steps) for s in steps] == [(k, 6) for k in range(1, 7)]
    assert result.windows[0].latents.shape[-2:] == (32, 32)


def test_it_begins_with_what_was_painted_enlarged_and_noised(synthesizer, drawn_scan, monkeypatch):
    model = synthesizer.models.diffusion
    calls = watched(model, monkeypatch)
    steps, result = painted(synthesizer, drawn_scan, FIVE)
    # 999, 799, 599, 399 and 199; then the last two again
    assert [t for _, t in calls] == [999, 799, 599, 399, 199, 399, 199]
    assert [len(z) for z, _ in calls] == [2] * 7
    assert [(s.step, s.steps) for s in steps] == [(k, 7) for k in range(1, 8)]
    (window,) = result.windows[:1]
    assert window.frame.size == (256, 256) and window.latents.shape[-2:] == (32, 32)

    monkeypatch.setitem(model.unet.config, "finishing", 0)
    _, before = painted(synthesizer, drawn_scan, FIVE)
    assert before.windows[0].frame == Frame(window.frame.box, (128, 128))
    fine, pixels = window.frame.cut(drawn_scan.pixels), drawn_scan.pixels
    expected, coarse = fine.copy(), to_pixels(model.decode(before.windows[0].latents[None])[0])
    x1, y1, x2, y2 = (8 * v for v in before.windows[0].frame.cells(LARGE.box, 8))
    repainted = np.zeros((128, 128), bool)
    repainted[y1:y2, x1:x2] = True
    coarse = harmonise(coarse, before.windows[0].frame.cut(pixels), repainted)
    enlarged = cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    x1, y1, x2, y2 = (8 * v for v in window.frame.cells(LARGE.box, 8))
    expected[y1:y2, x1:x2] = enlarged[y1:y2, x1:x2]
    signal = make_scheduler(model.scheduler, "ddim", 5).alphas_cumprod[399]
    c = model.channels
    noise = torch.randn(1, c, 32, 32, generator=torch.Generator().manual_seed(0))
    state = signal.sqrt() * model.encode(to_tensor(expected)[None]) + (1 - signal).sqrt() * noise
    without, seen = calls[5][0].chunk(2)
    # unconditional rows see the sketch too: only what is told differs
    assert torch.equal(without, seen)
    torch.testing.assert_close(seen[:, :c], state, atol=1e-4, rtol=1e-4)

    # in sight of it, under a mask of its own
    cells = torch.zeros(32, 32, dtype=torch.bool)
    cells[y1 // 8 : y2 // 8, x1 // 8 : x2 // 8] = True
    sketch = model.encode(to_tensor(expected)[None])
    torch.testing.assert_close(seen[:, c:-1][..., cells], sketch[..., cells], atol=1e-4, rtol=1e-4)
    assert torch.equal(seen[0, -1], torch.where(cells, 0.5, 1.0))
    assert set(calls[4][0][:, -1].unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(("asked", "found"), [(1, 1), (1.5, 1.5), (7.5, 2)])
def test_it_is_guided_a_little_and_no_more_than_asked(
    synthesizer, drawn_scan, monkeypatch, asked, found
):
    model = synthesizer.models.diffusion
    monkeypatch.setitem(model.unet.config, "shaped", 0)
    used = []

    def spy(without, conditional, guidance, *others):
        used.append(guidance)
        return guided(without, conditional, guidance, *others)

    monkeypatch.setattr(inpainting, "guided", spy)
    calls = watched(model, monkeypatch)
    painted(synthesizer, drawn_scan, replace(FIVE, guidance=asked))
    rows = [len(z) for z, _ in calls]
    if asked == 1:
        assert (rows, used) == ([1] * 7, [])
    else:
        assert (rows, used) == ([2] * 7, [asked] * 5 + [found] * 2)


def test_nothing_else_changes(synthesizer, drawn_scan):
    sample = synthesizer.synthesize(drawn_scan, FIVE)
    changed = (sample.clear != drawn_scan.pixels).any(-1)
    assert changed[60:150, 150:262].mean() > 0.5
    x1, y1, x2, y2 = boxes.outward(boxes.expand(LARGE.box, FEATHER))
    changed[y1:y2, x1:x2] = False
    assert not changed.any()
    again = synthesizer.synthesize(drawn_scan, FIVE)
    assert np.array_equal(again.image, sample.image)


def test_maps_and_points_are_those_of_the_painting_itself(synthesizer, drawn_scan, monkeypatch):
    _, result = painted(synthesizer, drawn_scan, FIVE)
    monkeypatch.setitem(synthesizer.models.diffusion.unet.config, "finishing", 0)
    _, before = painted(synthesizer, drawn_scan, FIVE)
    assert np.array_equal(result.attention[0], before.attention[0])
    assert not np.array_equal(result.clear, before.clear)


def test_what_is_small_stays_as_it_was_painted(synthesizer, drawn_scan, monkeypatch):
    calls = watched(synthesizer.models.diffusion, monkeypatch)
    _, result = painted(synthesizer, drawn_scan, replace(FIVE, groundings=(SMALL, LARGE)))
    small, large = result.windows[:2]
    assert small.frame.size == (128, 128) and small.latents.shape[-2:] == (16, 16)
    assert large.frame.size == (256, 256) and large.latents.shape[-2:] == (32, 32)
    assert [tuple(z.shape[2:]) for z, _ in calls] == [(16, 16)] * 5 + [(32, 32)] * 2
    _, alone = painted(synthesizer, drawn_scan, replace(FIVE, groundings=(SMALL,)))
    assert len(calls) == 7 + 5
    assert alone.windows[0].frame.size == (128, 128)


@pytest.mark.parametrize("change", [{"frame": "whole"}, {"occlusion": "every-step"}])
def test_whole_scans_and_what_is_hidden_inside_the_loop_are_left_alone(
    synthesizer, drawn_scan, monkeypatch, change
):
    calls = watched(synthesizer.models.diffusion, monkeypatch)
    steps, _ = painted(synthesizer, drawn_scan, replace(FIVE, **change))
    assert len(calls) == len(steps) == 5


def test_it_can_be_hidden_and_labelled_as_any_other(synthesizer, drawn_scan):
    _, result = painted(synthesizer, drawn_scan, FIVE)
    refined = synthesizer.refine(result)
    clear, hidden = (synthesizer.occlude(refined, alpha) for alpha in (0.0, 0.6))
    assert np.array_equal(clear.image, clear.clear)
    changed = (hidden.image != hidden.clear).any(-1)
    assert changed.any()
    for box in hidden.occlusion.occluded:
        x1, y1, x2, y2 = boxes.outward(boxes.clip(boxes.expand(box, FEATHER), drawn_scan.size))
        changed[y1:y2, x1:x2] = False
    assert not changed.any()
    assert hidden.objects[0].refined == clear.objects[0].refined


def test_a_window_that_reaches_beyond_a_narrow_scan(synthesizer):
    rng = np.random.default_rng(0)
    scan = make_scan(rng.integers(0, 255, (100, 300, 3), np.uint8), "narrow.png")
    request = replace(FIVE, groundings=(Grounding("Baton", (20.0, 5.0, 270.0, 95.0)),))
    _, result = painted(synthesizer, scan, request)
    changed = (result.clear != scan.pixels).any(-1)
    assert changed[5:95, 20:270].mean() > 0.5
    assert not changed[:, : 20 - 6].any() and not changed[:, 270 + 6 :].any()
