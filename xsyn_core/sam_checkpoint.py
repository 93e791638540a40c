"""Files of SAM weights: `save_sam` and `load_sam`. The tensors tell the model."""

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from xsyn_core.checkpoint_files import SAM, check_finite, kind_of, read_checkpoint, tensors_in
from xsyn_core.errors import XsynError
from xsyn_core.files import replacing_file
from xsyn_core.sam_detail import STRIDE, DetailDecoder, DetailEncoder
from xsyn_core.sam_refiner import PROMPTS, SHRINK, Refiner
from xsyn_core.tiny_vit import STRIDE as TINY_VIT_STRIDE
from xsyn_core.tiny_vit import TinyViT

METADATA_KEY = "sam"
WANTED = (
    "Give a Segment Anything (SAM) file: sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth, "
    "sam_vit_h_4b8939.pth, MobileSAM's mobile_sam.pt, or a safetensors file of a SAM written by "
    "this project."
)
# What tensor shapes alone cannot tell of the published models: (width, depth) of the image
# encoder -> heads, indexes of the blocks with global attention.
PUBLISHED = {
    (768, 12): (12, (2, 5, 8, 11)),
    (1024, 24): (16, (5, 11, 17, 23)),
    (1280, 32): (16, (7, 15, 23, 31)),
}
# How the names of MobileSAM's image encoder begin. No tensor depends on the size of its images.
TINY_VIT = "image_encoder.layers."
TINY_VIT_SIDE = 1024
# The classifier of its pre-training, which is in mobile_sam.pt and which no SAM uses.
CLASSIFIER = ("image_encoder.norm_head.", "image_encoder.head.")
# Constants, which some writers of PyTorch files keep.
INDEXES = ".attention_bias_idxs"
# Of batch normalisation.
STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
DECODER_HEADS = 8
# How the names of this project's `Refiner` begin.
REFINER = "refiner."
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
# Least predicted IoU and stability in SAM's automatic mask generator, made for ViT-H.
THRESHOLDS = (0.88, 0.95)


def save_sam(
    path: str | Path,
    sam: Sam,
    thresholds: tuple[float, float] | None = None,
    zoom: float | None = None,
) -> None:
    """Write a `Sam` as float16 safetensors with what its shapes cannot tell as metadata.

    The file appears whole or not at all. `sam` itself is left as it is. The statistics of batch
    normalisation, which may be beyond the range of float16, keep their type.

    Args:
        sam: with an `ImageEncoderViT` or a `TinyViT`; perhaps with a `refiner`.
        thresholds: the least predicted IoU and stability of a mask of "everything" that suit
            this model; the original's where not given.
        zoom: the model answers a prompt best in a window of so many times the size of what it
            asks for; the whole image where not given.
    """
    path = Path(path)
    encoder, decoder = sam.image_encoder, sam.mask_decoder
    if isinstance(encoder, TinyViT):
        layout: dict[str, Any] = {"img_size": encoder.img_size}
    else:
        layout = {
            "num_heads": encoder.blocks[0].attn.num_heads,
            "window_size": max(block.window_size for block in encoder.blocks),
            "global_attn_indexes": [i for i, b in enumerate(encoder.blocks) if not b.window_size],
        }
    layout |= {
        "decoder_num_heads": decoder.transformer.layers[0].self_attn.num_heads,
        "pixel_mean": sam.pixel_mean.flatten().tolist(),
        "pixel_std": sam.pixel_std.flatten().tolist(),
        "thresholds": list(thresholds or THRESHOLDS),
        "zoom": zoom,
    }
    tensors = {
        name: tensor.detach()
        .to("cpu", tensor.dtype if name.endswith(STATISTICS) else torch.float16)
        .contiguous()
        for name, tensor in sam.state_dict().items()
    }
    with replacing_file(path) as new:
        save_file(tensors, new, {"format": "pt", METADATA_KEY: json.dumps(layout)})
        new.chmod(0o644)  # safetensors leaves it to its writer alone


