"""How well the segmenter finds objects, on simulated and on real scans."""

import json
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from xsyn_core.boxes import of_mask
from xsyn_core.categories import CATALOGS
from xsyn_core.regions import idle_regions
from xsyn_core.scan import read_scan
from xsyn_core.segmentation import Segmenter
from xsyn_core.simulation.looks import expose, random_look
from xsyn_core.simulation.rendering import attenuation, silhouette
from xsyn_core.simulation.scene import random_scene
from xsyn_core.simulation.visibility import VISIBLE, edge_contrast

NAMES = CATALOGS["pidray"].names


def segmenter(model: Segmenter, count: int) -> dict:
    """Mean IoU from a box and from one point, and recall of "everything", on whole scans.

    Prompts ask for every object over 0.5 % of the scan, "everything" is to find the visible ones
    (see `simulation.visibility`).
    """
    from_box, from_point, found, sought = [], [], 0, 0
    side = 256
    for index in tqdm(range(count), desc="segmenting"):
        rng = np.random.default_rng((2_000_000, index))
        scene = random_scene(rng, categories=[str(rng.choice(NAMES))])
        everything_there = [*scene.prohibited, *scene.contents]
        basis = attenuation([*scene.bag.parts, *everything_there], scene.view, (side, side), rng)
        image = expose(
            basis, random_look(rng), rng, mm_per_px=(scene.view[2] - scene.view[0]) / side
        )
        masks = [silhouette(p, scene.view, (side, side)) for p in everything_there]
        masks = [m for m in masks if m.mean() >= 0.005]
        visible = edge_contrast(image, masks) >= VISIBLE
        embedding = model.embed(image)
        segments = model.everything(image)
        for mask, seen in zip(masks, visible, strict=True):
            box = of_mask(mask)
            assert box is not None
            guess = model.segment(embedding, box=box).mask
            from_box.append((guess & mask).sum() / (guess | mask).sum())
            depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            guess = model.segment(
                embedding, points=np.array([[x - 0.5, y - 0.5]]), labels=np.array([1])
            ).mask
            from_point.append((guess & mask).sum() / (guess | mask).sum())
            if seen:
                sought += 1
                found += any((s.mask & mask).sum() / (s.mask | mask).sum() > 0.5 for s in segments)
    return {
        "objects": len(from_box),
        "visible objects": sought,
        "IoU from a box": float(np.mean(from_box)),
        "IoU from a point": float(np.mean(from_point)),
        "everything finds": found / max(sought, 1),
    }


def real_scans(sam: Segmenter, folder: Path) -> dict:
    """Idle regions on the benign scans of a COCO folder (`images/`, `annotations.json`)."""
    listed = json.loads((folder / "annotations.json").read_text())["images"]
    counts = {}
    for entry in listed:
        if entry["file_name"].startswith("benign"):
            scan = read_scan(folder / "images" / entry["file_name"])
            found = idle_regions(sam.everything(scan.pixels), [], scan.size)
            counts[entry["file_name"]] = len(found)
    values = list(counts.values())
    return {
        "scans": len(values),
        "with idle regions": float(np.mean([v > 0 for v in values])),
        "with five or more": float(np.mean([v >= 5 for v in values])),
        "by scan": counts,
    }
