"""What fine-tuning on scans of one's own has changed, on scans that it did not see.

python -m xsyn_core evaluate finetuned --data DATASET --tuned runs/finetuned-denoiser/model
"""

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from tqdm import tqdm

from xsyn_core import catalogs
from xsyn_core.curation.files import writable
from xsyn_core.curation.readers import read_dataset
from xsyn_core.errors import XsynError
from xsyn_core.evaluation import classifier, painting
from xsyn_core.evaluation.held_out import Case
from xsyn_core.evaluation.realism import frechet
from xsyn_core.evaluation.tiles import captioned, grid
from xsyn_core.frames import window_around
from xsyn_core.training.finetuning_data import Selection, held_out, readable, select, sources
from xsyn_core.training.loop import Plan, pick_device
from xsyn_core.weights import EMBEDDED, load_models

# Items of a category on the sheet.
SHOWN = 3
# A judge of real crops: their batch and rate.
BATCH, RATE = 64, 2e-3


@dataclass(frozen=True, eq=False)
class Split:
    """The objects of a dataset in the windows that the page would cut around them.

    Attributes:
        names: of the categories.
        learnt: of scans that fine-tuning saw.
        unseen: of the scans held out.
    """

    names: tuple[str, ...]
    learnt: list[Case]
    unseen: list[Case]


def split(
    selection: Selection, origins: dict[str, str], share: float, seed: int, side: int
) -> Split:
    """Cut a window around every object, apart for the scans that fine-tuning held out.

    Nobody knows what lies under a real item: the benign image of a case is its image.

    Args:
        origins: see `finetuning_data.sources`.
        share, seed: of the held-out scans, as for fine-tuning.
        side: of the windows, pixels.

    Raises:
        XsynError: `share` is out of range, or holds out nothing.
    """
    found: list[tuple[str, Case]] = []
    indexes = tqdm(selection.objects, desc="reading scans")
    for index, scan, source in readable(selection, indexes, origins):
        for known in selection.objects[index]:
            frame = window_around(known.box, scan.size, side)
            x1, y1, x2, y2 = (side * v for v in frame.unit(known.box))
            image, box = np.rint(frame.cut(scan.pixels)).astype(np.uint8), (x1, y1, x2, y2)
            empty = np.zeros((side, side), bool)
            found.append((source, Case(known.category, image, image, empty, box, box)))
    aside = held_out((source for source, _ in found), share, seed)
    if not aside:
        raise XsynError("Nothing is held out to measure on: give the --held-out of the training.")
    return Split(
        selection.names,
        [case for source, case in found if source not in aside],
        [case for source, case in found if source in aside],
    )


def evenly(cases: Iterable[Case], count: int, names: Sequence[str]) -> list[Case]:
    """Up to `count` cases, of every category in turn until it has no more; sorted by category."""
    queues: dict[str, list[Case]] = {name: [] for name in names}
    for case in cases:
        queues[case.category].append(case)
    turns = sorted(
        ((turn, names.index(name)) for name, own in queues.items() for turn in range(len(own))),
    )
    return [queues[names[k]][turn] for k, turn in sorted((k, turn) for turn, k in turns[:count])]