def load_sam(path: str | Path) -> Sam:
    """Build the `Sam` that a file of weights describes, in float32 and eval mode on the CPU.

    Reads safetensors and PyTorch files. Image size, patch, width, depth, windows (with relative
    positions), decoder and prompt sizes follow from the tensors; what they cannot tell comes from
    the metadata of `save_sam` or from what is known of ViT-B, L, H and MobileSAM. Code inside a
    pickle is never run.

    Raises:
        XsynError: missing, damaged, with weights that are no numbers, or not a SAM that is
            supported; names what was found.
    """
    path = Path(path)
    tensors, layout = _read(path)
    _refuse_others(path, tensors)
    check_finite(path, tensors)
    try:
        sam = _build(tensors, layout)
        # Copies: what stays mapped would change, or fall away, with the file.
        weights = {
            name: t.to(torch.float32 if t.is_floating_point() else t.dtype, copy=True)
            for name, t in tensors.items()
            if not name.startswith(CLASSIFIER) and not name.endswith(INDEXES)
        }
        sam.load_state_dict(weights, strict=True, assign=True)
        low_iou, low_stability = layout.get("thresholds", THRESHOLDS)
        sam.thresholds = (float(low_iou), float(low_stability))
        zoom = layout.get("zoom")
        sam.zoom = None if zoom is None else float(zoom)
    except (
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        AssertionError,
        RuntimeError,
    ) as error:
        if isinstance(error, XsynError):
            raise
        reason = str(error).strip().splitlines()
        raise XsynError(
            f"{path.name} looks like a SAM, but its tensors do not fit together "
            f"({type(error).__name__}: {' '.join(reason)[:300]}). {WANTED}"
        ) from None
    return sam.requires_grad_(False).eval()


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors by name, and the layout from the metadata ({} if there is none)."""
    content, metadata = read_checkpoint(path, WANTED)
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), dict):
            content = content[key]
    tensors = tensors_in(content)
    if not tensors:
        raise XsynError(f"{path.name} holds no weights. {WANTED}")
    try:
        layout = json.loads(metadata.get(METADATA_KEY, "{}"))
    except (ValueError, RecursionError):
        layout = None
    if not isinstance(layout, dict):
        raise XsynError(f"{path.name} has unreadable metadata. Copy or download it again.")
    return tensors, layout


def _refuse_others(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    kind = kind_of(tensors)
    if kind not in (None, SAM):
        raise XsynError(f"{path.name} is {kind}, which is not supported yet. {WANTED}")
    encoder = TINY_VIT if _has_tiny_vit(tensors) else "image_encoder.pos_embed"
    needed = (encoder, "prompt_encoder.", "mask_decoder.mask_tokens.weight")
    missing = [part for part in needed if not any(key.startswith(part) for key in tensors)]
    if missing:
        some = ", ".join(sorted(tensors)[:3])
        raise XsynError(
            f"{path.name} is not a whole SAM: it has {len(tensors)} tensors such as {some}, "
            f"but no {' and no '.join(part.rstrip('.') for part in missing)}. {WANTED}"
        )
    if _has_detail(tensors) and "image_encoder.to_tokens.weight" not in tensors:
        raise XsynError(
            f"{path.name} goes back to an embedded segmenter of before stage 11, whose encoder was "
            "smaller: this version cannot run it. Fine-tune again from the present one, or run the "
            "version that wrote it."
        )


def _has_detail(tensors: Mapping[str, torch.Tensor]) -> bool:
    return "image_encoder.patch_embed.enter.weight" in tensors


def _details(tensors: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """Channels that the project's own encoder keeps at strides 8 and 4."""
    kept = (tensors[f"image_encoder.keep_{name}.weight"] for name in ("middle", "fine"))
    middle, fine = (len(weight) for weight in kept)
    return middle, fine


def _has_tiny_vit(tensors: Mapping[str, torch.Tensor]) -> bool:
    return any(name.startswith(TINY_VIT) for name in tensors)


def _build(tensors: Mapping[str, torch.Tensor], layout: Mapping[str, Any]) -> Sam:
    """An empty `Sam` (on the meta device, but for its constants) in the shapes of the tensors."""

    def shape(name: str) -> torch.Size:
        return tensors[name].shape

    out = shape("image_encoder.neck.0.weight")[0]
    first = "mask_decoder.transformer.layers.0."
    inner = shape(first + "cross_attn_token_to_image.q_proj.weight")[0]
    with torch.device("meta"):
        encoder, grid = (_tiny_vit if _has_tiny_vit(tensors) else _vit)(tensors, layout)
        prompts = PromptEncoder(
            embed_dim=out,
            image_embedding_size=(grid, grid),
            input_image_size=(encoder.img_size, encoder.img_size),
            mask_in_chans=shape("prompt_encoder.mask_downscaling.3.weight")[0],
        )
        transformer = TwoWayTransformer(
            depth=_count(tensors, "mask_decoder.transformer.layers."),
            embedding_dim=out,
            num_heads=int(layout.get("decoder_num_heads", DECODER_HEADS)),
            mlp_dim=shape(first + "mlp.lin1.weight")[0],
            attention_downsample_rate=out // inner,
        )
        make_decoder = MaskDecoder
        if _has_detail(tensors):
            make_decoder = partial(DetailDecoder, _details(tensors))
        decoder = make_decoder(
            transformer_dim=out,
            transformer=transformer,
            num_multimask_outputs=shape("mask_decoder.mask_tokens.weight")[0] - 1,
            iou_head_depth=_count(tensors, "mask_decoder.iou_prediction_head.layers."),
            iou_head_hidden_dim=shape("mask_decoder.iou_prediction_head.layers.0.weight")[0],
        )
        sam = Sam(encoder, prompts, decoder)
        if any(name.startswith(REFINER) for name in tensors):
            levels = [f"{REFINER}down.{k}." for k in range(_count(tensors, REFINER + "down."))]
            sam.refiner = Refiner(
                tuple(shape(level + "0.norm1.weight")[0] for level in levels),
                tuple(_count(tensors, level) for level in levels),
                shape(REFINER + "enter.weight")[1] - 3 * SHRINK**2 - PROMPTS,
            )
    for name, default in (("pixel_mean", PIXEL_MEAN), ("pixel_std", PIXEL_STD)):
        values = torch.tensor(layout.get(name, default), dtype=torch.float32)
        setattr(sam, name, values.view(3, 1, 1))
    return sam


