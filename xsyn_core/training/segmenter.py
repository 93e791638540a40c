"""Train the embedded segmenter: SAM's promptable segmentation on simulated scans, and its refiner.

Both learn at once, each from its own masks. Most prompts ask for anything in a bag: by its box, by
a click, or by both, as a click's answer is looked at again. The others are what labels are made of
(Section IV-B): boxes and points of prohibited items after the attention that the embedded painter
pays to them, and the maps of that attention themselves. Beside them SAM learns of whole scans with
all their objects (`all_objects`).
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from segment_anything.modeling import Sam

from xsyn_core import sam_refiner
from xsyn_core.errors import XsynError
from xsyn_core.sam_checkpoint import THRESHOLDS, load_sam, save_sam
from xsyn_core.sam_detail import DetailDecoder
from xsyn_core.sam_refiner import Refiner
from xsyn_core.training import all_objects, architectures, options
from xsyn_core.training.all_objects import Head, Scans, whole_scans
from xsyn_core.training.attended_items import Items, attended_items
from xsyn_core.training.data import SIDE, halved
from xsyn_core.training.loop import Plan, autocast, pick_device, train
from xsyn_core.training.prompting import click_losses, decode, mask_iou, mask_losses
from xsyn_core.training.queries import ZOOM, Query, QueryBatch, again, batched, by_box, by_click
from xsyn_core.training.segmenter_data import Pictures, pictures
from xsyn_core.weights import load_diffusion

# How anything is asked for, and how often; the last share is of prompts after attention.
WAYS = {"box": by_box, "click": by_click, "again": again}
SHARES = (0.22, 0.24, 0.14, 0.40)
# Steps of a model from nothing: boxes alone are the shortest way out of the empty mask.
BOXES_FIRST = 300
# Share of windows that are shown as coarse as they are painted.
HALVED = 0.5
# Clicks, seldom in the middle, that thresholds are measured on.
CLICKS = 256
# Prompts for each whole scan that is learnt from beside them.
PROMPTS = 3


class Learner(torch.nn.Module):
    """SAM with its refiner, and the head that only helps it to learn."""

    def __init__(self, sam: Sam):
        super().__init__()
        self.sam = sam
        self.head = Head(sam.mask_decoder.transformer_dim, sam.mask_decoder.details)


def anything(
    data: list[Pictures], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """A picture uint8 (SIDE, SIDE, 3), an object in it bool (SIDE, SIDE), its box (4,), and whether
    it is a whole scan."""
    while True:
        shard = data[rng.integers(len(data))]
        index = int(rng.integers(len(shard.images)))
        present = np.flatnonzero(shard.boxes[index][:, 2])
        if len(present):
            break
    which = int(rng.choice(present))
    image, mask = np.array(shard.images[index]), shard.silhouette(index, which)
    return image, mask, np.array(shard.boxes[index][which]), bool(shard.whole[index])


def asked(data: list[Pictures], way: str, rng: np.random.Generator) -> Query:
    """A query for anything, asked for in one of `WAYS`."""
    image, mask, tight, whole = anything(data, rng)
    if not whole and way == "box" and rng.random() < HALVED:
        return by_box(halved(image), mask, tight / 2, rng)
    return WAYS[way](image, mask, tight, rng)


def sample(
    data: list[Pictures],
    items: list[Items],
    batch: int,
    shares: np.ndarray,
    rng: np.random.Generator,
) -> list[QueryBatch]:
    """Batches of queries, see `queries.batched`, each turned and mirrored at random.

    Args:
        items: may be empty where their share is 0.
        batch: how many queries in all. shares: of each of `WAYS` and of the items.
    """
    queries = []
    for way in rng.choice(len(shares), batch, p=shares):
        if way < len(WAYS):
            one = asked(data, list(WAYS)[way], rng)
        else:
            shard = items[rng.integers(len(items))]
            one = shard.query(int(rng.integers(len(shard.boxes))), rng)
        queries.append(one.turned(int(rng.integers(4)), rng.random() < 0.5))
    return batched(queries)


def refined_losses(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and Jaccard loss of logits (B, 1, s, s) against shares of cells (B, 1, s, s):
    (B,).

    What is measured is the IoU, so its soft form weighs most: of what cannot be seen more is drawn
    than is as likely as not there.
    """
    probability = logits.sigmoid()
    overlap = (probability * truth).sum((1, 2, 3))
    jaccard = 1 - (overlap + 1) / ((probability + truth).sum((1, 2, 3)) - overlap + 1)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2, 3))
    return entropy + 2 * jaccard


def losses(sam: Sam, queries: list[QueryBatch], where: torch.device) -> dict[str, torch.Tensor]:
    """The mean loss of batches of queries, and mean IoU of what SAM and its refiner answer."""

    def joined(name: str) -> torch.Tensor:
        return torch.cat([getattr(some, name) for some in queries]).to(where)

    pixels = joined("window").permute(0, 3, 1, 2).float()
    truth = joined("truth")[:, None]
    sizes = [len(some.truth) for some in queries]
    with autocast(where):
        embeddings = sam.image_encoder((pixels - sam.pixel_mean) / sam.pixel_std).split(sizes)
    told: dict[str, torch.Tensor] = {}
    own, answers, names = [], [], []
    for some, embedding, masks in zip(queries, embeddings, truth.split(sizes), strict=True):
        boxed, count = some.box.shape[1] > 0, some.labels.shape[1]
        box, points, labels = (x.to(where)[:, None] for x in (some.box, some.points, some.labels))
        with autocast(where):
            logits, predicted = decode(sam, embedding, box, points, labels, (boxed, count, 0))
        if not boxed:
            each, iou = click_losses(logits, predicted, masks)
            names.append("click")
            told["best"] = iou[:, 1:].max(1).values.mean()
        else:
            names.append("label" if count > 1 else "again" if count else "box")
            off = predicted[:, :1] - mask_iou(logits[:, :1], masks)
            each = (mask_losses(logits[:, :1], masks) + off.square())[:, 0]
        own.append(each)
        answers.append(logits)
    refiner: Refiner = sam.refiner  # type: ignore[assignment]
    before = torch.cat(answers)[:, : refiner.masks].detach()
    seen, drawing = sam_refiner.seen(joined("pixels")), joined("drawing")
    with autocast(where):
        better = refiner(seen, before, drawing).float()
    for prefix, logits in (("sam_", before), ("", better)):
        found: dict[str, list[torch.Tensor]] = {}
        for name, iou in zip(names, mask_iou(logits, truth)[:, 0].split(sizes), strict=True):
            found.setdefault(prefix + name, []).append(iou)
        told |= {name: torch.cat(values).mean() for name, values in found.items()}
    return {"loss": (torch.cat(own) + refined_losses(better, truth)).mean(), **told}


