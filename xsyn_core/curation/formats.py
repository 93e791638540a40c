"""Label files as they come: COCO, VOC, YOLO, and the text files of OPIXray and HiXray.

Each parser reads one file into `Listed` images. What cannot be used is left out and counted in
`Problems`; a file that is broken as a whole raises `XsynError`.
"""

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xsyn_core import boxes
from xsyn_core.boxes import Box
from xsyn_core.errors import XsynError


@dataclass(frozen=True)
class Labelled:
    """One object as a label file has it.

    Attributes:
        category: as written there.
        box: (x1, y1, x2, y2), in pixels, or in shares of the image where `relative`.
        segmentation: COCO's polygons or RLE, or polygons in shares of the image; None if unknown.
        relative: whether box and polygons are in shares of the image.
        iscrowd: COCO's flag.
        rank: where the file's list of categories has this one; 0 where it has no list.
    """

    category: str
    box: Box
    segmentation: Any = None
    relative: bool = False
    iscrowd: bool = False
    rank: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Listed:
    """One image as a label file has it: its name there, (height, width) if told, its objects."""

    file_name: str
    size: tuple[int, int] | None
    objects: tuple[Labelled, ...]


class Problems:
    """Counts what had to be left out, with the first case of each kind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}
        self._met: set[Hashable] = set()

    def add(self, kind: str, case: str, once: Hashable = None) -> None:
        """Count a case of a kind, such as ("annotations without a box", "train.json, id 3").

        Args:
            once: what the case is about, where it can be met again and counts the first time only.
        """
        if once is not None:
            if (kind, once) in self._met:
                return
            self._met.add((kind, once))
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._first.setdefault(kind, case)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind."""
        return tuple(
            f"{kind}: {count} (the first: {self._first[kind]})."
            for kind, count in self._counts.items()
        )


def text_of(file: Path) -> str:
    """The text of a label file.

    Raises:
        XsynError: missing, not readable, or not UTF-8.
    """
    try:
        return file.read_text("utf-8-sig")
    except FileNotFoundError:
        raise XsynError(f"There is no file {file}. Check the path.") from None
    except OSError as error:
        raise XsynError(f"{file} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise XsynError(
            f"{file} is not a text file. Give COCO .json, VOC .xml, or YOLO or OPIXray .txt."
        ) from None


def read_coco(file: Path, problems: Problems) -> list[Listed]:
    """A COCO instances file; image and category ids may be any numbers.

    Raises:
        XsynError: not JSON, or without the lists `images`, `annotations` and `categories`.
    """
    try:
        document = json.loads(text_of(file))
    except (ValueError, RecursionError) as error:
        raise XsynError(f"{file} is not valid JSON ({error}). Export it again.") from None
    parts = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(
        isinstance(document.get(part), list) for part in parts
    ):
        raise XsynError(
            f"{file} is not COCO: it needs the lists images, annotations and categories."
        )
    names: dict[Any, str] = {}
    for category in document["categories"]:
        if isinstance(category, dict) and {"id", "name"} <= category.keys():
            names[_key(category["id"])] = str(category["name"])
    images: dict[Any, dict[str, Any]] = {}
    objects: dict[Any, list[Labelled]] = {}
    for image in document["images"]:
        if not isinstance(image, dict) or "id" not in image or not image.get("file_name"):
            problems.add("Images without an id or a file name, left out", f"{file.name}: {image}")
        elif _key(image["id"]) in images:
            problems.add(
                "Images whose id another one has, left out", f"{file.name}, {image['file_name']}"
            )
        else:
            images[_key(image["id"])] = image
            objects[_key(image["id"])] = []
    for entry in document["annotations"]:
        found = _coco_object(entry, names, objects, problems, file.name)
        if found is not None:
            objects[_key(entry["image_id"])].append(found)
    return [
        Listed(str(image["file_name"]), _coco_size(image), tuple(objects[key]))
        for key, image in images.items()
    ]


def _key(identity: Any) -> Any:
    """Ids as they compare: some writers put numbers into quotes in one place only."""
    return str(identity)


