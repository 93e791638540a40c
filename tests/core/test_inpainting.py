"""The denoising loop against plain oracles."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from xsyn_core import inpainting
from xsyn_core.attention import AttentionMaps
from xsyn_core.attitudes import Attitude, laid
from xsyn_core.diffusion import Condition
from xsyn_core.errors import XsynError
from xsyn_core.inpainting import denoise, make_scheduler, masked_images
from xsyn_core.training.architectures import LATENT_CHANNELS as CHANNELS


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models.diffusion


@pytest.fixture(scope="module")
def case():
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, 128, 128, generator=generator) * 2 - 1
    mask = torch.ones(1, 1, 16, 16)
    mask[..., 4:9, 5:12] = 0
    return image, mask, Condition("knife", ("knife",), ((5 / 16, 4 / 16, 12 / 16, 9 / 16),))


def run(model, case, seed=0, steps=2, guidance=7.5, sampler="ddim", **options):
    image, mask, condition = case
    generator = torch.Generator().manual_seed(seed)
    options = {"steps": steps, "guidance": guidance, "sampler": sampler, **options}
    return list(denoise(model, image, mask, [condition], generator=generator, **options))


def recorded(model, monkeypatch, case, **options):
    """The UNet's inputs, call by call, and the steps."""
    calls = []
    forward = model.unet.forward

    def spy(sample, timestep, **kwargs):
        result = forward(sample, timestep, **kwargs)
        calls.append((sample.clone(), int(timestep), kwargs, result.sample.clone()))
        return result

    monkeypatch.setattr(model.unet, "forward", spy)
    return calls, run(model, case, **options)


def guided_by_hand(without, conditional, inside, timestep):
    """Outputs (c, h, w) at a guidance of 7.5 with what the embedded models ask for."""
    result = without + (7.5 if timestep >= 600 else 2) * (conditional - without)
    ratio = conditional[:, inside].std(correction=0) / result[:, inside].std(correction=0)
    return 0.7 * ratio * result + 0.3 * result


def test_eq_2_and_ddim_by_hand(model, case, monkeypatch):
    calls, steps = recorded(model, monkeypatch, case, steps=3)
    image, mask, _ = case
    scheduler = make_scheduler(model.scheduler, "ddim", 3)
    alphas = scheduler.alphas_cumprod
    z_input = model.encode(image)
    z_masked = model.encode(masked_images(image, mask)) * mask
    noise = torch.randn(1, CHANNELS, 16, 16, generator=torch.Generator().manual_seed(0))
    state = noise
    for k, (sample, timestep, _, output) in enumerate(calls):
        assert timestep == int(scheduler.timesteps[k])
        a = alphas[timestep]
        noised = a.sqrt() * z_input + (1 - a).sqrt() * noise
        expected = state * (1 - mask) + noised * mask
        for row in sample:
            torch.testing.assert_close(row[:CHANNELS], expected[0], atol=1e-5, rtol=1e-5)
            assert torch.equal(row[CHANNELS : 2 * CHANNELS], z_masked[0])
            assert torch.equal(row[2 * CHANNELS :], mask[0])
        guided = guided_by_hand(*output, mask[0, 0] == 0, timestep)[None]
        clean = a.sqrt() * expected - (1 - a).sqrt() * guided
        epsilon = a.sqrt() * guided + (1 - a).sqrt() * expected
        later = timestep - 1000 // 3
        b = alphas[later] if later >= 0 else scheduler.final_alpha_cumprod
        state = b.sqrt() * clean + (1 - b).sqrt() * epsilon
        if k < 2:
            want = clean * (1 - mask) + z_input * mask
            torch.testing.assert_close(steps[k].latents, want, atol=1e-3, rtol=1e-4)
    want = state * (1 - mask) + z_input * mask
    torch.testing.assert_close(steps[-1].latents, want, atol=1e-3, rtol=1e-4)
    assert [s.number for s in steps] == [1, 2, 3]


