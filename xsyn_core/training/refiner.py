"""Train the embedded segmenter's `Refiner`: it corrects SAM's masks with the prompt in sight.

It learns from what it meets in use: the windows in which `Segmenter` looks for what it is asked
for, and the logits that SAM, which stays as it is, gives there. Most of the prompts ask for
anything in a bag, by its box, by a click, or by both; the others are what labels are made of: boxes
and points of prohibited items after the attention that the painter pays to them, and the maps of
that attention themselves. Some of these items are painted, for what a painter draws is not always
of one piece.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from xsyn_core import refinement
from xsyn_core.boxes import Box, of_mask
from xsyn_core.diffusion import Diffusion
from xsyn_core.errors import XsynError
from xsyn_core.prompt_windows import extent, moved
from xsyn_core.sam_checkpoint import load_sam, save_sam
from xsyn_core.sam_refiner import Refiner, tensors
from xsyn_core.segmentation import Segmenter
from xsyn_core.simulation.dataset import photograph
from xsyn_core.simulation.rendering import middle, silhouette
from xsyn_core.simulation.scene import random_scene
from xsyn_core.training import painter_items, processes
from xsyn_core.training.data import NAMES, SIDE, Shard, halved, in_parallel, shards
from xsyn_core.training.loop import Plan, autocast, pick_device, train
from xsyn_core.training.segmenter import KINDS, prompt
from xsyn_core.weights import load_diffusion

# A box alone is tight, as a known label is: its ends err by about this share of its sides. What
# lies in a box that is tight reaches each of its sides, which tells of an outline that cannot be
# seen (Lempitsky et al., "Image Segmentation with a Bounding Box Prior", ICCV 2009). A grounding
# box is loose; it always comes with points, or with a map.
SPREAD = 0.03
# So do those of the box of a mask that a click gave, which is looked at again with the click.
ASTRAY = 0.15
# Share of clicks in the middle of what is meant, as people click.
CENTRAL = 0.5
# Share of the looks after a painter's attention that are at the map itself.
MAPS = 0.25
# Shares of n = 1 to 4 among those with points; share of median points, others are the most active.
DIVIDED, MEDIAN = (0.1, 0.1, 0.15, 0.65), 0.8
# Share of these in whose box everything but the item is a little darker or brighter, as it is
# around painted items; how far, and how softly it ends, as a share of the picture's side.
SHADED, SHADE, SOFT = 0.35, (0.8, 1.1), 0.02
# Share of pictures as coarse as they are painted.
HALVED = 0.5
# Whole scans to a shard, how many objects of each are asked for, and the least share of it that
# they fill.
SCANS, ASKED, LEAST = 80, 4, 0.003
# Windows whose attention is asked for at once, the share of those in which another item is painted
# into another box, and the prompts that are made of each attention.
TOGETHER, PAINTED, PROMPTS = 16, 0.4, 4


@dataclass(frozen=True)
class Looks:
    """What `Refiner` sees, one shard opened as memory maps; s cells a side.

    Attributes:
        pixels: uint8 (N, 2 s, 2 s, 3).
        logits: float16 (N, s, s), SAM's.
        prompts: uint8 (N, 3, s, s), 255 for 1.
        truth: uint8 (N, s, s), the share of each cell that the object fills, 255 for all.
    """

    pixels: np.ndarray
    logits: np.ndarray
    prompts: np.ndarray
    truth: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> "Looks":
        return cls(
            **{k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in cls.__dataclass_fields__}
        )


def look(
    model: Segmenter,
    image: np.ndarray,
    mask: np.ndarray,
    box: np.ndarray | None,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """A prompt as `Segmenter.segment` answers it, points alone first, before its mask is refined.

    Args:
        image: uint8 (H, H, 3).
        mask: bool (S, S) of the same square, the truth.
        box: (4,) or None. points, labels: (k, 2), (k,) or None. All in pixels of the image.

    Returns:
        pixels, logits, prompts and truth of one row of `Looks`.
    """
    size = image.shape[:2]
    view = None if box is None else model.view(extent(box, points, labels), size)
    x1, y1, x2, y2 = view = view or (0, 0, *size[::-1])
    corners, points, labels = moved(view, box, points, labels)
    embedding = model.embed(np.ascontiguousarray(image[y1:y2, x1:x2]))
    logits = model.logits(embedding, corners, points, labels)[0]
    pixels, drawing = model.second_look(embedding, corners, points, labels)
    # cells of the mask a cell of the window, which is square as the image is
    step = (x2 - x1) / len(logits) * len(mask) / size[0]
    starts = [v * len(mask) / size[0] + step / 2 - 0.5 for v in (x1, y1)]
    matrix = np.array([[step, 0, starts[0]], [0, step, starts[1]]])
    fine = mask.astype(np.float32)
    if step > 1:
        fine = cv2.blur(fine, (max(1, round(step)),) * 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    truth = cv2.warpAffine(fine, matrix, logits.shape[::-1], flags=flags)
    return (
        pixels,
        logits.cpu().numpy().astype(np.float16),
        (drawing * 255).round().astype(np.uint8),
        (truth * 255).round().astype(np.uint8),
    )


def attended(
    model: Segmenter,
    image: np.ndarray,
    mask: np.ndarray,
    box: Box,
    attention: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, ...]:
    """A random one of the prompts that label an item, as a row of `Looks`.

    Args:
        image: uint8 (H, H, 3). mask: bool (S, S), of the item. box: l_i, pixels of the image.
        attention: float32 (h, h), M_i.
    """
    scale = len(attention) / len(image)
    x1, y1, x2, y2 = box
    placed = x1 * scale, y1 * scale, x2 * scale, y2 * scale
    if rng.random() < MAPS:
        grey = refinement.picture_of(attention)
        return look(model, grey, mask, np.array(placed, np.float32))
    if rng.random() < SHADED:
        image = shaded(image, mask, box, rng)
    region, _ = refinement.active_region(model, attention, placed)
    n = 1 + int(rng.choice(len(DIVIDED), p=DIVIDED))
    if rng.random() < MEDIAN:
        points, labels = refinement.median_points(attention, region, placed, n)
    else:
        points, labels = refinement.topk_points(attention, region, placed, 2**n - 1)
    points = (points / scale).astype(np.float32)
    return look(model, image, mask, np.array(box, np.float32), points, labels.astype(np.float32))


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


def in_scans(model: Segmenter, rng: np.random.Generator) -> list[tuple[np.ndarray, ...]]:
    """Looks at anything in whole scans, rendered here: a shard's masks are too coarse for what is
    thin in them."""
    rows = []
    for _ in range(SCANS):
        scene = random_scene(rng, [str(rng.choice(NAMES))])
        things = [*scene.prohibited, *scene.contents]
        image = photograph([*scene.bag.parts, *things], scene.view, (SIDE, SIDE), rng)
        masks = [silhouette(thing, scene.view, (SIDE, SIDE)) for thing in things]
        masks = [mask for mask in masks if mask.mean() >= LEAST]
        for k in rng.permutation(len(masks))[:ASKED]:
            rows += _asked(model, image, masks[k], np.array(of_mask(masks[k])), rng)
    return rows


def in_windows(
    model: Segmenter, shard: Shard, rng: np.random.Generator
) -> list[tuple[np.ndarray, ...]]:
    """Looks at anything in the windows of a shard, one for each that has a mask."""
    rows = []
    for k in np.flatnonzero(shard.target >= 0).tolist():
        masks = shard.silhouettes(k)
        # what is thin may be lost in a coarse mask
        present = np.flatnonzero(masks.any((1, 2)))
        if not len(present):
            continue
        chosen = rng.choice(present)
        image = _picture(shard, k, rng)
        box = shard.boxes[k][chosen] * (len(image) / SIDE)
        rows.append(_boxed(model, image, masks[chosen], box, rng))
    return rows


def after_attention(
    model: Segmenter, diffusion: Diffusion, shard: Shard, rng: np.random.Generator
) -> list[tuple[np.ndarray, ...]]:
    """Looks at the own items of a shard's windows, and at painted ones, after the attention that
    the painter pays to them."""
    rows = []
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
            painted = painter_items.paint(diffusion, images[1:] + images[:1], names, boxes, rng)
            for box, (image, mask, attention) in zip(boxes, painted, strict=True):
                if mask.any():
                    rows += [
                        attended(model, image, mask, box, attention, rng) for _ in range(PROMPTS)
                    ]
            continue
        maps = painter_items.attention(diffusion, images, names, boxes, rng)
        for k, mask, (x1, y1, x2, y2), attention in zip(some, items, boxes, maps, strict=True):
            image = _picture(shard, k, rng)
            s = 2 * len(image) / SIDE
            place = x1 * s, y1 * s, x2 * s, y2 * s
            rows += [attended(model, image, mask, place, attention, rng) for _ in range(PROMPTS)]
    return rows


def _boxed(model: Segmenter, image, mask, tight: np.ndarray, rng: np.random.Generator):
    """A look at what lies in a box (4,), pixels of the image."""
    return look(model, image, mask, _astray(tight, SPREAD, len(image), rng))


def _asked(model: Segmenter, image, mask, tight: np.ndarray, rng: np.random.Generator):
    """Looks at one thing: by its box, by a click, and by the click and the box of what the click
    may have found. The mask bool (H, H) has the image's pixels."""
    by_box = _boxed(model, image, mask, tight, rng)
    found = _astray(tight, ASTRAY, len(image), rng)
    if rng.random() < CENTRAL:
        click, inside = middle(mask)[None], np.ones(1, np.float32)
    else:
        _, click, inside = prompt(mask, tight, KINDS[1], rng, len(image))
    return [
        by_box,
        look(model, image, mask, None, click, inside),
        look(model, image, mask, found, click, inside),
    ]


