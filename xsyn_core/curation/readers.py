"""Datasets in: COCO (PIDray too), OPIXray, HiXray, YOLO and VOC, all as scans with annotations."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from xsyn_core import boxes
from xsyn_core.boxes import Box
from xsyn_core.categories import CATALOGS, PIDRAY, Catalog, plain
from xsyn_core.curation import formats, masks
from xsyn_core.curation.coco import PROVENANCE, counted
from xsyn_core.curation.formats import Labelled, Listed, Problems
from xsyn_core.curation.image_files import (
    IMAGE_SUFFIXES,
    ImageIndex,
    composed,
    files_below,
    name_parts,
)
from xsyn_core.curation.workspace import DATABASE
from xsyn_core.errors import XsynError
from xsyn_core.files import expanded
from xsyn_core.scan import Annotation, Scan, read_scan

# Of files that may hold labels, in a known format or another.
LABEL_SUFFIXES = {".json", ".jsonl", ".xml", ".txt", ".csv", ".yaml", ".yml"}


@dataclass(frozen=True)
class Entry:
    """An image file of a dataset, its (height, width) and its objects as labelled."""

    image: Path
    size: tuple[int, int]
    objects: tuple[Labelled, ...]


class Dataset:
    """A dataset on disk, in a stable order. Iterating gives (image path, annotations).

    Masks are decoded as an image's turn comes. Categories are in the catalogue's spelling; those
    it lacks stay under one of their own, so that idle regions keep clear of them.

    Attributes:
        entries: the images.
        catalog: the catalogue.
        title: name of the folder that it lies in.
    """

    def __init__(
        self, entries: Sequence[Entry], catalog: Catalog, problems: Problems, title: str
    ) -> None:
        self.entries = tuple(entries)
        self.title = title
        self.catalog = catalog
        self._problems = problems
        self._spelling = _spelling(catalog, {o.category for e in entries for o in e.objects})

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence, with a count, for all that was left out or is not of the catalogue."""
        names = Counter(o.category for e in self.entries for o in e.objects)
        foreign = tuple(
            f"Annotations of {name!r}, which is no category of {self.catalog.title}, kept under "
            f"that name: {count}."
            for name, count in sorted(names.items())
            if not self.catalog.known(name)
        )
        return (*self._problems.notes, *foreign)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[tuple[Path, tuple[Annotation, ...]]]:
        for index, entry in enumerate(self.entries):
            yield entry.image, self.annotations(index)

    @property
    def categories(self) -> tuple[str, ...]:
        """All names that occur, as `annotations` spells them, in the order of the label files'
        lists; without lists sorted."""
        found: dict[str, int] = {}
        for labelled in (o for entry in self.entries for o in entry.objects):
            name = self._spelling[labelled.category]
            found[name] = min(labelled.rank, found.get(name, labelled.rank))
        return tuple(sorted(found, key=lambda name: (found[name], name)))

    def annotations(self, index: int, masks: bool = True) -> tuple[Annotation, ...]:
        """The annotations of one image; without their masks where those are not wanted."""
        entry = self.entries[index]
        objects = entry.objects
        if not masks:
            objects = tuple(replace(found, segmentation=None) for found in objects)
        return _annotations(objects, entry.size, self._spelling, self._problems, entry.image)

    def scan(self, index: int, masks: bool = True) -> Scan:
        """One image with its annotations; see `annotations`.

        Raises:
            XsynError: it cannot be read, or is of another size than its labels say.
        """
        entry = self.entries[index]
        scan = read_scan(entry.image, annotations=self.annotations(index, masks))
        if scan.size != entry.size:
            (h, w), (height, width) = entry.size, scan.size
            raise XsynError(
                f"{entry.image} is {width} x {height} pixels, but its labels were made for "
                f"{w} x {h}. Use the image that was labelled."
            )
        return scan


def read_dataset(
    path: str | Path, catalog: Catalog | None = None, unlabelled: bool = False
) -> Dataset:
    """Read a dataset, whichever of the known formats it is in.

    Args:
        path: folder of a COCO, PIDray, OPIXray, HiXray, YOLO or VOC dataset, or one COCO file
            (its images are looked for beside it, or beside its folder `annotations`).
        catalog: None takes the one of `CATALOGS` that knows most of the names.
        unlabelled: take a folder of images without any label file as well; its scans have no
            annotations then, and a note says so.

    Raises:
        XsynError: nothing of a known format, a broken label file, or not one image found.
    """
    path = expanded(path)
    problems = Problems()
    if path.is_file():
        inner = path.parent.name.lower() == "annotations"
        root = path.parent.parent if inner else path.parent
        entries = _coco([path], ImageIndex(root, files_below(root)), problems)
    elif path.is_dir():
        root = path
        entries = _read_folder(path, problems, unlabelled)
    else:
        raise XsynError(f"There is no file or folder {path}. Check the path.")
    if not entries:
        raise XsynError(" ".join([f"{path}: not one labelled image was found.", *problems.notes]))
    return Dataset(entries, catalog or _best_catalog(entries), problems, root.resolve().name)


