"""How well the segmenter finds objects, on simulated and on real scans."""

import numpy as np
from tqdm import tqdm

from xsyn_core.boxes import of_mask
from xsyn_core.categories import PIDRAY
from xsyn_core.evaluation.real import RealScans
from xsyn_core.regions import idle_regions
from xsyn_core.segmentation import Segmenter
from xsyn_core.simulation.dataset import photograph
from xsyn_core.simulation.rendering import middle, silhouette
from xsyn_core.simulation.scene import random_scene
from xsyn_core.simulation.visibility import VISIBLE, edge_contrast

NAMES = PIDRAY.names
SIDE = 256
# Smaller objects, as a share of the scan, are not asked for.
LEAST = 0.005


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two bool masks (H, W); 0 if both are empty."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def segmenter(model: Segmenter, count: int) -> dict:
    """Mean IoU from a box and from one point, and recall of "everything", on whole scans.

    Prompts ask for every object over 0.5 % of the scan, "everything" is to find the visible ones
    (see `simulation.visibility`).
    """
    from_box, from_point, found, sought = [], [], 0, 0
    for index in tqdm(range(count), desc="segmenting"):
        rng = np.random.default_rng((2_000_000, index))
        scene = random_scene(rng, categories=[str(rng.choice(NAMES))])
        everything_there = [*scene.prohibited, *scene.contents]
        image = photograph([*scene.bag.parts, *everything_there], scene.view, (SIDE, SIDE), rng)
        masks = [silhouette(p, scene.view, (SIDE, SIDE)) for p in everything_there]
        masks = [m for m in masks if m.mean() >= LEAST]
        visible = edge_contrast(image, masks) >= VISIBLE
        embedding = model.embed(image)
        segments = model.everything(image)
        for mask, seen in zip(masks, visible, strict=True):
            box = of_mask(mask)
            assert box is not None
            from_box.append(mask_iou(model.segment(embedding, box=box).mask, mask))
            guess = model.segment(embedding, points=middle(mask)[None], labels=np.ones(1)).mask
            from_point.append(mask_iou(guess, mask))
            if seen:
                sought += 1
                found += any(mask_iou(s.mask, mask) > 0.5 for s in segments)
    return {
        "objects": len(from_box),
        "visible objects": sought,
        "IoU from a box": float(np.mean(from_box)),
        "IoU from a point": float(np.mean(from_point)),
        "everything finds": found / max(sought, 1),
    }


def segmenter_real(model: Segmenter, real: RealScans) -> dict:
    """Mean IoU with the pixel masks of real items, prompted with the boxes of their annotations.

    Raises:
        XsynError: no scan has a pixel mask.
    """
    values = []
    for scan, items in real.masked():
        embedding = model.embed(scan.pixels)
        values += [mask_iou(model.segment(embedding, box=box).mask, mask) for box, mask in items]
    return {"objects": len(values), "IoU from a box": float(np.mean(values))}


def idle_real(model: Segmenter, real: RealScans) -> dict:
    """Idle regions on the benign scans: shares of the scans with any, and with five or more."""
    counts = {}
    for name in tqdm(real.benign, desc="looking for idle regions"):
        scan = real.scan(name)
        counts[name] = len(idle_regions(model.everything(scan.pixels), [], scan.size))
    values = list(counts.values())
    return {
        "scans": len(values),
        "with idle regions": float(np.mean([v > 0 for v in values])),
        "with five or more": float(np.mean([v >= 5 for v in values])),
        "by scan": counts,
    }
