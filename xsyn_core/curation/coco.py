"""COCO out: a dataset that is a pure function of its samples, written whole or not at all."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xsyn_core import boxes
from xsyn_core.boxes import Box
from xsyn_core.categories import PIDRAY, Catalog
from xsyn_core.curation import masks, store
from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError
from xsyn_core.files import (
    expanded,
    free_beside,
    refuse_strangers,
    replacing,
    writable,
    write_synced,
)
from xsyn_core.sample import PaintedObject, Sample
from xsyn_core.scan import Annotation

IMAGES = "images"
ANNOTATIONS = "annotations"
PROVENANCE = "provenance.jsonl"
DESCRIPTION = "Synthetic X-ray baggage scans by Xsyn Studio"
_INSTANCES = {"instances.json", "instances_train.json", "instances_val.json"}


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote, and what it did not.

    Attributes:
        path: folder of the dataset.
        images: how many.
        annotations: how many in all.
        painted: how many of them are painted items; the others came with the scans.
        validation: how many images went to the validation part; None where there is no split.
        notes: a sentence for everything that was left out, with its count.
    """

    path: Path
    images: int
    annotations: int
    painted: int
    validation: int | None
    notes: tuple[str, ...]


def export(
    workspace: Workspace,
    out: str | Path,
    catalog: Catalog = PIDRAY,
    val: float = 0.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExportReport:
    """Write the accepted samples of a workspace as a COCO dataset.

    The same workspace gives the same bytes. An earlier export in `out` is replaced as a whole.
    Samples of another catalogue, and kept annotations whose category the catalogue lacks, are
    left out and counted in the report's notes.

    Args:
        workspace: whose samples.
        out: folder of the dataset: new, empty, or an earlier export.
        catalog: its order gives the category ids, from 1.
        val: share of the source scans, 0 to below 1, whose samples form the validation part. All
            samples of a scan fall on the same side, and stay there as the workspace grows.
        progress: called with how many of how many accepted samples are done, after each.

    Raises:
        XsynError: nothing is accepted, a sample is damaged, or `out` cannot be written or holds
            other files.
    """
    folder = _usable(out, val)
    with writable(folder, "the export"), replacing(folder) as made:
        dataset = _Dataset(made.fresh, catalog, val)
        accepted = workspace.records("accept")
        for done, record in enumerate(accepted, start=1):
            if record.catalog == catalog.key:
                sample = workspace.load(record.id, pictures=False)
                image = store.image_file(record.folder, sample.scan.size)
                dataset.add(sample, image, record.id, "accept")
            else:
                dataset.leave_out(record.catalog)
            progress(done, len(accepted))
        return dataset.finish(folder, f"{workspace.path} has no accepted sample of {catalog.title}")


def write_dataset(
    samples: Iterable[Sample],
    out: str | Path,
    catalog: Catalog = PIDRAY,
    val: float = 0.0,
    stopped: Callable[[], bool] = lambda: False,
) -> ExportReport:
    """Write samples as a COCO dataset, one at a time as they come; otherwise as `export`.

    Args:
        stopped: whether the samples ended before their time. An earlier dataset in `out` stays
            then, and the new one, being a part only, goes into a folder beside it.

    Raises:
        XsynError: there is no sample of the catalogue, a file that they need cannot be read, or
            `out` cannot be written or holds other files (which is found out before the first
            sample is asked for).
    """
    folder = _usable(out, val)
    with writable(folder, "the dataset"), replacing(folder) as made:
        dataset = _Dataset(made.fresh, catalog, val)
        for number, sample in enumerate(_asked(samples), start=1):
            if sample.request.catalog.key != catalog.key:
                dataset.leave_out(sample.request.catalog.key)
                continue
            dataset.add(sample, store.png(sample.image), number, None)
        earlier = folder.is_dir() and any(folder.iterdir())
        if earlier and stopped():
            made.target = free_beside(folder, "partial")
        report = dataset.finish(made.target, f"There is no sample of {catalog.title}")
        if made.target == folder:
            return report
        note = f"Stopped early: {folder} stays as it was, and what is finished is in {made.target}."
        return replace(report, notes=(*report.notes, note))


def _asked(samples: Iterable[Sample]) -> Iterator[Sample]:
    # What cannot be read to make them is not the fault of the folder that is written.
    try:
        yield from samples
    except OSError as error:
        place = error.filename or "A file that is needed"
        reason = error.strerror or error
        raise XsynError(f"{place} cannot be read ({reason}). Check it and its path.") from error


def on_validation_side(sha256: str, val: float) -> bool:
    """Whether the samples of a scan belong to the validation part, by the scan's hash alone."""
    return int(sha256[:13], 16) / 16**13 < val


class _Dataset:
    """A dataset being written into a fresh folder."""

    def __init__(self, folder: Path, catalog: Catalog, val: float) -> None:
        self._folder = folder
        self._catalog = catalog
        self._val = val
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._validation: set[int] = set()
        self._provenance: list[dict[str, Any]] = []
        self._painted = 0
        self._foreign: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._outside = 0
        (folder / IMAGES).mkdir()
        (folder / ANNOTATIONS).mkdir()

    def leave_out(self, catalog: str) -> None:
        """Count a sample of another catalogue."""
        self._foreign[catalog] += 1

    def add(self, sample: Sample, image: bytes, number: int, decision: str | None) -> None:
        """Write a sample; `image` is its PNG, `number` makes its file name unique."""
        height, width = sample.scan.size
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(sample.scan.name).stem)[:80] or "scan"
        name = f"{IMAGES}/{stem}-{number:06d}.png"
        write_synced(self._folder / name, image)
        image_id = len(self._images) + 1
        self._images.append(
            {"id": image_id, "file_name": name, "width": int(width), "height": int(height)}
        )
        validation = on_validation_side(sample.scan.sha256, self._val)
        if validation:
            self._validation.add(image_id)
        objects = [self._paint(image_id, painted, sample) for painted in sample.objects]
        self._painted += len(objects)
        kept = [self._keep(image_id, known, sample.scan.size) for known in sample.kept]
        settings = store.request_entry(sample.request)
        del settings["groundings"]
        self._provenance.append(
            {
                "file_name": name,
                "image_id": image_id,
                "sample": number,
                "decision": decision,
                "part": ("val" if validation else "train") if self._val else None,
                "source": {"name": sample.scan.name, "sha256": sample.scan.sha256},
                "weights": sample.weights,
                "seed": settings["seed"],
                "prompt": sample.prompt,
                "alpha": None if sample.occlusion is None else float(sample.occlusion.alpha),
                "objects": objects,
                "occlusion": sample.occlusion and store.occlusion_entry(sample.occlusion),
                "kept": [number for number in kept if number is not None],
                "settings": settings,
                "notes": list(sample.notes),
            }
        )

    def finish(self, out: Path, nothing: str) -> ExportReport:
        """Write annotations and provenance.

        Raises:
            XsynError: no sample was added.
        """
        notes = self._notes()
        if not self._images:
            raise XsynError(" ".join([f"{nothing}: nothing was written.", *notes]))
        self._write("instances.json", {image["id"] for image in self._images})
        if self._val:
            self._write("instances_train.json", {i["id"] for i in self._images} - self._validation)
            self._write("instances_val.json", self._validation)
        lines = [json.dumps(line, allow_nan=False) + "\n" for line in self._provenance]
        write_synced(self._folder / PROVENANCE, "".join(lines).encode())
        return ExportReport(
            path=out,
            images=len(self._images),
            annotations=len(self._annotations),
            painted=self._painted,
            validation=len(self._validation) if self._val else None,
            notes=tuple(notes),
        )

    def _paint(self, image_id: int, painted: PaintedObject, sample: Sample) -> dict[str, Any]:
        size = sample.scan.size
        box = _label(painted, sample)
        return {
            "annotation_id": self._annotate(image_id, painted.category, box, painted.mask, size),
            "category": painted.category,
            "grounding": store.numbers(painted.grounding),
            "refined": store.numbers(painted.refined),
            "flags": list(painted.flags),
        }

    def _keep(self, image_id: int, known: Annotation, size: tuple[int, int]) -> int | None:
        try:
            category = self._catalog.find(known.category)
        except XsynError:
            self._unknown[known.category] += 1
            return None
        box = boxes.clip(known.box, size)
        if boxes.area(rounded(box)) == 0:
            self._outside += 1
            return None
        return self._annotate(image_id, category, box, known.mask, size, known.iscrowd)

    def _annotate(
        self,
        image_id: int,
        category: str,
        box: Box,
        mask: np.ndarray | None,
        size: tuple[int, int],
        iscrowd: bool = False,
    ) -> int:
        box = rounded(boxes.clip(box, size))
        if mask is not None and not mask.any():
            mask = None
        # COCO's tools expect RLE of crowds.
        if iscrowd and mask is None:
            mask = masks.box_mask(box, size)
        bbox = _bbox(box)
        number = len(self._annotations) + 1
        self._annotations.append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": self._catalog.id_of(category),
                "bbox": bbox,
                "area": round(bbox[2] * bbox[3], 2) if mask is None else int(mask.sum()),
                "segmentation": masks.box_polygon(box) if mask is None else masks.encode(mask),
                "iscrowd": int(iscrowd),
            }
        )
        return number

    def _write(self, name: str, images: set[int]) -> None:
        document = {
            "info": {"description": f"{DESCRIPTION}, categories of {self._catalog.title}"},
            "licenses": [],
            "images": [image for image in self._images if image["id"] in images],
            "annotations": [a for a in self._annotations if a["image_id"] in images],
            "categories": [
                {"id": i, "name": name, "supercategory": "prohibited item"}
                for i, name in enumerate(self._catalog.names, start=1)
            ],
        }
        text = json.dumps(document, allow_nan=False, separators=(",", ":"))
        write_synced(self._folder / ANNOTATIONS / name, text.encode())

    def _notes(self) -> list[str]:
        title = self._catalog.title
        notes = [
            f"{counted(count, 'sample')} of the catalogue {key!r} left out: "
            f"export them with that catalogue."
            for key, count in sorted(self._foreign.items())
        ]
        notes += [
            f"{counted(count, 'annotation')} of the scans left out: "
            f"{name!r} is no category of {title}."
            for name, count in sorted(self._unknown.items())
        ]
        if self._outside:
            notes.append(
                f"{counted(self._outside, 'annotation')} of the scans left out: "
                "outside the image or empty."
            )
        if self._val and self._images and len(self._validation) in (0, len(self._images)):
            empty = "training" if self._validation else "validation"
            notes.append(
                f"The {empty} part is empty: there are too few source scans for such a split."
            )
        return notes


