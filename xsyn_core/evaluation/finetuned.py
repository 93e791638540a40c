"""What fine-tuning on scans of one's own has changed, on scans that it did not see.

python -m xsyn_core evaluate finetuned --data DATASET --tuned runs/finetuned-denoiser/model
"""

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

import cv2
import numpy as np
import torch
import typer
from tqdm import tqdm

from xsyn_core import catalogs
from xsyn_core.boxes import Box
from xsyn_core.curation.readers import read_dataset
from xsyn_core.diffusion import Diffusion
from xsyn_core.errors import XsynError
from xsyn_core.evaluation import classifier, painting
from xsyn_core.evaluation.held_out import Case
from xsyn_core.evaluation.realism import frechet
from xsyn_core.evaluation.report import tried
from xsyn_core.evaluation.tiles import captioned, grid
from xsyn_core.files import expanded, writable
from xsyn_core.frames import Frame, whole, window_around
from xsyn_core.sample import FrameMode
from xsyn_core.training.finetuning_data import (
    SETTINGS,
    Selection,
    held_out,
    readable,
    select,
    sources,
)
from xsyn_core.training.loop import Plan, pick_device
from xsyn_core.weights import load_models

# Items of a category on the sheet.
SHOWN = 3
# A judge of real crops: their batch and rate.
BATCH, RATE = 64, 2e-3
# A spread needs so many items.
FEWEST = 2


@dataclass(frozen=True)
class Training:
    """What the settings of a run of `train denoiser` say.

    Attributes:
        objects: digest of the selection.
        base: the model that it started from.
        frame: what of a scan it saw.
        share, seed: of the held-out scans.
    """

    objects: str
    base: str
    frame: FrameMode
    share: float
    seed: int

    @classmethod
    def of(cls, tuned: Path) -> "Training":
        """That of a model, from the settings beside its folder.

        Raises:
            XsynError: they are not there, or damaged.
        """
        file = expanded(tuned).resolve().parent / SETTINGS
        if not file.is_file():
            raise XsynError(
                f"There is no {file}, which tells what scans {tuned} has learnt from. Give the "
                f"model in the folder of its run, RUN/model, or put a copy of RUN/{SETTINGS} there."
            )
        try:
            found = json.loads(file.read_text("utf-8"))
            training = cls(*(found[k] for k in ("objects", "base", "frame", "held-out", "seed")))
            if training.frame not in get_args(FrameMode):
                raise ValueError("no frame")
            return training
        except (ValueError, RecursionError, KeyError, TypeError):
            raise XsynError(
                f"{file} is damaged, or of no run of `train denoiser --data`."
            ) from None


@dataclass(frozen=True, eq=False)
class Item:
    """An object of a dataset.

    Attributes:
        category: its name.
        index: number of its image in the dataset.
        frame: what the model sees of that.
        box: pixels of the frame.
        crop: uint8 (CROP, CROP, 3), what a judge sees.
    """

    category: str
    index: int
    frame: Frame
    box: Box
    crop: np.ndarray


def split(
    selection: Selection, origins: dict[str, str], training: Training, model: Diffusion
) -> tuple[list[Item], list[Item]]:
    """The objects of the scans that fine-tuning saw, and those of the scans that it held out.

    Args:
        origins: see `finetuning_data.sources`.
        model: whose geometry.

    Raises:
        XsynError: nothing is held out.
    """
    found: list[tuple[str, Item]] = []
    indexes = tqdm(selection.objects, desc="reading scans")
    for index, scan, source in readable(selection, indexes, origins):
        for known in selection.objects[index]:
            if training.frame == "whole":
                frame = whole(scan.size, model.side, model.multiple)
            else:
                frame = window_around(known.box, scan.size, model.side)
            height, width = frame.size
            x1, y1, x2, y2 = frame.unit(known.box)
            box = (width * x1, height * y1, width * x2, height * y2)
            crop = classifier.crop(_cut(frame, scan.pixels), np.array(box), margin=0.0)
            found.append((source, Item(known.category, index, frame, box, crop)))
    aside = held_out((source for source, _ in found), training.share, training.seed)
    if not aside:
        raise XsynError(
            "The model has learnt from every scan (--held-out 0), so that there is nothing to "
            "measure on. Train with a share held out."
        )
    return (
        [item for source, item in found if source not in aside],
        [item for source, item in found if source in aside],
    )


def _cut(frame: Frame, pixels: np.ndarray) -> np.ndarray:
    return np.rint(frame.cut(pixels)).astype(np.uint8)


def paired(
    unseen: Sequence[Item], learnt: Sequence[Item], count: int, names: Sequence[str]
) -> list[tuple[Item, Item]]:
    """Up to `count` unseen items, each with a learnt one of its category: of every category in
    turn until it has no more; sorted by category."""

    def of(items: Iterable[Item], name: str) -> list[Item]:
        return [item for item in items if item.category == name]

    queues = [list(zip(of(unseen, name), of(learnt, name), strict=False)) for name in names]
    turns = sorted((turn, k) for k, own in enumerate(queues) for turn in range(len(own)))
    return [queues[k][turn] for k, turn in sorted((k, turn) for turn, k in turns[:count])]


def case(selection: Selection, item: Item) -> Case:
    """What is painted in place of an item.

    Nobody knows what lies under a real one: the benign image is the image.
    """
    image = _cut(item.frame, selection.dataset.scan(item.index, masks=False).pixels)
    empty = np.zeros(item.frame.size, bool)
    return Case(item.category, image, image, empty, item.box, item.box)