def read_annotations(
    file: str | Path, scan_name: str, size: tuple[int, int], catalog: Catalog = PIDRAY
) -> tuple[tuple[Annotation, ...], tuple[str, ...]]:
    """The annotations of one scan, and notes on what had to be left out.

    Args:
        file: COCO .json (which may list many images), VOC .xml, or OPIXray or YOLO .txt (with its
            class names in a data.yaml or classes.txt beside it or one folder up).
        scan_name: file name of the scan, by which COCO files list it.
        size: (height, width) of the scan.
        catalog: whose spelling categories get.

    Raises:
        XsynError: the file is missing or broken, does not list the scan, was made for another
            size, or holds nothing that can be used.
    """
    file = expanded(file)
    problems = Problems()
    listed = _listed_of_scan(_parse(file, problems), scan_name, file)
    if listed.size is not None and listed.size != tuple(size):
        (h, w), (height, width) = listed.size, size
        raise XsynError(
            f"{file} was made for an image of {w} x {h} pixels, but {scan_name} is {width} x "
            f"{height}. Use the scan that was labelled."
        )
    spelling = _spelling(catalog, {found.category for found in listed.objects})
    known = _annotations(listed.objects, size, spelling, problems, Path(scan_name))
    if not known and problems.notes:
        raise XsynError(" ".join([f"{file} has no annotation that can be used.", *problems.notes]))
    return known, problems.notes


def _parse(file: Path, problems: Problems) -> list[Listed]:
    suffix = file.suffix.lower()
    if suffix == ".json":
        return formats.read_coco(file, problems)
    if suffix == ".xml":
        return formats.read_voc(file, problems)
    if suffix != ".txt":
        raise XsynError(
            f"{file} is of no known kind. Give COCO .json, VOC .xml, or YOLO or OPIXray .txt."
        )
    if not formats.text_of(file).strip():
        # YOLO's and OPIXray's way to say: no object. No class name is needed for that.
        return [Listed(file.stem, None, ())]
    if not formats.looks_like_yolo(file):
        return formats.read_opixray(file, problems)
    return formats.read_yolo(file, _names([file.parent, file.parent.parent], file), problems)


def _names(folders: Iterable[Path], needed_by: Path) -> list[str]:
    names = formats.yolo_names(folders)
    if names is None:
        raise XsynError(
            f"{needed_by} has class numbers but no names. Put a classes.txt (a name a line, "
            "in the order of the numbers) or YOLO's data.yaml beside it; on the page, choose or "
            "drop them together."
        )
    return names


def _listed_of_scan(images: list[Listed], scan_name: str, file: Path) -> Listed:
    if len(images) == 1 and file.suffix.lower() != ".json":
        return images[0]
    scan_name = composed(scan_name)
    same = [image for image in images if _file(image) == scan_name]
    stem = Path(scan_name).stem
    same = same or [image for image in images if Path(_file(image)).stem == stem]
    if len(same) == 1:
        return same[0]
    problem = "lists several images of that name" if same else "does not list it"
    some = ", ".join(_file(image) for image in images[:3])
    raise XsynError(
        f"{file} holds no annotations for {scan_name}: it {problem}. It has "
        + counted(len(images), "image")
        + (f", such as {some}." if some else ".")
    )


def _file(image: Listed) -> str:
    return name_parts(image.file_name)[-1]


def _spelling(catalog: Catalog, names: Iterable[str]) -> dict[str, str]:
    """The catalogue's spelling of names; one spelling for all that are alike of those it lacks."""
    alike: dict[str, str] = {}
    return {
        name: catalog.known(name) or alike.setdefault(plain(name), name) for name in sorted(names)
    }


def _best_catalog(entries: Sequence[Entry]) -> Catalog:
    names = {found.category for entry in entries for found in entry.objects}
    return max(CATALOGS.values(), key=lambda own: len({own.known(name) for name in names} - {""}))


def _annotations(
    objects: Sequence[Labelled],
    size: tuple[int, int],
    spelling: dict[str, str],
    problems: Problems,
    image: Path,
) -> tuple[Annotation, ...]:
    known = []
    for number, found in enumerate(objects):
        # An image is opened many times, and its problems count once.
        once = (image, number)
        box = boxes.clip(_scaled(found.box, size) if found.relative else found.box, size)
        if boxes.area(box) == 0:
            problems.add("Annotations outside their image, left out", image.name, once)
            continue
        try:
            mask = _mask(found, size)
        except (ValueError, TypeError) as error:
            mask = None
            kind = f"Masks that cannot be used, while their boxes are ({error})"
            problems.add(kind, image.name, once)
        known.append(Annotation(spelling[found.category], box, mask, found.iscrowd))
    return tuple(known)


def _scaled(box: Box, size: tuple[int, int]) -> Box:
    h, w = size
    return box[0] * w, box[1] * h, box[2] * w, box[3] * h