def rounded(box: Sequence[float]) -> Box:
    """A box to two decimals."""
    x1, y1, x2, y2 = (round(float(v), 2) for v in box)
    return x1, y1, x2, y2


def _bbox(box: Box) -> list[float]:
    """COCO's xywh of a box of two decimals; rounded too, so that sums stay inside the image."""
    return [round(v, 2) for v in boxes.to_xywh(box)]


def _label(painted: PaintedObject, sample: Sample) -> Box:
    for box in (painted.refined, painted.grounding):
        if boxes.area(rounded(boxes.clip(box, sample.scan.size))) > 0:
            return box
    raise XsynError(
        f"A painted item of {sample.scan.name} lies outside the scan. Reject the sample."
    )


def counted(count: int, thing: str) -> str:
    """A number of things for people: "1 image", "2 images"."""
    return f"{count} {thing}" + ("s" if count != 1 else "")


def _usable(out: str | Path, val: float) -> Path:
    """The resolved folder of an export.

    Raises:
        XsynError: it holds anything that is not of an earlier export, or `val` is no share.
    """
    if not 0 <= val < 1:
        raise XsynError(f"The validation share must be from 0 to below 1, not {val:g}.")
    folder = expanded(out).resolve()
    what = "files that are not of an earlier export"
    refuse_strangers(folder, _ours(folder), {IMAGES, ANNOTATIONS}, what)
    return folder


def _ours(folder: Path) -> set[str]:
    """The files in `folder` that an export of ours put there, if it holds one."""
    ours = {f"{ANNOTATIONS}/{name}" for name in _INSTANCES} | {PROVENANCE}
    try:
        with open(folder / PROVENANCE, encoding="utf-8") as stream:
            ours |= {json.loads(line)["file_name"] for line in stream}
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        ours = set()
    return ours
