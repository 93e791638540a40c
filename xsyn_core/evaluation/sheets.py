"""Sheets to look at."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from xsyn_core.boxes import clip, outward
from xsyn_core.categories import CATALOGS
from xsyn_core.errors import XsynError
from xsyn_core.evaluation.held_out import Case
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import read_scan
from xsyn_core.synthesis import Synthesizer
from xsyn_core.weights import Models

NAMES = CATALOGS["pidray"].names


def sheet_by_category(
    cases: Sequence[Case], painted: Sequence[np.ndarray], columns: int = 8
) -> np.ndarray:
    """A row a category: painted windows beside the real (simulated) ones."""
    rows = []
    for name in NAMES:
        own = [k for k, c in enumerate(cases) if c.category == name][:columns]
        rows.append(np.hstack([painted[k] for k in own] + [cases[k].image for k in own[:3]]))
    return np.vstack(rows)


def real_sheet(
    models: Models, folder: Path, steps: int, guidance: float, limit: int = 24
) -> np.ndarray:
    """Benign real scans with two items each in idle regions: windows before and after, cut at
    native resolution and shown 256 pixels wide, four pairs a row."""
    synthesizer = Synthesizer(models)
    listed = json.loads((folder / "annotations.json").read_text())["images"]
    names = [e["file_name"] for e in listed if e["file_name"].startswith("benign")][:limit]
    tiles = []
    for number, name in enumerate(tqdm(names, desc="painting real scans")):
        scan = read_scan(folder / "images" / name)
        try:
            places = [synthesizer.propose(scan, "pidray", 2 * number + k) for k in range(2)]
        except XsynError:
            continue
        for k, place in enumerate(places):
            category = NAMES[(2 * number + k) % len(NAMES)]
            request = Request(
                groundings=(Grounding(category, place.box),),
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
            cv2.putText(pair[0], category, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (200, 0, 0), 1)
            tiles.append(np.hstack(pair))
    while len(tiles) % 4:
        tiles.append(np.full((256, 512, 3), 255, np.uint8))
    return np.vstack([np.hstack(tiles[k : k + 4]) for k in range(0, len(tiles), 4)])
