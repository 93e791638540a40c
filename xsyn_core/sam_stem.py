"""A convolutional stem for small SAM image encoders.

SAM projects each patch at once and leaves it to a deep transformer, and to a million pictures, to
learn what an edge is. A small encoder with little training does better with convolutions first
(Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021).
"""

from torch import Tensor, nn
from torch.nn import functional

STRIDE = 16
_ENTRY = 4


class Stem(nn.Module):
    """Takes the place of SAM's `PatchEmbed`: residual convolutions at strides 4, 8 and 16.

    Args:
        fine, middle: channels at strides 4 and 8, multiples of 8.
        width: of the transformer.
        in_chans: of the image.
    """

    def __init__(self, fine: int, middle: int, width: int, in_chans: int = 3):
        super().__init__()
        self.enter = nn.Conv2d(in_chans * _ENTRY**2, fine, 3, padding=1)
        self.fine = _Block(fine)
        self.halve = nn.Conv2d(fine, middle, 2, 2)
        self.middle = nn.Sequential(_Block(middle), _Block(middle))
        self.proj = nn.Conv2d(middle, width, 2, 2)
        # edges reach the tokens, from which masks of stride 4 are drawn, on a short way too
        self.detail = nn.Conv2d(fine, width, 4, 4)
        self.coarse = _Block(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, H / 16, W / 16, width), as `PatchEmbed`."""
        fine = self.fine(self.enter(functional.pixel_unshuffle(x, _ENTRY)))
        middle = self.middle(self.halve(fine))
        return self.coarse(self.proj(middle) + self.detail(fine)).permute(0, 2, 3, 1)


class _Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        return x + self.conv2(functional.silu(self.norm2(y)))
