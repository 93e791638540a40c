"""From options to what they mean: which scans, which groundings, which catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xsyn_core import boxes, grounding
from xsyn_core.boxes import Box
from xsyn_core.catalogs import named
from xsyn_core.categories import CATALOGS, PIDRAY, Catalog
from xsyn_core.curation.readers import Dataset, read_annotations, read_dataset
from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError
from xsyn_core.sample import Grounding, Variant
from xsyn_core.scan import Scan, read_scan

if TYPE_CHECKING:
    from xsyn_core.synthesis import Synthesizer


@dataclass(frozen=True)
class Scans:
    """The scans to paint into: one, or those of a dataset, opened as their turn comes.

    Attributes:
        source: the one, or the dataset.
        catalog: whose categories are painted.
        remarks: what had to be left out of the annotations of the one.
    """

    source: Scan | Dataset
    catalog: Catalog
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.source) if isinstance(self.source, Dataset) else 1

    def name(self, index: int) -> str:
        """File name of a scan."""
        if isinstance(self.source, Dataset):
            return self.source.entries[index].image.name
        return self.source.name

    def __getitem__(self, index: int) -> Scan:
        return self.source.scan(index) if isinstance(self.source, Dataset) else self.source

    @property
    def notes(self) -> tuple[str, ...]:
        """What had to be left out of the annotations so far."""
        return self.source.notes if isinstance(self.source, Dataset) else self.remarks


def open_scans(path: Path, annotations: Path | None, catalog: Catalog | None) -> Scans:
    """One image with the annotations of a file, or a whole dataset with its own, if it has any.

    Args:
        catalog: None takes the one that fits a dataset, for an image PIDray's.

    Raises:
        XsynError: unreadable, or annotations given for a dataset that has its own.
    """
    if path.is_dir() or path.suffix.lower() == ".json":
        if annotations is not None:
            raise XsynError(
                f"{path} is a dataset, whose annotations lie in it: leave --annotations out."
            )
        dataset = read_dataset(path, catalog, unlabelled=True)
        return Scans(dataset, dataset.catalog)
    own = catalog or PIDRAY
    scan = read_scan(path)
    if annotations is None:
        return Scans(scan, own)
    known, notes = read_annotations(annotations, scan.name, scan.size, own)
    return Scans(replace(scan, annotations=known), own, notes)


def exported(workspace: Workspace, name: str | None) -> Catalog:
    """The catalogue to export: by name, which may be the key or title of one of the workspace's
    own; without one that of most samples.

    Raises:
        XsynError: there is none of that name.
    """
    if name is not None and name.strip().lower() in CATALOGS:
        return named(name)
    used = workspace.catalogs()
    if name is None:
        return next(iter(used), PIDRAY)
    same = (own for own in used if name in (own.key, own.title))
    return next(same, None) or named(name)


def parse_box(text: str) -> Box:
    """A box written as `x1,y1,x2,y2`.

    Raises:
        XsynError: it is not four numbers.
    """
    try:
        x1, y1, x2, y2 = (float(word) for word in text.split(","))
    except ValueError:
        raise XsynError(
            f"{text!r} is no box: write --box x1,y1,x2,y2, in pixels of the scan."
        ) from None
    return x1, y1, x2, y2


def check_options(
    categories: Sequence[str], places: Sequence[Box], variant: Variant, catalog: Catalog
) -> list[str]:
    """The categories in the catalogue's spelling: none, one for all boxes, or one for each.

    Raises:
        XsynError: an unknown category, or boxes and categories that do not go together.
    """
    names = [catalog.find(name) for name in categories]
    if places and len(names) not in (0, 1, len(places)):
        raise XsynError(
            f"There are {len(names)} categories for {len(places)} boxes. Give one --category for "
            "each --box in the same order, a single one for all, or none to choose by area."
        )
    if variant == "modify" and places and not names:
        raise XsynError(
            "Modifying the items in given boxes needs to know what they are: "
            "give a --category for each --box, or leave --box out to repaint every item."
        )
    return names


def groundings(
    synthesizer: "Synthesizer",
    scan: Scan,
    catalog: Catalog,
    variant: Variant,
    names: Sequence[str],
    places: Sequence[Box],
    seed: int,
) -> tuple[Grounding, ...]:
    """G for one sample.

    Boxes that are given are taken; without them Xsyn-M repaints the annotated items (of the
    categories in `names`, if any), and Xsyn-A picks an idle region for each of `names`, or one
    for a category by area group (Table I).

    Raises:
        XsynError: there is no such item or no idle region.
    """
    rng = np.random.default_rng(seed)
    if places:
        if not names:
            inside = [boxes.validated(place, scan.size) for place in places]
            names = [str(rng.choice(catalog.fitting(box, scan.size))) for box in inside]
        if len(names) == 1:
            names = list(names) * len(places)
        return tuple(map(Grounding, names, places))
    if variant == "modify":
        return grounding.modification(scan, catalog, names)
    if not names:
        return (synthesizer.propose(scan, catalog, rng),)
    chosen: list[Grounding] = []
    for name in names:
        taken = [g.box for g in chosen]
        chosen.append(synthesizer.propose(scan, catalog, rng, taken, name))
    return tuple(chosen)
