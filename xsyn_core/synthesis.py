"""The order of things: scan in, `Sample` out. Page, command line and batch run call this."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xsyn_core import boxes, grounding, refinement, regions
from xsyn_core.baggage import baggage
from xsyn_core.cache import Cache
from xsyn_core.categories import Catalog
from xsyn_core.checks import check_occlusion, check_points, covered
from xsyn_core.concealment import (
    Concealment,
    conceal,
    conceal_pixels,
    encode_patch,
    occlusion_of,
    place,
)
from xsyn_core.errors import XsynError
from xsyn_core.extent import visible_box
from xsyn_core.painter import paint
from xsyn_core.painting import Painting, Progress
from xsyn_core.sample import Grounding, Occlusion, OcclusionMode, PaintedObject, Request, Sample
from xsyn_core.scan import Scan
from xsyn_core.segmentation import Segment
from xsyn_core.weights import Models

MB = 1 << 20
# Grey levels by which a box has to change on average, or people are told.
HARDLY = 2.0
# Least IoU of a label with the box of what was painted, or people are told.
FITTING = 0.6


class Synthesizer:
    """The whole chain over one set of models. Safe to share between threads."""

    def __init__(self, models: Models):
        self.models = models
        # Of scans of a megapixel, about ten; the masks of one of 12 can be half a gigabyte.
        self._segments = Cache(256 * MB)
        self._embeddings = Cache(128 * MB)
        self._patches = Cache(16 * MB)
        self._bodies = Cache(32 * MB)

    @property
    def catalog(self) -> Catalog | None:
        """What the models were fine-tuned to paint, if they say so."""
        return self.models.diffusion.catalog

    def segments(self, scan: Scan) -> list[Segment]:
        """S = {s_k}: everything SAM finds in a scan, largest first; kept for the latest scans."""
        return self._segments.get(
            scan.sha256, lambda: self.models.segmenter.everything(scan.pixels)
        )

    def idle(self, scan: Scan, catalog: Catalog) -> list[Segment]:
        """The idle regions of a scan (Eq. 3), less those too small for the catalogue."""
        known = [a.box for a in scan.annotations]
        return regions.idle_regions(
            self.segments(scan), known, scan.size, min_area_ratio=catalog.min_area_ratio
        )

    def places(
        self, scan: Scan, catalog: Catalog, taken: Sequence[boxes.Box] = ()
    ) -> list[Segment]:
        """The idle regions where one more item would look at home: in the baggage, for SAM finds
        wheels and corners too, shaped as items are, and not over most of an annotated item;
        all where none is so.

        Args:
            taken: boxes of the other items, which they keep clear of.
        """
        clear = [
            region
            for region in self.idle(scan, catalog)
            if not any(boxes.area(boxes.intersection(region.box, box)) for box in taken)
        ]
        inside = regions.within(clear, self._baggage(scan))
        fitting = [region for region in inside if catalog.item_sized(region.box, scan.size)]
        return [region for region in fitting if not covered(scan.annotations, region.box)] or clear

    def propose(
        self,
        scan: Scan,
        catalog: Catalog,
        rng: np.random.Generator | int,
        taken: Sequence[boxes.Box] = (),
        category: str | None = None,
    ) -> Grounding:
        """Xsyn-A: one of the `places` at random, and a category that fits it, see
        `grounding.addition`.

        Raises:
            XsynError: no idle region.
        """
        rng = np.random.default_rng(rng)
        places = self.places(scan, catalog, taken)
        if taken and not places:
            raise XsynError(
                "The scan has no idle region left that keeps clear of the boxes there are. "
                "Draw one yourself, or move or delete a box."
            )
        return grounding.addition(places, catalog, scan.size, rng, category)

    def occluders(self, painting: Painting) -> list[Segment]:
        """The candidates of BOM (Eq. 3 with footnote 1).

        Those in the baggage come first, for with air an item would fade; then they are in the order
        of how near their boxes' area comes to that of the grounding boxes: the first ones neither
        vanish on the item nor exceed its window.
        """
        grounded = [g.box for g in painting.request.groundings]
        known = [a.box for a in painting.scan.annotations]
        found = regions.occluders(
            self.segments(painting.scan),
            known,
            grounded,
            painting.scan.size,
            min_area_ratio=painting.request.catalog.min_area_ratio,
        )
        typical = sum(map(boxes.area, grounded)) / len(grounded)
        inside = {id(s) for s in regions.within(found, self._baggage(painting.scan))}
        return sorted(
            found, key=lambda s: (id(s) not in inside, abs(math.log(boxes.area(s.box) / typical)))
        )

    def paint(self, scan: Scan, request: Request) -> Iterator[Progress]:
        """F of Eq. 4; yields after every denoising step. Closing the generator stops it.

        The same scan, request and weights give the same bytes on the same machine.

        Raises:
            XsynError: the request cannot be met; at the first step.
        """
        return paint(
            self.models,
            scan,
            request,
            lambda draft: self._concealments(draft, request.occluder, request.placement),
        )

    def made(self, painting: Painting) -> bool:
        """Whether these models painted it; others cannot read its latents."""
        return painting.weights == self.models.fingerprint

    def refine(
        self, painting: Painting, divisions: int | None = None, points: str | None = None
    ) -> Painting:
        """CAR (Section IV-B) on the image without occlusion; cheap enough to call again.

        Args:
            painting: from `paint`, refined before or not.
            divisions: n of MPS, 0 to 8; None takes the request's.
            points: "median" or "topk"; None takes the request's.

        Raises:
            XsynError: divisions or points out of range.
        """
        request = replace(
            painting.request,
            divisions=painting.request.divisions if divisions is None else divisions,
            points=painting.request.points if points is None else points,  # type: ignore[arg-type]
        )
        check_points(request)
        objects: list[Any] = [None] * len(request.groundings)
        for window in painting.windows:
            x1, y1, x2, y2 = window.frame.inside(painting.scan.size)
            for i in window.grounded:
                image = np.ascontiguousarray(painting.clear[y1:y2, x1:x2])
                key = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
                embedding = self._embeddings.get(
                    key,
                    lambda image=image: self.models.segmenter.embed(image),  # type: ignore[misc]
                )
                asked = request.groundings[i]
                result = refinement.refine(
                    self.models.segmenter,
                    image,
                    painting.attention[i],
                    _moved(asked.box, -x1, -y1),
                    request.divisions,
                    request.points,
                    embedding=embedding,
                )
                refined = _moved(result.box, x1, y1)
                mask, flags = None, result.flags
                if result.mask is not None:
                    mask = np.zeros(painting.scan.size, bool)
                    mask[y1:y2, x1:x2] = result.mask
                    flags += _ill_fitting(painting, i, refined)
                objects[i] = PaintedObject(
                    category=asked.category,
                    grounding=asked.box,
                    refined=refined,
                    mask=mask,
                    window=(x1, y1, x2, y2),
                    attention=painting.attention[i],
                    region=result.region,
                    points=np.asarray(result.points, np.float32).reshape(-1, 2)
                    + np.float32([x1, y1]),  # type: ignore[arg-type,operator]
                    labels=result.labels,
                    flags=flags,
                )
        return replace(painting, request=request, objects=tuple(objects))

    def occlude(
        self,
        painting: Painting,
        alpha: float = 0.3,
        occluder: int = 0,
        placement: int = 0,
        mode: OcclusionMode = "latent",
        enabled: bool = True,
    ) -> Sample:
        """BOM (Section IV-C) on a painting: nothing is denoised again.

        Every grounded and every kept annotated item is occluded (Eq. 8). Labels stay those from
        before occlusion. Alpha alone never moves anything.

        Args:
            painting: from `refine`; refined first if it is not.
            alpha: 0 (the clear image) to 1.
            occluder: index into `occluders(painting)`, modulo their number.
            placement: seed of Eq. 9.
            mode: "latent" is BOM, "pixel" its rival on pixels; "every-step" takes what was blended
                while painting, and so asks for the painting's own alpha, occluder and placement.
            enabled: False gives the clear image.

        Raises:
            XsynError: alpha outside 0 to 1, an unknown mode, or "every-step" for a painting that
                was painted without it, or with other settings.
        """
        request = replace(
            painting.request,
            alpha=alpha,
            occluder=occluder,
            placement=placement,
            occlusion=mode,
            occlude=enabled,
        )
        check_occlusion(request)
        if not painting.objects:
            painting = self.refine(painting)
            request = replace(
                request, divisions=painting.request.divisions, points=painting.request.points
            )
        if painting.occlusion is not None or (enabled and mode == "every-step"):
            own = painting.request
            same = (own.occlude, own.alpha, own.occluder, own.placement, own.occlusion)
            if not enabled or same != (True, alpha, occluder, placement, mode):
                raise XsynError(
                    "Occlusion at every step happens while painting: "
                    "choose it with its settings first, then paint again."
                )
            done = painting.occlusion
            return self._sample(painting, request, painting.clear, done, done is None)
        concealments = self._concealments(painting, occluder, placement) if enabled else ()
        if not concealments:
            return self._sample(painting, request, painting.clear, None, enabled)
        if mode == "pixel":
            image = conceal_pixels(painting.clear, concealments, alpha)
        else:
            image = painting.clear.copy()
            for window, concealment in zip(painting.windows, concealments, strict=True):
                conceal(image, self.models.diffusion, window.latents, concealment, alpha)
        return self._sample(
            painting, request, image, occlusion_of(concealments, alpha, painting.scan.size), False
        )

    def synthesize(self, scan: Scan, request: Request) -> Sample:
        """Paint, refine and occlude.

        Raises:
            XsynError: the request cannot be met.
        """
        *_, last = self.paint(scan, request)
        return self.occlude(
            self.refine(last.result),  # type: ignore[arg-type]
            request.alpha,
            request.occluder,
            request.placement,
            request.occlusion,
            request.occlude,
        )

    def _baggage(self, scan: Scan) -> np.ndarray:
        return self._bodies.get(scan.sha256, lambda: baggage(scan.pixels))

    def _concealments(
        self, painting: Painting, occluder: int, placement: int
    ) -> tuple[Concealment, ...]:
        """How the chosen occluder falls into each window; () without an occluder."""
        candidates = self.occluders(painting)
        if not candidates:
            return ()
        box = candidates[occluder % len(candidates)].box
        model, scan = self.models.diffusion, painting.scan
        bodies = self._baggage(scan)
        result: list[Concealment] = []
        occluded: list[boxes.Box] = []
        for number, window in enumerate(painting.windows):
            patch = None
            if painting.request.frame == "window":
                key = (scan.sha256, tuple(box), window.frame.scale, window.frame.size)
                patch = self._patches.get(
                    key,
                    lambda frame=window.frame: encode_patch(model, scan.pixels, box, frame),  # type: ignore[misc]
                )
            rng = np.random.default_rng((placement, number))
            frame, fronts = window.frame, window.foregrounds
            placed = place(model, frame, scan.pixels, box, fronts, patch, bodies, rng, occluded)
            occluded += placed.areas(scan.size)
            result.append(placed)
        return tuple(result)

    def _sample(
        self,
        painting: Painting,
        request: Request,
        image: np.ndarray,
        occlusion: Occlusion | None,
        without_occluder: bool,
    ) -> Sample:
        notes = (*painting.notes, *_hardly_painted(painting))
        if without_occluder:
            notes = (
                *notes,
                "No occluder was found: no segment of the scan is clear of the items and large "
                "enough, so the item is not hidden.",
            )
        return Sample(
            scan=painting.scan,
            request=request,
            image=image,
            clear=painting.clear,
            objects=painting.objects,
            kept=painting.kept,
            occlusion=occlusion,
            prompt=painting.prompt,
            weights=painting.weights,
            notes=notes,
        )


def _hardly_painted(painting: Painting) -> list[str]:
    """A remark for each box in which nothing is seen of an item."""
    notes = []
    for asked in painting.request.groundings:
        x1, y1, x2, y2 = boxes.outward(boxes.clip(asked.box, painting.scan.size))
        before, after = (
            pixels[y1:y2, x1:x2].astype(np.float32) for pixels in (painting.behind, painting.clear)
        )
        if np.abs(after - before).mean() < HARDLY:
            notes.append(
                f"Hardly anything was painted for {asked.category}: "
                "try another seed, or another place."
            )
    return notes


def _ill_fitting(painting: Painting, number: int, label: boxes.Box) -> tuple[str, ...]:
    """A flag for a label that differs much from the extent of its item. The scan tells that extent
    if the item was laid over it, and nothing else was."""
    places = [asked.box for asked in painting.request.groundings]
    box = places.pop(number)
    alone = not any(boxes.area(boxes.intersection(box, other)) for other in places)
    if painting.request.background != "keep" or painting.occlusion is not None or not alone:
        return ()
    x1, y1, x2, y2 = boxes.outward(boxes.clip(box, painting.scan.size))
    extent = visible_box(painting.clear[y1:y2, x1:x2], painting.behind[y1:y2, x1:x2], box)
    if extent is None or boxes.iou(_moved(extent, x1, y1), label) >= FITTING:
        return ()
    return (
        "The label fits badly what was painted: look at it. Other points, another seed or a "
        "tighter box may help.",
    )


def _moved(box: Sequence[float], x: float, y: float) -> boxes.Box:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y
