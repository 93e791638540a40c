"""MobileSAM's image encoder against plain loops and the published names; its files."""

import math

import numpy as np
import pytest
import torch
from original_mobile_sam import (
    PARAMETERS,
    STATISTICS,
    encoder_shapes,
    published_shapes,
    tiny_mobile_sam,
)
from safetensors.torch import load_file, save_file

from xsyn_core import sam_checkpoint
from xsyn_core.errors import XsynError
from xsyn_core.sam_checkpoint import load_sam, save_sam
from xsyn_core.segmentation import Segmenter
from xsyn_core.tiny_vit import TinyViT


@pytest.fixture
def sam():
    return tiny_mobile_sam()


def in_loops(attention, cells: torch.Tensor, window: int) -> torch.Tensor:
    """Attention (H, W, C) of each cell to every cell of its window, one pair at a time."""
    height, width, channels = cells.shape
    heads = len(attention.attention_biases)
    size = channels // heads
    # beyond the image lie zeros, which the norm and the projections see as they see cells
    empty = torch.zeros(channels)
    out = torch.empty_like(cells)
    for y in range(height):
        for x in range(width):
            top, left = y - y % window, x - x % window
            others = [(top + i, left + j) for i in range(window) for j in range(window)]
            seen = [cells[a, b] if a < height and b < width else empty for a, b in others]
            qkv = attention.qkv(attention.norm(torch.stack(seen)))
            own = others.index((y, x))
            found = []
            for head in range(heads):
                part = qkv[:, 3 * size * head : 3 * size * (head + 1)]
                query, keys, values = (
                    part[own, :size],
                    part[:, size : 2 * size],
                    part[:, 2 * size :],
                )
                logits = []
                for key, (a, b) in zip(keys, others, strict=True):
                    bias = attention.attention_biases[head, abs(a - y) * window + abs(b - x)]
                    logits.append(query @ key / math.sqrt(size) + bias)
                found.append(torch.stack(logits).softmax(0) @ values)
            out[y, x] = attention.proj(torch.cat(found))
    return out


@pytest.mark.parametrize("window", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [(4, 6), (7, 7), (5, 3)])
def test_windows_attend_as_in_plain_loops(window, size):
    torch.manual_seed(window)
    encoder = TinyViT(16, (8, 12, 8), (1, 1, 1), (3, 2), (window, 1)).eval().requires_grad_(False)
    block = encoder.layers[1].blocks[0]
    torch.nn.init.normal_(block.attn.attention_biases)
    torch.nn.init.normal_(block.attn.norm.bias)
    x = torch.randn(2, 12, *size)
    attended = [in_loops(block.attn, image.permute(1, 2, 0), window) for image in x]
    mixed = block.local_conv(x + torch.stack(attended).permute(0, 3, 1, 2))
    expected = mixed + block.mlp(mixed.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


def test_names_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        encoder = TinyViT(1024, (64, 128, 160, 320), (2, 2, 6, 2), (4, 5, 10), (7, 14, 7))
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    published = encoder_shapes()
    unused = {name for name in published if name.startswith(("head.", "norm_head."))}
    assert shapes == {name: published[name] for name in published if name not in unused}
    whole = published_shapes()
    constant = (*STATISTICS, "positional_encoding_gaussian_matrix")
    learnt = (shape for name, shape in whole.items() if not name.endswith(constant))
    assert sum(map(math.prod, learnt)) == PARAMETERS


def test_grid_is_a_sixteenth_of_the_image(sam):
    features = sam.image_encoder(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, 32, 4, 4) and features.std() > 0.1


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)


def features(sam) -> torch.Tensor:
    return Segmenter(sam).embed(picture()).features