def _mask(found: Labelled, size: tuple[int, int]) -> np.ndarray | None:
    """The mask of an object, if it has one.

    Raises:
        ValueError, TypeError: it is damaged.
    """
    segmentation = found.segmentation
    if segmentation is None:
        return None
    if found.relative:
        h, w = size
        segmentation = [
            [v * (h if i % 2 else w) for i, v in enumerate(polygon)] for polygon in segmentation
        ]
    mask = masks.decode(segmentation, size)
    return mask if mask.any() else None


def _read_folder(root: Path, problems: Problems, unlabelled: bool) -> list[Entry]:
    files = _without_ours(root, files_below(root), problems)
    images = ImageIndex(root, files)
    suffixes = {f.suffix.lower() for f in files}
    if unlabelled and images.images and suffixes.isdisjoint(LABEL_SUFFIXES):
        return _unlabelled(images, problems)
    coco = [f for f in files if f.suffix.lower() == ".json" and _looks_like_coco(f)]
    if coco:
        return _coco(coco, images, problems)
    voc = [f for f in files if f.suffix.lower() == ".xml"]
    if voc:
        listed = [(formats.read_voc(file, problems)[0], file) for file in voc]
        return _beside(listed, images, problems)
    texts = [f for f in files if f.suffix.lower() == ".txt"]
    opixray = [f for f in texts if "annotation" in f.parent.name.lower()]
    if opixray:
        listed = [(formats.read_opixray(file, problems)[0], file) for file in opixray]
        return _beside(listed, images, problems)
    return _yolo(root, images, problems)


def _without_ours(root: Path, files: Sequence[Path], problems: Problems) -> list[Path]:
    """The files but for those of exports and workspaces that lie in a dataset's own folder: painted
    scans would be painted once more. Where there is nothing else, all."""
    ours = {f.parent for f in files if f.name in (PROVENANCE, DATABASE) and f.parent != root}
    rest = [f for f in files if ours.isdisjoint(f.parents)]
    if not any(f.suffix.lower() in IMAGE_SUFFIXES for f in rest):
        return list(files)
    for folder in sorted(ours):
        what = "Folders of exported datasets and workspaces inside, left out"
        problems.add(what, str(folder.relative_to(root)))
    return rest


def _looks_like_coco(file: Path) -> bool:
    with open(file, encoding="utf-8", errors="replace") as stream:
        head = stream.read(1 << 16)
    # Beside COCO's own files lie the JSON files of other tools; the lists may come in any order.
    return any(f'"{part}"' in head for part in ("images", "annotations", "categories"))


def _coco(files: Sequence[Path], images: ImageIndex, problems: Problems) -> list[Entry]:
    listed = [(image, file) for file in files for image in formats.read_coco(file, problems)]
    return _beside(listed, images, problems)


def _beside(
    listed: Sequence[tuple[Listed, Path]], images: ImageIndex, problems: Problems
) -> list[Entry]:
    """Entries of those listed images whose files exist, each file once."""
    entries: dict[Path, Entry] = {}
    for image, label_file in listed:
        path = images.find(image.file_name, label_file)
        case = f"{image.file_name} of {label_file.name}"
        if path is None:
            problems.add("Listed images that are not there, or not by one name, left out", case)
            continue
        if path in entries:
            if entries[path].objects != image.objects:
                problems.add("Images listed twice with unlike labels, the first ones kept", case)
            continue
        size = image.size or _size(path, problems)
        if size is not None:
            entries[path] = Entry(path, size, image.objects)
    return list(entries.values())


def _yolo(root: Path, images: ImageIndex, problems: Problems) -> list[Entry]:
    labels = {path: _yolo_label(path, root) for path in images.images}
    if not any(label.is_file() for label in labels.values()):
        raise XsynError(
            f"{root} holds no dataset of a known format. Give a folder in the layout of COCO, "
            "PIDray, OPIXray, HiXray, YOLO (images/, labels/, data.yaml) or VOC."
        )
    names = _names([root, root / "labels", root.parent], root)
    entries = []
    for path, label in labels.items():
        size = _size(path, problems)
        if size is None:
            continue
        # An image without a label file is YOLO's way to say: no object.
        listed = formats.read_yolo(label, names, problems)[0].objects if label.is_file() else ()
        entries.append(Entry(path, size, listed))
    return entries


def _unlabelled(images: ImageIndex, problems: Problems) -> list[Entry]:
    entries = []
    for path in images.images:
        size = _size(path, problems)
        if size is not None:
            problems.add(
                "Scans taken as without annotations: their folder has no label file", path.name
            )
            entries.append(Entry(path, size, ()))
    return entries


def _yolo_label(image: Path, root: Path) -> Path:
    parts = list(image.relative_to(root).parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return root.joinpath(*parts).with_suffix(".txt")


def _size(path: Path, problems: Problems) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            return (image.width, image.height) if _lies(image) else (image.height, image.width)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        problems.add("Images that cannot be read, left out", path.name)
        return None


def _lies(image: Image.Image) -> bool:
    """Whether EXIF says that an opened image lies on its side; `read_scan` will turn it."""
    # Pillow itself turns TIFF. EXIF behind the pixels of a PNG would cost reading them all.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return False
    return image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
