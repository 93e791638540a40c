"""Whether painted samples help a detector (Tables II to VI of the paper): downstream detection.

python -m xsyn_core evaluate detection --data TRAIN --test TEST --added PAINTED
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from tqdm import tqdm

from xsyn_core import catalogs
from xsyn_core.curation.readers import Dataset, read_dataset
from xsyn_core.errors import XsynError
from xsyn_core.evaluation import detector
from xsyn_core.evaluation.average_precision import MEASURES, Found, average_precision
from xsyn_core.evaluation.detector import Example
from xsyn_core.evaluation.tiles import grid
from xsyn_core.files import writable
from xsyn_core.scan import Annotation
from xsyn_core.training import options
from xsyn_core.training.finetuning_data import claim, remark, sources
from xsyn_core.training.loop import Plan, pick_device

REAL = "real only"
# Scans on the sheet, and the least score of what is drawn there.
SHOWN, SURE = 12, 0.5


@dataclass(frozen=True)
class Scans:
    """The scans of a dataset that can be read.

    Attributes:
        dataset: where they are from.
        rows: their numbers in it.
        known: the annotations of each row, crowds too; without masks.
        origins: the hashes of the scans that they are, or were painted into.
        digest: sha256 over pixels and annotations, as hex.
    """

    dataset: Dataset
    rows: tuple[int, ...]
    known: tuple[tuple[Annotation, ...], ...]
    origins: frozenset[str]
    digest: str

    @classmethod
    def read(cls, dataset: Dataset, painted_into: Mapping[str, str], name: str) -> "Scans":
        """All of a dataset; those that cannot be read are told.

        Args:
            painted_into: see `finetuning_data.sources`.
            name: of the dataset, for the progress bar.

        Raises:
            XsynError: there is none.
        """
        rows, known, origins, total = [], [], set(), hashlib.sha256()
        for row in tqdm(range(len(dataset)), desc=f"reading {name}"):
            try:
                scan = dataset.scan(row, masks=False)
            except XsynError as error:
                remark(f"Left out: {error}")
                continue
            rows.append(row)
            known.append(scan.annotations)
            found = [(a.category, *map(float, a.box)) for a in scan.annotations]
            total.update(f"{scan.sha256} {found}\n".encode())
            origins.add(painted_into.get(scan.name, scan.sha256))
        if not rows:
            raise XsynError(f"{name}: not one scan can be read.")
        return cls(dataset, tuple(rows), tuple(known), frozenset(origins), total.hexdigest())

    def count(self, name: str) -> int:
        """How many items of a category there are."""
        return sum(a.category == name and not a.iscrowd for own in self.known for a in own)

    def example(self, k: int, names: Sequence[str], side: int, rng: np.random.Generator) -> Example:
        """Scan k as a detector of these categories learns from it, see `detector.shown`."""
        own = [a for a in self.known[k] if a.category in names and not a.iscrowd]
        places = np.array([a.box for a in own], np.float32).reshape(-1, 4)
        labels = np.array([names.index(a.category) for a in own], np.int64)
        scan = self.dataset.scan(self.rows[k], masks=False)
        return detector.shown(scan, places, labels, side, rng)


def sheet(
    scans: Scans, answers: Sequence[Sequence[Found]], names: Sequence[str], side: int
) -> np.ndarray:
    """Up to `SHOWN` scans in squares of `side` pixels: above what is there, below what each of
    several detectors, whose answers have the order of the scans, is sure of."""
    chosen = np.linspace(0, len(scans.rows) - 1, min(SHOWN, len(scans.rows))).astype(int)
    columns = []
    for k in chosen:
        image, matrix = detector.fitted(scans.dataset.scan(scans.rows[k], masks=False), side)
        known = [(a.category, a.box) for a in scans.known[k] if a.category in names]
        rows = [known]
        for found in answers:
            sure = (one for one in zip(*found[k], strict=True) if one[2] >= SURE)
            rows.append([(names[label], place) for place, label, _ in sure])
        columns.append(np.vstack([_drawn(image, row, matrix) for row in rows]))
    return grid(columns, 6)


def _drawn(image: np.ndarray, items: Iterable[tuple[str, Any]], matrix: np.ndarray) -> np.ndarray:
    tile = image.copy()
    for name, place in items:
        corners = np.array(place, float).reshape(2, 2) @ matrix[:, :2].T + matrix[:, 2]
        (x1, y1), (x2, y2) = np.rint(corners).astype(int).tolist()
        cv2.rectangle(tile, (x1, y1), (x2, y2), (200, 0, 0), 1)
        at = max(x1, 2), max(y1 - 3, 10)
        cv2.putText(tile, name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.35, (200, 0, 0), 1, cv2.LINE_AA)
    return tile


def markdown(
    results: Mapping[str, Sequence[Mapping]], learnt: Mapping[str, Mapping[str, int]]
) -> str:
    """The measures of each kind of detector, means over its seeds with their deviation, and the AP
    of each category.

    Args:
        results: what `average_precision` gave, for each seed, by kind.
        learnt: by kind, how many items of each category its scans show; a real one in a scan that
            was painted into counts again.
    """
    lines = [f"| learnt from | {' | '.join(MEASURES)} |", "|---|" + "---|" * len(MEASURES)]
    for kind, several in results.items():
        cells = (_cell([one[name] for one in several]) for name in MEASURES)
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += [
        "",
        f"| AP (items in its scans) | {' | '.join(results)} |",
        "|---|" + "---|" * len(results),
    ]
    for name in next(iter(results.values()))[0]["by category"]:
        cells = (
            f"{_cell([one['by category'][name] for one in several])} ({learnt[kind][name]})"
            for kind, several in results.items()
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def main(
    data: Annotated[Path, typer.Option(help="Real scans to learn from: any dataset.")],
    test: Annotated[Path, typer.Option(help="Real scans to measure on: others.")],
    added: Annotated[
        list[Path] | None,
        typer.Option(help="Painted samples, an export; repeatable, each is compared."),
    ] = None,
    run: Annotated[
        Path, typer.Option(help="Folder of detectors and figures; it is resumed from.")
    ] = Path("runs/detection"),
    steps: Annotated[int, typer.Option(min=1, help="Of training each detector.")] = 3000,
    batch: Annotated[int, typer.Option(min=1, help="Scans a step.")] = 8,
    rate: options.Rate = 2e-3,
    side: Annotated[int, typer.Option(min=64, help="What scans are fitted to, pixels.")] = 320,
    repeats: Annotated[int, typer.Option(min=1, help="Detectors of each kind, by seed.")] = 1,
    catalog: Annotated[str | None, typer.Option(help=catalogs.WHICH)] = None,
    seed: options.Seed = 0,
    workers: options.Workers = 2,
    device: options.Device = "auto",
) -> None:
    """Compare detectors that learn from real scans alone with ones that get painted samples too.

    All learn from nothing, for the same number of steps, and are measured on TEST. Scans of TEST
    must not be among what was learnt from, nor have been painted into, and the model that painted
    should not have learnt from them either. Writes RUN/detection.json and detection.md: COCO's AP,
    by category too.

    The detector is small, so that two CPU cores do: it tells whether samples help, not what a large
    one reaches.

        python -m xsyn_core synthesize train/ --count 1000 --diffusion runs/own/model --out painted
        python -m xsyn_core evaluate detection --data train/ --added painted/ --test test/
    """
    if side % 32:
        raise XsynError(f"The side must be a multiple of 32, such as {32 * round(side / 32)}.")
    where = pick_device(device)
    own = catalogs.asked(catalog)
    real = Scans.read(read_dataset(data, own), sources(data), str(data))
    own = real.dataset.catalog
    unseen = Scans.read(read_dataset(test, own), sources(test), str(test))
    kinds = {REAL: [real]}
    for path in added or ():
        painted = Scans.read(read_dataset(path, own), sources(path), str(path))
        kinds[f"with {path}"] = [real, painted]
    for name, several in kinds.items():
        leaked = len(unseen.origins & frozenset().union(*(s.origins for s in several)))
        if leaked:
            raise XsynError(
                f"{leaked} scans of {test} are learnt from ({name}): what is measured on must not "
                "be known. Split the scans first, and paint into those to learn from."
            )
    names = tuple(name for name in real.dataset.categories if real.count(name))
    if not any(map(unseen.count, names)):
        raise XsynError(f"{test} has no item of the categories of {data}: {', '.join(names)}.")
    claim(run, {
        "data": real.digest, "test": unseen.digest,
        "added": [several[-1].digest for several in kinds.values()][1:],
        "steps": steps, "batch": batch, "rate": rate, "side": side, "seed": seed,
    })  # fmt: skip

    def measured(several: list[Scans], plan: Plan, folder: Path) -> tuple[dict, list[Found]]:
        places = [(some, k) for some in several for k in range(len(some.rows))]

        def draw(k: int, rng: np.random.Generator) -> list[Example]:
            chosen = (places[r] for r in rng.integers(len(places), size=batch))
            return [some.example(row, names, side, rng) for some, row in chosen]

        torch.manual_seed(plan.seed)
        untrained = detector.build(len(names), side).to(where)
        learnt = detector.learn(untrained, draw, plan, folder, workers)
        found, sizes = [], []
        for row in tqdm(unseen.rows, desc="detecting"):
            scan = unseen.dataset.scan(row, masks=False)
            found.append(detector.detect(learnt, scan, side))
            sizes.append(scan.size)
        return average_precision(unseen.known, found, sizes, names), found

    with writable(run, "the run"):
        results: dict[str, list[dict]] = {kind: [] for kind in kinds}
        answers = []
        for number, (kind, several) in enumerate(kinds.items()):
            for own_seed in range(seed, seed + repeats):
                plan = Plan(steps=steps, rate=rate, seed=own_seed)
                measures, found = measured(several, plan, run / f"{number}-{own_seed}")
                results[kind].append(measures)
            answers.append(found)
        learnt = {
            kind: {name: sum(some.count(name) for some in several) for name in names}
            for kind, several in kinds.items()
        }
        table = markdown(results, learnt)
        (run / "detection.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        (run / "detection.md").write_text(table, "utf-8")
        done, content = cv2.imencode(".png", sheet(unseen, answers, names, side)[..., ::-1])
        assert done
        (run / "sheet.png").write_bytes(content.tobytes())
    print(table)