def repainted(
    model: Diffusion, cases: Sequence[Case], steps: int, guidance: float, seed: int
) -> list[np.ndarray]:
    """The images of cases with their items painted anew, those of one size together."""
    sizes = [one.image.shape for one in cases]
    images: dict[int, np.ndarray] = {}
    for size in dict.fromkeys(sizes):
        rows = [k for k, own in enumerate(sizes) if own == size]
        some = [cases[k] for k in rows]
        done = painting.paint(model, some, steps, guidance, seed, background="repaint")
        images |= zip(rows, (one.image for one in done), strict=True)
    return [images[k] for k in range(len(cases))]


def main(
    data: Annotated[Path, typer.Option(help="The dataset of the fine-tuning.")],
    tuned: Annotated[
        Path, typer.Option(help="What it wrote: RUN/model, beside RUN/settings.json.")
    ],
    report: Annotated[Path, typer.Option(help="Folder for figures and sheet.")] = Path(
        "runs/finetuned-report"
    ),
    category: Annotated[
        list[str] | None, typer.Option(help="As for the training; repeatable.")
    ] = None,
    catalog: Annotated[str | None, typer.Option(help="As for the training.")] = None,
    min_area: Annotated[float | None, typer.Option(help="As for the training.")] = None,
    items: Annotated[int, typer.Option(min=4, help="How many items are painted, at most.")] = 256,
    steps: Annotated[int, typer.Option(min=1, help="Of denoising.")] = 25,
    guidance: painting.Guidance = 4.0,
    judge_steps: Annotated[int, typer.Option(min=1, help="Of training the judge.")] = 800,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Compare a fine-tuned diffusion model with its base, on the scans that were held out.

    Both repaint held-out items in their boxes, in windows or whole scans as they were learnt. A
    judge, a classifier of real crops that is trained here on the other scans, tells how often their
    category is read right, and how far painted crops are from real ones. Writes
    REPORT/finetuned.json and sheet.png: real items, those of the base below, those of the
    fine-tuned model at the bottom.

    Which scans were held out, the settings of the run tell; DATASET and the options named so must
    be those of the training.
    """
    training = Training.of(tuned)
    where = pick_device(device)
    selection = select(
        read_dataset(data, catalogs.asked(catalog, training.base)), category or (), min_area
    )
    if selection.digest != training.objects:
        raise XsynError(
            f"The objects of {data} are not those that {tuned} has learnt from, so that what was "
            "held out cannot be told. Give the dataset, --category, --catalog and --min-area of "
            "the training."
        )
    file = tried(report / "finetuned.json")
    models = {
        name: load_models(source, device=str(where)).diffusion
        for name, source in (("base", training.base), ("fine-tuned", str(tuned)))
    }
    learnt, unseen = split(selection, sources(data), training, models["base"])
    pairs = paired(unseen, learnt, items, selection.names)
    if len(pairs) < FEWEST:
        raise XsynError(
            f"Of the items that were held out only {len(pairs)} can be measured on: {FEWEST} are "
            "needed, of categories that were learnt. Train with more scans, or with a larger "
            "--held-out."
        )
    torch.manual_seed(training.seed)
    number = {name: k for k, name in enumerate(selection.names)}

    def truth(some: Iterable[Item]) -> np.ndarray:
        return np.array([number[item.category] for item in some])

    def seen(some: Iterable[Item]) -> np.ndarray:
        return np.stack([item.crop for item in some])

    # not beside the report: what a judge has learnt of another dataset must not be gone on with
    with tempfile.TemporaryDirectory() as folder:
        judge = classifier.learn(
            classifier.Classifier(len(number)).to(where),
            seen(learnt),
            truth(learnt),
            BATCH,
            Plan(steps=judge_steps, rate=RATE, seed=training.seed, weight_decay=0.05),
            Path(folder),
        ).cpu()
    right, crops = truth(item for item, _ in pairs), seen(item for item, _ in pairs)
    features = classifier.features(judge, crops)

    def measured(some: np.ndarray, others: np.ndarray) -> dict:
        read = classifier.predict(judge, some) == right
        return {
            "read right": float(read.mean()),
            "by category": {
                name: float(read[right == k].mean()) for name, k in number.items() if k in right
            },
            "Frechet distance to held-out real crops": frechet(
                classifier.features(judge, others), features
            ),
        }

    # as many real crops of each category, of other scans
    results: dict = {
        "items": len(pairs),
        "real": measured(crops, seen(other for _, other in pairs)),
    }
    cases = [case(selection, item) for item, _ in pairs]
    rows = [[one.image for one in cases]]
    for name, model in models.items():
        rows.append(repainted(model, cases, steps, guidance, training.seed))
        made = painting.crops(rows[-1], cases)
        results[name] = measured(made, made)
    results["settings"] = {
        "base": training.base, "tuned": str(tuned), "frame": training.frame,
        "steps": steps, "guidance": guidance,
    }  # fmt: skip
    print(json.dumps(results, indent=1))
    with writable(report, "the report"):
        file.write_text(json.dumps(results, indent=1) + "\n")
        done, content = cv2.imencode(".png", _sheet(cases, rows)[..., ::-1])
        assert done
        (report / "sheet.png").write_bytes(content.tobytes())


def _sheet(cases: Sequence[Case], rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """`SHOWN` items of each category, a column each with the pictures of all rows; smaller ones
    are filled up in white."""
    names = [case.category for case in cases]
    height, width = np.max([image.shape[:2] for image in rows[0]], 0)
    columns = []
    for name in dict.fromkeys(names):
        for k in [k for k, own in enumerate(names) if own == name][:SHOWN]:
            free = height - len(rows[0][k]), width - len(rows[0][k][0])
            filled = [(0, free[0]), (0, free[1]), (0, 0)]
            column = np.vstack([np.pad(row[k], filled, constant_values=255) for row in rows])
            captioned(column, name)
            columns.append(column)
    return grid(columns, 5 * SHOWN)
