"""Segmenter against `segment_anything`'s own predictor and automatic generator; SAM files."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from xsyn_core import sam_checkpoint
from xsyn_core.errors import XsynError
from xsyn_core.sam_decoder import Decoder
from xsyn_core.segmentation import Segmenter, load_sam, save_sam

SIZES = [(64, 64), (33, 90), (200, 40), (40, 1), (300, 410)]


def tiny_sam(seed=0, relative=True, window=3, whole=(1,), multimask=3, downsample=2) -> Sam:
    """A random `Sam` for 64 px images whose masks have stark logits and a positive quality."""
    width, out, grid = 16, 32, 8
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sam = Sam(
            ImageEncoderViT(
                img_size=64,
                patch_size=8,
                embed_dim=width,
                depth=3,
                num_heads=2,
                mlp_ratio=2,
                out_chans=out,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                use_rel_pos=relative,
                window_size=window,
                global_attn_indexes=whole,
            ),
            PromptEncoder(out, (grid, grid), (64, 64), mask_in_chans=4),
            MaskDecoder(
                num_multimask_outputs=multimask,
                transformer_dim=out,
                transformer=TwoWayTransformer(2, out, 4, 48, attention_downsample_rate=downsample),
                iou_head_depth=2,
                iou_head_hidden_dim=24,
            ),
        )
        for parameter in sam.parameters():
            if parameter.ndim == 1 and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        for name, parameter in sam.image_encoder.named_parameters():
            if "pos" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    sam.requires_grad_(False).eval()
    for mlp in sam.mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight.mul_(60)
    sam.mask_decoder.iou_prediction_head.layers[-1].bias.add_(1)
    return sam


def picture(size, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return coarse[
        np.arange(size[0])[:, None] * 6 // size[0], np.arange(size[1])[None] * 7 // size[1]
    ]


def masks_iou(a, b) -> float:
    return (a & b).sum() / max((a | b).sum(), 1)


@pytest.fixture(scope="module")
def sam():
    return tiny_sam()


@pytest.mark.parametrize("downsample", [1, 2])
@pytest.mark.parametrize("with_box", [False, True])
def test_decoder_equals_the_original(downsample, with_box):
    sam = tiny_sam(1, downsample=downsample)
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(1, 32, 8, 8, generator=rng)
    points = torch.rand(5, 3, 2, generator=rng) * 64
    labels = torch.tensor([[1, 0, 1]]).expand(5, -1)
    boxes = torch.rand(5, 4, generator=rng) * 64 if with_box else None
    sparse, dense = sam.prompt_encoder((points, labels), boxes, None)
    place = sam.prompt_encoder.get_dense_pe()
    masks, quality = sam.mask_decoder.predict_masks(features, place, sparse, dense)
    decoder = Decoder(sam)
    image, tokens, own_quality = decoder.attend(features, sparse)
    torch.testing.assert_close(own_quality, quality, rtol=1e-4, atol=1e-5)
    own = decoder.masks(features, image, tokens, range(4))
    torch.testing.assert_close(own, masks, rtol=1e-3, atol=2e-4 * float(masks.abs().max()))


@pytest.mark.parametrize("size", SIZES)
def test_segment_equals_the_predictor(sam, size):
    image = picture(size)
    height, width = size
    segmenter, predictor = Segmenter(sam), SamPredictor(sam)
    predictor.set_image(image)
    embedding = segmenter.embed(image)
    torch.testing.assert_close(embedding.features, predictor.features, rtol=1e-4, atol=1e-4)
    box = np.array([0.2 * width, 0.3 * height, 0.9 * width, 0.8 * height])
    points = np.array([[0.4 * width, 0.5 * height], [0.1 * width, 0.6 * height]])
    labels = np.array([1, 0])
    for asked in (
        {"box": box},
        {"points": points, "labels": labels},
        {"box": box, "points": points, "labels": labels},
    ):
        theirs = {"point_coords" if k == "points" else k: v for k, v in asked.items()}
        theirs["point_labels"] = theirs.pop("labels", None)
        masks, quality, _ = predictor.predict(multimask_output=False, **theirs)
        segment = segmenter.segment(embedding, **asked)
        assert (segment.mask == masks[0]).mean() > 0.999
        assert segment.predicted_iou == pytest.approx(quality[0], abs=1e-4)
        assert segment.area == segment.mask.sum()
        check_box(segment)


def check_box(segment):
    rows, columns = segment.mask.any(1).nonzero()[0], segment.mask.any(0).nonzero()[0]
    if not len(rows):
        assert segment.box == (0, 0, 0, 0)
        return
    assert segment.box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


@pytest.mark.parametrize("size", [(64, 64), (33, 90), (200, 40), (300, 410)])
@pytest.mark.parametrize("overlap", [0.7, 1.0])
def test_everything_finds_the_regions_of_the_original(sam, size, overlap):
    image = picture(size, 3)
    theirs = SamAutomaticMaskGenerator(sam, 5, 64, 0.5, 0.0, box_nms_thresh=overlap).generate(image)
    theirs = [m for m in theirs if m["area"]]
    ours = Segmenter(sam).everything(image, 5, 0.5, 0.0, overlap)
    assert len(ours) == len(theirs) > 0
    assert [s.area for s in ours] == sorted((s.area for s in ours), reverse=True)
    left = list(ours)
    for mask in theirs:
        match = max(left, key=lambda s: masks_iou(s.mask, mask["segmentation"]))
        assert masks_iou(match.mask, mask["segmentation"]) > 0.95
        assert match.predicted_iou == pytest.approx(mask["predicted_iou"], abs=1e-4)
        assert match.stability == pytest.approx(mask["stability_score"], abs=0.02)
        check_box(match)
        left.remove(match)


def test_zooms_in_on_what_it_is_asked_for(sam, tmp_path):
    image = picture((90, 120), 4)
    save_sam(tmp_path / "sam.safetensors", sam, zoom=2.0)
    zooming, plain = Segmenter(load_sam(tmp_path / "sam.safetensors")), Segmenter(sam)
    assert zooming.zoom == 2.0 and plain.zoom is None
    embedding = zooming.embed(image)
    # 40 x 40 around the middle of the box, moved into the image
    box, view = (90, 10, 110, 26), (slice(0, 40), slice(80, 120))
    points, labels = np.array([[95, 20], [100, 15], [10, 80]]), np.array([1, 0, 0])
    near = plain.embed(image[view])
    for asked, there in (
        ({"box": box}, {"box": (10, 10, 30, 26)}),
        (
            {"box": box, "points": points, "labels": labels},
            # what lies outside the view is left out
            {"box": (10, 10, 30, 26), "points": points[:2] - (80, 0), "labels": labels[:2]},
        ),
    ):
        got, expected = zooming.segment(embedding, **asked), plain.segment(near, **there)
        assert expected.area and masks_iou(got.mask[view], expected.mask) > 0.99
        assert got.mask.sum() == got.area == pytest.approx(expected.area, rel=0.01)
        check_box(got)
    # what points alone mean on the whole image is looked at again
    points, labels = np.array([[60, 40], [110, 80]]), np.array([1, 0])
    first = plain.segment(plain.embed(image), points=points, labels=labels)
    assert first.area
    again = zooming.segment(embedding, box=first.box, points=points, labels=labels)
    got = zooming.segment(embedding, points=points, labels=labels)
    assert np.array_equal(got.mask, again.mask) and got.box == again.box
    large = {"box": (5, 5, 100, 80)}
    whole = plain.segment(plain.embed(image), **large)
    assert masks_iou(zooming.segment(embedding, **large).mask, whole.mask) > 0.99


def test_everything_filters_by_quality_and_stability(sam):
    image, segmenter = picture((80, 100), 5), Segmenter(sam)
    found = segmenter.everything(image, 4, -10.0, 0.0, 1.0)
    quality = np.median([s.predicted_iou for s in found])
    better = segmenter.everything(image, 4, quality, 0.0, 1.0)
    assert 0 < len(better) < len(found) and min(s.predicted_iou for s in better) > quality
    assert segmenter.everything(image, 4, 10.0, 0.0) == []
    stability = np.median([s.stability for s in found])
    stable = segmenter.everything(image, 4, -10.0, stability, 1.0)
    assert 0 < len(stable) < len(found)
    assert min(s.stability for s in stable) >= stability
    assert segmenter.everything(picture((40, 1)), 2, -10.0, 0.0)


def test_half_precision_is_close(sam):
    image = picture((80, 100), 5)
    whole, half = Segmenter(sam), Segmenter(sam)
    half.dtype = torch.bfloat16
    box = (10, 10, 70, 60)
    a, b = (s.segment(s.embed(image), box=box) for s in (whole, half))
    assert masks_iou(a.mask, b.mask) > 0.9


def test_threads_do_not_disturb_each_other(sam):
    segmenter = Segmenter(sam)
    images = [picture((50 + 10 * k, 60), k) for k in range(6)]

    def run(image):
        return segmenter.segment(segmenter.embed(image), box=(5, 5, 40, 40)).mask

    alone = [run(image) for image in images]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(run, images))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_refuses_what_is_no_image_or_prompt(sam):
    segmenter = Segmenter(sam)
    for bad in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(XsynError, match="8-bit RGB"):
            segmenter.embed(bad)
    embedding = segmenter.embed(picture((40, 40)))
    with pytest.raises(XsynError, match="box or at least one point"):
        segmenter.segment(embedding, points=np.zeros((0, 2)), labels=np.zeros(0))
    with pytest.raises(XsynError, match="label"):
        segmenter.segment(embedding, points=np.zeros((2, 2)), labels=np.ones(1))
    with pytest.raises(XsynError, match="point"):
        segmenter.everything(picture((40, 40)), 0)


def answer(sam: Sam) -> torch.Tensor:
    predictor = SamPredictor(sam)
    predictor.set_image(picture((64, 50), 2))
    return torch.from_numpy(predictor.predict(box=np.array([4, 4, 30, 40]), return_logits=True)[0])


SHAPES = [
    {},
    {"relative": False},
    {"relative": False, "window": 0, "whole": ()},
    {"window": 0, "whole": ()},
    {"multimask": 2, "downsample": 1},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_saved_sam_comes_back(tmp_path, shape):
    sam = tiny_sam(4, **shape).half().float()
    sam.pixel_mean += 1
    path = tmp_path / "deep" / "sam.safetensors"
    save_sam(path, sam)
    loaded = load_sam(path)
    assert not loaded.training
    assert next(loaded.parameters()).dtype == torch.float32
    torch.testing.assert_close(answer(loaded), answer(sam), rtol=1e-4, atol=1e-2)
    assert load_file(path)["mask_decoder.iou_token.weight"].dtype == torch.float16
    assert [p.name for p in path.parent.iterdir()] == ["sam.safetensors"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_told(tmp_path, value):
    sam = tiny_sam(4)
    sam.mask_decoder.iou_token.weight[0, 1] = value
    save_sam(tmp_path / "sam.safetensors", sam)
    with pytest.raises(XsynError, match=r"sam.safetensors.*no numbers.*mask_decoder\.iou_token"):
        load_sam(tmp_path / "sam.safetensors")


def test_thresholds_travel_with_the_weights(tmp_path, sam):
    path = tmp_path / "sam.safetensors"
    save_sam(path, sam)
    assert Segmenter(load_sam(path)).thresholds == sam_checkpoint.THRESHOLDS
    save_sam(path, sam, (-10.0, 0.0))
    segmenter, image = Segmenter(load_sam(path)), picture((40, 50))
    assert segmenter.thresholds == (-10.0, 0.0)
    assert len(segmenter.everything(image, 3)) == len(segmenter.everything(image, 3, -10.0, 0.0))
    assert segmenter.everything(image, 3, pred_iou_thresh=10.0) == []


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s, "epoch": 3}])
def test_pth_is_told_by_its_shapes(tmp_path, wrap, monkeypatch):
    sam = tiny_sam(5)
    path = tmp_path / "sam.pth"
    state = {k: v for k, v in sam.state_dict().items()}
    torch.save(wrap(state), path)
    # 8 heads in the decoder are what all published models have
    monkeypatch.setattr(sam_checkpoint, "DECODER_HEADS", 4)
    torch.testing.assert_close(answer(load_sam(path)), answer(sam), rtol=1e-4, atol=1e-2)


def test_shapes_without_relative_positions_need_metadata_or_fame(tmp_path, monkeypatch):
    sam = tiny_sam(5, relative=False, window=14)
    path = tmp_path / "sam.pth"
    torch.save(sam.state_dict(), path)
    with pytest.raises(XsynError, match="width 16 and depth 3"):
        load_sam(path)
    monkeypatch.setattr(sam_checkpoint, "DECODER_HEADS", 4)
    monkeypatch.setitem(sam_checkpoint.PUBLISHED, (16, 3), (2, (1,)))
    torch.testing.assert_close(answer(load_sam(path)), answer(sam), rtol=1e-4, atol=1e-2)


class Hostile:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_hostile_pickles_are_not_run(tmp_path, sam):
    target = tmp_path / "ran"
    hostile = {**sam.state_dict(), "extra": Hostile(target)}
    torch.save(hostile, tmp_path / "zip.pth")
    torch.save(hostile, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(hostile, protocol=2))
    for name in ("zip.pth", "old.pth"):
        loaded = load_sam(tmp_path / name).state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in sam.state_dict().items())
    with pytest.raises(XsynError, match=r"plain\.pth.*Nothing in it was run"):
        load_sam(tmp_path / "plain.pth")
    assert not target.exists()


def test_wrong_files_are_named(tmp_path, sam):
    def refuse(words, name):
        with pytest.raises(XsynError, match=words) as caught:
            load_sam(tmp_path / name)
        assert name in str(caught.value)

    def keys(name, *names):
        torch.save({k: torch.zeros(1) for k in names}, tmp_path / name)

    refuse("no file", "missing.pth")
    (tmp_path / "folder").mkdir()
    refuse("folder", "folder")
    (tmp_path / "page.pth").write_text("\n<!DOCTYPE html><html>Not found</html>")
    refuse("web page", "page.pth")
    (tmp_path / "pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    refuse("LFS", "pointer.pth")
    (tmp_path / "empty.pth").write_bytes(b"")
    refuse("neither", "empty.pth")
    (tmp_path / "text.pth").write_text("hello")
    refuse("neither", "text.pth")
    keys("sam2.pt", "image_encoder.trunk.pos_embed", "sam_mask_decoder.iou_token.weight")
    refuse("SAM 2", "sam2.pt")
    keys("mobile.pt", "image_encoder.layers.0.x", "mask_decoder.mask_tokens.weight")
    refuse("not a whole SAM.*no prompt_encoder", "mobile.pt")
    keys("unet.pt", "down_blocks.0.x")
    refuse("diffusion", "unet.pt")
    keys("other.pt", "layer.weight")
    refuse("not a whole SAM.*layer.weight", "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    refuse("holds a list", "list.pt")
    torch.save({"epoch": 1}, tmp_path / "numbers.pt")
    refuse("no weights", "numbers.pt")


def test_damaged_files_are_named(tmp_path, sam):
    save_sam(tmp_path / "sam.safetensors", sam)
    torch.save(sam.state_dict(), tmp_path / "sam.pth")
    for name in ("sam.safetensors", "sam.pth"):
        content = (tmp_path / name).read_bytes()
        for share in (0.02, 0.5, 0.99):
            (tmp_path / name).write_bytes(content[: int(len(content) * share)])
            with pytest.raises(XsynError, match=f"{name} is damaged"):
                load_sam(tmp_path / name)


def test_tensors_that_do_not_fit_are_named(tmp_path, sam):
    state = {k: v.contiguous() for k, v in sam.state_dict().items()}
    bad = {**state, "mask_decoder.iou_token.weight": torch.zeros(1, 5)}
    save_file(bad, tmp_path / "bad.safetensors")
    with pytest.raises(XsynError, match="do not fit"):
        load_sam(tmp_path / "bad.safetensors")
    del state["image_encoder.neck.0.weight"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(XsynError, match="do not fit"):
        load_sam(tmp_path / "less.safetensors")
    for metadata in ("[1]", 200_000 * "["):
        save_file(state, tmp_path / "meta.safetensors", {"sam": metadata})
        with pytest.raises(XsynError, match="metadata"):
            load_sam(tmp_path / "meta.safetensors")


@pytest.mark.parametrize("entry", ["num_heads", "decoder_num_heads"])
@pytest.mark.parametrize("count", [0, float("inf")])
def test_metadata_that_does_not_fit_is_named(tmp_path, entry, count):
    path = tmp_path / "sam.safetensors"
    save_sam(path, tiny_sam(relative=False))
    with safe_open(path, "pt") as file:
        layout = json.loads(file.metadata()["sam"])
    save_file(load_file(path), path, {"sam": json.dumps({**layout, entry: count})})
    with pytest.raises(XsynError, match="do not fit"):
        load_sam(path)