def test_saved_mobile_sam_comes_back(sam, tmp_path):
    for name, tensor in sam.state_dict().items():
        if name.endswith("running_var"):
            tensor[0] = 1e6  # float16 ends at 65504
        elif tensor.is_floating_point() and not name.endswith("running_mean"):
            tensor.copy_(tensor.half())
    path = tmp_path / "any name"
    save_sam(path, sam, (0.5, 0.6))
    loaded = load_sam(path)
    assert not loaded.training and loaded.image_encoder.img_size == 64
    assert loaded.thresholds == (0.5, 0.6)
    state = loaded.state_dict()
    for name, tensor in sam.state_dict().items():
        assert state[name].dtype == tensor.dtype and torch.equal(state[name], tensor), name
    assert torch.equal(features(loaded), features(sam))
    stored = load_file(path)
    assert stored["image_encoder.layers.1.blocks.0.attn.attention_biases"].dtype == torch.float16
    segmenter = Segmenter(loaded)
    segment = segmenter.segment(segmenter.embed(picture()), box=(10, 10, 60, 40))
    assert segment.mask.shape == (50, 90)
    assert segmenter.everything(picture(), 2, -10.0, 0.0)


@pytest.mark.parametrize("name", ["mobile_sam.pt", "weights.safetensors"])
def test_file_without_metadata_is_told_by_its_tensors(sam, name, tmp_path, monkeypatch):
    state = {k: v.contiguous() for k, v in sam.state_dict().items()}
    state["image_encoder.head.weight"] = torch.ones(1000, 24)
    state["image_encoder.norm_head.bias"] = torch.ones(24)
    state["image_encoder.layers.1.blocks.0.attn.attention_bias_idxs"] = torch.ones(9, 9)
    write = save_file if name.endswith(".safetensors") else torch.save
    write(state, tmp_path / name)
    assert load_sam(tmp_path / name).image_encoder.img_size == 1024
    # what all published models have
    monkeypatch.setattr(sam_checkpoint, "TINY_VIT_SIDE", 64)
    monkeypatch.setattr(sam_checkpoint, "DECODER_HEADS", 4)
    assert torch.equal(features(load_sam(tmp_path / name)), features(sam))


BIASES = "image_encoder.layers.1.blocks.0.attn.attention_biases"
SPOILT = {
    "heads that do not divide": ({BIASES: torch.zeros(5, 9)}, "do not fit.*5 heads"),
    "distances of no square": ({BIASES: torch.zeros(2, 8)}, "do not fit.*attention_biases"),
    "no attention": ({BIASES: torch.zeros(0, 0)}, "do not fit"),
    "another kernel": (
        {"image_encoder.layers.1.blocks.0.local_conv.c.weight": torch.zeros(12, 1, 5, 5)},
        "do not fit.*local_conv",
    ),
    "a part too much": ({"image_encoder.layers.1.x": torch.zeros(1)}, "do not fit.*layers.1.x"),
    "HQ-SAM": ({"mask_decoder.hf_token.weight": torch.zeros(1)}, "HQ-SAM.*not supported"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_tensors_that_do_not_fit_are_named(case, sam, tmp_path):
    change, words = SPOILT[case]
    path = tmp_path / "spoilt.pt"
    torch.save({**sam.state_dict(), **change}, path)
    with pytest.raises(XsynError, match=words) as caught:
        load_sam(path)
    assert "spoilt.pt" in str(caught.value) and "mobile_sam.pt" in str(caught.value)


def test_encoder_alone_is_no_sam(sam, tmp_path):
    path = tmp_path / "encoder.pt"
    state = sam.state_dict()
    torch.save({k: v for k, v in state.items() if k.startswith("image_encoder.")}, path)
    with pytest.raises(XsynError, match=r"not a whole SAM.*no prompt_encoder and no mask_decoder"):
        load_sam(path)


@pytest.mark.parametrize("size", [0, 8, 100])
def test_sizes_must_fill_the_grid(size):
    with pytest.raises(ValueError, match="multiple of 16"):
        TinyViT(size, (8, 12, 8), (1, 1, 1), (2, 2), (3, 3))


def test_fewer_stages_have_another_stride():
    with pytest.raises(ValueError, match="2 stages"):
        TinyViT(64, (8, 12), (1, 1), (2,), (3,))
