"""A small detector, learnt from nothing: FCOS (Tian et al., "FCOS: Fully Convolutional One-Stage
Object Detection", ICCV 2019) on a body that two CPU cores can train in half an hour."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.resnet import BasicBlock, conv1x1
from torchvision.ops import FeaturePyramidNetwork

from xsyn_core.scan import Scan
from xsyn_core.training.loop import Draw, Plan, autocast, train

# Channels at strides 4, 8, 16 and 32; the last three are looked for items in.
WIDTHS = (32, 64, 128, 192)
DEPTHS = (1, 2, 2, 2)
# Channels of what is looked at, and convolutions before an answer.
SEEN, ANSWERING = 64, 1
# Scans are shown smaller and larger by up to this factor, and as far aside as it leaves room.
ZOOM = 1.4
# What is cut down to less than this share of its box is not asked for.
LEAST = 0.4
# Air, around what does not fill the square.
AIR = (255, 255, 255)
# Scores below are no detections.
FAINT = 0.02


@dataclass(frozen=True)
class Example:
    """A square as a detector sees it.

    Attributes:
        image: uint8 (side, side, 3) RGB.
        boxes: float32 (k, 4), pixels of it.
        labels: int64 (k,).
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


class _Backbone(nn.Module):
    """(B, 3, H, W) to three maps of `SEEN` channels, at strides 8, 16 and 32."""

    out_channels = SEEN

    def __init__(self) -> None:
        super().__init__()
        # groups, not batches: a moving average of weights has no statistics of batches
        norm = partial(nn.GroupNorm, 16)
        self.stem = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False), norm(WIDTHS[0]), nn.ReLU()
        )
        self.stages = nn.ModuleList()
        before = WIDTHS[0]
        for width, depth in zip(WIDTHS, DEPTHS, strict=True):
            skip = nn.Sequential(conv1x1(before, width, 2), norm(width))
            first = BasicBlock(before, width, 2, skip, norm_layer=norm)
            others = (BasicBlock(width, width, norm_layer=norm) for _ in range(depth - 1))
            self.stages.append(nn.Sequential(first, *others))
            before = width
        self.pyramid = FeaturePyramidNetwork(list(WIDTHS[1:]), SEEN)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        with autocast(x.device):
            x = self.stem(x.to(memory_format=torch.channels_last))
            found = OrderedDict()
            for k, stage in enumerate(self.stages):
                x = stage(x)
                if k:
                    found[str(k)] = x
            return self.pyramid(found)


class _Head(FCOSHead):
    """Boxes and their losses need more than bfloat16's eight bits."""

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        with autocast(x[0].device):
            answers = super().forward(x)
        return {name: values.float() for name, values in answers.items()}


def build(classes: int, side: int) -> FCOS:
    """An untrained detector of squares of `side` pixels, a multiple of 32."""
    strides = (8, 16, 32)
    model = FCOS(
        _Backbone(),
        classes,
        anchor_generator=AnchorGenerator(tuple((s,) for s in strides), ((1.0,),) * len(strides)),
        head=_Head(SEEN, 1, classes, ANSWERING),
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        score_thresh=FAINT,
        fixed_size=(side, side),
    )
    # Distances to the sides of a box, in strides, go through a ReLU: where all begin below zero,
    # as they may without a bias, no gradient ever moves them, and no box is found.
    nn.init.ones_(model.head.regression_head.bbox_reg.bias)
    return model


def fitted(scan: Scan, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A scan in the middle of a square uint8 (side, side, 3), and the matrix (2, 3) that brings its
    places there."""
    return _placed(scan.pixels, side / max(scan.size), np.zeros(2), side)


def shown(
    scan: Scan, boxes: np.ndarray, labels: np.ndarray, side: int, rng: np.random.Generator
) -> Example:
    """A scan as it is learnt from: at any quarter turn, mirrored, smaller or larger, moved.

    Args:
        boxes: float32 (k, 4), pixels of the scan. labels: int64 (k,).
    """
    scale = side / max(scan.size) * ZOOM ** rng.uniform(-1, 1)
    height, width = scan.size
    room = np.abs(side - scale * np.array([width, height])) / 2
    image, matrix = _placed(scan.pixels, scale, rng.uniform(-1, 1, 2) * room, side)
    corners = boxes.reshape(-1, 2, 2) @ matrix[:, :2].T + matrix[:, 2]
    turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
    image = np.rot90(image, turns)
    for _ in range(turns):
        corners = np.stack([corners[..., 1], side - corners[..., 0]], -1)
    if mirrored:
        image = np.flip(image, 1)
        corners = np.stack([side - corners[..., 0], corners[..., 1]], -1)
    whole = np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)
    seen = whole.clip(0, side)
    kept = _areas(seen) > LEAST * _areas(whole)
    return Example(np.ascontiguousarray(image), seen[kept], labels[kept])


def learn(detector: FCOS, draw: Draw, plan: Plan, run: Path, workers: int = 0) -> FCOS:
    """Train a detector; resumes from `run`.

    Args:
        draw: gives the batch of a step, a list of `Example`; see `loop.train`.
    """
    where = next(detector.parameters()).device

    def step(k: int, batch: Sequence[Example]) -> dict[str, Tensor]:
        images = [_tensor(one.image).to(where) for one in batch]
        targets = [
            {
                "boxes": torch.from_numpy(one.boxes).to(where),
                "labels": torch.from_numpy(one.labels).to(where),
            }
            for one in batch
        ]
        losses = detector(images, targets)
        return {"loss": sum(losses.values()), **{name: v.detach() for name, v in losses.items()}}

    return train(detector, draw, step, plan, run, workers=workers)  # type: ignore[return-value]


@torch.no_grad()
def detect(detector: FCOS, scan: Scan, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a detector finds in a scan: boxes float32 (k, 4) in its pixels, labels int64 (k,) and
    scores float32 (k,), best first."""
    image, matrix = fitted(scan, side)
    where = next(detector.parameters()).device
    (found,) = detector([_tensor(image).to(where)])
    boxes, labels, scores = (found[name].cpu().numpy() for name in ("boxes", "labels", "scores"))
    boxes = (boxes - np.tile(matrix[:, 2], 2)) / matrix[0, 0]
    return boxes.clip(0, scan.size[::-1] * 2), labels, scores


def _placed(
    pixels: np.ndarray, scale: float, shift: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels resampled into a square, moved from its middle; and the matrix (2, 3) of places."""
    height, width = pixels.shape[:2]
    offset = (side - scale * np.array([width, height])) / 2 + shift
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    if scale < 1:
        # warping does not average what it shrinks
        pixels = cv2.GaussianBlur(pixels, (0, 0), 0.4 / scale)
    # the middles of pixels lie half a pixel in
    shifted = matrix + [[0, 0, (scale - 1) / 2]] * 2
    image = cv2.warpAffine(pixels, shifted, (side, side), borderValue=AIR)
    return image, matrix


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255
