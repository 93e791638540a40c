"""What fine-tuning takes from a dataset: which objects, which scans are held out, which run."""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from xsyn_core import boxes
from xsyn_core.catalogs import own_catalog
from xsyn_core.categories import Catalog, plain
from xsyn_core.curation.coco import PROVENANCE
from xsyn_core.curation.readers import Dataset
from xsyn_core.errors import XsynError
from xsyn_core.files import writable
from xsyn_core.scan import Annotation, Scan

SETTINGS = "settings.json"
# Where new items are proposed, no box is larger than so many of the dataset's own.
LARGEST = 0.98


@dataclass(frozen=True)
class Selection:
    """The objects of a dataset that are learnt.

    Attributes:
        dataset: where they are from.
        names: category names, sorted.
        objects: by number of the image, those with at least one; without masks.
        min_area: least share of the image that a box covers.
    """

    dataset: Dataset
    names: tuple[str, ...]
    objects: Mapping[int, tuple[Annotation, ...]]
    min_area: float

    @property
    def digest(self) -> str:
        """sha256 over file names and objects, as hex."""
        total = hashlib.sha256()
        for index, known in self.objects.items():
            found = [(a.category, *map(float, a.box)) for a in known]
            total.update(f"{self.dataset.entries[index].image.name} {found}\n".encode())
        return total.hexdigest()


def select(
    dataset: Dataset, wanted: Sequence[str] = (), min_area: float | None = None
) -> Selection:
    """The objects to learn: no crowds, and none smaller than `min_area`.

    Args:
        dataset: any that `read_dataset` reads.
        wanted: category names in any spelling; () for all.
        min_area: least share of the image that a box covers; None takes the catalogue's
            (Section V-A).

    Raises:
        XsynError: the dataset lacks a wanted category, `min_area` is no share, or nothing is left.
    """
    smallest = dataset.catalog.min_area_ratio if min_area is None else min_area
    if not 0 <= smallest < 1:
        raise XsynError(f"The least area is a share of the image from 0 to below 1, not {min_area}")
    known = {plain(name): name for name in dataset.categories}
    unknown = [name for name in wanted if plain(name) not in known]
    if unknown:
        raise XsynError(
            f"{unknown[0]!r} is no category of this dataset. "
            f"Choose of: {', '.join(dataset.categories) or 'none, it has no boxes'}."
        )
    names = {known[plain(name)] for name in wanted} or set(known.values())
    objects: dict[int, tuple[Annotation, ...]] = {}
    small = 0
    for index, entry in enumerate(dataset.entries):
        own = [
            a
            for a in dataset.annotations(index, masks=False)
            if a.category in names and not a.iscrowd
        ]
        large = tuple(
            a for a in own if boxes.area(a.box) >= smallest * entry.size[0] * entry.size[1]
        )
        small += len(own) - len(large)
        if large:
            objects[index] = large
    if not objects:
        reason = (
            f"all {small} boxes are smaller than {smallest:.2%} of their image (--min-area)"
            if small
            else "it has no boxes"
        )
        raise XsynError(
            " ".join([f"There is nothing to learn from this dataset: {reason}.", *dataset.notes])
        )
    used = {a.category for own in objects.values() for a in own}
    if small:
        remark(f"Boxes smaller than {smallest:.2%} of their image, left out: {small}.")
    return Selection(dataset, tuple(sorted(used)), objects, smallest)