def _vit(
    tensors: Mapping[str, torch.Tensor], layout: Mapping[str, Any]
) -> tuple[ImageEncoderViT, int]:
    """SAM's own image encoder, or this project's with detail, and its grid."""

    def shape(name: str) -> torch.Size:
        return tensors["image_encoder." + name].shape

    _, grid, grid_x, width = shape("pos_embed")
    if grid != grid_x:
        raise XsynError(f"This SAM has a {grid_x} x {grid} token grid; only square ones can run.")
    detailed = _has_detail(tensors)
    patch = STRIDE if detailed else shape("patch_embed.proj.weight")[2]
    depth = _count(tensors, "image_encoder.blocks.")
    heads, window, global_blocks = _attention_layout(tensors, layout, width, depth, grid)
    make_encoder = ImageEncoderViT
    if detailed:
        fine, middle = (shape(f"patch_embed.{name}.weight")[0] for name in ("enter", "halve"))
        before, behind = (
            (
                _count(tensors, f"image_encoder.{p}fine."),
                _count(tensors, f"image_encoder.{p}middle."),
            )
            for p in ("patch_embed.", "")
        )
        narrow = shape("patch_embed.coarse.conv1.weight")[0]
        make_encoder = partial(
            DetailEncoder, fine, middle, _details(tensors), (before, behind), narrow
        )
    encoder = make_encoder(
        img_size=grid * patch,
        patch_size=patch,
        in_chans=3 if detailed else shape("patch_embed.proj.weight")[1],
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=shape("blocks.0.mlp.lin1.weight")[0] / width,
        out_chans=shape("neck.0.weight")[0],
        qkv_bias="image_encoder.blocks.0.attn.qkv.bias" in tensors,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos="image_encoder.blocks.0.attn.rel_pos_h" in tensors,
        window_size=window,
        global_attn_indexes=global_blocks,
    )
    return encoder, grid


def _tiny_vit(
    tensors: Mapping[str, torch.Tensor], layout: Mapping[str, Any]
) -> tuple[TinyViT, int]:
    """MobileSAM's image encoder, and its grid."""
    stages = [f"{TINY_VIT}{k}." for k in range(_count(tensors, TINY_VIT))]
    # A table has a row a head, and a column for each of w * w distances in windows of w cells.
    tables = [tensors[stage + "blocks.0.attn.attention_biases"].shape for stage in stages[1:]]
    wider = (tensors[stage + "blocks.0.attn.proj.weight"].shape[0] for stage in stages[1:])
    encoder = TinyViT(
        img_size=int(layout.get("img_size", TINY_VIT_SIDE)),
        embed_dims=[tensors[stages[0] + "blocks.0.conv1.c.weight"].shape[1], *wider],
        depths=[_count(tensors, stage + "blocks.") for stage in stages],
        num_heads=[heads for heads, _ in tables],
        window_sizes=[math.isqrt(distances) for _, distances in tables],
        out_chans=tensors["image_encoder.neck.0.weight"].shape[0],
    )
    return encoder, encoder.img_size // TINY_VIT_STRIDE


def _count(tensors: Mapping[str, torch.Tensor], prefix: str) -> int:
    """How many different parts follow a prefix of names."""
    rests = (name[len(prefix) :] for name in tensors if name.startswith(prefix))
    return len({rest.split(".")[0] for rest in rests})


def _attention_layout(
    tensors: Mapping[str, torch.Tensor],
    layout: Mapping[str, Any],
    width: int,
    depth: int,
    grid: int,
) -> tuple[int, int, tuple[int, ...]]:
    """Heads, window size and global blocks of the image encoder."""
    tables = [tensors.get(f"image_encoder.blocks.{i}.attn.rel_pos_h") for i in range(depth)]
    if all(table is not None for table in tables):
        # A table has 2 s - 1 rows for windows of s tokens, and a column per channel of a head.
        sides = [(len(table) + 1) // 2 for table in tables]  # type: ignore[arg-type]
        whole = tuple(i for i, side in enumerate(sides) if side == grid)
        return (width // tables[0].shape[1], min(sides) if len(whole) < depth else 0, whole)  # type: ignore[union-attr]
    if "num_heads" in layout:
        whole = tuple(int(i) for i in layout["global_attn_indexes"])
        return int(layout["num_heads"]), int(layout["window_size"]), whole
    if (width, depth) in PUBLISHED:
        heads, whole = PUBLISHED[width, depth]
        return heads, 14, whole
    raise XsynError(
        f"This SAM has an image encoder of width {width} and depth {depth} without relative "
        "positions: its heads and windows are in no tensor, and the file has no metadata that "
        "tells them. Write it with save_sam."
    )
