"""Catalogues on disk, and those of one's own: the categories that a model was fine-tuned for.

A fine-tuned model's folder says in `catalog.json` what it paints, so that page and command line
offer its categories: the key of one of the three datasets, or all that a `Catalog` holds.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from xsyn_core.categories import CATALOGS, LONGEST, Catalog, plain
from xsyn_core.errors import XsynError
from xsyn_core.files import expanded

FILE = "catalog.json"
# For the help of commands.
WHICH = f"{', '.join(CATALOGS)}, or the folder of a fine-tuned model."
LONGEST_NAME = 80
# Table I's, where the sizes of categories differ that much.
GROUPS = 3
# Neighbouring groups' mean areas differ by at least this factor.
APART = 2.0
# Of a category's boxes hardly one is longer than so many of those that are known; but few boxes
# tell little, and so it may at least be so many times as long as wide.
LONGER, SQUARE = 0.98, 2.0


def own_catalog(
    title: str,
    sizes: Mapping[str, Sequence[tuple[float, float]]],
    scan_areas: tuple[float, float],
    min_area_ratio: float,
    max_area_ratio: float,
) -> Catalog:
    """The catalogue of a dataset, with area groups as Table I has them.

    Categories are sorted by the median area of their boxes and parted into at most three groups,
    so that the logarithms within groups differ least. Groups that are hardly apart are one.

    Args:
        title: for people; "own" where it cannot be used.
        sizes: (width, height) in pixels of the boxes of every category, of at least one, in the
            order that ids are to have.
        scan_areas: square pixels of the smallest and the largest scan.
        min_area_ratio, max_area_ratio: as `Catalog`'s.

    Raises:
        XsynError: a name that cannot be used.
    """
    logs = {name: np.log(values) for name, values in sizes.items()}
    medians = {name: float(np.median(own.sum(1))) for name, own in logs.items()}
    longest = (np.quantile(np.exp(np.abs(own[:, 0] - own[:, 1])), LONGER) for own in logs.values())
    names = sorted(medians, key=lambda name: medians[name])
    groups = next(
        found
        for count in range(min(GROUPS, len(names)), 0, -1)
        if _apart(found := _parted(names, medians, count), medians)
    )
    between = ((medians[below[-1]] + medians[above[0]]) / 2 for below, above in pairwise(groups))
    usable = title.isprintable() and plain(title)
    written = {
        "title": title[:LONGEST_NAME] if usable else "own",
        "names": list(sizes),
        "groups": groups,
        "boundaries": [float(f"{math.exp(log):.6g}") for log in between],
        "max_aspect_ratios": [float(f"{min(max(r, SQUARE), LONGEST):.2g}") for r in longest],
        "scan_areas": scan_areas,
        "min_area_ratio": min_area_ratio,
        "max_area_ratio": max_area_ratio,
    }
    try:
        return from_entry(written)
    except XsynError as error:
        raise XsynError(
            f"The categories of {title} cannot be asked for: {error}. Rename them in the labels."
        ) from None


def _parted(names: Sequence[str], medians: Mapping[str, float], count: int) -> list[list[str]]:
    """Sorted names in `count` groups whose medians differ least from their groups' means."""

    def split(cuts: Sequence[int]) -> list[list[str]]:
        edges = (0, *cuts, len(names))
        return [list(names[a:b]) for a, b in pairwise(edges)]

    def spread(groups: list[list[str]]) -> float:
        values = ([medians[name] for name in group] for group in groups)
        return sum(len(own) * float(np.var(own)) for own in values)

    cuts = combinations(range(1, len(names)), count - 1)
    return min(map(split, cuts), key=spread)


def _apart(groups: list[list[str]], medians: Mapping[str, float]) -> bool:
    means = [sum(medians[name] for name in group) / len(group) for group in groups]
    return all(b - a >= math.log(APART) for a, b in pairwise(means))


def entry(catalog: Catalog) -> str | dict[str, Any]:
    """A catalogue for JSON: its key alone where it is one of `CATALOGS`."""
    if CATALOGS.get(catalog.key) == catalog:
        return catalog.key
    values = asdict(catalog)
    del values["key"]
    return values