@torch.no_grad()
def thresholds(sam: Sam, data: list[Pictures], where: torch.device) -> tuple[float, float]:
    """The least predicted IoU and stability for "everything": single points on objects pass by
    four in five, so that a modest model still finds half of what can be seen, and a good one drops
    its worst.

    Never above the thresholds of the original.
    """
    rng = np.random.default_rng(4)
    queries = (by_click(*anything(data, rng)[:3], rng, central=0) for _ in range(CLICKS))
    (some,) = batched(list(queries))
    pixels = some.window.to(where).permute(0, 3, 1, 2).float()
    box, points, labels = (x.to(where)[:, None] for x in (some.box, some.points, some.labels))
    with autocast(where):
        embeddings = sam.image_encoder((pixels - sam.pixel_mean) / sam.pixel_std)
        logits, predicted = decode(sam, embeddings, box, points, labels, (False, 1, 0))
    best = predicted[:, 1:].max(1)
    chosen = logits[torch.arange(len(logits)), best.indices + 1]
    stable = (chosen > 1).sum((1, 2)) / (chosen > -1).sum((1, 2)).clamp(min=1)
    least = (torch.quantile(v.float(), 0.2).item() for v in (best.values, stable))
    return tuple(map(min, least, THRESHOLDS))  # type: ignore[return-value]


def main(
    out: options.Out = Path("assets/segmenter/sam.safetensors"),
    data: options.Data = Path("runs/data"),
    run: options.Run = Path("runs/segmenter"),
    base: options.Base = None,
    painter: Annotated[
        Path, typer.Option(help="Diffusers folder that pays the attention of labels.")
    ] = Path("assets/diffusion"),
    steps: options.Steps = 6000,
    batch: options.Batch = 32,
    rate: options.Rate = 1.2e-3,
    shard_count: options.ShardCount = 60,
    item_shards: Annotated[int, typer.Option(min=0, help="Of them those to label items of.")] = 20,
    seed: options.Seed = 0,
    workers: options.Workers = 2,
    device: options.Device = "auto",
) -> None:
    """Train the embedded segmenter and its refiner on simulated scans; resumes from RUN, else goes
    on from the weights BASE, else starts anew; writes the weights to OUT. Labels are learnt from
    the second stage on, for BASE finds what the painter, a diffusers folder, attends to.

    Raises:
        XsynError: BASE sees scans in another size or draws masks as the original does, or OUT is
            BASE.
    """
    options.writable_file(out, base)
    torch.manual_seed(seed)
    where = pick_device(device)
    sam = load_sam(base).requires_grad_(True) if base else architectures.build_sam()
    if sam.image_encoder.img_size != SIDE:
        raise XsynError(
            f"{base} sees scans in {sam.image_encoder.img_size} pixels, the embedded segmenter in "
            f"{SIDE}. Fine-tune larger ones without --embedded."
        )
    if not isinstance(sam.mask_decoder, DetailDecoder):
        raise XsynError(
            f"{base} draws masks without details, unlike the embedded segmenter. Fine-tune it "
            "without --embedded."
        )
    if getattr(sam, "refiner", None) is None:
        sam.refiner = Refiner()
    learner = Learner(sam).to(where)
    attending = base if item_shards else None
    if attending is not None:
        # one that cannot be read is told before anything is rendered
        load_diffusion(painter, torch.device("cpu"), painter.name)
    options.writable_file(run / "checkpoint.pt")
    shards = pictures(data, seed, shard_count, workers)
    shares, items = np.array([*SHARES[:-1], 0.0]), []
    if attending is not None:
        items = attended_items(attending, painter, data, run / "items", seed, item_shards, workers)
        shares = np.array(SHARES)
    shares /= shares.sum()
    boxes = np.eye(len(shares))[0]

    def draw(k: int, rng: np.random.Generator) -> tuple[list[QueryBatch], Scans]:
        now = boxes if base is None and k < BOXES_FIRST else shares
        scans = whole_scans(shards, max(1, batch // PROMPTS), rng)
        return sample(shards, items, batch, now, rng), scans

    def step(k: int, drawn: tuple[list[QueryBatch], Scans]) -> dict[str, torch.Tensor]:
        queries, scans = drawn
        told = losses(sam, queries, where)
        beside = all_objects.losses(sam, learner.head, scans, where)
        return {**told, **beside, "loss": told["loss"] + beside["loss"]}

    def on_save(average: Learner, done: int) -> None:
        save_sam(out, average.sam, thresholds(average.sam, shards, where), ZOOM)

    plan = Plan(steps=steps, rate=rate, seed=seed, warmup=50 if base else 300, decay=0.7, ema=0.998)
    train(learner, draw, step, plan, run, on_save, workers)  # type: ignore[arg-type]
