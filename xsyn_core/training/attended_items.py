"""Items with the attention that a painter pays to them, from which labels are made.

Known items of the simulator are noised and denoised, and others are painted, for what a painter
draws is not always of one piece. Each gives many prompts (Section IV-B).
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from xsyn_core import refinement
from xsyn_core.boxes import Box
from xsyn_core.sam_checkpoint import load_sam
from xsyn_core.segmentation import Segmenter
from xsyn_core.training import painter_items, processes
from xsyn_core.training.columns import open_columns, save_columns
from xsyn_core.training.data import (
    MASK_SIDE,
    NAMES,
    SIDE,
    WINDOW,
    Shard,
    halved,
    in_parallel,
    shards,
)
from xsyn_core.training.prompting import KINDS, prompt
from xsyn_core.training.queries import Query, query
from xsyn_core.weights import load_diffusion

# Share of the prompts that are shown the map itself.
MAPS = 0.25
# Shares of n = 1 to 4 among the others; share of median points, others are the most active.
DIVIDED, MEDIAN = (0.05, 0.05, 0.1, 0.8), 0.9
# Share of these in whose box everything but the item is a little darker or brighter, as it is
# around painted items; how far, and how softly it ends, as a share of the picture's side.
SHADED, SHADE, SOFT = 0.35, (0.8, 1.1), 0.02
# Share of known items that are shown as coarse as they are painted.
HALVED = 0.5
# Windows whose attention is asked for at once, and the share of those in which another item is
# painted into another box.
TOGETHER, PAINTED = 16, 0.4


@dataclass(frozen=True)
class Items:
    """One shard, opened as memory maps.

    Attributes:
        images: uint8 (N, SIDE, SIDE, 3); of painted items each pixel four times.
        painted: bool (N,).
        masks: uint8 (N, MASK_SIDE, MASK_SIDE // 8), bits of where they show.
        boxes: float32 (N, 4), l_i, pixels of WINDOW.
        attention: float16 (N, WINDOW, WINDOW), M_i.
        regions: uint8 (N, WINDOW, WINDOW // 8), bits of r_i.
    """

    images: np.ndarray
    painted: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    attention: np.ndarray
    regions: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> "Items":
        return cls(**open_columns(folder, cls.__dataclass_fields__))

    def query(self, index: int, rng: np.random.Generator) -> Query:
        """A random one of the prompts that label an item."""
        mask, region = (
            np.unpackbits(bits[index], axis=-1).astype(bool) for bits in (self.masks, self.regions)
        )
        image, attention = self.images[index], self.attention[index].astype(np.float32)
        if self.painted[index] or rng.random() < HALVED:
            image = halved(image)
        x1, y1, x2, y2 = self.boxes[index].tolist()
        return labelled(image, mask, (x1, y1, x2, y2), attention, region, rng)


def labelled(
    image: np.ndarray,
    mask: np.ndarray,
    box: Box,
    attention: np.ndarray,
    region: np.ndarray,
    rng: np.random.Generator,
) -> Query:
    """A random one of the prompts that label an item.

    Args:
        image: uint8 (H, H, 3). mask: bool (S, S), of the item.
        box: l_i, pixels of the map. attention: float32 (h, h), M_i. region: bool (h, h), r_i.
    """
    scale = len(image) / len(attention)
    x1, y1, x2, y2 = box
    if rng.random() < MAPS:
        return query(refinement.picture_of(attention), mask, np.array(box, np.float32))
    placed = x1 * scale, y1 * scale, x2 * scale, y2 * scale
    if rng.random() < SHADED:
        image = shaded(image, mask, placed, rng)
    n = 1 + int(rng.choice(len(DIVIDED), p=DIVIDED))
    if rng.random() < MEDIAN:
        points, labels = refinement.median_points(attention, region, box, n)
    else:
        points, labels = refinement.topk_points(attention, region, box, 2**n - 1)
    points = (points * scale).astype(np.float32)
    return query(image, mask, np.array(placed, np.float32), points, labels.astype(np.float32))


def shaded(image: np.ndarray, mask: np.ndarray, box: Box, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 (H, H, 3) whose box is by chance darker or brighter around the item."""
    side = len(image)
    inside = np.zeros((side, side), np.float32)
    x1, y1, x2, y2 = (round(v) for v in box)
    inside[y1:y2, x1:x2] = 1
    inside = cv2.GaussianBlur(inside, (0, 0), SOFT * side * rng.uniform(0.2, 1))
    item = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    share = (inside * (1 - item))[..., None]
    factor = (rng.uniform(*SHADE) * rng.uniform(0.95, 1.05, 3)).astype(np.float32)
    return np.clip(image * (1 + share * (factor - 1)), 0, 255).astype(np.uint8)


def make_items(task: tuple[Path, Path, Path, Path, int, int]) -> None:
    """The own items of a shard's windows, and painted ones, into a folder of their own."""
    base, painter, source, folder, seed, index = task
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    segmenter, shard = Segmenter(load_sam(base)), Shard.open(source, 0)
    diffusion = load_diffusion(painter, torch.device("cpu"), painter.name)
    rng = np.random.default_rng((seed, index))
    rows: dict[str, list] = {k: [] for k in Items.__dataclass_fields__}

    def add(image: np.ndarray, painted: bool, mask: np.ndarray, box: Box, attention: np.ndarray):
        region, _ = refinement.active_region(segmenter, attention, box)
        values = image, painted, mask, box, attention, region
        for column, value in zip(rows.values(), values, strict=True):
            column.append(value)

    windows = rng.permutation(np.flatnonzero(shard.target >= 0))
    for some in np.array_split(windows, len(windows) // TOGETHER + 1):
        items = [shard.silhouettes(k)[shard.target[k]] for k in some]
        tight = [shard.boxes[k][shard.target[k]] for k in some]
        loose = [prompt(m, b, KINDS[0], rng)[0] / 2 for m, b in zip(items, tight, strict=True)]
        boxes = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in loose]
        names = [NAMES[shard.categories[k][shard.target[k]]] for k in some]
        images = [halved(shard.images[k]) for k in some]
        if rng.random() < PAINTED:
            # into pictures in which other boxes belong to other items
            made = painter_items.paint(diffusion, images[1:] + images[:1], names, boxes, rng)
            for box, (image, mask, attention) in zip(boxes, made, strict=True):
                if mask.any():
                    add(image.repeat(2, 0).repeat(2, 1), True, mask, box, attention)
            continue
        maps = painter_items.attention(diffusion, images, names, boxes, rng)
        for k, mask, box, attention in zip(some, items, boxes, maps, strict=True):
            # what is thin may be lost in a coarse mask
            if mask.any():
                add(np.array(shard.images[k]), False, mask, box, attention)
    columns = {
        "images": np.array(rows["images"], np.uint8).reshape(-1, SIDE, SIDE, 3),
        "painted": np.array(rows["painted"], bool),
        "masks": np.packbits(
            np.array(rows["masks"], bool).reshape(-1, MASK_SIDE, MASK_SIDE), axis=-1
        ),
        "boxes": np.array(rows["boxes"], np.float32).reshape(-1, 4),
        "attention": np.array(rows["attention"], np.float16).reshape(-1, WINDOW, WINDOW),
        "regions": np.packbits(
            np.array(rows["regions"], bool).reshape(-1, WINDOW, WINDOW), axis=-1
        ),
    }
    save_columns(folder, columns)


def attended_items(
    base: Path, painter: Path, data: Path, folder: Path, seed: int, count: int, workers: int = 2
) -> list[Items]:
    """Items of the first `count` shards of a seed under `data`; what is missing is made first.

    Args:
        base: weights of the segmenter that finds r_i. painter: a diffusers folder.
        folder: of the items.
    """
    shards(data, seed, count, workers=workers)
    folders = [folder / f"{k:05d}" for k in range(count)]
    tasks = [
        (base, painter, data / f"seed{seed}" / one.name, one, seed, k)
        for k, one in enumerate(folders)
        if not one.exists()
    ]
    if processes.first():
        in_parallel(make_items, tasks, workers, "attending to items")
    processes.wait()
    return [Items.open(one) for one in folders]
