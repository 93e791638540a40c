"""A folder of real scans to measure on: `images/`, `annotations.json` (COCO) and `masks/`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xsyn_core.boxes import Box, clip, from_xywh, outward
from xsyn_core.errors import XsynError
from xsyn_core.scan import Scan, read_scan

# Of the pixel masks of SIXray, by category; 0 is background.
MASK_VALUES = {"Gun": 1, "Knife": 2}
NO_MASK = -1
EXPECTED = "Give a folder with images/ and a COCO file annotations.json"


@dataclass(frozen=True)
class RealScans:
    """What the annotations list.

    Attributes:
        folder: of `images/` and `masks/`.
        names: file names of all scans.
        benign: of those that are known to hold no prohibited item.
        boxes: (category, box in pixels) by file name.
    """

    folder: Path
    names: tuple[str, ...]
    benign: tuple[str, ...]
    boxes: dict[str, tuple[tuple[str, Box], ...]]

    def scan(self, name: str) -> Scan:
        """One of `names`.

        Raises:
            XsynError: it is not there or cannot be read.
        """
        return read_scan(self.folder / "images" / name)

    def masked(self) -> Iterator[tuple[Scan, list[tuple[Box, np.ndarray]]]]:
        """Scans that have a pixel mask, each with the boxes of its items and, for every box, the
        mask bool (H, W) of the item in it.

        Raises:
            XsynError: no scan has one, or a mask is of another size than its scan.
        """
        found = False
        for name, items in self.boxes.items():
            file = (self.folder / "masks" / name).with_suffix(".png")
            if not file.is_file():
                continue
            scan, values = self.scan(name), cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
            if values is None or values.shape != scan.size:
                raise XsynError(
                    f"The mask {file} does not fit its scan of {scan.size[1]} x {scan.size[0]} "
                    "pixels. It must be a grey PNG of the same size, 0 for background, "
                    "1 for guns, 2 for knives."
                )
            pairs = []
            for category, box in items:
                x1, y1, x2, y2 = outward(clip(box, scan.size))
                mask = np.zeros(scan.size, bool)
                mask[y1:y2, x1:x2] = values[y1:y2, x1:x2] == MASK_VALUES.get(category, NO_MASK)
                if mask.any():
                    pairs.append((box, mask))
            found = found or bool(pairs)
            yield scan, pairs
        if not found:
            raise XsynError(
                f"No scan of {self.folder} has a pixel mask. Put masks of guns and knives into "
                f"{self.folder / 'masks'}, named as the scans, or leave this measure out with "
                "--only."
            )


def read_real_scans(folder: Path) -> RealScans:
    """Read the annotations of a folder of real scans.

    A scan is benign if it has no boxes, unless it says `"annotated": false`.

    Raises:
        XsynError: no such file, not COCO, or no benign scan in it.
    """
    file = folder / "annotations.json"
    if not file.is_file():
        raise XsynError(f"There is no {file}. {EXPECTED}.")
    try:
        content = json.loads(file.read_text())
        categories = {entry["id"]: entry["name"] for entry in content["categories"]}
        images = {entry["id"]: entry for entry in content["images"]}
        boxes: dict[str, list[tuple[str, Box]]] = {}
        for entry in content["annotations"]:
            own = boxes.setdefault(images[entry["image_id"]]["file_name"], [])
            own.append((categories[entry["category_id"]], from_xywh(entry["bbox"])))
        names = tuple(entry["file_name"] for entry in images.values())
        known = {e["file_name"] for e in images.values() if e.get("annotated", True)}
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise XsynError(f"{file} is not a COCO file ({error!r}). {EXPECTED}.") from error
    benign = tuple(name for name in names if name in known and name not in boxes)
    if not benign:
        raise XsynError(f"{file} lists no scan without boxes. Add benign scans to it.")
    return RealScans(folder, names, benign, {name: tuple(own) for name, own in boxes.items()})