def _astray(tight: np.ndarray, spread: float, side: int, rng: np.random.Generator) -> np.ndarray:
    """A box (4,) whose ends err by about this share of its sides, within 0 to `side`."""
    x1, y1, x2, y2 = tight
    ends = np.array([x2 - x1, y2 - y1] * 2)
    box = tight + rng.normal(0, spread, 4).clip(-2 * spread, 2 * spread) * ends
    return box.clip(0, side).astype(np.float32)


def _picture(shard: Shard, index: int, rng: np.random.Generator) -> np.ndarray:
    """One of a shard, by chance as coarse as it is painted."""
    image = np.array(shard.images[index])
    return halved(image) if rng.random() < HALVED else image


def make_looks(task: tuple[Path, Path, Path, Path, int, int]) -> None:
    """All looks of one shard."""
    base, painter, source, folder, seed, index = task
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    model, shard = Segmenter(load_sam(base)), Shard.open(source, 0)
    diffusion = load_diffusion(painter, torch.device("cpu"), painter.name)
    rng = np.random.default_rng((seed, index))
    rows = [
        *in_scans(model, rng),
        *in_windows(model, shard, rng),
        *after_attention(model, diffusion, shard, rng),
    ]
    temporary = folder.with_name(folder.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, values in zip(Looks.__dataclass_fields__, zip(*rows, strict=True), strict=True):
        np.save(temporary / f"{name}.npy", np.stack(values))
    temporary.rename(folder)


def sample(
    data: list[Looks], batch: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch, each row turned and mirrored at random: pixels (B, 3, 2 s, 2 s), logits (B, 1, s,
    s), prompts (B, 3, s, s) as for `Refiner`, truth (B, 1, s, s) from 0 to 1."""
    rows = []
    for _ in range(batch):
        shard = data[rng.integers(len(data))]
        k = rng.integers(len(shard.pixels))
        turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
        planes = (
            shard.pixels[k].transpose(2, 0, 1),
            shard.logits[k][None],
            shard.prompts[k],
            shard.truth[k][None],
        )
        turned = [np.rot90(p, turns, (1, 2)) for p in planes]
        rows.append([p[:, :, ::-1] if mirrored else p for p in turned])
    pixels, logits, prompts, truth = (np.stack(column) for column in zip(*rows, strict=True))
    seen, drawing = tensors(pixels.transpose(0, 2, 3, 1), prompts)
    return seen, torch.from_numpy(logits).float(), drawing / 255, torch.from_numpy(truth) / 255


def loss_of(logits: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy and Jaccard loss of logits (B, 1, s, s), and their mean IoU with the truth.

    What is measured is the IoU, so its soft form weighs most: of what cannot be seen more is drawn
    than is as likely as not there.
    """
    probability = logits.sigmoid()
    overlap = (probability * truth).sum((1, 2, 3))
    jaccard = 1 - (overlap + 1) / ((probability + truth).sum((1, 2, 3)) - overlap + 1)
    entropy = F.binary_cross_entropy_with_logits(logits, truth)
    on, there = logits > 0, truth > 0.5
    both, either = (x.sum((1, 2, 3)) for x in (on & there, on | there))
    return entropy + 2 * jaccard.mean(), (both / either.clamp(min=1)).mean().detach()


def main(
    base: Path = Path("assets/segmenter/sam.safetensors"),
    out: Path = Path("assets/segmenter/sam.safetensors"),
    data: Path = Path("runs/data"),
    run: Path = Path("runs/refiner"),
    painter: Path = Path("assets/diffusion"),
    steps: int = 3000,
    batch: int = 32,
    rate: float = 2e-3,
    shard_count: int = 20,
    seed: int = 0,
    workers: int = 2,
    device: str = "auto",
) -> None:
    """Train the refiner of the embedded segmenter BASE on simulated scans; resumes from RUN, else
    goes on from the refiner in BASE, else starts anew; writes the segmenter with it to OUT. The
    diffusers folder PAINTER pays the attention that labels are made from.

    Raises:
        XsynError: BASE is no segmenter of this project.
    """
    torch.manual_seed(seed)
    where = pick_device(device)
    sam = load_sam(base)
    if getattr(sam, "zoom", None) is None:
        raise XsynError(
            f"{base} does not look at windows, so there is nothing to refine in them. Give a "
            "segmenter that `train segmenter --embedded` wrote."
        )
    shards(data, seed, shard_count, workers=workers)
    folders = [run / "looks" / f"{k:05d}" for k in range(shard_count)]
    tasks = [
        (base, painter, data / f"seed{seed}" / folder.name, folder, seed, k)
        for k, folder in enumerate(folders)
        if not folder.exists()
    ]
    if processes.first():
        in_parallel(make_looks, tasks, workers, "looking")
    processes.wait()
    looks = [Looks.open(folder) for folder in folders]
    known = getattr(sam, "refiner", None)
    refiner = (known or Refiner()).requires_grad_(True).to(where)

    def step(k: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        pixels, logits, prompts, truth = (t.to(where) for t in sample(looks, batch, rng))
        with autocast(where):
            better = refiner(pixels, logits, prompts)
        loss, iou = loss_of(better.float(), truth)
        with torch.no_grad():
            before = loss_of(logits, truth)[1]
        return {"loss": loss, "iou": iou, "iou_before": before}

    def on_save(average: Refiner, done: int) -> None:
        sam.refiner = average
        save_sam(out, sam, sam.thresholds, sam.zoom)  # type: ignore[arg-type]

    plan = Plan(steps=steps, rate=rate, seed=seed, warmup=50, decay=0.4, ema=0.998)
    train(refiner, step, plan, run, on_save)  # type: ignore[arg-type]
