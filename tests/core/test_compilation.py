"""The compiled UNet: the same output and the same maps, or a message and the uncompiled one.

The graphs are traced, but run by torch itself: no C++ compiler is needed, and all bits are equal.
"""

from functools import partial

import pytest
import torch
from diffusers import UNet2DConditionModel

from xsyn_core.attention import AttentionMaps, watch
from xsyn_core.compilation import Compiled

COLUMNS = [[[1], [2, 3]]]
compile_ = torch.compile


@pytest.fixture(scope="module")
def unet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return (
            UNet2DConditionModel(
                sample_size=8,
                in_channels=5,
                out_channels=2,
                block_out_channels=(32, 32),
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                layers_per_block=1,
                cross_attention_dim=16,
                attention_head_dim=8,
                norm_num_groups=8,
                attention_type="gated",
            )
            .eval()
            .requires_grad_(False)
        )


@pytest.fixture(scope="module")
def inputs():
    made = torch.Generator().manual_seed(1)
    told = {
        "boxes": torch.rand(2, 3, 4, generator=made),
        "positive_embeddings": torch.randn(2, 3, 16, generator=made),
        "masks": torch.ones(2, 3),
    }
    text = torch.randn(2, 7, 16, generator=made)
    return torch.randn(2, 5, 8, 8, generator=made), torch.tensor(500), text, told


@torch.no_grad()
def plain(unet, inputs, maps):
    values, timestep, text, told = inputs
    with watch(unet, maps):
        return unet(
            values,
            timestep,
            encoder_hidden_states=text,
            cross_attention_kwargs={"gligen": told},
        ).sample


@torch.no_grad()
def test_compiled_passes_capture_the_same(unet, inputs, monkeypatch, caplog):
    monkeypatch.setattr(torch, "compile", partial(compile_, backend="eager"))
    processors, traced = dict(unet.attn_processors), []
    compiled = Compiled(unet)
    want, got = (AttentionMaps(COLUMNS, (8, 8), sides=(4, 8)) for _ in range(2))
    for shift in (0, 100):
        moved = (inputs[0], inputs[1] - shift, *inputs[2:])
        expected = plain(unet, moved, want)
        # Offloaded weights are other copies in every run.
        for parameter in unet.parameters():
            parameter.data = parameter.data.clone()
        assert torch.equal(compiled.run(*moved, got), expected)
        traced.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert traced[0] == traced[1] > 0
    for a, b in zip(want.maps(0, (8, 8)), got.maps(0, (8, 8)), strict=True):
        assert (a == b).all() and a.max() > 0
    assert torch.equal(compiled.run(*moved, None), expected)
    assert unet.attn_processors == processors
    assert not any("compiled" in record.getMessage() for record in caplog.records)


@torch.no_grad()
def test_what_cannot_be_compiled_runs_as_it_is(unet, inputs, monkeypatch, caplog):
    def backend(*_):
        raise OSError("no compiler on this machine")

    monkeypatch.setattr(torch, "compile", partial(compile_, backend=backend))
    processors = dict(unet.attn_processors)
    compiled = Compiled(unet)
    want, got = (AttentionMaps(COLUMNS, (8, 8), sides=(4, 8)) for _ in range(2))
    for _ in range(2):
        expected = plain(unet, inputs, want)
        assert torch.equal(compiled.run(*inputs, got), expected)
    for a, b in zip(want.maps(0, (8, 8)), got.maps(0, (8, 8)), strict=True):
        assert (a == b).all()
    assert unet.attn_processors == processors
    (message,) = (r.getMessage() for r in caplog.records if "compiled" in r.getMessage())
    assert "no compiler on this machine" in message and "leave out --compile" in message
