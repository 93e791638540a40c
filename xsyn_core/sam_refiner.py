"""A second look at one mask of a small SAM: a U-Net that sees the picture, the prompt and the mask.

SAM draws a mask as products of one token with the features of a picture that was encoded before
anybody asked. A small model draws thin and branched things as patches so; a network that knows
from its first layer on what was asked for does better with the same arithmetic (as in RITM:
Sofiiuk et al., "Reviving Iterative Training with Mask Guidance for Interactive Segmentation",
2021).

It belongs to a `Sam` as the attribute `refiner`; `segment_anything` itself does not know of it.
"""

from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xsyn_core.sam_detail import Block

# The picture has twice as many pixels a side as the logits have cells.
SHRINK = 2
# Channels of a drawn prompt: its box, and its foreground and background points.
PROMPTS = 3
# Deviation of a drawn point, cells.
POINT = 1.5
# SAM's single mask, and the three of its answers to what may mean several things, as a click may.
MASKS = 4
WIDTHS = (24, 48, 96, 96)
DEPTHS = (2, 3, 3, 2)


class Refiner(nn.Module):
    """Corrects SAM's logits; untrained it leaves them as they are.

    Args:
        widths: channels at strides 1, 2, 4, ... of the logits, multiples of 8.
        depths: blocks at each of them on the way down; one on the way up.
        masks: how many of SAM's answers it sees; it corrects the first.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = WIDTHS,
        depths: tuple[int, ...] = DEPTHS,
        masks: int = MASKS,
    ):
        super().__init__()
        self.masks = masks
        self.enter = nn.Conv2d(3 * SHRINK**2 + masks + PROMPTS, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth)))
            for width, depth in zip(widths, depths, strict=True)
        )
        pairs = list(pairwise(widths))
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2) for fine, coarse in pairs)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, 2) for fine, coarse in pairs)
        self.up = nn.ModuleList(Block(fine) for fine, _ in pairs)
        self.leave = nn.Conv2d(widths[0], 1, 1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, pixels: Tensor, logits: Tensor, prompts: Tensor) -> Tensor:
        """Better logits.

        Args:
            pixels: (B, 3, 2 s, 2 s) in [-1, 1], see `shrunk`.
            logits: (B, masks, s, s), SAM's, of the same square.
            prompts: (B, 3, s, s), see `drawn`.

        Returns:
            (B, 1, s, s).
        """
        x = torch.cat([functional.pixel_unshuffle(pixels, SHRINK), logits, prompts], 1)
        x = self.down[0](self.enter(x))
        kept = []
        for shrink, block in zip(self.shrink, self.down[1:], strict=True):
            kept.append(x)
            x = block(shrink(x))
        for grow, block in zip(reversed(self.grow), reversed(self.up), strict=True):
            x = block(grow(x) + kept.pop())
        return logits[:, :1] + self.leave(x)


def shrunk(image: np.ndarray, cells: int) -> np.ndarray:
    """A picture uint8 (H, W, 3) as the refiner sees it: the long side as `SHRINK` * `cells`
    pixels, below or right of it black; uint8 (`SHRINK` * `cells`, `SHRINK` * `cells`, 3)."""
    side = SHRINK * cells
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(scale * n)) for n in image.shape[:2])
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = np.zeros((side, side, 3), np.uint8)
    square[:height, :width] = cv2.resize(image, (width, height), interpolation=smooth)
    return square


def drawn(
    box: np.ndarray | None, points: np.ndarray | None, labels: np.ndarray | None, cells: int
) -> np.ndarray:
    """A prompt as pictures.

    Args:
        box: (x1, y1, x2, y2); coordinates run from 0 to `cells`.
        points: (k, 2) as x, y. labels: (k,), 1 foreground, 0 background.
        cells: a side of the result.

    Returns:
        float32 (PROMPTS, cells, cells) from 0 to 1: the share of each cell inside the box, and a
        bump at each foreground and each background point.
    """
    found = np.zeros((PROMPTS, cells, cells), np.float32)
    centres = np.arange(cells) + 0.5
    if box is not None:
        across, along = (
            np.clip(np.minimum(centres + 0.5, stop) - np.maximum(centres - 0.5, start), 0, 1)
            for start, stop in ((box[0], box[2]), (box[1], box[3]))
        )
        found[0] = along[:, None] * across
    if points is not None and labels is not None:
        for (x, y), label in zip(points, labels, strict=True):
            across, along = (np.exp(-(((centres - at) / POINT) ** 2) / 2) for at in (x, y))
            channel = 1 if label else 2
            found[channel] = np.maximum(found[channel], along[:, None] * across)
    return found


def seen(pixels: Tensor) -> Tensor:
    """Pictures uint8 (B, 2 s, 2 s, 3) as `Refiner` takes them, (B, 3, 2 s, 2 s) in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
