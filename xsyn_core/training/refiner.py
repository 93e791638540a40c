"""Train the embedded segmenter's `Refiner`: it corrects SAM's masks with the prompt in sight.

It learns from what it meets in use: the windows in which `Segmenter` looks for what it is asked
for, and the logits that SAM, which stays as it is, gives there.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from xsyn_core.errors import XsynError
from xsyn_core.sam_checkpoint import load_sam, save_sam
from xsyn_core.sam_refiner import Refiner, tensors
from xsyn_core.segmentation import Segmenter
from xsyn_core.simulation.visibility import VISIBLE, edge_contrast
from xsyn_core.training import processes
from xsyn_core.training.data import in_parallel
from xsyn_core.training.loop import Plan, autocast, pick_device, train
from xsyn_core.training.segmenter import (
    KINDS,
    UNSEEN,
    close_up,
)
from xsyn_core.training.segmenter_data import Pictures, pictures

# Looks at each picture.
LOOKS = 2
# Share of looks with a box alone, and of these at a map of attention; the others have points as
# refinement gives them.
BOXES, HEAT = 0.56, 0.2
_ATTENDED = [kind for kind in KINDS if kind[0] and kind[1]]


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
    model: Segmenter, image: np.ndarray, mask: np.ndarray, box: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """One random prompt for an object, as `Segmenter.segment` would answer it.

    Args:
        image: uint8 (SIDE, SIDE, 3). mask: bool (S, S), not empty. box: tight, pixels of the image.

    Returns:
        pixels, logits, prompts and truth of one row of `Looks`.
    """
    kind = KINDS[0] if rng.random() < BOXES else _ATTENDED[rng.integers(len(_ATTENDED))]
    heated = kind == KINDS[0] and rng.random() < HEAT
    window, corners, points, labels, there = close_up(image, mask, box, kind, heated, rng)
    embedding = model.embed(window)
    asked, told = (points, labels) if len(points) else (None, None)
    logits = model.logits(embedding, corners, asked, told, range(1))[0][0]
    pixels, drawing = model.second_look(embedding, corners, asked, told)
    cells = (len(logits),) * 2
    truth = cv2.resize(there.astype(np.float32), cells, interpolation=cv2.INTER_AREA)
    return (
        pixels,
        logits.cpu().numpy().astype(np.float16),
        (drawing * 255).round().astype(np.uint8),
        (truth * 255).round().astype(np.uint8),
    )


def make_looks(task: tuple[Path, Path, Path, int, int]) -> None:
    """Look at every picture of one shard."""
    base, source, folder, seed, index = task
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    model, shard = Segmenter(load_sam(base)), Pictures.open(source)
    rng = np.random.default_rng((seed, index))
    rows: list[tuple[np.ndarray, ...]] = []
    for k, image in enumerate(shard.images):
        masks = shard.silhouettes(k)
        present = np.flatnonzero(masks.any((1, 2)))
        contrast = edge_contrast(image, masks[present])
        present = present[(contrast >= VISIBLE) | (rng.random(len(present)) < UNSEEN)]
        for chosen in rng.permutation(present)[:LOOKS]:
            rows.append(look(model, image, masks[chosen], np.array(shard.boxes[k][chosen]), rng))
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
    """Cross-entropy and dice loss of logits (B, 1, s, s), and their mean IoU with the truth."""
    probability = logits.sigmoid()
    overlap = (probability * truth).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / ((probability + truth).sum((1, 2, 3)) + 1)
    entropy = F.binary_cross_entropy_with_logits(logits, truth)
    on, there = logits > 0, truth > 0.5
    both, either = (x.sum((1, 2, 3)) for x in (on & there, on | there))
    return 2 * entropy + dice.mean(), (both / either.clamp(min=1)).mean().detach()


def main(
    base: Path = Path("assets/segmenter/sam.safetensors"),
    out: Path = Path("assets/segmenter/sam.safetensors"),
    data: Path = Path("runs/data"),
    run: Path = Path("runs/refiner"),
    steps: int = 3000,
    batch: int = 32,
    rate: float = 2e-3,
    shard_count: int = 36,
    seed: int = 0,
    workers: int = 2,
    device: str = "auto",
) -> None:
    """Train the refiner of the embedded segmenter BASE on simulated scans; resumes from RUN, else
    goes on from the refiner in BASE, else starts anew; writes the segmenter with it to OUT.

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
    pictures(data, seed, shard_count, workers)
    folders = [run / "looks" / f"{k:05d}" for k in range(shard_count)]
    tasks = [
        (base, data / f"segmenter{seed}" / folder.name, folder, seed, k)
        for k, folder in enumerate(folders)
        if not folder.exists()
    ]
    if processes.first():
        in_parallel(make_looks, tasks, workers, "looking")
    processes.wait()
    shards = [Looks.open(folder) for folder in folders]
    known = getattr(sam, "refiner", None)
    refiner = (known or Refiner()).requires_grad_(True).to(where)

    def step(k: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        pixels, logits, prompts, truth = (t.to(where) for t in sample(shards, batch, rng))
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
