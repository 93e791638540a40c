"""Fine-tune SAM's mask decoder on scans of one's own; the image encoder stays as it is.

Every scan is encoded once. The prompts are boxes and points as refinement gives them
(Section IV-B), made from the masks of the dataset.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import typer
from segment_anything.modeling import Sam
from tqdm import tqdm

from xsyn_core import catalogs
from xsyn_core.boxes import of_mask
from xsyn_core.curation.files import writable
from xsyn_core.curation.readers import read_dataset
from xsyn_core.errors import XsynError
from xsyn_core.segmentation import Segmenter, save_sam
from xsyn_core.training import options, processes
from xsyn_core.training.finetuning_data import (
    Selection,
    claim,
    held_out,
    remark,
    select,
    sources,
)
from xsyn_core.training.loop import Plan, autocast, pick_device, train
from xsyn_core.training.prompting import KINDS, SHARES, decode, mask_losses, prompt
from xsyn_core.training.scalars import Scalars
from xsyn_core.weights import EMBEDDED, load_segmenter

# Masks are judged on a grid so many times as fine as the image tokens: twice SAM's logits.
FINER = 8
# Masks of fewer cells of that grid are not learnt.
LEAST = 6
# Objects of one scan that are kept.
MOST = 32
JUDGED = 64
# Prompts for each scan of a batch.
PROMPTS = 4


@dataclass(frozen=True)
class Pictures:
    """N encoded scans with their masks, as memory maps; for a model that zooms also windows of them
    around each mask.

    Attributes:
        features: float16 (N or more, C, g, g); the rows past N are empty.
        masks: uint8 (N, MOST, s, s / 8), bits of the masks on the scan's square, s = FINER * g.
        counts: int (N,), how many masks are in use.
        sources: hash of the scan.
    """

    features: np.ndarray
    masks: np.ndarray
    counts: np.ndarray
    sources: np.ndarray

    def truth(self, row: int) -> np.ndarray:
        """bool (count, s, s)."""
        return np.unpackbits(self.masks[row, : self.counts[row]], axis=-1).astype(bool)


def cache_pictures(
    selection: Selection, origins: dict[str, str], folder: Path, segmenter: Segmenter
) -> Pictures:
    """Encode every scan that has a mask, once.

    Args:
        selection: which objects.
        origins: for painted images, by file name, the hash of the source scan.
        folder: of the cache; if it is there, it is taken.
        segmenter: whose encoder.

    Raises:
        XsynError: there is no mask: boxes alone do not teach masks.
    """
    if not folder.is_dir() and processes.first():
        _write(selection, origins, folder, segmenter)
    processes.wait()
    names = Pictures.__dataclass_fields__
    return Pictures(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names})


def _write(
    selection: Selection, origins: dict[str, str], folder: Path, segmenter: Segmenter
) -> None:
    tokens = segmenter.sam.prompt_encoder.image_embedding_size[0]
    side = FINER * tokens
    chosen = [
        index
        for index in selection.objects
        if any(o.segmentation is not None for o in selection.dataset.entries[index].objects)
    ]
    most = len(chosen)
    if segmenter.zoom is not None:
        most += sum(len(selection.dataset.entries[index].objects) for index in chosen)
    channels = segmenter.embed(np.zeros((1, 1, 3), np.uint8)).features.shape[1]
    temporary = folder.with_name(folder.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    shape = (max(1, most), channels, tokens, tokens)
    features = np.lib.format.open_memmap(
        temporary / "features.npy", mode="w+", dtype=np.float16, shape=shape
    )
    masks: list[Any] = []
    counts: list[int] = []
    hashes: list[Any] = []
    for index in tqdm(chosen, desc="encoding scans", unit="scan"):
        try:
            scan = selection.dataset.scan(index)
        except XsynError as error:
            remark(f"Left out: {error}")
            continue
        own = [a.mask for a in scan.annotations if a.mask is not None and not a.iscrowd]
        for x1, y1, x2, y2 in _views(own, scan.size, segmenter):
            cut = (on_grid(mask[y1:y2, x1:x2], side) for mask in own)
            small = [mask for mask in cut if mask.sum() >= LEAST][:MOST]
            if not small:
                continue
            encoded = segmenter.embed(scan.pixels[y1:y2, x1:x2]).features[0]
            features[len(counts)] = encoded.half().cpu().numpy()
            packed = np.zeros((MOST, side, side // 8), np.uint8)
            packed[: len(small)] = np.packbits(np.stack(small), axis=-1)
            masks.append(packed)
            counts.append(len(small))
            hashes.append(origins.get(scan.name, scan.sha256))
    if not counts:
        shutil.rmtree(temporary, ignore_errors=True)
        raise XsynError(_NO_MASKS)
    features.flush()
    np.save(temporary / "masks.npy", np.stack(masks))
    np.save(temporary / "counts.npy", np.array(counts))
    np.save(temporary / "sources.npy", np.array(hashes, "U64"))
    temporary.rename(folder)


def _views(
    masks: Sequence[np.ndarray], size: tuple[int, int], segmenter: Segmenter
) -> list[tuple[int, int, int, int]]:
    """The whole scan, and the windows in which the model looks for its masks."""
    boxes = [box for box in map(of_mask, masks) if box is not None]
    windows = [segmenter.view(box, size) for box in boxes]
    return [(0, 0, size[1], size[0]), *(view for view in windows if view is not None)]


_NO_MASKS = (
    "The dataset has no masks, and boxes alone do not teach masks. Give a COCO dataset with "
    "segmentation (polygons or RLE), such as PIDray or an export of Xsyn."
)


def on_grid(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask bool (H, W) on SAM's padded square of a scan, bool (side, side): the long side fills
    it, the rest is empty."""
    height, width = mask.shape
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    square = np.zeros((side, side), bool)
    square[: size[1], : size[0]] = small
    return square


