"""Captured attention against a softmax written out, and the UNet left as it was."""

import numpy as np
import pytest
import torch

from xsyn_core.attention import AttentionMaps, watch
from xsyn_core.diffusion import Condition
from xsyn_core.errors import XsynError
from xsyn_core.inpainting import denoise


@pytest.fixture(scope="module")
def model(tiny_models):
    return tiny_models.diffusion


def start(model, maps=None, guidance=7.5, steps=2):
    image, mask = torch.zeros(2, 3, 128, 128), torch.ones(2, 1, 16, 16)
    mask[..., 4:9, 5:12] = 0
    box = (5 / 16, 4 / 16, 12 / 16, 9 / 16)
    conditions = [
        Condition("knife, gun", ("knife", "gun"), (box, box)),
        Condition("wrench", ("wrench",), (box,)),
    ]
    return denoise(
        model,
        image,
        mask,
        conditions,
        steps=steps,
        guidance=guidance,
        sampler="ddim",
        generator=torch.Generator().manual_seed(0),
        maps=maps,
    )


COLUMNS = [[[1], [3]], [[1, 2]]]


def test_watching_changes_no_bit_of_the_output(model):
    *_, plain = start(model)
    *_, watched = start(model, AttentionMaps(COLUMNS, (16, 16)))
    assert torch.equal(plain.latents, watched.latents)


def test_maps_are_the_mean_softmax_of_the_conditional_rows(model):
    maps = AttentionMaps(COLUMNS, (16, 16), sides=(16, 16))
    layers = [m for n, m in model.unet.named_modules() if n.endswith("attn2")]
    seen = []

    def spy(attn, arguments, options):
        seen.append((attn, arguments[0].clone(), options["encoder_hidden_states"].clone()))

    hooks = [layer.register_forward_pre_hook(spy, with_kwargs=True) for layer in layers]
    list(start(model, maps))
    for hook in hooks:
        hook.remove()
    expected, count = np.zeros((3, 256)), 0
    for attn, hidden, text in seen:
        if hidden.shape[1] != 256:
            continue
        assert hidden.shape[0] == 4
        count += 1
        for number, (row, columns) in enumerate([(0, [1]), (0, [3]), (1, [1, 2])]):
            query = attn.to_q(hidden[2 + row]).detach().numpy().astype(np.float64)
            key = attn.to_k(text[2 + row]).detach().numpy().astype(np.float64)
            width = query.shape[1] // attn.heads
            for head in range(attn.heads):
                part = slice(head * width, (head + 1) * width)
                scores = np.exp(query[:, part] @ key[:, part].T / width**0.5)
                share = scores / scores.sum(1, keepdims=True)
                expected[number] += share[:, columns].mean(1) / attn.heads
    assert count > 2
    found = [*maps.maps(0, (16, 16)), *maps.maps(1, (16, 16))]
    np.testing.assert_allclose(
        np.stack(found).reshape(3, 256), expected / count, rtol=1e-4, atol=1e-6
    )


def test_layers_of_several_grids_weigh_alike(model):
    both = AttentionMaps(COLUMNS, (16, 16))
    list(start(model, both))
    fine, coarse = (AttentionMaps(COLUMNS, (16, 16), sides=(s, s)) for s in (16, 8))
    list(start(model, fine))
    list(start(model, coarse))
    layers = fine._counts[16, 16], coarse._counts[8, 8]
    mean = np.average([m.maps(0, (16, 16))[0].mean() for m in (fine, coarse)], weights=layers)
    assert both.maps(0, (16, 16))[0].mean() == pytest.approx(mean, rel=1e-2)
    assert both.maps(0, (128, 128))[0].shape == (128, 128)


def test_without_guidance_the_whole_batch_is_conditional(model):
    maps = AttentionMaps(COLUMNS, (16, 16))
    list(start(model, maps, guidance=1.0))
    assert len(maps.maps(1, (32, 32))) == 1


def test_processors_are_back_after_stopping_and_after_errors(model):
    before = dict(model.unet.attn_processors)
    run = start(model, AttentionMaps(COLUMNS, (16, 16)), steps=5)
    next(run)
    run.close()
    assert model.unet.attn_processors == before
    with pytest.raises(RuntimeError), watch(model.unet, AttentionMaps(COLUMNS, (16, 16))):
        raise RuntimeError
    assert model.unet.attn_processors == before
    list(start(model, AttentionMaps(COLUMNS, (16, 16)), steps=1))
    assert model.unet.attn_processors == before


def test_no_layer_of_the_wanted_grid(model):
    maps = AttentionMaps(COLUMNS, (16, 16), sides=(64, 64))
    list(start(model, maps, steps=1))
    with pytest.raises(XsynError, match="cross-attention"):
        maps.maps(0, (16, 16))
