"""MobileSAM: the tensors of mobile_sam.pt by name, and a tiny model of the same make."""

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from xsyn_core.tiny_vit import TinyViT

# Parameters of mobile_sam.pt, those of the unused classifier included.
PARAMETERS = 10_130_092
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def convolution(name: str, outputs: int, inputs: int, side: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.c.weight": (outputs, inputs, side, side)}
    for part in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"{name}.bn.{part}"] = (outputs,)
    return {**shapes, f"{name}.bn.num_batches_tracked": ()}


def pair(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def encoder_shapes() -> dict[str, tuple[int, ...]]:
    """The image encoder's tensors, as numbers; nothing of the code under test is used."""
    shapes = {
        **convolution("patch_embed.seq.0", 32, 3, 3),
        **convolution("patch_embed.seq.2", 64, 32, 3),
    }
    for block in ("layers.0.blocks.0", "layers.0.blocks.1"):
        shapes |= convolution(f"{block}.conv1", 256, 64, 1)
        shapes |= convolution(f"{block}.conv2", 256, 1, 3)
        shapes |= convolution(f"{block}.conv3", 64, 256, 1)
    for layer, width, wider in ((0, 64, 128), (1, 128, 160), (2, 160, 320)):
        shapes |= convolution(f"layers.{layer}.downsample.conv1", wider, width, 1)
        shapes |= convolution(f"layers.{layer}.downsample.conv2", wider, 1, 3)
        shapes |= convolution(f"layers.{layer}.downsample.conv3", wider, wider, 1)
    for layer, width, depth, heads, distances in (
        (1, 128, 2, 4, 49),
        (2, 160, 6, 5, 196),
        (3, 320, 2, 10, 49),
    ):
        for block in (f"layers.{layer}.blocks.{k}" for k in range(depth)):
            shapes[f"{block}.attn.attention_biases"] = (heads, distances)
            shapes |= pair(f"{block}.attn.norm", width)
            shapes |= pair(f"{block}.attn.qkv", 3 * width, width)
            shapes |= pair(f"{block}.attn.proj", width, width)
            shapes |= pair(f"{block}.mlp.norm", width)
            shapes |= pair(f"{block}.mlp.fc1", 4 * width, width)
            shapes |= pair(f"{block}.mlp.fc2", width, 4 * width)
            shapes |= convolution(f"{block}.local_conv", width, 1, 3)
    shapes |= {"neck.0.weight": (256, 320, 1, 1), **pair("neck.1", 256)}
    shapes |= {"neck.2.weight": (256, 256, 3, 3), **pair("neck.3", 256)}
    return {**shapes, **pair("norm_head", 320), **pair("head", 1000, 320)}


def published_shapes() -> dict[str, tuple[int, ...]]:
    """All tensors of mobile_sam.pt: prompt encoder and mask decoder are those of SAM."""
    with torch.device("meta"):
        prompts = PromptEncoder(256, (64, 64), (1024, 1024), mask_in_chans=16)
        transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
        decoder = MaskDecoder(transformer_dim=256, transformer=transformer)
    shapes = {f"image_encoder.{name}": shape for name, shape in encoder_shapes().items()}
    for part, module in (("prompt_encoder", prompts), ("mask_decoder", decoder)):
        for name, tensor in module.state_dict().items():
            shapes[f"{part}.{name}"] = tuple(tensor.shape)
    return shapes


def random_weights(
    shapes: dict[str, tuple[int, ...]], generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """float32 tensors of the sizes that layers of a trained model have."""
    made = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            made[name] = torch.tensor(100_000)
        elif len(shape) > 1:
            fan_in = 1 if "embed" in name and len(shape) == 2 else torch.Size(shape[1:]).numel()
            if name.endswith("attention_biases"):
                fan_in = 1
            made[name] = torch.randn(shape, generator=generator) * fan_in**-0.5
        else:
            middle = 1.0 if name.endswith(("weight", "running_var")) else 0.0
            made[name] = middle + 0.4 * (torch.rand(shape, generator=generator) - 0.5)
    return made


def tiny_mobile_sam(seed: int = 0) -> Sam:
    """For 64 px images; windows of 3 cells do not fill its grids of 8 and 4."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = TinyViT(64, (8, 12, 16, 24), (1, 2, 2, 1), (2, 4, 3), (3, 2, 3), out_chans=32)
        prompts = PromptEncoder(32, (4, 4), (64, 64), mask_in_chans=4)
        transformer = TwoWayTransformer(2, 32, 4, 48)
        decoder = MaskDecoder(
            transformer_dim=32, transformer=transformer, iou_head_depth=2, iou_head_hidden_dim=24
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    encoder.load_state_dict(random_weights(shapes, torch.Generator().manual_seed(seed)))
    return Sam(encoder, prompts, decoder).requires_grad_(False).eval()