def draw(
    pictures: Pictures,
    rows: Sequence[int] | np.ndarray,
    kind: tuple[bool, int, int],
    side: int,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, ...]:
    """A batch of B scans with `PROMPTS` prompts of one kind for each.

    Args:
        pictures: the cache.
        rows: of the B scans.
        kind: one of `prompting.KINDS`.
        side: of the model's images in pixels.
        rng: of objects and prompts.

    Returns:
        features (B, C, g, g), boxes (B, P, 4), points (B, P, k, 2), labels (B, P, k), all float32
        in pixels of the model's image, and masks bool (B, P, s, s).
    """
    columns: list[list[np.ndarray]] = [[] for _ in range(4)]
    for row in rows:
        truth = pictures.truth(row)
        chosen = truth[rng.integers(len(truth), size=PROMPTS)]
        scale = side / truth.shape[-1]
        asked = [
            prompt(mask, np.array(of_mask(mask), np.float32) * scale, kind, rng, side)
            for mask in chosen
        ]
        for column, values in zip(columns, zip(*asked, strict=True), strict=False):
            column.append(np.stack(values))
        columns[3].append(chosen)
    features = np.stack([pictures.features[row] for row in rows]).astype(np.float32)
    return tuple(torch.from_numpy(v) for v in (features, *map(np.stack, columns)))


