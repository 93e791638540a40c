"""All objects of a whole scan at once: what the segmenter learns of beside single prompts.

A prompt teaches of one object, and most of what it costs is the encoder's. Here clicks on several
objects share an embedding, and from the same features a head, which nothing needs afterwards, tells
where the middles of all objects are (Zhou et al., "Objects as Points", 2019), how far the object
under a click reaches, and its mask as a mix of prototypes (Bolya et al., "YOLACT", ICCV 2019).
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor, nn

from xsyn_core.sam_detail import Block
from xsyn_core.training.data import SIDE
from xsyn_core.training.loop import autocast
from xsyn_core.training.prompting import click_losses, decode, mask_losses
from xsyn_core.training.queries import CENTRAL, click_on, shares, turned, turned_places
from xsyn_core.training.segmenter_data import Pictures

# Pixels a side of the head's cells, and cells a side.
STRIDE = 8
GRID = SIDE // STRIDE
# Clicks on each scan.
CLICKS = 6
# Pixels that a reach of 0 stands for, the logarithm of so many.
REACH = 32.0
# Cells that the mark of a middle is wide.
MARK = 0.6
PROTOTYPES = 24
# How much the head counts beside SAM's own answers to the clicks.
TOLD = 1 / 3


class Head(nn.Module):
    """What is told at every cell of the encoder's features.

    Args:
        width: channels of SAM's tokens. details: of what is added at strides 8 and 4.
    """

    def __init__(self, width: int, details: tuple[int, int]):
        super().__init__()
        middle, fine = details
        self.mix = nn.Conv2d(width + middle, width, 3, padding=1)
        self.places = nn.Conv2d(width, 5, 1)
        self.weights = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.SiLU(), nn.Conv2d(width, PROTOTYPES + 1, 1)
        )
        self.prototypes = nn.Sequential(
            nn.Conv2d(fine, PROTOTYPES, 1), Block(PROTOTYPES), nn.Conv2d(PROTOTYPES, PROTOTYPES, 1)
        )
        # next to no cell holds a middle
        nn.init.constant_(self.places.bias[:1], -3.0)  # type: ignore[index]

    def forward(
        self, tokens: Tensor, details: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `DetailDecoder.split` gives, to

        logits (B, GRID, GRID) of a middle; logarithms (B, 4, GRID, GRID) of how many `REACH` an
        object reaches to the left, up, right and down; weights (B, PROTOTYPES + 1, GRID, GRID) of
        the prototypes, the last of 1; prototypes (B, PROTOTYPES, CELLS, CELLS).
        """
        at_8, at_4 = details
        seen = F.interpolate(tokens, scale_factor=2.0, mode="nearest")
        mixed = F.silu(self.mix(torch.cat([seen, at_8], 1)))
        places = self.places(mixed)
        return places[:, 0], places[:, 1:], self.weights(mixed), self.prototypes(at_4)


@dataclass(frozen=True)
class Scans:
    """B whole scans with `CLICKS` clicks on objects of each.

    Attributes:
        images: uint8 (B, SIDE, SIDE, 3).
        middles: float32 (B, GRID, GRID), see `marked`.
        clicks: float32 (B, CLICKS, 2), x and y. boxes: float32 (B, CLICKS, 4), tight ones of what
            is clicked on, which hold the click; pixels.
        truth: float32 (B * CLICKS, 1, CELLS, CELLS), the share of each cell that it fills.
    """

    images: Tensor
    middles: Tensor
    clicks: Tensor
    boxes: Tensor
    truth: Tensor


def whole_scans(data: list[Pictures], count: int, rng: np.random.Generator) -> Scans:
    """So many whole scans that hold something, each turned and mirrored at random."""
    rows: list[tuple[np.ndarray, ...]] = []
    while len(rows) < count:
        shard = data[rng.integers(len(data))]
        index = int(rng.choice(np.flatnonzero(shard.whole)))
        present = np.flatnonzero(shard.boxes[index][:, 2])
        if len(present):
            rows.append(_row(shard, index, present, rng))
    images, middles, clicks, boxes, truth = (
        torch.from_numpy(np.stack(some)) for some in zip(*rows, strict=True)
    )
    return Scans(images, middles, clicks, boxes, truth.flatten(0, 1)[:, None])


