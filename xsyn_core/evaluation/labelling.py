"""How near refined boxes come to the items: Tables VII and VIII, and items that were painted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from xsyn_core import refinement
from xsyn_core.boxes import Box, area, iou
from xsyn_core.diffusion import Diffusion
from xsyn_core.evaluation.held_out import Case
from xsyn_core.evaluation.painting import Painted
from xsyn_core.item_frames import ItemFrames
from xsyn_core.refinement import Refinement
from xsyn_core.segmentation import Segmenter

SETTINGS: tuple[tuple[str, int, str], ...] = (
    ("n = 0", 0, "median"),
    ("n = 1", 1, "median"),
    ("n = 2", 2, "median"),
    ("n = 3", 3, "median"),
    ("n = 4", 4, "median"),
    ("top-1", 1, "topk"),
    ("top-15", 4, "topk"),
)
# The n of MPS that labels are made with.
DIVISIONS = 4
# A box is filled by what has at least this IoU with it.
FILLED = 0.5


@dataclass(frozen=True, eq=False)
class Labelled:
    """A painted item with what is said of its place.

    Attributes:
        painted: the item.
        label: of CAR.
        truth: the box of its own silhouette, pixels; None where nothing was painted.
    """

    painted: Painted
    label: Refinement
    truth: Box | None


def labels(
    model: Diffusion, sam: Segmenter, cases: Sequence[Case], steps: int, guidance: float
) -> dict:
    """Tables VII and VIII on items of known place: noised half way, denoised with their attention
    captured, then refined from the loose and shifted box.

    Returns:
        for every setting the mean IoU of the label with the tight box, and its standard deviation
        over the items in `spread`; and how loose (area over the tight box's) and how shifted
        (distance of the centres over the tight box's side, the root of its area) the grounding
        boxes are, on average.
    """
    scores: dict[str, list[float]] = {"grounding box": []}
    scores.update({name: [] for name, *_ in SETTINGS})
    for k in tqdm(range(0, len(cases), 12), desc="labelling"):
        some = cases[k : k + 12]
        frames = ItemFrames(
            model,
            [c.image for c in some],
            [c.category for c in some],
            [c.grounding for c in some],
        )
        frames.denoise(steps, guidance, k, steps // 2)
        for one, attention in zip(some, frames.attention(), strict=True):
            embedding = sam.embed(one.image)
            scores["grounding box"].append(iou(one.grounding, one.box))
            for name, divisions, strategy in SETTINGS:
                result = refinement.refine(
                    sam,
                    one.image,
                    attention,
                    one.grounding,
                    divisions,
                    strategy,  # type: ignore[arg-type]
                    embedding=embedding,
                )
                scores[name].append(iou(result.box, one.box))
    return {
        "items": len(cases),
        **{name: float(np.mean(values)) for name, values in scores.items()},
        "spread": {name: float(np.std(values)) for name, values in scores.items()},
        "grounding box, area over the item's": float(
            np.mean([area(c.grounding) / area(c.box) for c in cases])
        ),
        "grounding box, shift over the item's side": float(
            np.mean([_shift(c.grounding, c.box) for c in cases])
        ),
    }


def _shift(a: Box, b: Box) -> float:
    dx, dy = (a[k] + a[k + 2] - b[k] - b[k + 2] for k in (0, 1))
    return float(np.hypot(dx, dy) / 2 / area(b) ** 0.5)


def labelled(sam: Segmenter, painted: Sequence[Painted]) -> list[Labelled]:
    """CAR's boxes of painted items from their own attention (n = 4, median points)."""
    return [
        Labelled(
            one,
            refinement.refine(sam, one.image, one.attention, one.case.grounding, DIVISIONS),
            one.truth,
        )
        for one in tqdm(painted, desc="refining")
    ]


def grounding(items: Sequence[Labelled]) -> dict:
    """Whether painted items fill their grounding boxes, and how near CAR's boxes come to them.

    A box is filled by an item whose visible extent has an IoU over 0.5 with it. An item that was
    not painted fills nothing, nor does one for which CAR kept the grounding box for want of a
    mask: that box says nothing of the item.

    Returns:
        shares (0 to 1) of boxes filled, by CAR's box and by the item's own silhouette, and of
        labels where CAR kept the box; over the items that were painted, mean IoU of the labels
        and of the grounding boxes with the silhouettes' boxes, and the labels' spread.
    """
    by_car, by_truth, label, given = [], [], [], []
    for one in items:
        box = one.painted.case.grounding
        there = one.truth is not None
        by_car.append(there and one.label.mask is not None and iou(one.label.box, box) > FILLED)
        by_truth.append(one.truth is not None and iou(one.truth, box) > FILLED)
        if one.truth is not None:
            label.append(iou(one.label.box, one.truth))
            given.append(iou(box, one.truth))
    found: dict = {
        "items": len(items),
        "filled, by CAR's box": float(np.mean(by_car)),
        "filled, by the silhouette's box": float(np.mean(by_truth)),
        "CAR kept the grounding box": float(np.mean([one.label.mask is None for one in items])),
    }
    if label:
        found["IoU of CAR's box with the silhouette's"] = float(np.mean(label))
        found["IoU of the grounding box with the silhouette's"] = float(np.mean(given))
        found["spread"] = {"IoU of CAR's box with the silhouette's": float(np.std(label))}
    return found
