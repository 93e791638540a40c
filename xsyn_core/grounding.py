"""The grounding condition G and the prompt Y (Section IV-A): Xsyn-M modifies, Xsyn-A adds."""

from collections.abc import Sequence

import numpy as np

from xsyn_core import boxes
from xsyn_core.categories import Catalog, phrase
from xsyn_core.errors import XsynError
from xsyn_core.sample import Grounding, Variant
from xsyn_core.scan import Annotation, Scan

# A grounding repaints the annotation it overlaps at least this much (IoU).
SAME_OBJECT = 0.5
SEPARATOR = ", "


def phrases(categories: Sequence[str], attitudes: Sequence[str] = ()) -> tuple[str, ...]:
    """e_i: how each object is described, its category's own phrase first.

    Args:
        attitudes: one a category (see `attitudes.words`), or none at all.
    """
    told = attitudes or [""] * len(categories)
    return tuple(f"{phrase(n)} {t}".strip() for n, t in zip(categories, told, strict=True))


def prompt(categories: Sequence[str], attitudes: Sequence[str] = ()) -> str:
    """Y: the phrases of the objects, in order, joined with a comma."""
    return SEPARATOR.join(phrases(categories, attitudes))


def spans(categories: Sequence[str], attitudes: Sequence[str] = ()) -> list[tuple[int, int]]:
    """Where each category's own phrase stands in the `prompt`: (start, end) characters.

    A category that comes twice has two places, one for each object.
    """
    places, at = [], 0
    for name, described in zip(categories, phrases(categories, attitudes), strict=True):
        places.append((at, at + len(phrase(name))))
        at += len(described) + len(SEPARATOR)
    return places


def modification(scan: Scan, catalog: Catalog, names: Sequence[str] = ()) -> tuple[Grounding, ...]:
    """G_mod = L (Eq. 4, Xsyn-M): the annotations of the scan that the catalogue knows, less crowds
    and those whose boxes cannot be painted: too small, thin or large.

    Args:
        names: the categories to modify, in the catalogue's spelling; () for all.

    Raises:
        XsynError: nothing is left.
    """
    height, width = scan.size
    smallest = catalog.min_area_ratio * height * width
    named = [(known, catalog.known(known.category)) for known in scan.annotations]
    found = [(known, name) for known, name in named if name in (names or catalog.names)]
    if scan.annotations and not found:
        there = ", ".join(dict.fromkeys(known.category for known in scan.annotations))
        raise XsynError(
            f"{scan.name} has no annotated item of {', '.join(names) or catalog.title} to modify, "
            f"only of {there}. Give the box of one with the category that takes its place, "
            "or add an item instead."
        )
    placed = [
        (name, _paintable(known.box, scan.size)) for known, name in found if not known.iscrowd
    ]
    grounded = tuple(
        Grounding(name, box)
        for name, box in placed
        if box is not None and boxes.area(box) >= smallest
    )
    if not grounded:
        raise XsynError(
            f"{scan.name} has no annotated item to modify (of at least "
            f"{catalog.min_area_ratio:.1%} of the image, and neither a line nor nearly all of it). "
            "Give annotations, or add an item instead."
        )
    return grounded


def _paintable(box: Sequence[float], size: tuple[int, int]) -> boxes.Box | None:
    """A box clipped to a scan of (height, width); None where an operator could not ask for it."""
    try:
        return boxes.validated(box, size)
    except XsynError:
        return None


def addition(
    regions: Sequence,
    catalog: Catalog,
    scan_size: tuple[int, int],
    rng: np.random.Generator,
    category: str | None = None,
) -> Grounding:
    """G_add = {(e_b, l_b)} (Eq. 4, Xsyn-A): a category, and a random idle region that fits it.

    All categories that fit a region come equally often: most regions of a scan tend to belong to
    one area group. A category that is asked for but fits none takes one of its shape, or any.

    Args:
        regions: idle regions, with `.box` in pixels of the scan.
        catalog: whose area groups (Table I) apply; see `Catalog.fitting`.
        scan_size: (height, width).
        rng: the only source of chance: the category first, then the region.
        category: one of the catalogue's names; None draws it.

    Raises:
        XsynError: no idle region is left.
    """
    clipped = [_paintable(region.box, scan_size) for region in regions]
    usable = [box for box in clipped if box is not None]
    if not usable:
        raise XsynError(
            "The scan has no idle region where an item could go. "
            "Draw a box yourself, or take another scan."
        )
    pairs = [(name, box) for box in usable for name in catalog.fitting(box, scan_size)]
    fitting = [(name, box) for name, box in pairs if catalog.as_long(name, box)] or pairs
    if category is None:
        found = {name for name, _ in fitting}
        possible = [name for name in catalog.names if name in found]
        category = possible[int(rng.integers(len(possible)))]
    places = (
        [box for name, box in fitting if name == category]
        or [box for box in usable if catalog.as_long(category, box)]
        or usable
    )
    return Grounding(category, places[int(rng.integers(len(places)))])


def checked(
    groundings: Sequence[Grounding], catalog: Catalog, scan_size: tuple[int, int]
) -> tuple[Grounding, ...]:
    """Groundings in the catalogue's spelling, clipped to the scan.

    Raises:
        XsynError: none given, an unknown category, or a box that cannot be painted.
    """
    if not groundings:
        raise XsynError(
            "Nothing to paint: give at least one category with its box, "
            "or let an idle region be chosen."
        )
    return tuple(
        Grounding(catalog.find(g.category), boxes.validated(g.box, scan_size)) for g in groundings
    )


def kept_annotations(
    scan: Scan, groundings: Sequence[Grounding], variant: Variant
) -> tuple[Annotation, ...]:
    """The annotations of the scan that stay valid after painting.

    Xsyn-A keeps all; Xsyn-M drops those that a grounding repaints.

    Raises:
        XsynError: a grounding of Xsyn-M repaints no annotation.
    """
    if variant == "add":
        return scan.annotations
    repainted: set[int] = set()
    for grounding in groundings:
        hit = {
            i
            for i, known in enumerate(scan.annotations)
            if not known.iscrowd and boxes.iou(known.box, grounding.box) >= SAME_OBJECT
        }
        if not hit:
            shown = ", ".join(f"{v:g}" for v in grounding.box)
            raise XsynError(
                f"There is no annotated item at ({shown}) to modify. Modifying repaints items that "
                "the scan's annotations know; to put an item elsewhere, add one."
            )
        repainted |= hit
    return tuple(known for i, known in enumerate(scan.annotations) if i not in repainted)