def _row(
    shard: Pictures, index: int, present: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    turn = int(rng.integers(4)), bool(rng.random() < 0.5)
    masks = {int(k): shard.silhouette(index, int(k)) for k in present}
    tight = np.array(shard.boxes[index])
    # seldom fewer objects than clicks: some are clicked on twice
    asked = np.resize(rng.permutation(present), CLICKS)
    clicks = np.concatenate([click_on(masks[k], tight[k], rng, CENTRAL) for k in asked])
    middles = np.concatenate([click_on(masks[k], tight[k], rng, 1.0) for k in masks])
    corners = turned_places(tight[asked].reshape(-1, 2), *turn).reshape(-1, 2, 2)
    whole = np.array([0, 0, SIDE, SIDE])
    truth = np.stack([turned(shares(masks[k], whole), *turn) for k in asked])
    image = turned(np.array(shard.images[index]), *turn)
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    return image, marked(turned_places(middles, *turn)), turned_places(clicks, *turn), boxes, truth


def marked(middles: np.ndarray) -> np.ndarray:
    """How near each cell is to one of these middles (n, 2), x and y in pixels, 1 at it: float32
    (GRID, GRID)."""
    cells = np.arange(GRID) + 0.5
    x, y = (middles / STRIDE).T[..., None, None]
    away = (cells - x) ** 2 + (cells[:, None] - y) ** 2
    return np.exp(-away / (2 * MARK**2)).max(0).astype(np.float32)


def middle_loss(logits: Tensor, middles: Tensor) -> Tensor:
    """The penalty-reduced focal loss of "Objects as Points" (Eq. 1), over the sum of the marks in
    place of their number, for a middle lies between cells: a scalar from two (B, GRID, GRID)."""
    on, off = F.logsigmoid(logits), F.logsigmoid(-logits)
    probability = logits.sigmoid()
    each = middles * (1 - probability) ** 2 * on + (1 - middles) ** 4 * probability**2 * off
    return -each.sum() / middles.sum()


def box_iou(found: Tensor, true: Tensor) -> Tensor:
    """IoU of boxes (N, 4) with others (N, 4): (N,)."""

    def area(boxes: Tensor) -> Tensor:
        return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)

    low, high = torch.maximum(found, true), torch.minimum(found, true)
    both = area(torch.cat([low[:, :2], high[:, 2:]], 1))
    return both / (area(found) + area(true) - both).clamp(min=1)


def losses(sam: Sam, head: Head, scans: Scans, where: torch.device) -> dict[str, Tensor]:
    """The loss of SAM's answers to the clicks and of what the head tells there, and their mean IoU
    with the truth."""
    pixels = scans.images.to(where).permute(0, 3, 1, 2).float()
    clicks, boxes, truth = (x.to(where) for x in (scans.clicks, scans.boxes, scans.truth))
    count, each = clicks.shape[:2]
    none, ones = clicks.new_zeros(count, each, 0), clicks.new_ones(count, each, 1)
    with autocast(where):
        features = sam.image_encoder((pixels - sam.pixel_mean) / sam.pixel_std)
        told = head(*sam.mask_decoder.split(features))
        answers = decode(sam, features, none, clicks[:, :, None], ones, (False, 1, 0))
    own, iou = click_losses(*answers, truth)
    middles, reach, weights, prototypes = (x.float() for x in told)
    row = torch.arange(count, device=where).repeat_interleave(each)
    xy, true = clicks.flatten(0, 1), boxes.flatten(0, 1)
    x, y = (xy / STRIDE).long().clamp(0, GRID - 1).T
    ends = torch.cat([xy - true[:, :2], true[:, 2:] - xy], 1).clamp(min=1)
    # beyond this range no object reaches, and the exponential would not end
    far = reach[row, :, y, x].clamp(-5, 3)
    steps = far.exp() * REACH
    reached = box_iou(torch.cat([xy - steps[:, :2], xy + steps[:, 2:]], 1), true)
    off = F.smooth_l1_loss(far, (ends / REACH).log(), reduction="none", beta=0.2).sum(1)
    mixed = weights[row, :, y, x]
    logits = torch.einsum("nk,nkhw->nhw", mixed[:, :-1], prototypes[row]) / 4
    masks = logits[:, None] + mixed[:, -1, None, None, None]
    drawn = mask_losses(masks, truth)[:, 0]
    found = middle_loss(middles, scans.middles.to(where))
    beside = (1 - reached + off / 2 + drawn).mean() + found / 2
    return {
        "loss": own.mean() + TOLD * beside,
        "scan_click": iou[:, 0].mean(),
        "scan_best": iou[:, 1:].max(1).values.mean(),
        "scan_reach": reached.detach().mean(),
    }
