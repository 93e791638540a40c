"""TinyViT, the image encoder of MobileSAM, with the names of the published weights.

Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", ECCV 2022;
Zhang et al., "Faster Segment Anything: Towards Lightweight SAM for Mobile Applications", 2023.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

# Pixels along a side of one cell of the output.
STRIDE = 16
# MBConvs and MLPs are so many times as wide inside.
_EXPANSION = 4


class TinyViT(nn.Module):
    """Takes the place of `ImageEncoderViT` in a `Sam`.

    A convolutional stage at stride 4, then stages of window attention: the first at stride 8, all
    others at 16. The original shrinks once more; MobileSAM keeps the grid of SAM's ViTs.

    Args:
        img_size: side of the square images in pixels, a multiple of `STRIDE`.
        embed_dims: channels of each stage, three or more; MobileSAM's are 64, 128, 160, 320.
        depths: blocks of each stage; 2, 2, 6, 2.
        num_heads: of each stage of attention; 4, 5, 10.
        window_sizes: side of its windows in cells; 7, 14, 7.
        out_chans: channels of the output.

    Raises:
        ValueError: channels that are no multiple of the heads, or sizes that are not positive or
            not of as many stages.
    """

    def __init__(
        self,
        img_size: int,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_sizes: Sequence[int],
        out_chans: int = 256,
    ):
        super().__init__()
        if img_size < STRIDE or img_size % STRIDE:
            raise ValueError(f"images of {img_size} pixels a side: not a multiple of {STRIDE}")
        if len(embed_dims) < 3:
            raise ValueError(f"{len(embed_dims)} stages do not reach stride {STRIDE}")
        self.img_size = img_size
        self.patch_embed = _PatchEmbed(embed_dims[0])
        self.layers = nn.ModuleList([_Stage([_MBConv(embed_dims[0]) for _ in range(depths[0])])])
        attention = zip(embed_dims[1:], depths[1:], num_heads, window_sizes, strict=True)
        for width, depth, heads, window in attention:
            self.layers.append(_Stage([_Block(width, heads, window) for _ in range(depth)]))
        for k, (width, wider) in enumerate(pairwise(embed_dims)):
            self.layers[k].downsample = _PatchMerging(width, wider, stride=2 if k < 2 else 1)
        self.neck = nn.Sequential(
            nn.Conv2d(embed_dims[-1], out_chans, 1, bias=False),
            LayerNorm2d(out_chans),
            nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False),
            LayerNorm2d(out_chans),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to features (B, out_chans, H / 16, W / 16)."""
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x)
        return self.neck(x)


class _Conv2dBN(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups=1):
        super().__init__()
        padding = kernel // 2
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)


class _PatchEmbed(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        half = width // 2
        self.seq = nn.Sequential(_Conv2dBN(3, half, 3, 2), nn.GELU(), _Conv2dBN(half, width, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.seq(x)


class _Stage(nn.Module):
    """Blocks, and where a stage follows its `downsample`."""

    def __init__(self, blocks: list[nn.Module]):
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(self.blocks(x))


class _MBConv(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        inner = _EXPANSION * width
        self.conv1 = _Conv2dBN(width, inner)
        self.conv2 = _Conv2dBN(inner, inner, 3, groups=inner)
        self.conv3 = _Conv2dBN(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.conv1(x))
        y = F.gelu(self.conv2(y))
        return F.gelu(x + self.conv3(y))


class _PatchMerging(nn.Module):
    def __init__(self, width: int, wider: int, stride: int):
        super().__init__()
        self.conv1 = _Conv2dBN(width, wider)
        self.conv2 = _Conv2dBN(wider, wider, 3, stride, groups=wider)
        self.conv3 = _Conv2dBN(wider, wider)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv1(x))
        return self.conv3(F.gelu(self.conv2(x)))


class _Attention(nn.Module):
    """Self-attention in a window, with a learnt bias for each head and distance |dy|, |dx|."""

    attention_bias_idxs: Tensor

    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        if window < 1 or heads < 1 or width % heads:
            raise ValueError(f"{width} channels, {heads} heads and windows of {window} cells")
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))
        # A constant that no file holds: on the CPU even where parameters are made without memory.
        cells = torch.arange(window, device="cpu")
        apart = (cells[:, None] - cells).abs()
        indexes = window * apart[:, None, :, None] + apart[None, :, None, :]
        indexes = indexes.reshape(window**2, window**2)
        self.register_buffer("attention_bias_idxs", indexes, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, window * window, C) to the same, rows of a window one after another."""
        # each head's query, key and value lie side by side
        heads = self.qkv(self.norm(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        query, key, value = heads.chunk(3, -1)
        biases = self.attention_biases[:, self.attention_bias_idxs].to(query.dtype)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=biases)
        return self.proj(x.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, _EXPANSION * width)
        self.fc2 = nn.Linear(_EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class _Block(nn.Module):
    """Window attention, a depthwise convolution across the windows' borders, an MLP."""

    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.window = window
        self.attn = _Attention(width, heads, window)
        self.local_conv = _Conv2dBN(width, width, 3, groups=width)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        x = self.local_conv(x + self._attend(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _attend(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same, in windows."""
        height, width = x.shape[1:3]
        side = self.window
        # Cells of zeros fill the last windows, and are attended to as any others.
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.unflatten(2, (columns, side)).unflatten(1, (rows, side)).transpose(2, 3)
        x = self.attn(x.flatten(3, 4).flatten(0, 2))
        x = x.unflatten(1, (side, side)).unflatten(0, (-1, rows, columns)).transpose(2, 3)
        return x.flatten(3, 4).flatten(1, 2)[:, :height, :width]
