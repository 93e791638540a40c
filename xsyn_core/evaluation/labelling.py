"""How near refined boxes come to the items (Tables VII and VIII)."""

from collections.abc import Sequence

import numpy as np
import torch
from tqdm import tqdm

from xsyn_core import refinement
from xsyn_core.attention import AttentionMaps
from xsyn_core.boxes import iou
from xsyn_core.evaluation.batches import conditions, keep_masks, to_tensor
from xsyn_core.evaluation.held_out import Case
from xsyn_core.inpainting import Diffusion, denoise
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


def labels(
    model: Diffusion, sam: Segmenter, cases: Sequence[Case], steps: int, guidance: float
) -> dict:
    """Tables VII and VIII on items of known place: noised half way, denoised with their attention
    captured, then refined from the loose box. Mean IoU of the label with the truth."""
    scores: dict[str, list[float]] = {name: [] for name, *_ in SETTINGS}
    scores["grounding box"] = []
    side, cells = model.side, model.side // model.factor
    for k in tqdm(range(0, len(cases), 12), desc="labelling"):
        some = cases[k : k + 12]
        asked = conditions(some, side)
        columns = [model.columns(c.prompt, [(0, len(c.prompt))]) for c in asked]
        maps = AttentionMaps(columns, (cells, cells))
        *_, last = denoise(
            model,
            to_tensor([c.image for c in some]),
            keep_masks(some, cells, model.factor),
            asked,
            steps=steps,
            guidance=guidance,
            sampler="ddim",
            generator=torch.Generator().manual_seed(k),
            maps=maps,
            skip=steps // 2,
        )
        del last
        for row, one in enumerate(some):
            attention = maps.maps(row, (side, side))[0]
            embedding = sam.embed(one.image)
            scores["grounding box"].append(iou(one.grounding, one.box))
            for name, divisions, strategy in SETTINGS:
                result = refinement.refine(
                    sam,
                    one.image,
                    np.maximum(attention, 0),
                    one.grounding,
                    divisions,
                    strategy,  # type: ignore[arg-type]
                    embedding=embedding,
                )
                scores[name].append(iou(result.box, one.box))
    return {"items": len(cases), **{name: float(np.mean(v)) for name, v in scores.items()}}
