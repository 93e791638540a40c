"""Checks of everything a browser sends: it arrives unvalidated."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from app.engine import EMBEDDED
from xsyn_core.boxes import validated
from xsyn_core.categories import Catalog
from xsyn_core.errors import XsynError
from xsyn_core.sample import (
    Background,
    FrameMode,
    Grounding,
    OcclusionMode,
    PointStrategy,
    Request,
    Sampler,
    Variant,
)
from xsyn_core.scan import Scan

MAX_BOXES = 30
MAX_SEED = 2**31 - 1
MAX_FILES = 100
MAX_PATH = 1000
# Fields of `Request` that can change after painting, with a control each.
REVIEW = ("points", "divisions", "occlude", "alpha", "occlusion")


def groundings(value: Any, scan: Scan, scan_id: str, names: Catalog) -> tuple[Grounding, ...]:
    """The boxes of the canvas as G.

    Args:
        value: what the canvas sent, {"scan": id, "boxes": [{"box": [4], "category": name}]}.
        scan_id: the id the session gave the open scan; boxes of another scan are refused.
        names: the catalogue whose categories can be asked for.

    Raises:
        XsynError: no boxes, too many, boxes of another scan, a box or category that is not one.
    """
    items = value.get("boxes") if isinstance(value, Mapping) else None
    if not isinstance(items, list) or not items:
        raise XsynError("There is no box yet. Click an idle region or draw a box on the scan.")
    if value.get("scan") != scan_id:
        raise XsynError("These boxes belong to another scan. Draw them again on this one.")
    if len(items) > MAX_BOXES:
        raise XsynError(f"At most {MAX_BOXES} boxes can be painted at once; delete some.")
    out = []
    for number, item in enumerate(items, 1):
        if not isinstance(item, Mapping) or not isinstance(item.get("category"), str):
            raise XsynError(f"Box {number} has no category. Choose one.")
        box = item.get("box")
        if not isinstance(box, list):
            raise XsynError(f"Box {number} is not a box. Delete it and draw it again.")
        out.append(Grounding(names.find(item["category"]), validated(box, scan.size)))
    return tuple(out)


def drawn(value: Any, scan_id: str) -> list[dict[str, Any]]:
    """The canvas's boxes of one scan as they are, for edits by the server; broken ones are left."""
    items = value.get("boxes") if isinstance(value, Mapping) else None
    if not isinstance(items, list) or value.get("scan") != scan_id:
        return []
    return [
        {"category": item["category"], "box": item["box"]}
        for item in items[:MAX_BOXES]
        if isinstance(item, Mapping)
        and isinstance(item.get("category"), str)
        and isinstance(item.get("box"), list)
        and len(item["box"]) == 4
        and all(isinstance(v, int | float) and math.isfinite(v) for v in item["box"])
    ]


def number(value: Any, low: float, high: float, what: str) -> float:
    """A finite number within [low, high].

    Raises:
        XsynError: it is not one.
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise XsynError(f"{what} needs a number from {low:g} to {high:g}.") from None
    if not math.isfinite(found) or not low <= found <= high:
        raise XsynError(f"{what} needs a number from {low:g} to {high:g}, not {found:g}.")
    return found


def whole(value: Any, low: int, high: int, what: str) -> int:
    """A whole number within [low, high]; see `number`."""
    found = number(value, low, high, what)
    if found != int(found):
        raise XsynError(f"{what} needs a whole number, not {found:g}.")
    return int(found)


def choice(value: Any, allowed: tuple[str, ...], what: str) -> Any:
    """One of the allowed words.

    Raises:
        XsynError: another value.
    """
    if value not in allowed:
        raise XsynError(f"{what} needs one of {', '.join(allowed)}.")
    return value


def catalog(value: Any, offered: Mapping[str, Catalog]) -> Catalog:
    """One of the catalogues that the page offers, by key.

    Raises:
        XsynError: another value.
    """
    found = offered.get(str(value))
    if found is None:
        raise XsynError("There is no such catalogue any more. Reload the page.")
    return found


def source(value: Any, what: str) -> str:
    """Where weights come from: a name, a path or a hub id; nothing is the embedded ones.

    Raises:
        XsynError: it is no text, or too long a one.
    """
    if not isinstance(value, str) or len(value) > MAX_PATH or not value.isprintable():
        raise XsynError(f"{what} needs a path of at most {MAX_PATH} characters in one line.")
    return os.path.expanduser(value.strip().strip("\"'")) or EMBEDDED


def request(
    scan: Scan,
    scan_id: str,
    boxes: Any,
    settings: Mapping[str, Any],
    occluder: int,
    placement: int,
    offered: Mapping[str, Catalog],
) -> Request:
    """A checked `Request`.

    Args:
        scan, scan_id: the open scan and the id that the session gave it.
        boxes: the canvas's value, see `groundings`.
        settings: the values of the page's controls, by the names of `Request`'s fields.
        offered: catalogues by key.

    Raises:
        XsynError: a box, category or setting that is not one.
    """
    names = catalog(settings["catalog"], offered)
    return Request(
        groundings=groundings(boxes, scan, scan_id, names),
        variant=choice(settings["variant"], get_args(Variant), "The variant"),
        catalog=names,
        seed=whole(settings["seed"], 0, MAX_SEED, "The seed"),
        steps=whole(settings["steps"], 1, 1000, "Steps"),
        guidance=number(settings["guidance"], 0, 30, "Guidance"),
        sampler=choice(settings["sampler"], get_args(Sampler), "The sampler"),
        frame=choice(settings["frame"], get_args(FrameMode), "The frame"),
        background=choice(settings["background"], get_args(Background), "The background"),
        **review([settings[name] for name in REVIEW]),
        occluder=occluder,
        placement=placement,
    )


def review(values: Sequence[Any]) -> dict[str, Any]:
    """The settings that can change after painting, checked, from their values in `REVIEW`'s order.

    Raises:
        XsynError: a value that is out of range.
    """
    points, divisions, occlude, alpha, occlusion = values
    return {
        "points": choice(points, get_args(PointStrategy), "The point sampling"),
        "divisions": whole(divisions, 0, 4, "Divisions"),
        "occlude": bool(occlude),
        "alpha": number(alpha, 0, 1, "Alpha"),
        "occlusion": choice(occlusion, get_args(OcclusionMode), "The occlusion"),
    }


def uploads(value: Any, folder: str | Path) -> list[tuple[str, Path]]:
    """Name and path of each uploaded file, from [{"name": ..., "path": ...}]; see `uploaded`.

    Raises:
        XsynError: no files, too many, or a path that leads elsewhere.
    """
    if not isinstance(value, list) or not value:
        raise XsynError("No file arrived. Try to open it again.")
    if len(value) > MAX_FILES:
        raise XsynError(f"At most {MAX_FILES} scans can be opened at once; choose fewer.")
    found = []
    for item in value:
        if not isinstance(item, Mapping):
            raise XsynError("No file arrived. Try to open it again.")
        path = uploaded(item.get("path"), folder)
        found.append((Path(str(item.get("name") or path.name)).name[:120], path))
    return found


def uploaded(value: Any, folder: str | Path) -> Path:
    """The path of a file that the browser uploaded, inside the upload folder.

    Raises:
        XsynError: a path that leads elsewhere, or no file.
    """
    if not isinstance(value, str) or not value or "\0" in value:
        raise XsynError("No file arrived. Try to open it again.")
    path = Path(value).resolve()
    if not path.is_relative_to(Path(folder).resolve()) or not path.is_file():
        raise XsynError("That file was not uploaded through this page. Open it here.")
    return path