def _coco_size(image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    return None


def _coco_object(
    entry: Any, names: dict[Any, str], images: dict[Any, Any], problems: Problems, file: str
) -> Labelled | None:
    case = f"{file}, id {entry.get('id')}" if isinstance(entry, dict) else f"{file}: {entry!r}"
    if not isinstance(entry, dict) or _key(entry.get("image_id")) not in images:
        problems.add("Annotations of images that are not listed, left out", case)
        return None
    if _key(entry.get("category_id")) not in names:
        problems.add("Annotations of categories that are not listed, left out", case)
        return None
    box = _finite(entry.get("bbox"))
    if box is None or box[2] <= 0 or box[3] <= 0:
        problems.add("Annotations without a box of positive size, left out", case)
        return None
    return Labelled(
        category=names[_key(entry["category_id"])],
        box=boxes.from_xywh(box),
        segmentation=entry.get("segmentation") or None,
        # Some writers put the flag into quotes, where "0" would be true.
        iscrowd=str(entry.get("iscrowd")).lower() in ("1", "1.0", "true"),
        rank=list(names).index(_key(entry["category_id"])),
    )


def _finite(values: Any) -> Box | None:
    try:
        x, y, w, h = (float(v) for v in values)
    except (TypeError, ValueError):
        return None
    return (x, y, w, h) if all(map(math.isfinite, (x, y, w, h))) else None


def read_voc(file: Path, problems: Problems) -> list[Listed]:
    """A Pascal VOC file: one image. Its pixels count from 1, the last one included.

    Raises:
        XsynError: not XML, or not an `annotation`.
    """
    try:
        root = ElementTree.fromstring(text_of(file))
    except ElementTree.ParseError as error:
        raise XsynError(f"{file} is not valid XML ({error}). Export it again.") from None
    if root.tag != "annotation":
        raise XsynError(f"{file} is not VOC: its outermost element must be <annotation>.")
    objects = []
    for number, entry in enumerate(root.iter("object"), start=1):
        case = f"{file.name}, object {number}"
        corners = [entry.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        box = _finite(corners)
        name = (entry.findtext("name") or "").strip()
        if box is None or not name or box[2] < box[0] or box[3] < box[1]:
            problems.add("Objects without a name or a box of positive size, left out", case)
            continue
        objects.append(Labelled(name, (box[0] - 1, box[1] - 1, box[2], box[3])))
    size = None
    try:
        size = int(root.findtext("size/height") or 0), int(root.findtext("size/width") or 0)
    except ValueError:
        problems.add("Images of unreadable size", file.name)
    name = (root.findtext("filename") or "").strip() or file.stem
    return [Listed(name, size if size and min(size) > 0 else None, tuple(objects))]


def read_opixray(file: Path, problems: Problems) -> list[Listed]:
    """A text file of OPIXray or HiXray: `image category x1 y1 x2 y2` a line, one image."""
    objects, name = [], file.stem
    for number, line in enumerate(text_of(file).splitlines(), start=1):
        if not line.strip():
            continue
        words = line.rsplit(maxsplit=5)
        box = _finite(words[2:])
        if len(words) != 6 or box is None or box[2] <= box[0] or box[3] <= box[1]:
            problems.add(
                "Lines that are not `image category x1 y1 x2 y2` with a box of positive size, "
                "left out",
                f"{file.name}, line {number}",
            )
            continue
        name = words[0]
        objects.append(Labelled(words[1], box))
    return [Listed(name, None, tuple(objects))]


def read_yolo(file: Path, names: Sequence[str], problems: Problems) -> list[Listed]:
    """A text file of YOLO: `class cx cy width height`, or a polygon, in shares; one image."""
    objects = []
    for number, line in enumerate(text_of(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            index, *values = (float(word) for word in line.split())
        except ValueError:
            index, values = -1.0, []
        case = f"{file.name}, line {number}"
        found = _yolo_object(values)
        if found is None:
            problems.add("Lines that are not YOLO's `class cx cy width height`, left out", case)
        elif not (index.is_integer() and 0 <= index < len(names)):
            problems.add("Lines of classes that have no name, left out", case)
        else:
            box, polygon = found
            name, rank = names[int(index)], int(index)
            objects.append(Labelled(name, box, polygon, relative=True, rank=rank))
    return [Listed(file.stem, None, tuple(objects))]


def _yolo_object(values: list[float]) -> tuple[Box, list[list[float]] | None] | None:
    if not all(map(math.isfinite, values)):
        return None
    if len(values) == 4 and min(values[2:]) > 0:
        cx, cy, w, h = values
        return (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), None
    if len(values) >= 6 and len(values) % 2 == 0:
        xs, ys = values[::2], values[1::2]
        if max(xs) > min(xs) and max(ys) > min(ys):
            return (min(xs), min(ys), max(xs), max(ys)), [values]
    return None


def looks_like_yolo(file: Path) -> bool:
    """Whether the lines of a text file are numbers alone."""
    lines = [line.split() for line in text_of(file).splitlines() if line.strip()]
    return all(len(words) >= 5 and all(map(_is_number, words)) for words in lines)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def yolo_names(folders: Iterable[Path]) -> list[str] | None:
    """Class names from the first `data.yaml`, `classes.txt` or the like in the folders, if any.

    Raises:
        XsynError: such a file is broken.
    """
    for folder in folders:
        for file in (*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*.yml"))):
            names = _yaml_names(file)
            if names:
                return names
        for name in ("classes.txt", "obj.names", "labels.txt"):
            if (folder / name).is_file():
                return [
                    line.strip() for line in text_of(folder / name).splitlines() if line.strip()
                ]
    return None


def _yaml_names(file: Path) -> list[str] | None:
    # Imported here: only YOLO's descriptions are YAML.
    import yaml

    try:
        document = yaml.safe_load(text_of(file))
    except (yaml.YAMLError, RecursionError) as error:
        raise XsynError(f"{file} is not valid YAML ({error}).") from None
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise XsynError(f"{file}: the names must be numbered 0, 1, 2, ...")
        names = [names[i] for i in range(len(names))]
    return [str(name) for name in names] if isinstance(names, list) else None
