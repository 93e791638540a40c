"""Fine-tune SAM's mask decoder on scans of one's own; the image encoder stays as it is.

Every scan is encoded once. The prompts are boxes and points as refinement gives them
(Section IV-B), made from the masks of the dataset.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import typer
from segment_anything.modeling import Sam

from xsyn_core import catalogs
from xsyn_core.boxes import of_mask
from xsyn_core.curation.readers import read_dataset
from xsyn_core.errors import XsynError
from xsyn_core.segmentation import Segmenter, save_sam
from xsyn_core.training import options, processes
from xsyn_core.training.finetuning_data import (
    Selection,
    claim,
    held_out,
    readable,
    remark,
    select,
    sources,
)
from xsyn_core.training.loop import Plan, autocast, pick_device, steps_done, train
from xsyn_core.training.parts import Part, Parts, encode
from xsyn_core.training.prompting import KINDS, SHARES, decode, mask_losses, prompt
from xsyn_core.training.scalars import Scalars
from xsyn_core.weight_sources import EMBEDDED, sam_file
from xsyn_core.weights import load_segmenter

# Masks are judged on a grid so many times as fine as the image tokens: twice SAM's logits.
FINER = 8
# Masks of fewer cells of that grid are not learnt.
LEAST = 6
# Objects of one scan that are kept.
MOST = 32
JUDGED = 64
# Prompts for each scan of a batch.
PROMPTS = 4


class Pictures:
    """N encoded scans with their masks; for a model that zooms also windows of them around each
    mask.

    Attributes:
        counts: int (N,), how many masks each has.
        sources: hash of the scan.

    Raises:
        XsynError: there is none: boxes alone do not teach masks.
    """

    def __init__(self, folders: Sequence[Path]):
        if not folders:
            raise XsynError(_NO_MASKS)
        self._parts = Parts(folders, ("features", "masks"))
        self.counts, self.sources = (self._parts.table[name] for name in ("counts", "sources"))
        self._place = self._parts.starts(np.ones_like(self.counts))
        self._start = self._parts.starts(self.counts)

    def features(self, row: int) -> np.ndarray:
        """What the image encoder gives, float16 (C, g, g)."""
        return self._parts.columns(row)["features"][self._place[row]]

    def truth(self, row: int) -> np.ndarray:
        """The masks on the scan's square, bool (count, s, s), s = FINER * g."""
        start = self._start[row]
        packed = self._parts.columns(row)["masks"][start : start + self.counts[row]]
        return np.unpackbits(packed, axis=-1).astype(bool)


def cache_pictures(
    selection: Selection, origins: dict[str, str], folder: Path, segmenter: Segmenter
) -> Pictures:
    """Encode every scan that has a mask, once; what is in `folder` already is taken from there.

    Scans that cannot be read are left out, with a remark. Several processes share the work.

    Args:
        selection: which objects.
        origins: for painted images, by file name, the hash of the source scan.
        folder: of the cache.
        segmenter: whose encoder.

    Raises:
        XsynError: there is no mask: boxes alone do not teach masks.
    """
    chosen = [
        index
        for index in selection.objects
        if any(o.segmentation is not None for o in selection.dataset.entries[index].objects)
    ]

    def encoded(part: Sequence[int]) -> Part | None:
        return _encoded(selection, origins, part, segmenter)

    return Pictures(encode(chosen, folder, encoded))


def _encoded(
    selection: Selection, origins: dict[str, str], part: Sequence[int], segmenter: Segmenter
) -> Part | None:
    """Some scans, encoded; None where there is no mask in them."""
    side = FINER * segmenter.sam.prompt_encoder.image_embedding_size[0]
    features: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    counts: list[int] = []
    hashes: list[str] = []
    for _, scan, source in readable(selection, part, origins, masks=True):
        own = [a.mask for a in scan.annotations if a.mask is not None and not a.iscrowd]
        for x1, y1, x2, y2 in _views(own, scan.size, segmenter):
            cut = (on_grid(mask[y1:y2, x1:x2], side) for mask in own)
            small = [mask for mask in cut if mask.sum() >= LEAST][:MOST]
            if not small:
                continue
            encoded = segmenter.embed(scan.pixels[y1:y2, x1:x2]).features[0]
            features.append(encoded.half().cpu().numpy())
            masks.append(np.packbits(np.stack(small), axis=-1))
            counts.append(len(small))
            hashes.append(source)
    if not counts:
        return None
    return Part(
        {"features": np.stack(features), "masks": np.concatenate(masks)},
        {"counts": np.array(counts), "sources": np.array(hashes, "U64")},
    )


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
    features = np.stack([pictures.features(row) for row in rows]).astype(np.float32)
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
    rate: options.Rate = 1e-4,
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
    dataset = read_dataset(data, catalogs.asked(catalog))
    remark(*dataset.notes)
    if not any(o.segmentation is not None for e in dataset.entries for o in e.objects):
        raise XsynError(_NO_MASKS)
    selection = select(dataset, category or (), min_area)
    held_out(map(str, selection.objects), held_out_share, seed)
    target = options.writable_file(out or run / "sam.safetensors", sam_file(base))
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
    pictures = cache_pictures(selection, sources(data), run / "embeddings", segmenter)
    outside = np.isin(pictures.sources, sorted(held_out(pictures.sources, held_out_share, seed)))
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
    begun = steps_done(run) > 0
    with Scalars(run, "held_out.csv", anew=not begun) as log:
        if processes.first() and not begun:
            judge(sam, 0)
        train(sam, drawn, step, plan, run, on_save)  # type: ignore[arg-type]
    if processes.first():
        typer.echo(target)
