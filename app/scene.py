"""What the canvas shows, as JSON: the open scan, its regions, the painting under review."""

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app import drawing
from app.session import Session
from xsyn_core.boxes import Box, iou, of_mask
from xsyn_core.sample import Grounding, PaintedObject, Sample
from xsyn_core.scan import Annotation

if TYPE_CHECKING:  # the page is up before torch is imported
    from xsyn_core.segmentation import Segment


def scene(session: Session, finding: str = "Looking for idle regions …") -> dict[str, Any]:
    """Everything the canvas needs for one session; `finding` is what to say while regions are
    searched."""
    number = next(session.numbers)  # first, so that a later scene knows all that this one does
    scan = session.scan
    names = session.catalog
    return {
        "number": number,
        "catalog": {
            "key": names.key,
            "names": list(names.names),
            "groups": [list(group) for group in names.groups],
            "boundaries": list(names.boundaries),
            "max_aspect_ratios": list(names.max_aspect_ratios),
            "scan_areas": list(names.scan_areas),
        },
        "scan": scan
        and {
            "id": session.scan_id,
            "name": scan.name,
            "place": session.place,
            "sha256": scan.sha256,
            "height": scan.size[0],
            "width": scan.size[1],
            "url": session.scan_url,
            "annotations": [annotation(a) for a in scan.annotations],
        },
        "regions": {
            "state": "finding" if scan and session.regions is None else "ready",
            "text": finding,
            "items": session.regions or [],
        },
        "result": session.result,
        "record": session.record,
        "adjustable": session.painting is not None,
        "decided": session.decision,
    }


def annotation(known: Annotation | Grounding) -> dict[str, Any]:
    """A known or asked-for object as the canvas draws it."""
    return {"category": known.category, "box": rounded(known.box)}


def regions(idle: Sequence["Segment"]) -> list[dict[str, Any]]:
    """Idle regions: outlines for hovering, boxes for clicking, and which are always outlined."""
    shown = drawing.distinct([s.mask for s in idle], [s.predicted_iou for s in idle])
    items = []
    for segment, always in zip(idle, shown, strict=True):
        mask = drawing.rounded_off(segment.mask)
        around = of_mask(mask) or segment.box
        x1, y1, x2, y2 = (int(v) for v in around)
        items.append(
            {
                "box": rounded(segment.box),
                "area": int(segment.area),
                "shown": always,
                "rings": drawing.rings(mask[y1:y2, x1:x2], around, smooth=1.0),
            }
        )
    return items


def result(session: Session, sample: Sample) -> dict[str, Any]:
    """A sample with its label and how the label came about."""
    return {
        "id": secrets.token_hex(4),
        "objects": [painted(session, item) for item in sample.objects],
        "kept": [annotation(a) for a in sample.kept],
        **changeable(session, sample),
    }


def changeable(session: Session, sample: Sample) -> dict[str, Any]:
    """The part of a result that occlusion changes."""
    return {
        "patch": crop(session, sample.image),
        "occlusion": occlusion(sample),
        "notes": list(sample.notes),
    }


def crop(session: Session, image: np.ndarray) -> dict[str, Any] | None:
    """The part of `image` (H, W, 3) in which it differs from the open scan."""
    found = drawing.patch(session.need_scan().pixels, image)
    return found and {**found, "scan": session.scan_id}


def occlusion(sample: Sample) -> dict[str, Any] | None:
    """What BOM did, as the canvas draws it."""
    done = sample.occlusion
    return done and {  # type: ignore[return-value]
        "occluder": rounded(done.occluder),
        "occluded": [rounded(box) for box in done.occluded],
    }


def painted(session: Session, item: PaintedObject) -> dict[str, Any]:
    """One painted item: boxes, heat map, active region, points with their division, mask."""
    h, w = item.mask.shape if item.mask is not None else (0, 0)
    return {
        "category": item.category,
        "grounding": rounded(item.grounding),
        "refined": rounded(item.refined),
        "iou": iou(item.grounding, item.refined),
        "heat": {
            "box": rounded(item.window),
            "url": session.keep(drawing.png(drawing.heat(item.attention))),
        },
        "active": {"rings": drawing.rings(item.region, item.window)},
        "mask": None if item.mask is None else {"rings": drawing.rings(item.mask, (0, 0, w, h))},
        "points": [
            [round(float(x), 1), round(float(y), 1), level]
            for (x, y), level in zip(item.points, levels(item.labels), strict=True)
        ],
        "flags": list(item.flags),
    }


def levels(labels: np.ndarray) -> list[int]:
    """The division in which each point of `median_points` was found, 1 up; 0 for background.

    Division k adds 2**(k - 1) medians, in order.
    """
    found, count = [], 0
    for label in labels.tolist():
        count += int(label == 1)
        found.append(count.bit_length() if label == 1 else 0)
    return found


def rounded(box: Box) -> list[float]:
    """A box with whole or tenth pixels, for JSON."""
    return [round(float(v), 1) for v in box]
