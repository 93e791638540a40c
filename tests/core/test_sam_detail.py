"""The small SAM with details, against loops and against `segment_anything`'s predictor."""

from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from segment_anything import SamPredictor
from segment_anything.modeling import PromptEncoder, Sam, TwoWayTransformer

from xsyn_core.errors import XsynError
from xsyn_core.sam_decoder import Decoder
from xsyn_core.sam_detail import STRIDE, DetailDecoder, DetailEncoder
from xsyn_core.segmentation import Segmenter, load_sam, save_sam
from xsyn_core.training.prompting import decode

SIDE, OUT = 64, 32
# Channels of the details at strides 8 and 4, and of all that the encoder gives.
DETAILS = MIDDLE, FINE = 16, 8
ALL = OUT + 4 * MIDDLE + 16 * FINE


@pytest.fixture(scope="module")
def sam():
    grid = SIDE // STRIDE
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Sam(
            DetailEncoder(
                8,
                16,
                DETAILS,
                ((1, 2), (1, 2)),
                8,
                img_size=SIDE,
                patch_size=STRIDE,
                embed_dim=24,
                depth=2,
                num_heads=2,
                mlp_ratio=2,
                out_chans=OUT,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                window_size=0,
            ),
            PromptEncoder(OUT, (grid, grid), (SIDE, SIDE), mask_in_chans=4),
            DetailDecoder(
                DETAILS,
                transformer_dim=OUT,
                transformer=TwoWayTransformer(2, OUT, 4, 48),
                iou_head_hidden_dim=24,
            ),
            [100.0, 110.0, 120.0],
            [50.0, 60.0, 70.0],
        )
        for name, parameter in made.named_parameters():
            if "keep_" in name or (parameter.ndim == 1 and not parameter.any()):
                torch.nn.init.normal_(parameter, std=0.5)
    for mlp in made.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.data.mul_(30)
    return made.requires_grad_(False).eval().half().float()


