"""Stand-ins for the models. Items are grey blocks, labelled with their grounding boxes."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from xsyn_core import boxes, grounding
from xsyn_core.categories import Catalog
from xsyn_core.checks import checked_request, warnings
from xsyn_core.sample import Occlusion, PaintedObject, Request, Sample
from xsyn_core.scan import Scan

# What CAR tells of an item.
FLAGS = {"Gun": ("The attention map is flat: the box alone located the item.",)}
REGIONS = ((10, 10, 60, 70), (80, 10, 250, 160), (300, 20, 420, 150))


@dataclass(frozen=True)
class Region:
    box: boxes.Box
    area: int = 7


@dataclass(frozen=True)
class Step:
    step: int
    steps: int
    result: tuple[Scan, Request] | None


class MadeSegmenter:
    def everything(self, image: np.ndarray) -> list[Region]:
        bag = Region((0, 0, *image.shape[1::-1]), image.size)
        return [bag, bag, *map(Region, REGIONS)]


class MadeSynthesizer:
    fingerprint = "00"

    def __init__(self, models: object) -> None:
        self.models = SimpleNamespace(fingerprint=self.fingerprint)

    def idle(self, scan: Scan, catalog: Catalog) -> list[Region]:
        return [Region(box) for box in REGIONS if box[2] <= scan.size[1] and box[3] <= scan.size[0]]

    def propose(self, scan: Scan, catalog: Catalog, rng, taken=(), category=None):
        places = [r for r in self.idle(scan, catalog) if r.box not in taken]
        return grounding.addition(places, catalog, scan.size, rng, category)

    def paint(self, scan: Scan, request: Request) -> Iterator[Step]:
        request = checked_request(scan, request)
        grounding.kept_annotations(scan, request.groundings, request.variant)
        # as if finished in two steps more
        total = request.steps + 2
        for step in range(1, total + 1):
            yield Step(step, total, (scan, request) if step == total else None)

    def refine(self, painting):
        return painting

    def occlude(self, painting, alpha, occluder, placement, mode, enabled) -> Sample:
        scan, request = painting
        image = scan.pixels.copy()
        objects = []
        for asked in request.groundings:
            x1, y1, x2, y2 = boxes.outward(asked.box)
            mask = np.zeros(scan.size, bool)
            mask[y1:y2, x1:x2] = True
            image[mask] = 90
            empty = np.zeros((2, 2), np.float32)
            objects.append(
                PaintedObject(
                    asked.category, asked.box, asked.box, mask, asked.box, empty, empty > 0,
                    np.zeros((0, 2), np.float32), np.zeros(0, int), FLAGS.get(asked.category, ()),
                )
            )  # fmt: skip
        return Sample(
            scan=scan,
            request=request,
            image=image,
            clear=image,
            objects=tuple(objects),
            kept=grounding.kept_annotations(scan, request.groundings, request.variant),
            occlusion=Occlusion(alpha, (0, 0, 5, 5), ()) if enabled else None,
            prompt=grounding.prompt([g.category for g in request.groundings]),
            weights=self.models.fingerprint,
            notes=warnings(scan, request),
        )