def losses(
    sam: Sam,
    batch: tuple[torch.Tensor, ...],
    kind: tuple[bool, int, int],
    where: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """SAM's loss of a batch from `draw`, and the mean IoU of the masks."""
    features, boxes, points, labels, masks = (values.to(where) for values in batch)
    with autocast(where):
        logits, predicted = decode(sam, features, boxes, points, labels, kind)
    one_point = kind == (False, 1, 0)
    if not one_point:
        logits, predicted = logits[:, :1], predicted[:, :1]
    truth = masks.flatten(0, 1)[:, None]
    logits = F.interpolate(logits, truth.shape[-2:], mode="bilinear")
    each = mask_losses(logits, truth)
    with torch.no_grad():
        on = logits > 0
        iou = (on & truth).sum((2, 3)) / (on | truth).sum((2, 3)).clamp(min=1)
    # one point may mean a part or the whole: the best of three masks learns from it
    best = (each[:, 1:].min(1).values + each[:, 0]) / 2 if one_point else each[:, 0]
    return best.mean() + (predicted - iou).square().mean(), iou[:, 0].mean()


def main(
    data: Annotated[
        Path | None, typer.Option(help="Dataset with masks: COCO or PIDray; folder or .json.")
    ] = None,
    base: Annotated[
        str, typer.Option(help="SAM to start from: embedded, or a file of SAM weights.")
    ] = EMBEDDED,
    run: Annotated[Path, typer.Option(help="Folder of embeddings, checkpoints and losses.")] = Path(
        "runs/finetuned-segmenter"
    ),
    out: Annotated[
        Path | None, typer.Option(help="Weights to write. Left out: RUN/sam.safetensors.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of training.")] = 10_000,
    batch: Annotated[int, typer.Option(min=1, help="Scans a step, on each GPU.")] = 8,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 1e-4,
    category: Annotated[
        list[str] | None, typer.Option(help="Scans with this one; repeatable. Left out: all.")
    ] = None,
    catalog: Annotated[
        str | None, typer.Option(help=f"{catalogs.WHICH} Left out: the one that fits.")
    ] = None,
    min_area: Annotated[
        float | None,
        typer.Option(help="Least share of the image for a box. Left out: the catalogue's."),
    ] = None,
    held_out_share: Annotated[
        float, typer.Option("--held-out", help="Share of the scans that IoU is checked on.")
    ] = 0.1,
    ema: Annotated[
        float, typer.Option(min=0, max=0.99999, help="Decay of averaged weights, 0 for none.")
    ] = 0.0,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds between saves.")] = 300.0,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    device: options.Device = "auto",
) -> None:
    """Fine-tune SAM's mask decoder on scans of your own, with box and point prompts.

    The dataset needs masks. A run that was stopped goes on when called again. The file it writes
    is what `--sam` of the page takes. With --embedded this command trains the embedded segmenter
    on simulated scans instead.

        python -m xsyn_core train segmenter --data pidray/annotations/xray_train.json
        --base sam_vit_h_4b8939.pth
    """
    if data is None:
        raise XsynError(
            "Give the dataset to learn from: --data FOLDER, or a COCO .json file. "
            "To train the embedded model on simulated scans, say --embedded."
        )
    if not 0 < rate < 1:
        raise XsynError(f"The learning rate is {rate:g}; 1e-4 is usual.")
    dataset = read_dataset(data, catalogs.asked(catalog))
    remark(*dataset.notes)
    if not any(o.segmentation is not None for e in dataset.entries for o in e.objects):
        raise XsynError(_NO_MASKS)
    selection = select(dataset, category or (), min_area)
    held_out(map(str, selection.objects), held_out_share, seed)
    target = options.writable_file(out or run / "sam.safetensors", base)
    if target.is_dir():
        raise XsynError(f"{target} is a folder. Give a file of weights with --out.")
    settings = {
        "data": str(data), "objects": selection.digest, "base": base, "batch": batch,
        "rate": rate, "held-out": held_out_share, "ema": ema, "seed": seed,
        "processes": processes.count(),
    }  # fmt: skip
    if processes.first():
        claim(run, settings)
    where = pick_device(device)
    segmenter = load_segmenter(base, str(where), staying=True)
    sam = segmenter.sam
    with writable(run, "the run"):
        pictures = cache_pictures(selection, sources(data), run / "embeddings", segmenter)
        outside = np.isin(
            pictures.sources, sorted(held_out(pictures.sources, held_out_share, seed))
        )
        inside, judged = np.flatnonzero(~outside), np.flatnonzero(outside)[:JUDGED]
        # The folded copies inside `segmenter` are of the weights before training; it is not used
        # any further.
        sam.mask_decoder.requires_grad_(True)

        def drawn(k: int, rng: np.random.Generator) -> tuple[int, tuple[torch.Tensor, ...]]:
            kind = int(rng.choice(len(KINDS), p=SHARES))
            rows = np.sort(rng.choice(inside, batch, replace=len(inside) < batch))
            return kind, draw(pictures, rows, KINDS[kind], segmenter.side, rng)

        def step(k: int, some: tuple[int, tuple[torch.Tensor, ...]]) -> dict[str, torch.Tensor]:
            loss, iou = losses(sam, some[1], KINDS[some[0]], where)
            return {"loss": loss, "iou": iou}

        @torch.no_grad()
        def judge(average: Sam, done: int) -> None:
            if not len(judged):
                return
            rng, shown = np.random.default_rng(1), {}
            for kind, name in ((KINDS[0], "box"), (KINDS[1], "point")):
                found = [
                    losses(average, draw(pictures, [row], kind, segmenter.side, rng), kind, where)
                    for row in judged
                ]
                shown[f"loss_{name}"], shown[f"iou_{name}"] = torch.tensor(found).mean(0).tolist()
            told = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
            remark(f"step {done}: held out {told}")
            log.write(done, shown)

        def on_save(average: Sam, done: int) -> None:
            judge(average, done)
            save_sam(target, average, segmenter.thresholds, segmenter.zoom)

        plan = Plan(
            steps=steps,
            rate=rate,
            warmup=min(300, steps // 20),
            ema=ema,
            seed=seed,
            save_every=save_every,
        )
        with Scalars(run, "held_out.csv") as log:
            if processes.first() and not (run / "checkpoint.pt").exists():
                judge(sam, 0)
            train(sam, drawn, step, plan, run, on_save)  # type: ignore[arg-type]
    if processes.first():
        typer.echo(target)