def picture(height, width):
    coarse = np.random.default_rng(1).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return coarse[np.arange(height)[:, None] * 6 // height, np.arange(width)[None] * 7 // width]


def test_details_lie_where_they_were_seen(sam):
    image = torch.randn(1, 3, SIDE, SIDE)
    features = sam.image_encoder(image)
    tokens, details = sam.mask_decoder.split(features)
    encoder = sam.image_encoder
    seen, fine, middle = encoder.patch_embed(image)
    found = encoder.blocks[1](encoder.blocks[0](seen + encoder.pos_embed)).permute(0, 3, 1, 2)
    middle = encoder.middle(middle + torch.kron(encoder.to_middle(found), torch.ones(2, 2)))
    fine = encoder.fine(fine + torch.kron(encoder.to_fine(middle), torch.ones(2, 2)))
    assert features.shape == (1, ALL, 4, 4) and tokens.shape == (1, OUT, 4, 4)
    torch.testing.assert_close(tokens, encoder.neck(found + encoder.to_tokens(middle)))
    torch.testing.assert_close(details[0], encoder.keep_middle(middle))
    torch.testing.assert_close(details[1], encoder.keep_fine(fine))


def normalised(x, norm):
    """Group normalisation of (C, H, W) by hand."""
    grouped = x.reshape(norm.num_groups, -1)
    mean, variance = grouped.mean(1, keepdim=True), grouped.var(1, unbiased=False, keepdim=True)
    x = ((grouped - mean) / (variance + norm.eps).sqrt()).view_as(x)
    return x * norm.weight[:, None, None] + norm.bias[:, None, None]


def convolved(x, conv):
    """A 3 x 3 convolution of (C, H, W), cell by cell."""
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    rows = []
    for i in range(x.shape[1]):
        cells = [padded[:, i : i + 3, j : j + 3].flatten() for j in range(x.shape[2])]
        rows.append(torch.stack([conv.weight.flatten(1) @ c + conv.bias for c in cells], 1))
    return torch.stack(rows, 1)


def doubled(x, conv):
    """A transposed convolution of kernel and stride 2 of (C, H, W), cell by cell."""
    out = torch.zeros(conv.out_channels, 2 * x.shape[1], 2 * x.shape[2])
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            out[:, i, j] = x[:, i // 2, j // 2] @ conv.weight[:, :, i % 2, j % 2] + conv.bias
    return out


def test_masks_against_loops(sam):
    decoder = sam.mask_decoder
    generator = torch.Generator().manual_seed(2)
    image, tokens = (torch.randn(1, n, OUT, generator=generator) for n in (4, 4))
    middle = torch.randn(1, MIDDLE, 4, 4, generator=generator)
    fine = torch.randn(1, FINE, 8, 8, generator=generator)
    got = decoder.draw(image, tokens, (middle, fine))
    first, at_8, second, at_4, _ = decoder.output_upscaling

    def block(x, part):
        y = convolved(torch.nn.functional.silu(normalised(x, part.norm1)), part.conv1)
        return x + convolved(torch.nn.functional.silu(normalised(y, part.norm2)), part.conv2)

    x = block(doubled(image[0].T.reshape(OUT, 2, 2), first) + middle[0], at_8)
    x = torch.nn.functional.gelu(block(doubled(x, second) + fine[0], at_4))
    for k, mlp in enumerate(decoder.output_hypernetworks_mlps):
        expected = torch.einsum("c,chw->hw", mlp(tokens[0, k]), x)
        torch.testing.assert_close(got[0, k], expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        decoder.draw(image, tokens, (middle, fine), range(1, 3)), got[:, 1:3]
    )


@pytest.mark.parametrize("with_box", [False, True])
def test_both_fast_decoders_equal_the_plain_one(sam, with_box):
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, ALL, 4, 4, generator=generator)
    points = torch.rand(2, 3, 1, 2, generator=generator) * SIDE
    labels = torch.ones(2, 3, 1)
    boxes = torch.rand(2, 3, 4, generator=generator) * SIDE
    logits, quality = decode(sam, features, boxes, points, labels, (with_box, 1, 0))
    place = sam.prompt_encoder.get_dense_pe()
    decoder = Decoder(sam)
    for k in range(2):
        sparse, dense = sam.prompt_encoder(
            (points[k], labels[k]), boxes[k] if with_box else None, None
        )
        one = features[k : k + 1]
        masks, iou = sam.mask_decoder.predict_masks(one, place, sparse, dense)
        close = partial(torch.testing.assert_close, rtol=1e-3, atol=2e-4 * float(masks.abs().max()))
        close(logits[3 * k : 3 * k + 3], masks)
        close(quality[3 * k : 3 * k + 3], iou)
        image, tokens, own = decoder.attend(one, sparse)
        close(own, iou)
        close(decoder.masks(one, image, tokens, range(4)), masks)


def test_the_predictor_runs_it_too(sam, tmp_path):
    image = picture(90, 70)
    save_sam(tmp_path / "sam.safetensors", sam)
    loaded = load_sam(tmp_path / "sam.safetensors")
    assert isinstance(loaded.mask_decoder, DetailDecoder)
    predictor, segmenter = SamPredictor(sam), Segmenter(loaded)
    predictor.set_image(image)
    embedding = segmenter.embed(image)
    torch.testing.assert_close(embedding.features, predictor.features, rtol=1e-4, atol=1e-4)
    box = np.array([10.0, 20.0, 60.0, 80.0])
    masks, quality, _ = predictor.predict(box=box, multimask_output=False)
    segment = segmenter.segment(embedding, box=box)
    assert 0 < segment.area < image.shape[0] * image.shape[1]
    assert (segment.mask == masks[0]).mean() > 0.999
    assert segment.predicted_iou == pytest.approx(quality[0], abs=1e-4)


def test_one_of_the_smaller_encoder_is_told_apart(sam, tmp_path):
    save_sam(tmp_path / "sam.safetensors", sam)
    behind = tuple(f"image_encoder.{part}" for part in ("middle", "fine", "to_"))
    before = {
        name.replace("patch_embed.fine.0.", "patch_embed.fine."): tensor
        for name, tensor in load_file(tmp_path / "sam.safetensors").items()
        if not name.startswith(behind)
    }
    save_file(before, tmp_path / "before.safetensors")
    with pytest.raises(XsynError, match=r"before\.safetensors goes back to .* Fine-tune again"):
        load_sam(tmp_path / "before.safetensors")
