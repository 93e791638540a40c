"""COCO's average precision of detections, by pycocotools."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from xsyn_core import boxes
from xsyn_core.scan import Annotation

MEASURES = ("AP", "AP50", "AP75")
# Boxes (k, 4) in pixels of a scan, labels (k,) and scores (k,).
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


def average_precision(
    truth: Sequence[Sequence[Annotation]],
    found: Sequence[Found],
    sizes: Sequence[tuple[int, int]],
    names: Sequence[str],
) -> dict:
    """COCO's measures of detections by pycocotools, from 0 to 1.

    Args:
        truth: the annotations of each scan; categories beside `names` do not count.
        found: boxes (k, 4) in pixels, labels (k,) that index `names`, and scores (k,) of each scan.
        sizes: (height, width) of each scan.
        names: of the categories; at least one item of one of them is there.

    Returns:
        `MEASURES`, and "by category" the AP of those that are there.
    """
    labelled = [
        _entry(image, names.index(a.category), a.box, iscrowd=int(a.iscrowd))
        for image, known in enumerate(truth, 1)
        for a in known
        if a.category in names
    ]
    detected = [
        _entry(image, int(label), place, score=float(score))
        for image, own in enumerate(found, 1)
        for place, label, score in zip(*own, strict=True)
    ]
    there = sorted({entry["category_id"] for entry in labelled if not entry["iscrowd"]})
    # what pycocotools prints is not for the operator
    with contextlib.redirect_stdout(io.StringIO()):
        judged = COCOeval(*(_indexed(e, sizes, names) for e in (labelled, detected)), "bbox")
        judged.params.catIds = there
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    # (thresholds, recalls, categories, areas, limits): all areas, 100 detections
    precision = judged.eval["precision"][:, :, :, 0, -1]
    return {
        **{name: float(v) for name, v in zip(MEASURES, judged.stats, strict=False)},
        "by category": {names[c]: float(precision[:, :, k].mean()) for k, c in enumerate(there)},
    }


def _entry(image: int, label: int, box: Sequence[float], **more: float) -> dict:
    corners = [float(v) for v in box]
    # pycocotools takes lists alone for boxes
    where = {"image_id": image, "category_id": label, "bbox": list(boxes.to_xywh(corners))}
    return {**where, "area": boxes.area(corners), "iscrowd": 0, **more}


def _indexed(
    entries: Sequence[dict], sizes: Sequence[tuple[int, int]], names: Sequence[str]
) -> COCO:
    found = COCO()
    found.dataset = {
        "images": [{"id": k, "height": h, "width": w} for k, (h, w) in enumerate(sizes, 1)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(names)],
        "annotations": [{"id": k, **entry} for k, entry in enumerate(entries, 1)],
    }
    found.createIndex()
    return found
