"""Idle regions and occluders (Eq. 3)."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from xsyn_core import boxes
from xsyn_core.boxes import Box


class Region(Protocol):
    """What Eq. 3 needs of a segment: `mask` bool (H, W), `box` and `area` of the mask, pixels."""

    @property
    def mask(self) -> np.ndarray: ...
    @property
    def box(self) -> Box: ...
    @property
    def area(self) -> int: ...


R = TypeVar("R", bound=Region)
# The background and the whole baggage, typically (Section IV-A).
DISCARDED = 2
# Where an item may be proposed: the share of a region's box, at least, that lies in the baggage.
INSIDE = 0.95


def idle_regions(
    segments: Sequence[R],
    annotated: Iterable[Sequence[float]],
    image_size: tuple[int, int],
    iou_threshold: float = 0.2,
    min_area_ratio: float = 0.001,
) -> list[R]:
    """The segments where an item can go: l_b of Eq. 3.

    The two largest masks by area are discarded (of equal ones the earlier in the list first),
    then every box whose IoU with any annotated box is not below `iou_threshold` (d), then boxes
    smaller than `min_area_ratio` of the image (Section V-A). The rest stays in the order given.

    Args:
        segments: all segments of the image.
        annotated: boxes b_i, or things that have a `.box`.
        image_size: (height, width) in pixels.
        iou_threshold: d.
        min_area_ratio: of a box to the image, 0 to 1.
    """
    taken = [getattr(thing, "box", thing) for thing in annotated]
    by_area = sorted(range(len(segments)), key=lambda k: -segments[k].area)
    largest = set(by_area[:DISCARDED])
    least = min_area_ratio * image_size[0] * image_size[1]
    return [
        segment
        for k, segment in enumerate(segments)
        if k not in largest
        and boxes.area(segment.box) >= least
        and all(boxes.iou(segment.box, box) < iou_threshold for box in taken)
    ]


def occluders(
    segments: Sequence[R],
    annotated: Iterable[Sequence[float]],
    grounded: Iterable[Sequence[float]],
    image_size: tuple[int, int],
    iou_threshold: float = 0.2,
    min_area_ratio: float = 0.001,
) -> list[R]:
    """The segments that may occlude: l_o of Eq. 3 with footnote 1.

    As `idle_regions`, but clear of the grounding boxes (l_b) as well as of the annotated ones.
    """
    return idle_regions(
        segments, [*annotated, *grounded], image_size, iou_threshold, min_area_ratio
    )


def within(regions: Iterable[R], baggage: np.ndarray) -> list[R]:
    """The regions whose boxes lie in the baggage, by at least `INSIDE` of their area: no wheels,
    handles or corners beyond which there is air.

    Args:
        baggage: bool (H, W), see `baggage.baggage`.
    """

    def share(box: Box) -> float:
        x1, y1, x2, y2 = boxes.outward(box)
        return float(baggage[y1:y2, x1:x2].mean())

    return [region for region in regions if share(region.box) >= INSIDE]
