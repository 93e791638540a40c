"""What the painter paints into held-out windows: categories read right, realism, variety."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

from xsyn_core.boxes import Box
from xsyn_core.categories import CATALOGS
from xsyn_core.checks import checked_guidance
from xsyn_core.diffusion import Diffusion
from xsyn_core.evaluation import classifier
from xsyn_core.evaluation.held_out import Case, case
from xsyn_core.evaluation.realism import frechet, spread
from xsyn_core.extent import visible_box
from xsyn_core.item_frames import ItemFrames
from xsyn_core.sample import Background

Guidance = Annotated[
    float, typer.Option(callback=checked_guidance, help="Of denoising, from 1 to 30.")
]


@dataclass(frozen=True, eq=False)
class Painted:
    """A category painted into the benign window of a case.

    Attributes:
        case: what was asked for.
        image: uint8 (H, W, 3).
        attention: float32 (H, W), the map of the category while it was painted.
    """

    case: Case
    image: np.ndarray
    attention: np.ndarray

    @property
    def truth(self) -> Box | None:
        """The box of what was painted, pixels; None where nothing was."""
        return visible_box(self.image, self.case.benign, self.case.grounding)


def paint(
    model: Diffusion,
    cases: Sequence[Case],
    steps: int,
    guidance: float,
    seed: int = 0,
    batch: int = 12,
    background: Background = "keep",
) -> list[Painted]:
    """Every case's category painted into its benign window at its grounding box.

    Each is painted with noise and an attitude of its own, so that a case given twice is painted
    with two seeds.
    """
    done: list[Painted] = []
    for k in tqdm(range(0, len(cases), batch), desc="painting"):
        some = cases[k : k + batch]
        frames = ItemFrames(
            model,
            [c.benign for c in some],
            [c.category for c in some],
            [c.grounding for c in some],
            np.random.default_rng((seed, k)),
        )
        noise = int(np.random.SeedSequence((seed, k)).generate_state(1)[0])
        latents = frames.denoise(steps, guidance, noise)
        attention = frames.attention()
        done += map(Painted, some, frames.painted(latents, attention, background), attention)
    return done


def crops(images: Sequence[np.ndarray], cases: Sequence[Case]) -> np.ndarray:
    """What the judge sees: uint8 (N, CROP, CROP, 3), cut at the grounding boxes."""
    return np.stack(
        [
            classifier.crop(image, np.array(one.grounding), margin=0.0)
            for image, one in zip(images, cases, strict=True)
        ]
    )


def read_right(
    judge: classifier.Classifier, images: Sequence[np.ndarray], cases: Sequence[Case]
) -> np.ndarray:
    """Whether the judge reads the category of each case in its picture: bool (N,).

    Where catalogues have several words for one thing, each is right (see `classifier.SAME`).
    """
    truth = np.array([classifier.class_of(c.category) for c in cases])
    return classifier.predict(judge, crops(images, cases)) == truth


def categories(judge: classifier.Classifier, painted: Sequence[Painted]) -> dict:
    """How often the judge reads the right category, of simulated and of painted items, and how
    many boxes hold nothing; shares, 0 to 1."""
    cases = [p.case for p in painted]
    names = np.array([c.category for c in cases])
    simulated = read_right(judge, [c.image for c in cases], cases)
    ours = read_right(judge, [p.image for p in painted], cases)

    def shares(chosen: np.ndarray) -> dict[str, float]:
        return {
            "simulated": float(simulated[chosen].mean()),
            "painted": float(ours[chosen].mean()),
        }

    catalogs = {c.title: np.isin(names, c.names) for c in CATALOGS.values()}
    return {
        "items": len(painted),
        "simulated right": float(simulated.mean()),
        "painted right": float(ours.mean()),
        "nothing painted": float(np.mean([p.truth is None for p in painted])),
        "by catalogue": {title: shares(own) for title, own in catalogs.items() if own.any()},
        "by category": {str(name): shares(names == name) for name in dict.fromkeys(names)},
    }


def realism(
    judge: classifier.Classifier, painted: Sequence[Painted], others: Sequence[Case]
) -> dict:
    """How far painted crops are from simulated ones, in the judge's features.

    Both distances are to the same set: painted items lie in the windows of the simulated ones
    that they are compared with, so that nothing but the items can make a difference.

    Args:
        painted: at least two.
        others: as many simulated cases of the same categories, in windows of their own.

    Returns:
        the squared Frechet distance of the painted crops to those of `others`, that of the
        simulated crops of the painted cases to them, and their ratio, about 1 at best.
    """
    cases = [p.case for p in painted]
    ours, theirs, apart = (
        classifier.features(judge, crops(images, of))
        for images, of in (
            ([p.image for p in painted], cases),
            ([c.image for c in cases], cases),
            ([c.image for c in others], others),
        )
    )
    far, near = frechet(ours, apart), frechet(theirs, apart)
    return {
        "painted to simulated": far,
        "simulated to simulated": near,
        "Frechet distance over the simulator's own": far / near,
    }


def variety(
    judge: classifier.Classifier,
    model: Diffusion,
    requests: Sequence[Case],
    steps: int,
    guidance: float,
    seeds: int = 4,
) -> tuple[dict, np.ndarray]:
    """Whether every seed paints a different item: one request painted with several seeds, against
    as many different simulated items of the category in the same spot of the same bag.

    Args:
        requests: cases number 0 of categories.
        seeds: of each request, two at the least.

    Returns:
        mean pairwise distances in the judge's features and their ratio; and a sheet, a row a
        request, painted items left and simulated ones right.
    """
    repeated = [request for request in requests for _ in range(seeds)]
    painted = paint(model, repeated, steps, guidance, seed=1)
    simulated = [
        case(request.category, 0, model.side, other, buried=False)
        for request in tqdm(requests, desc="simulating others")
        for other in range(1, seeds + 1)
    ]
    images = [p.image for p in painted], [c.image for c in simulated]
    seen = crops(images[0], repeated), crops(images[1], simulated)
    apart = [
        float(np.mean([spread(found[k : k + seeds]) for k in range(0, len(found), seeds)]))
        for found in (classifier.features(judge, some) for some in seen)
    ]
    sheet = np.vstack(
        [
            np.hstack([*images[0][k : k + seeds], *images[1][k : k + seeds]])
            for k in range(0, len(repeated), seeds)
        ]
    )
    return {
        "requests": len(requests),
        "seeds": seeds,
        "between painted": apart[0],
        "between simulated": apart[1],
        "distance between seeds over the simulator's own": apart[0] / apart[1],
    }, sheet
