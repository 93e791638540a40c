"""Whether a request can be met, before anything is computed."""

from dataclasses import replace

from xsyn_core import boxes, grounding
from xsyn_core.errors import XsynError
from xsyn_core.sample import Request
from xsyn_core.scan import Annotation, Scan

# A new item that covers this much of an annotated one is likely to spoil it.
SPOILT = 0.5


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
    if not 1 <= request.guidance <= 30:
        raise XsynError(f"The guidance scale is {request.guidance:g}; choose it from 1 to 30.")
    check_points(request)
    check_occlusion(request)
    return replace(
        request, groundings=grounding.checked(request.groundings, request.catalog, scan.size)
    )


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
    """What the operator should know about the groundings."""
    found = []
    smallest = request.catalog.min_area_ratio * scan.size[0] * scan.size[1]
    for asked in request.groundings:
        if boxes.area(asked.box) < smallest:
            found.append(
                f"The box of {asked.category} is smaller than the smallest that the catalogue "
                f"keeps ({smallest:.0f} square pixels in this scan)."
            )
        if request.variant == "modify":
            continue
        for known in covered(scan, asked.box):
            found.append(
                f"{asked.category} covers most of the annotated {known.category}, whose label "
                "is kept and may no longer be right. To replace an item, modify it."
            )
    return tuple(found)


def covered(scan: Scan, box: boxes.Box) -> list[Annotation]:
    """The annotated items, less crowds, of which an item in a box would hide most."""
    return [
        known
        for known in scan.annotations
        if not known.iscrowd
        and boxes.area(boxes.intersection(box, known.box)) > SPOILT * boxes.area(known.box)
    ]
