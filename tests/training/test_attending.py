"""Attention that is told where the item is, against diffusers' own attention and the capture."""

import math

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from xsyn_core.attention import AttentionMaps, watch
from xsyn_core.training import architectures
from xsyn_core.training.attending import Attending, attention_loss


@pytest.fixture
def unet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = architectures.build_unet()
        for name, parameter in made.named_parameters():
            if ".attn2.to_" in name:  # uneven attention
                parameter.data.mul_(6)
    made.set_attn_processor(AttnProcessor())
    return made


def call(unet, text, generator):
    rows = len(text)
    grounding = {
        "boxes": torch.zeros(rows, 8, 4),
        "positive_embeddings": torch.zeros(rows, 8, architectures.TEXT_WIDTH),
        "masks": torch.zeros(rows, 8),
    }
    latents = torch.randn(rows, 2 * architectures.LATENT_CHANNELS + 1, 16, 16, generator=generator)
    options = {"cross_attention_kwargs": {"gligen": grounding}}
    return unet(latents, torch.tensor([500] * rows), text, **options).sample


def test_it_is_the_map_that_refinement_reads(unet):
    generator = torch.Generator().manual_seed(1)
    text = torch.randn(2, 12, architectures.TEXT_WIDTH, generator=generator)
    columns = [[[1, 2]], [[1]]]
    maps = AttentionMaps(columns, (16, 16))
    state = generator.get_state()
    with torch.no_grad(), watch(unet, maps):
        expected_output = call(unet, text, generator)
    generator.set_state(state)
    attending = Attending(unet)
    output = call(unet, text, generator)
    torch.testing.assert_close(output, expected_output)
    words = torch.zeros(2, 12)
    words[0, 1:3] = words[1, 1:2] = 1
    lit = attending.map(text, words, 16)
    assert lit.shape == (2, 16, 16)
    for row, count in enumerate((2, 1)):
        # the capture means over the words of the phrase
        expected = count * torch.from_numpy(maps.maps(row, (16, 16))[0])
        torch.testing.assert_close(lit[row].detach(), expected, rtol=1e-3, atol=1e-5)
    assert lit.detach().std() > 0.01


def test_attention_learns_where_the_item_is(unet):
    generator = torch.Generator().manual_seed(2)
    text = torch.randn(1, 12, architectures.TEXT_WIDTH, generator=generator)
    attending = Attending(unet)
    words = torch.zeros(1, 12)
    words[0, 3] = 1
    items = torch.zeros(1, 16, 16)
    items[0, 4:9, 6:14] = 1
    optimiser = torch.optim.Adam(unet.parameters(), 3e-4)
    state = generator.get_state()
    losses = []
    for _ in range(25):
        generator.set_state(state)
        call(unet, text, generator)
        lit = attending.map(text, words, 16)
        loss = attention_loss(lit, items).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    inside, outside = lit[items > 0].mean(), lit[items == 0].mean()
    assert inside > 3 * outside


def test_the_loss_against_its_definition():
    lit = torch.tensor([[[0.2, 0.9], [0.0, 0.5]], [[0.5, 0.5], [0.5, 0.5]]])
    items = torch.tensor([[[0.0, 1.0], [0.0, 0.25]], [[0.1, 0.3], [0.8, 1.0]]])
    first = -sum(math.log(p) for p in (0.8, 0.9, 0.999, 0.5)) / 4
    assert attention_loss(lit, items).tolist() == pytest.approx([first, math.log(2)], rel=1e-4)
