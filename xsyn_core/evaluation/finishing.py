"""What finishing (see `xsyn_core.finishing`) adds to items in windows larger than the model's."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from tqdm import tqdm

from xsyn_core.boxes import Box, iou, outward
from xsyn_core.categories import CATALOGS
from xsyn_core.evaluation import classifier
from xsyn_core.evaluation.held_out import Case
from xsyn_core.evaluation.painting import read_right
from xsyn_core.evaluation.tiles import captioned, grid
from xsyn_core.extent import silhouette, visible_box
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import make_scan
from xsyn_core.synthesis import Synthesizer

# Pixels: what a blur as wide takes away is detail.
FINE = 1.0
# How many items the sheet shows.
SHOWN = 48


def detail(image: np.ndarray, benign: np.ndarray, box: Box) -> float:
    """How much of what an item changes is detail: the root mean square of what blurring the
    change takes away, over that of the change; 0 where nothing changed.

    Args:
        image, benign: uint8 (H, W, 3), with the item and without.
        box: around it, pixels.
    """
    x1, y1, x2, y2 = outward(box)
    change = (image.astype(np.float32) - benign)[y1:y2, x1:x2]
    fine = change - cv2.GaussianBlur(change, (0, 0), FINE)
    whole = np.square(change).mean()
    return float(np.sqrt(np.square(fine).mean() / whole)) if whole else 0.0


def finishing(
    judge: classifier.Classifier,
    synthesizer: Synthesizer,
    cases: Sequence[Case],
    steps: int,
    guidance: float,
) -> tuple[dict, np.ndarray | None]:
    """Each case painted by the whole chain, with and without finishing.

    Args:
        cases: pictures of twice the model's side; small items are left out.

    Returns:
        shares that the judge reads right, the mean IoU of CAR's box with that of what was painted,
        the mean `detail` over that of the simulator's own items, and the mean share of a painted
        item's silhouette that is left when it is finished, with the least; and a sheet, three items
        a row, each simulated, painted, finished. None without any.
    """
    pictures: list[tuple[Case, np.ndarray, np.ndarray]] = []
    labels: dict[str, list[float]] = {"painted": [], "finished": []}
    left = []
    for number, one in enumerate(tqdm(cases, desc="finishing")):
        request = Request(
            groundings=(Grounding(one.category, one.grounding),),
            catalog=next(c for c in CATALOGS.values() if one.category in c.names),
            steps=steps,
            guidance=guidance,
            seed=number,
            occlude=False,
        )
        before = None
        for done in synthesizer.paint(make_scan(one.benign, "simulated.png"), request):
            # the painting as it is when finishing begins
            if done.step == steps and done.result is None:
                before = done.preview
        if before is None or done.result is None:
            continue
        pictures.append((one, before, done.result.clear))
        shown, still = (silhouette(x, one.benign) for x in (before, done.result.clear))
        if shown.any():
            left.append(float(still[shown].mean()))
        for name, image in (("painted", before), ("finished", done.result.clear)):
            truth = visible_box(image, one.benign, one.grounding)
            if truth is not None:
                (label,) = synthesizer.refine(replace(done.result, clear=image)).objects
                labels[name].append(iou(label.refined, truth))
    if not pictures:
        return {"items": 0}, None
    own = [one for one, _, _ in pictures]
    columns = {
        "simulated": [one.image for one in own],
        "painted": [before for _, before, _ in pictures],
        "finished": [after for _, _, after in pictures],
    }
    found: dict = {"items": len(own)}
    own_detail = 0.0
    for name, images in columns.items():
        fine = [detail(x, one.benign, one.grounding) for x, one in zip(images, own, strict=True)]
        own_detail = own_detail or float(np.mean(fine))
        found[f"{name} right"] = float(read_right(judge, images, own).mean())
        found[f"detail, {name}, over the simulator's own"] = float(np.mean(fine)) / own_detail
    if left:
        found["share left of what was painted"] = float(np.mean(left))
        found["the least left of an item"] = min(left)
    for name, values in labels.items():
        found[f"IoU of CAR's box, {name}"] = float(np.mean(values)) if values else 0.0
    rows = list(zip(*columns.values(), strict=True))
    shown = np.unique(np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int))
    tiles = []
    for k in shown:
        tile = np.hstack(rows[k])
        captioned(tile, own[k].category)
        tiles.append(tile)
    return found, grid(tiles, 3)