def learnt_catalog(selection: Selection) -> Catalog:
    """What a model that learns a selection paints: the dataset's catalogue, or, where that lacks
    some of the categories, one of their own in the dataset's order.

    Raises:
        XsynError: a category's name cannot be used.
    """
    dataset = selection.dataset
    if set(selection.names) <= set(dataset.catalog.names):
        return dataset.catalog
    sizes: dict[str, list[tuple[float, float]]] = {
        name: [] for name in dataset.categories if name in selection.names
    }
    pixels, shares = [], []
    for index, known in selection.objects.items():
        height, width = dataset.entries[index].size
        pixels.append(height * width)
        for found in known:
            x1, y1, x2, y2 = found.box
            sizes[found.category].append((x2 - x1, y2 - y1))
            shares.append(boxes.area(found.box) / pixels[-1])
    # boxes of one size are not the limit of what can be proposed
    largest = min(max(float(np.quantile(shares, LARGEST)), 2 * selection.min_area), 1)
    largest = float(f"{largest:.3g}")
    scans = min(pixels), max(pixels)
    return own_catalog(dataset.title, sizes, scans, selection.min_area, largest)


def sources(path: Path) -> dict[str, str]:
    """For images that Xsyn exported, by file name, the hash of the scan they were painted into.

    Args:
        path: the dataset as it was asked for; its provenance lies in it, or up to two folders up.

    Raises:
        XsynError: the provenance is damaged.
    """
    for folder in (path, *path.parents[:2]):
        file = folder / PROVENANCE
        if file.is_file():
            try:
                lines = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line]
                return {Path(line["file_name"]).name: line["source"]["sha256"] for line in lines}
            except (ValueError, RecursionError, KeyError, TypeError):
                raise XsynError(f"{file} is damaged. Export the dataset again.") from None
    return {}


def readable(
    selection: Selection, indexes: Iterable[int], origins: Mapping[str, str], masks: bool = False
) -> Iterator[tuple[int, Scan, str]]:
    """The scans that can be read, each with its number and the hash of its source scan; of the
    others a remark.

    Args:
        indexes: of images of the dataset.
        origins: see `sources`.
        masks: with those of the objects.
    """
    for index in indexes:
        try:
            scan = selection.dataset.scan(index, masks=masks)
        except XsynError as error:
            remark(f"Left out: {error}")
            continue
        yield index, scan, origins.get(scan.name, scan.sha256)


def held_out(found: Iterable[str], share: float, seed: int) -> frozenset[str]:
    """Which source scans are held out, by their hashes: the same whatever their order.

    Args:
        found: hashes of the scans, each any number of times.
        share: of the scans, 0 to below 1; above 0 at least one is held out.
        seed: another one, other scans.

    Raises:
        XsynError: `share` is out of range, or no scan is left to learn from.
    """
    if not 0 <= share < 1:
        raise XsynError(f"The held-out share must be from 0 to below 1, not {share:g}.")
    if share == 0:
        return frozenset()
    distinct = sorted(set(found), key=lambda s: hashlib.sha256(f"{seed} {s}".encode()).digest())
    count = max(1, round(share * len(distinct)))
    if count >= len(distinct):
        raise XsynError(
            f"{len(distinct)} scans cannot be split with {share:g} of them held out. "
            "Use more scans, or --held-out 0."
        )
    return frozenset(distinct[:count])


def claim(run: Path, settings: Mapping[str, Any]) -> None:
    """Make a folder this run's own, or see that it was so already.

    Raises:
        XsynError: it cannot be written, holds a run with other settings, or something else.
    """
    file = run / SETTINGS
    if file.is_file():
        try:
            before = json.loads(file.read_text("utf-8"))
        except (ValueError, RecursionError):
            raise XsynError(f"{file} is damaged. Choose another folder with --run.") from None
        for name, value in settings.items():
            if before.get(name) != value:
                raise XsynError(
                    f"{run} holds a run with {name} {before.get(name)!r}, not {value!r}. Go on "
                    "with the same settings, or choose another folder with --run."
                )
        return
    with writable(run, "the run"):
        if run.is_dir() and any(run.iterdir()):
            raise XsynError(f"{run} holds other things than a run. Choose a new folder with --run.")
        run.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(settings, indent=1) + "\n", "utf-8")
        temporary.replace(file)


def remark(*lines: str) -> None:
    """Tell the operator something beside the result, without breaking a progress bar."""
    for line in lines:
        tqdm.write(line, file=sys.stderr)
