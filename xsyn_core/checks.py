"""Whether a request can be met, before anything is computed."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from xsyn_core import boxes, grounding
from xsyn_core.errors import XsynError
from xsyn_core.sample import Request
from xsyn_core.scan import Annotation, Scan

# A new item that covers this much of an annotated one is likely to spoil it.
SPOILT = 0.5
# Of an annotated item that a new one replaces, so much has to lie inside the new ones' boxes: the
# rest of it stays in the scan without a label.
REPLACED = 0.95


def checked_request(scan: Scan, request: Request) -> Request:
    """The request with categories in the catalogue's spelling and boxes clipped to the scan.

    Raises:
        XsynError: anything out of range.
    """
    if request.variant not in ("add", "modify"):
        raise XsynError(f"There is no variant {request.variant!r}. Choose add or modify.")
    if request.frame not in ("window", "whole"):
        raise XsynError(f"There is no frame {request.frame!r}. Choose window or whole.")
    if request.background not in ("keep", "repaint"):
        raise XsynError(f"There is no background {request.background!r}. Choose keep or repaint.")
    if not 0 <= request.seed < 2**31:
        raise XsynError(f"The seed is {request.seed}; choose one from 0 to {2**31 - 1}.")
    checked_guidance(request.guidance)
    check_points(request)
    check_occlusion(request)
    return replace(
        request, groundings=grounding.checked(request.groundings, request.catalog, scan.size)
    )


def checked_guidance(scale: float) -> float:
    """The scale of classifier-free guidance.

    Raises:
        XsynError: out of range.
    """
    if not 1 <= scale <= 30:
        raise XsynError(f"The guidance scale is {scale:g}; choose it from 1 to 30.")
    return scale


def check_points(request: Request) -> None:
    """CAR's settings.

    Raises:
        XsynError: out of range.
    """
    if request.points not in ("median", "topk"):
        raise XsynError(f"There are no {request.points!r} points. Choose median or topk.")
    if not 0 <= request.divisions <= 8:
        raise XsynError(f"The number of divisions is {request.divisions}; choose it from 0 to 8.")


def check_occlusion(request: Request) -> None:
    """BOM's settings.

    Raises:
        XsynError: out of range.
    """
    if not 0 <= request.alpha <= 1:
        raise XsynError(
            f"The degree of occlusion alpha is {request.alpha:g}; choose it from 0 to 1."
        )
    if request.occlusion not in ("latent", "every-step", "pixel"):
        raise XsynError(
            f"There is no occlusion {request.occlusion!r}. Choose latent, every-step or pixel."
        )
    if request.occluder < 0 or not 0 <= request.placement < 2**31:
        raise XsynError("The occluder and its placement are numbers from 0 on.")


def warnings(scan: Scan, request: Request) -> tuple[str, ...]:
    """What the operator should know about the groundings.

    Raises:
        XsynError: a grounding of Xsyn-M repaints no annotation.
    """
    found = []
    kept = grounding.kept_annotations(scan, request.groundings, request.variant)
    least = request.catalog.min_area_ratio
    for asked in request.groundings:
        if boxes.area(asked.box) < least * scan.size[0] * scan.size[1]:
            found.append(
                f"The box of {asked.category} is smaller than the smallest that the catalogue "
                f"keeps ({least:.1%} of the scan)."
            )
        if not request.catalog.as_long(asked.category, asked.box):
            found.append(
                f"Few items of {asked.category} are as long and thin as their box: what is painted "
                "may not fill it, and the label may take in what lies beside. Draw a shorter box."
            )
        for known in covered(kept, asked.box):
            found.append(
                f"{asked.category} covers most of the annotated {known.category}, whose label "
                "is kept and may no longer be right. To replace an item, modify it."
            )
    places = [asked.box for asked in request.groundings]
    for known in scan.annotations:
        # equal annotations have the same box, and so are kept or replaced together
        if known not in kept and _inside(known.box, places, scan.size) < REPLACED:
            found.append(
                f"Part of the annotated {known.category} lies outside the boxes of the items that "
                "replace it: that part may stay in the scan, without a label. Draw the box around "
                "all of it."
            )
    return tuple(found)


def _inside(box: boxes.Box, places: Iterable[boxes.Box], size: tuple[int, int]) -> float:
    """The share of a box's pixels in a scan of (height, width) that lie in any of the places."""
    x1, y1, x2, y2 = boxes.outward(boxes.clip(box, size))
    there = np.zeros((y2 - y1, x2 - x1), bool)
    for place in places:
        left, top, right, bottom = boxes.outward(boxes.intersection(place, (x1, y1, x2, y2)))
        there[top - y1 : bottom - y1, left - x1 : right - x1] = True
    return float(there.mean())


def covered(annotations: Iterable[Annotation], box: boxes.Box) -> list[Annotation]:
    """Those of annotated items, less crowds, of which an item in a box would hide most."""
    return [
        known
        for known in annotations
        if not known.iscrowd
        and boxes.area(boxes.intersection(box, known.box)) > SPOILT * boxes.area(known.box)
    ]