def from_entry(value: Any) -> Catalog:
    """What `entry` made, or somebody wrote.

    Two catalogues of one's own have the same key if they have the same title and names, so that
    what was made with both goes into one dataset.

    Raises:
        XsynError: it is no catalogue; the message says what is wrong.
    """
    if isinstance(value, str) and value in CATALOGS:
        return CATALOGS[value]
    if not isinstance(value, dict):
        raise XsynError(f"a catalogue is one of {', '.join(CATALOGS)}, or has names and groups")
    missing = [name for name in _FIELDS if name not in value]
    if missing:
        raise XsynError(f"it has no {missing[0]}")
    title = _name(value["title"], "the title")
    names = _names(value["names"], "names")
    if not names:
        raise XsynError("it has no category")
    alike = [n for n in names if [plain(other) for other in names].count(plain(n)) > 1]
    if alike:
        raise XsynError(f"names are too alike: {', '.join(alike)}")
    groups = tuple(_names(group, "groups") for group in _list(value["groups"], "groups"))
    if sorted(name for group in groups for name in group) != sorted(names) or not all(groups):
        raise XsynError("every name must be in one of the groups, and in one alone")
    boundaries = _numbers(value["boundaries"], "boundaries")
    if len(boundaries) != len(groups) - 1 or list(boundaries) != sorted(set(boundaries)):
        raise XsynError("boundaries must rise, one between each two groups")
    ratios = _numbers(value.get("max_aspect_ratios", [LONGEST] * len(names)), "max_aspect_ratios")
    if len(ratios) != len(names) or min(ratios) < 1:
        raise XsynError("max_aspect_ratios are long sides over short, one for each of the names")
    scan_areas = _numbers(value["scan_areas"], "scan_areas")
    if len(scan_areas) != 2 or scan_areas[0] > scan_areas[1]:
        raise XsynError("scan_areas are two areas, the smaller one first")
    low, high = (_number(value[name], name) for name in ("min_area_ratio", "max_area_ratio"))
    if not low < high <= 1:
        raise XsynError("min_area_ratio is a share below max_area_ratio, and that is 1 at most")
    digest = hashlib.sha256("\n".join((title, *names)).encode()).hexdigest()[:6]
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower())[:40].strip("-") or "own"
    least, most = scan_areas
    return Catalog(
        *(f"{slug}-{digest}", title, names, groups, boundaries),
        *(ratios, (least, most), low, high),
    )


_FIELDS = (
    *("title", "names", "groups", "boundaries", "scan_areas"),
    *("min_area_ratio", "max_area_ratio"),
)


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise XsynError(f"{what} must be a list")
    return list(value)


def _names(value: Any, what: str) -> tuple[str, ...]:
    return tuple(_name(name, "a name") for name in _list(value, what))


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str) or not plain(value) or not value.isprintable():
        raise XsynError(f"{what} must be words, not {value!r}")
    if len(value) > LONGEST_NAME:
        raise XsynError(
            f"{what} is longer than {LONGEST_NAME} characters: {value[:LONGEST_NAME]!r}"
        )
    return value.strip()


def _numbers(value: Any, what: str) -> tuple[float, ...]:
    return tuple(_number(number, what) for number in _list(value, what))


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise XsynError(f"{what} must be of numbers from 0 on, not {value!r}")
    return value


def save(catalog: Catalog, folder: Path) -> None:
    """Write a model's catalogue into its folder."""
    text = json.dumps(entry(catalog), indent=1, ensure_ascii=False)
    (folder / FILE).write_text(text + "\n", "utf-8")


def of_model(diffusion: str | Path) -> Catalog | None:
    """The catalogue of a diffusers folder; None where it has none, or it is no local folder.

    Raises:
        XsynError: it cannot be used.
    """
    file = expanded(diffusion) / FILE
    # unlike pathlib's, takes names that no file can have
    return _read(file) if os.path.isfile(file) else None


def named(name: str) -> Catalog:
    """The catalogue that somebody asks for: by key, or by the folder or file it lies in.

    Raises:
        XsynError: there is none, or it cannot be used.
    """
    known = CATALOGS.get(name.strip().lower())
    if known is not None:
        return known
    path = expanded(name)
    found = _read(path) if os.path.isfile(path) else of_model(path)
    if found is None:
        raise XsynError(
            f"There is no catalogue {name!r}. Choose one of: {', '.join(CATALOGS)}; or give the "
            f"folder of a fine-tuned model, or its {FILE}."
        )
    return found


def asked(name: str | None, diffusion: str | Path | None = None) -> Catalog | None:
    """The catalogue that a command is asked for by name; left out, its diffusion model's, if any.

    Raises:
        XsynError: there is none of that name, or it cannot be used.
    """
    if name:
        return named(name)
    return None if diffusion is None else of_model(diffusion)


def _read(file: Path) -> Catalog:
    try:
        return from_entry(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise XsynError(
            f"{file} is no catalogue ({error}). Mend it, or remove it to use one of: "
            f"{', '.join(CATALOGS)}."
        ) from None