@pytest.mark.parametrize("greyed", [True, False])
def test_the_kept_cells_are_those_of_z_0_unless_the_model_asks_for_a_greyed_image(
    model, case, monkeypatch, greyed
):
    assert model.greyed, "as in the embedded shapes"
    image, mask, _ = case
    if greyed:
        wanted = model.encode(masked_images(image, mask)) * mask
    else:
        monkeypatch.setitem(model.unet.config, "greyed", False)
        wanted = model.encode(image) * mask
    calls, _ = recorded(model, monkeypatch, case)
    for sample, *_ in calls:
        for row in sample:
            assert torch.equal(row[CHANNELS : 2 * CHANNELS], wanted[0])
    other = image.clone()
    other[..., 32:72, 40:96] = 0.9
    calls.clear()
    run(model, (other, *case[1:]))
    # a greyed image tells nothing of what was there
    assert torch.equal(calls[0][0][:, CHANNELS : 2 * CHANNELS], wanted.repeat(2, 1, 1, 1)) == greyed


def test_what_comes_after_a_step_goes_on_and_the_last_one_leaves_the_original_outside(
    model, case, monkeypatch
):
    image, mask, _ = case
    seen = []

    def after(latents, share):
        seen.append(share)
        return latents + 1

    calls, steps = recorded(model, monkeypatch, case, steps=3, guidance=1.0, after=after)
    alphas, timesteps = make_scheduler(model.scheduler, "ddim", 3).alphas_cumprod, [999, 666, 332]
    assert [timestep for _, timestep, *_ in calls] == timesteps
    assert seen == pytest.approx([float(alphas[t]) for t in timesteps[1:]])
    original = model.encode(image)
    for step in steps:
        assert torch.equal(step.latents * mask, original * mask)
    plain = run(model, case, steps=3, guidance=1.0)
    assert not torch.equal(steps[-1].latents, plain[-1].latents)


LEADING = {
    "num_train_timesteps": 1000,
    "timestep_spacing": "leading",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
}


@pytest.mark.parametrize(
    ("sampler", "steps", "possible"),
    [("ddim", 1000, 999), ("ddim", 600, 500), ("ddim", 350, 333), ("dpm++", 1000, 998)],
)
def test_steps_that_a_leading_schedule_cannot_space_are_refused(sampler, steps, possible):
    with pytest.raises(XsynError, match=f"{steps} .*not possible .* {possible} are"):
        make_scheduler(LEADING, sampler, steps)
    first = int(make_scheduler(LEADING, sampler, possible).timesteps[0])
    assert 900 <= first < 1000
    for fine in (1, 3, 5, 9, 20, 50, 100, 150, 300):
        assert len(make_scheduler(LEADING, sampler, fine).timesteps) == fine


def test_dpm_plus_plus_is_of_second_order(model):
    found = make_scheduler(model.scheduler, "dpm++", 20).config
    assert (found.algorithm_type, found.solver_order) == ("dpmsolver++", 2)


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_the_embedded_schedule_takes_any_number_of_steps(model, sampler):
    for steps in (1, 7, 112, 260, 501, 999, 1000):
        timesteps = make_scheduler(model.scheduler, sampler, steps).timesteps
        assert int(timesteps[0]) == 999 and len(timesteps) == steps


def test_text_and_grounding_drop_together(model, case, monkeypatch):
    calls, _ = recorded(model, monkeypatch, case)
    _, _, kwargs, _ = calls[0]
    text, gligen = kwargs["encoder_hidden_states"], kwargs["cross_attention_kwargs"]["gligen"]
    assert torch.equal(text[:1], model.text_states([""]))
    assert torch.equal(text[1:], model.text_states(["knife"]))
    assert gligen["masks"].shape == (2, model.slots)
    assert gligen["masks"].sum(1).tolist() == [0, 1]
    assert gligen["boxes"][1, 0].tolist() == [5 / 16, 4 / 16, 12 / 16, 9 / 16]
    assert torch.equal(gligen["positive_embeddings"][1, :1], model.phrase_embeddings(["knife"]))


