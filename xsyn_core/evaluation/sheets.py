"""Sheets to look at: uint8 RGB."""

from collections.abc import Sequence

import cv2
import numpy as np
from tqdm import tqdm

from xsyn_core.boxes import Box, clip, outward
from xsyn_core.categories import PIDRAY
from xsyn_core.errors import XsynError
from xsyn_core.evaluation.labelling import Labelled
from xsyn_core.evaluation.painting import Painted
from xsyn_core.evaluation.real import RealScans
from xsyn_core.evaluation.tiles import captioned, grid
from xsyn_core.sample import Request
from xsyn_core.synthesis import Synthesizer
from xsyn_core.weights import Models

NAMES = PIDRAY.names
# On the sheet for a hand check: tiles enlarged so many times, and how many of them.
ENLARGED, CHECKED = 2, 100
GROUNDING, CAR, TRUTH = (0, 150, 0), (220, 0, 0), (0, 0, 220)


def by_category(painted: Sequence[Painted], columns: int = 8, simulated: int = 3) -> np.ndarray:
    """A row a category: painted windows, then some of the simulated ones."""
    rows = []
    names = [p.case.category for p in painted]
    columns = min(columns, max(map(names.count, names)))
    for name in dict.fromkeys(names):
        own = [p for p in painted if p.case.category == name][:columns]
        left = grid([p.image for p in own], columns)
        right = grid([p.case.image for p in own[:simulated]], simulated)
        captioned(left, name)
        rows.append(np.hstack([left, right]))
    return np.vstack(rows)


def hand_check(items: Sequence[Labelled]) -> np.ndarray:
    """Up to 100 painted items, evenly from all, ten a row, with the grounding box in green, CAR's
    in red and that of the item's own silhouette in blue. An item in which CAR kept the grounding
    box says "kept", one that was not painted has no blue box."""
    chosen = np.unique(np.linspace(0, len(items) - 1, min(CHECKED, len(items))).round().astype(int))
    tiles = []
    for one in (items[k] for k in chosen):
        tile = cv2.resize(one.painted.image, None, fx=ENLARGED, fy=ENLARGED)
        category = one.painted.case.category
        captioned(tile, category if one.label.mask is not None else f"{category}, kept")
        boxes: list[tuple[Box | None, tuple[int, int, int]]] = [
            (one.painted.case.grounding, GROUNDING),
            (one.label.box, CAR),
            (one.truth, TRUTH),
        ]
        for box, colour in boxes:
            if box is not None:
                x1, y1, x2, y2 = (round(ENLARGED * v) for v in box)
                cv2.rectangle(tile, (x1, y1), (x2 - 1, y2 - 1), colour, 1)
        tiles.append(tile)
    return grid(tiles, 10)


def on_real_scans(
    models: Models, real: RealScans, steps: int, guidance: float, limit: int = 24
) -> np.ndarray:
    """Benign real scans with two items each in idle regions: windows before and after, cut at
    native resolution and shown 256 pixels wide, four pairs a row."""
    synthesizer = Synthesizer(models)
    tiles = []
    for number, name in enumerate(tqdm(real.benign[:limit], desc="painting real scans")):
        scan = real.scan(name)
        for k in range(2):
            category = NAMES[(2 * number + k) % len(NAMES)]
            rng = np.random.default_rng((number, k))
            try:
                place = synthesizer.propose(scan, PIDRAY, rng, category=category)
            except XsynError:
                continue
            request = Request(
                groundings=(place,),
                steps=steps,
                guidance=guidance,
                seed=number,
                occlude=False,
            )
            sample = synthesizer.synthesize(scan, request)
            x1, y1, x2, y2 = place.box
            reach = 0.9 * max(x2 - x1, y2 - y1)
            cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
            view = outward(clip((cx - reach, cy - reach, cx + reach, cy + reach), scan.size))
            pair = [
                cv2.resize(pixels[view[1] : view[3], view[0] : view[2]], (256, 256))
                for pixels in (scan.pixels, sample.image)
            ]
            captioned(pair[0], place.category)
            tiles.append(np.hstack(pair))
    return grid(tiles, 4) if tiles else np.full((256, 512, 3), 255, np.uint8)
