"""What the painter paints into held-out windows."""

from collections.abc import Sequence

import numpy as np
import torch
from tqdm import tqdm

from xsyn_core.categories import CATALOGS
from xsyn_core.compositing import put_back
from xsyn_core.concealment import to_pixels
from xsyn_core.evaluation import classifier
from xsyn_core.evaluation.batches import conditions, keep_masks, to_tensor
from xsyn_core.evaluation.held_out import Case
from xsyn_core.frames import Frame
from xsyn_core.inpainting import Diffusion, denoise

NAMES = CATALOGS["pidray"].names


def paint(
    model: Diffusion, cases: Sequence[Case], steps: int, guidance: float, batch: int = 12
) -> list[np.ndarray]:
    """Every case's category painted into its benign window at its grounding box."""
    side, done = model.side, []
    frame = Frame((0, 0, side, side), (side, side))
    for k in tqdm(range(0, len(cases), batch), desc="painting"):
        some = cases[k : k + batch]
        masks = keep_masks(some, side // model.factor, model.factor)
        *_, last = denoise(
            model,
            to_tensor([c.benign for c in some]),
            masks,
            conditions(some, side),
            steps=steps,
            guidance=guidance,
            sampler="ddim",
            generator=torch.Generator().manual_seed(k),
        )
        for decoded, mask, one in zip(model.decode(last.latents), masks, some, strict=True):
            image = one.benign.copy()
            repainted = mask[0].numpy() == 0
            repainted = repainted.repeat(model.factor, 0).repeat(model.factor, 1)
            put_back(image, frame, to_pixels(decoded), repainted, [one.grounding], "keep")
            done.append(image)
    return done


def painted_items(
    judge: classifier.Classifier, cases: Sequence[Case], painted: Sequence[np.ndarray]
) -> dict:
    """How often the judge reads the right category, of simulated and of painted items."""
    truth = np.array([NAMES.index(c.category) for c in cases])

    def read(images: Sequence[np.ndarray]) -> np.ndarray:
        return classifier.predict(
            judge,
            np.stack(
                [
                    classifier.crop(i, np.array(c.grounding), margin=0.0)
                    for i, c in zip(images, cases, strict=True)
                ]
            ),
        )

    simulated, ours = read([c.image for c in cases]), read(painted)
    untouched = [
        np.abs(p.astype(float) - c.benign.astype(float)).mean() < 3
        for p, c in zip(painted, cases, strict=True)
    ]
    return {
        "items": len(cases),
        "simulated right": float((simulated == truth).mean()),
        "painted right": float((ours == truth).mean()),
        "nothing painted": float(np.mean(untouched)),
        "by category": {
            name: {
                "simulated": float((simulated == truth)[truth == k].mean()),
                "painted": float((ours == truth)[truth == k].mean()),
            }
            for k, name in enumerate(NAMES)
        },
    }