def test_each_object_is_grounded_by_its_own_phrase_and_box(model):
    places = ((0.1, 0.2, 0.4, 0.5), (0.5, 0.5, 0.9, 0.8))
    both = Condition("knife, gun", ("knife", "gun"), places)
    tokens = model.grounding_tokens([both, Condition("gun", ("gun",), places[:1])])
    assert tokens["masks"].sum(1).tolist() == [2, 1]
    torch.testing.assert_close(tokens["boxes"][0, :2], torch.tensor(places))
    for row, slot, phrase in ((0, 0, "knife"), (0, 1, "gun"), (1, 0, "gun")):
        own = model.phrase_embeddings([phrase])[0]
        torch.testing.assert_close(
            tokens["positive_embeddings"][row, slot], own, atol=1e-5, rtol=1e-5
        )


def test_a_model_that_asks_for_no_more_gets_classifier_free_guidance_alone(
    model, case, monkeypatch
):
    monkeypatch.setitem(model.unet.config, "guidance_rescale", 0.0)
    calls, steps = recorded(model, monkeypatch, case, steps=1)
    ((sample, timestep, kwargs, output),) = calls
    assert len(sample) == 2
    assert kwargs["cross_attention_kwargs"]["gligen"]["masks"].sum(1).tolist() == [0, 1]
    scheduler = make_scheduler(model.scheduler, "ddim", 1)
    guided = output[:1] + 7.5 * (output[1:] - output[:1])
    want = scheduler.step(guided, timestep, sample[:1, :CHANNELS]).prev_sample
    inside = 1 - case[1]
    torch.testing.assert_close(steps[0].latents * inside, want * inside, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
@pytest.mark.parametrize(
    ("shaped", "asked", "later"), [(600, 7.5, 2), (600, 1.5, 1.5), (0, 7.5, 7.5)]
)
def test_where_a_model_asks_for_it_guidance_is_little_once_the_shape_is_decided(
    model, case, monkeypatch, shaped, asked, later, sampler
):
    monkeypatch.setitem(model.unet.config, "shaped", shaped)
    used, own = [], inpainting.guided

    def spy(without, conditional, guidance, *others):
        used.append(guidance)
        return own(without, conditional, guidance, *others)

    monkeypatch.setattr(inpainting, "guided", spy)
    calls, _ = recorded(model, monkeypatch, case, steps=5, guidance=asked, sampler=sampler)
    at = [timestep for _, timestep, *_ in calls]
    assert at == [999, 799, 599, 399, 199]
    assert used == [asked, asked, later, later, later]


def test_without_guidance_the_unconditional_half_is_left_out(model, case, monkeypatch):
    calls, _ = recorded(model, monkeypatch, case, guidance=1.0)
    assert all(sample.shape[0] == 1 for sample, *_ in calls)


@pytest.mark.parametrize("guidance", [1, 7.5])
def test_attitudes_are_seen_where_the_phrase_is_told_and_only_in_the_box(
    model, case, monkeypatch, guidance
):
    image, mask, condition = case
    attitude = Attitude("3 nne", np.eye(5, dtype=np.uint8))
    hint = laid([attitude], condition.boxes, (CHANNELS, 16, 16))
    told = replace(condition, hint=hint)
    calls, _ = recorded(model, monkeypatch, (image, mask, told), guidance=guidance)
    plain = model.encode(masked_images(image, mask)) * mask
    seen = torch.from_numpy(hint)[None]
    assert (seen * (1 - mask)).abs().sum() > 1
    wanted = [seen] if guidance == 1 else [torch.zeros_like(seen), seen]
    for sample, *_ in calls:
        for row, own in zip(sample, wanted, strict=True):
            assert torch.equal(row[CHANNELS : 2 * CHANNELS], (plain + own * (1 - mask))[0])


def test_the_masked_image_hides_what_is_repainted(model, case):
    image, mask, _ = case
    other = image.clone()
    other[..., 32:72, 40:96] = 0.9
    one, two = masked_images(image, mask), masked_images(other, mask)
    assert torch.equal(one, two)
    assert (one[..., 32:72, 40:96] == 0).all()
    assert torch.equal(one[..., :32, :], image[..., :32, :])


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_a_seed_means_the_same_bytes_and_no_global_chance(model, case, sampler):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = run(model, case, sampler=sampler, steps=3)[-1].latents
    again = run(model, case, sampler=sampler, steps=3)[-1].latents
    other = run(model, case, sampler=sampler, steps=3, seed=1)[-1].latents
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_the_grounding_box_matters(model, case):
    image, mask, condition = case
    moved = Condition(condition.prompt, condition.phrases, ((0.5, 0.5, 0.7, 0.6),))
    here = run(model, case)[-1].latents
    there = run(model, (image, mask, moved))[-1].latents
    assert not torch.equal(here, there)


def test_epsilon_prediction_follows_diffusers(model, case, monkeypatch):
    monkeypatch.setitem(model.scheduler, "prediction_type", "epsilon")
    monkeypatch.setitem(model.scheduler, "rescale_betas_zero_snr", False)
    calls, steps = recorded(model, monkeypatch, case, guidance=1.0)
    scheduler = DDIMScheduler.from_config(model.scheduler)
    scheduler.set_timesteps(2)
    sample, timestep, _, output = calls[0]
    step = scheduler.step(output, timestep, sample[:, :CHANNELS])
    mask = case[1]
    torch.testing.assert_close(
        steps[0].latents * (1 - mask), step.pred_original_sample * (1 - mask), rtol=1e-4, atol=1e-4
    )


def test_frames_need_not_be_square(model):
    image, mask = torch.zeros(1, 3, 96, 128), torch.ones(1, 1, 12, 16)
    mask[..., 2:5, 2:5] = 0
    case = image, mask, Condition("gun", ("gun",), ((0.2, 0.2, 0.3, 0.4),))
    maps = AttentionMaps([[[1]]], (12, 16))
    assert run(model, case, maps=maps)[-1].latents.shape == (1, CHANNELS, 12, 16)
    assert maps.maps(0, (96, 128))[0].shape == (96, 128)


def test_columns_follow_each_objects_own_words(model):
    text = "knife, utility knife, knife"
    spans = [(0, 5), (7, 20), (22, 27)]
    tokens = model.tokenizer(text).input_ids
    words = model.tokenizer.convert_ids_to_tokens(tokens)
    columns = model.columns(text, spans)
    found = ["".join(words[i] for i in c).replace("</w>", " ").strip() for c in columns]
    assert found == ["knife", "utility knife", "knife"]
    assert columns[0] != columns[2]
    unseen = model.columns("zeppelin", [(0, 8)])
    assert len(unseen[0]) > 1


def test_what_cannot_be_run_is_refused(model, case):
    for options, words in (
        ({"steps": 0}, "steps"),
        ({"steps": 1001}, "steps"),
        ({"sampler": "euler"}, "sampler"),
    ):
        with pytest.raises(XsynError, match=words):
            run(model, case, **options)
    many = Condition("gun", ("gun",) * (model.slots + 1), ((0.1, 0.1, 0.2, 0.2),) * 31)
    with pytest.raises(XsynError, match="too many"):
        run(model, (*case[:2], many))
    with pytest.raises(XsynError, match="more than the text model can read"):
        model.columns(", ".join(["gun"] * 60), [(5 * k, 5 * k + 3) for k in range(60)])


def test_an_autoencoder_on_blocks_keeps_the_layout(model):
    image = torch.rand(2, 3, 64, 96) * 2 - 1
    assert model.encode(image).shape == (2, CHANNELS, 8, 12)
    assert model.decode(model.encode(image)).shape == image.shape
    assert (model.patch, model.factor, model.multiple, model.side) == (4, 8, 32, 128)


def test_steps_left_out_begin_with_the_noised_image(model, case, monkeypatch):
    calls, steps = recorded(model, monkeypatch, case, steps=4, guidance=1.0, skip=2)
    assert [step.number for step in steps] == [3, 4]
    scheduler = make_scheduler(model.scheduler, "ddim", 4)
    assert [timestep for _, timestep, *_ in calls] == scheduler.timesteps[2:].tolist()
    share = scheduler.alphas_cumprod[scheduler.timesteps[2]]
    noise = torch.randn(1, CHANNELS, 16, 16, generator=torch.Generator().manual_seed(0))
    noised = share.sqrt() * model.encode(case[0]) + (1 - share).sqrt() * noise
    torch.testing.assert_close(calls[0][0][:, :CHANNELS], noised, atol=1e-5, rtol=1e-5)
