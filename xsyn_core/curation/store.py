"""A `Sample` as a folder of files, and back without loss."""

import dataclasses
import io
import json
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xsyn_core import catalogs
from xsyn_core.curation import masks
from xsyn_core.curation.thumbnails import thumbnail
from xsyn_core.errors import XsynError
from xsyn_core.sample import Grounding, Occlusion, PaintedObject, Request, Sample
from xsyn_core.scan import Annotation, Scan, read_scan

FORMAT = 1
_DAMAGE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError, EOFError),
    *(zipfile.BadZipFile, zlib.error),
)
# Files are 5 to 25% larger than at the default 6, written in a third to half of the time.
_PNG_LEVEL = 1
_THUMB = "thumb.jpg"
_JPEG_END = b"\xff\xd9"


def png(pixels: np.ndarray) -> bytes:
    """Lossless PNG of uint8 pixels (H, W, 3) or (H, W); the same bytes for the same pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def label_map(objects: tuple[PaintedObject, ...], size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W): 0 background, i + 1 object i; of two that overlap the later one shows."""
    labels: np.ndarray = np.zeros(size, np.uint8)
    for i, painted in enumerate(objects):
        if painted.mask is not None:
            labels[painted.mask] = i + 1
    return labels


def pack(sample: Sample) -> dict[str, bytes]:
    """The files of a sample by name.

    `mask.png` is a view for other tools; the masks themselves, which may overlap, are RLE in
    `sample.json`. `clear.png` is written only where occlusion made it differ from `image.png`.
    """
    files = {
        "image.png": png(sample.image),
        "original.png": png(sample.scan.pixels),
        "mask.png": png(label_map(sample.objects, sample.scan.size)),
        "attention.npz": _arrays(sample.objects),
        "sample.json": json.dumps(_document(sample), indent=1, allow_nan=False).encode(),
        _THUMB: thumbnail(sample.image, [painted.refined for painted in sample.objects]),
    }
    if not np.array_equal(sample.clear, sample.image):
        files["clear.png"] = png(sample.clear)
    return files


def unpack(folder: Path, pictures: bool = True) -> Sample:
    """The sample that `pack` put into a folder.

    Args:
        pictures: False reads labels and settings alone, which is quick: scan, image and clear are
            blank then, the scan has no annotations, and the objects' arrays but for their masks
            are empty.

    Raises:
        XsynError: files are missing, damaged, or of a newer format.
    """
    with _whole(folder):
        document = _read_document(folder)
        if not pictures:
            entry = document["scan"]
            blank = np.broadcast_to(np.uint8(255), (entry["height"], entry["width"], 3))
            scan = Scan(blank, entry["name"], entry["sha256"])
            return _sample(document, scan, blank, blank, defaultdict(lambda: np.empty(0)))
        scan = _scan(document["scan"], folder)
        image = _pixels(folder / "image.png")
        clear = _pixels(folder / "clear.png") if (folder / "clear.png").exists() else image
        with np.load(folder / "attention.npz", allow_pickle=False) as arrays:
            return _sample(document, scan, image, clear, arrays)


def image_file(folder: Path, size: tuple[int, int]) -> bytes:
    """The bytes of a stored sample's `image.png`, an image of (height, width).

    Raises:
        XsynError: it is missing or damaged.
    """
    with _whole(folder):
        data = (folder / "image.png").read_bytes()
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if (image.height, image.width) != size:
                raise ValueError("image.png is of another size than the scan")
            # checksums, which are much quicker than the pixels
            image.verify()
    return data


def thumbnail_file(folder: Path) -> bytes:
    """The thumbnail of a stored sample, a JPEG. Where there is none, for the sample is of an
    earlier version, it is drawn, and kept if the folder can be written.

    Raises:
        XsynError: the sample's files are missing or damaged.
    """
    with suppress(OSError):
        kept = (folder / _THUMB).read_bytes()
        # one whose writer was killed is cut short
        if kept.endswith(_JPEG_END):
            return kept
    with _whole(folder):
        refined = [_box(entry["refined"]) for entry in _read_document(folder)["objects"]]
        drawn = thumbnail(_pixels(folder / "image.png"), refined)
    with suppress(OSError):
        (folder / _THUMB).write_bytes(drawn)
    return drawn


@contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Explain what goes wrong while a stored sample is read."""
    try:
        yield
    except XsynError:
        raise
    except _DAMAGE as error:
        raise XsynError(
            f"The sample in {folder} is incomplete or damaged ({error}). "
            "Restore the folder from a copy, or reject the sample."
        ) from error


def _read_document(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / "sample.json").read_text("utf-8"))
    if document["format"] > FORMAT:
        raise XsynError(f"{folder} was written by a newer Xsyn Studio: update this one.")
    return document


def _sample(
    document: dict[str, Any], scan: Scan, image: np.ndarray, clear: np.ndarray, arrays: Any
) -> Sample:
    return Sample(
        scan=scan,
        request=_request(document["request"]),
        image=image,
        clear=clear,
        objects=tuple(
            _object(entry, i, arrays, scan.size) for i, entry in enumerate(document["objects"])
        ),
        kept=tuple(_annotation(entry, scan.size) for entry in document["kept"]),
        occlusion=_occlusion(document["occlusion"]),
        prompt=document["prompt"],
        weights=document["weights"],
        notes=tuple(document["notes"]),
    )


def _pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        pixels = np.array(image.convert("RGB"))
    pixels.flags.writeable = False
    return pixels


def _arrays(objects: tuple[PaintedObject, ...]) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    for i, painted in enumerate(objects):
        for name in ("attention", "region", "points", "labels"):
            arrays[f"{name}_{i}"] = getattr(painted, name)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _document(sample: Sample) -> dict[str, Any]:
    occlusion = sample.occlusion
    return {
        "format": FORMAT,
        "scan": {
            "name": sample.scan.name,
            "sha256": sample.scan.sha256,
            "height": sample.scan.size[0],
            "width": sample.scan.size[1],
            "annotations": [_annotation_entry(known) for known in sample.scan.annotations],
        },
        "request": request_entry(sample.request),
        "objects": [
            {
                "category": painted.category,
                "grounding": numbers(painted.grounding),
                "refined": numbers(painted.refined),
                "window": numbers(painted.window),
                "mask": None if painted.mask is None else masks.encode(painted.mask),
                "flags": list(painted.flags),
            }
            for painted in sample.objects
        ],
        "kept": [_annotation_entry(known) for known in sample.kept],
        "occlusion": None if occlusion is None else occlusion_entry(occlusion),
        "prompt": sample.prompt,
        "weights": sample.weights,
        "notes": list(sample.notes),
    }


def numbers(values: Any) -> list[float]:
    """Plain Python floats, for JSON."""
    return [float(v) for v in values]


def request_entry(request: Request) -> dict[str, Any]:
    """All settings of a request as plain values, for JSON."""
    entry = dataclasses.asdict(request)
    entry["groundings"] = [
        {"category": g.category, "box": numbers(g.box)} for g in request.groundings
    ]
    entry["catalog"] = catalogs.entry(request.catalog)
    return {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in entry.items()
    }


def occlusion_entry(occlusion: Occlusion) -> dict[str, Any]:
    """An occlusion as plain values, for JSON."""
    return {
        "alpha": float(occlusion.alpha),
        "occluder": numbers(occlusion.occluder),
        "occluded": [numbers(box) for box in occlusion.occluded],
    }


def _annotation_entry(known: Annotation) -> dict[str, Any]:
    return {
        "category": known.category,
        "box": numbers(known.box),
        "mask": None if known.mask is None else masks.encode(known.mask),
        "iscrowd": bool(known.iscrowd),
    }


def _box(values: list[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(v) for v in values)
    return x1, y1, x2, y2


def _mask(entry: dict[str, Any] | None, size: tuple[int, int]) -> np.ndarray | None:
    return None if entry is None else masks.decode(entry, size)


def _annotation(entry: dict[str, Any], size: tuple[int, int]) -> Annotation:
    return Annotation(
        entry["category"], _box(entry["box"]), _mask(entry["mask"], size), entry["iscrowd"]
    )


def _scan(entry: dict[str, Any], folder: Path) -> Scan:
    size = entry["height"], entry["width"]
    known = tuple(_annotation(item, size) for item in entry["annotations"])
    try:
        scan = read_scan(folder / "original.png", entry["name"], known)
    except XsynError:
        raise ValueError("original.png cannot be read") from None
    if scan.sha256 != entry["sha256"]:
        raise ValueError("original.png is not the scan that was stored")
    return scan


def _request(entry: dict[str, Any]) -> Request:
    groundings = tuple(Grounding(g["category"], _box(g["box"])) for g in entry["groundings"])
    try:
        catalog = catalogs.from_entry(entry["catalog"])
    except XsynError as error:
        raise ValueError(f"its catalogue: {error}") from None
    return Request(**{**entry, "groundings": groundings, "catalog": catalog})


def _occlusion(entry: dict[str, Any] | None) -> Occlusion | None:
    if entry is None:
        return None
    boxes = tuple(_box(box) for box in entry["occluded"])
    return Occlusion(entry["alpha"], _box(entry["occluder"]), boxes)


def _object(entry: dict[str, Any], index: int, arrays: Any, size: tuple[int, int]) -> PaintedObject:
    return PaintedObject(
        category=entry["category"],
        grounding=_box(entry["grounding"]),
        refined=_box(entry["refined"]),
        mask=_mask(entry["mask"], size),
        window=_box(entry["window"]),
        attention=arrays[f"attention_{index}"],
        region=arrays[f"region_{index}"],
        points=arrays[f"points_{index}"],
        labels=arrays[f"labels_{index}"],
        flags=tuple(entry["flags"]),
    )