def main(
    data: Annotated[Path, typer.Option(help="The dataset of the fine-tuning.")],
    tuned: Annotated[str, typer.Option(help="What it wrote: a diffusers folder.")],
    base: Annotated[str, typer.Option(help="What it started from.")] = EMBEDDED,
    report: Annotated[Path, typer.Option(help="Folder for figures and sheet.")] = Path(
        "runs/finetuned-report"
    ),
    catalog: Annotated[str | None, typer.Option(help="As for the training.")] = None,
    min_area: Annotated[float | None, typer.Option(help="As for the training.")] = None,
    held_out_share: Annotated[float, typer.Option("--held-out", help="As for the training.")] = 0.1,
    seed: Annotated[int, typer.Option(help="As for the training.")] = 0,
    items: Annotated[int, typer.Option(min=4, help="How many items are painted, at most.")] = 256,
    steps: Annotated[int, typer.Option(min=1, help="Of denoising.")] = 25,
    guidance: Annotated[float, typer.Option(help="Of denoising.")] = 4.0,
    judge_steps: Annotated[int, typer.Option(min=1, help="Of training the judge.")] = 800,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Compare a fine-tuned diffusion model with its base, on the scans that were held out.

    Both repaint held-out items in their boxes. A judge, a classifier of real crops that is trained
    here on the other scans, tells how often their category is read right, and how far painted
    crops are from real ones. Writes REPORT/finetuned.json and sheet.png: real items, those
    of the base below, those of the fine-tuned model at the bottom.
    """
    where = pick_device(device)
    models = {
        name: load_models(source, device=str(where)).diffusion
        for name, source in (("base", base), ("fine-tuned", tuned))
    }
    side = models["base"].side
    if models["fine-tuned"].side != side:
        raise XsynError("The two models paint windows of different sizes: they are no relatives.")
    own = catalogs.asked(catalog, base)
    parts = split(select(read_dataset(data, own), (), min_area), sources(data),
                  held_out_share, seed, side)  # fmt: skip
    with writable(report, "the report"):
        report.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    number = {name: k for k, name in enumerate(parts.names)}

    def truth(cases: Sequence[Case]) -> np.ndarray:
        return np.array([number[case.category] for case in cases])

    def real(cases: Sequence[Case]) -> np.ndarray:
        return painting.crops([case.image for case in cases], cases)

    # not beside the report: what a judge has learnt of another dataset must not be gone on with
    with tempfile.TemporaryDirectory() as folder:
        judge = classifier.learn(
            classifier.Classifier(len(parts.names)).to(where),
            real(parts.learnt),
            truth(parts.learnt),
            BATCH,
            Plan(steps=judge_steps, rate=RATE, seed=seed, weight_decay=0.05),
            Path(folder),
        ).cpu()
    cases = evenly(parts.unseen, items, parts.names)
    others = evenly(parts.learnt, len(cases), parts.names)
    right, crops = truth(cases), real(cases)
    features = classifier.features(judge, crops)

    def measured(some: np.ndarray) -> dict:
        read = classifier.predict(judge, some) == right
        return {
            "read right": float(read.mean()),
            "by category": {
                name: float(read[right == k].mean()) for name, k in number.items() if k in right
            },
        }

    results: dict = {"items": len(cases), "real": measured(crops)}
    results["real"]["Frechet distance to held-out real crops"] = frechet(
        classifier.features(judge, real(others)), features
    )
    rows = [[case.image for case in cases]]
    for name, model in models.items():
        painted = painting.paint(model, cases, steps, guidance, seed, background="repaint")
        rows.append([one.image for one in painted])
        made = painting.crops(rows[-1], cases)
        results[name] = measured(made)
        results[name]["Frechet distance to held-out real crops"] = frechet(
            classifier.features(judge, made), features
        )
    results["settings"] = {"base": base, "tuned": tuned, "steps": steps, "guidance": guidance}
    print(json.dumps(results, indent=1))
    with writable(report, "the report"):
        (report / "finetuned.json").write_text(json.dumps(results, indent=1) + "\n")
        done, content = cv2.imencode(".png", _sheet(cases, rows)[..., ::-1])
        assert done
        (report / "sheet.png").write_bytes(content.tobytes())


def _sheet(cases: Sequence[Case], rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """`SHOWN` items of each category, a column each with the pictures of all rows."""
    names = [case.category for case in cases]
    columns = []
    for name in dict.fromkeys(names):
        for k in [k for k, own in enumerate(names) if own == name][:SHOWN]:
            column = np.vstack([row[k] for row in rows])
            captioned(column, name)
            columns.append(column)
    return grid(columns, 5 * SHOWN)
