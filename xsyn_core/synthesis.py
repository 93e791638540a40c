"""The order of things: scan in, `Sample` out. Page, command line and batch run call this."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from xsyn_core import boxes, grounding, refinement, regions
from xsyn_core.attention import AttentionMaps
from xsyn_core.cache import Cache
from xsyn_core.categories import catalog as find_catalog
from xsyn_core.checks import check_occlusion, check_points, checked_request, warnings
from xsyn_core.compositing import composite, put_back, weight
from xsyn_core.concealment import (
    Concealment,
    conceal,
    conceal_pixels,
    during_denoising,
    encode_patch,
    place,
    to_pixels,
    to_tensor,
)
from xsyn_core.diffusion import Condition
from xsyn_core.errors import XsynError
from xsyn_core.finishing import finish, finishing_steps, pixels_of, repainted_cells
from xsyn_core.frames import Frame, whole, windows
from xsyn_core.inpainting import denoise
from xsyn_core.painting import Painting, Progress, Window
from xsyn_core.sample import Grounding, Occlusion, OcclusionMode, PaintedObject, Request, Sample
from xsyn_core.scan import Annotation, Scan
from xsyn_core.segmentation import Segment
from xsyn_core.weights import Models

# Decoding a preview costs about half a step.
PREVIEWS = 6
# Grey levels by which a box has to change on average, or people are told.
HARDLY = 2.0


class Synthesizer:
    """The whole chain over one set of models. Safe to share between threads."""

    def __init__(self, models: Models):
        self.models = models
        self._segments = Cache(8)
        self._embeddings = Cache(16)
        self._patches = Cache(64)

    def segments(self, scan: Scan) -> list[Segment]:
        """S = {s_k}: everything SAM finds in a scan, largest first; kept for a few scans."""
        return self._segments.get(
            scan.sha256, lambda: self.models.segmenter.everything(scan.pixels)
        )

    def idle(self, scan: Scan, catalog: str) -> list[Segment]:
        """The idle regions of a scan (Eq. 3), less those too small for the catalogue."""
        known = [a.box for a in scan.annotations]
        ratio = find_catalog(catalog).min_area_ratio
        return regions.idle_regions(self.segments(scan), known, scan.size, min_area_ratio=ratio)

    def propose(self, scan: Scan, catalog: str, rng: np.random.Generator | int) -> Grounding:
        """Xsyn-A: a random idle region with a category that fits its area.

        Raises:
            XsynError: no idle region.
        """
        rng = np.random.default_rng(rng)
        return grounding.addition(self.idle(scan, catalog), find_catalog(catalog), scan.size, rng)

    def occluders(self, painting: Painting) -> list[Segment]:
        """The candidates of BOM (Eq. 3 with footnote 1).

        In the order of how near their boxes' area comes to that of the grounding boxes: the first
        ones neither vanish on the item nor exceed its window.
        """
        grounded = [g.box for g in painting.request.groundings]
        known = [a.box for a in painting.scan.annotations]
        found = regions.occluders(self.segments(painting.scan), known, grounded, painting.scan.size)
        typical = sum(map(boxes.area, grounded)) / len(grounded)
        return sorted(found, key=lambda s: abs(math.log(boxes.area(s.box) / typical)))

    def paint(self, scan: Scan, request: Request) -> Iterator[Progress]:
        """F of Eq. 4; yields after every denoising step. Closing the generator stops it.

        The same scan, request and weights give the same bytes on the same machine.

        Raises:
            XsynError: the request cannot be met; at the first step.
        """
        request = checked_request(scan, request)
        kept = grounding.kept_annotations(scan, request.groundings, request.variant)
        model = self.models.diffusion
        names = [g.category for g in request.groundings]
        places = [g.box for g in request.groundings]
        if request.frame == "whole":
            frames = [(whole(scan.size, model.side, model.multiple), tuple(range(len(places))))]
        else:
            frames = windows(places, scan.size, model.side)
        images = torch.stack([to_tensor(frame.cut(scan.pixels)) for frame, _ in frames])
        masks = torch.stack(
            [
                1 - torch.from_numpy(self._cells(request, frame, members)).float()[None]
                for frame, members in frames
            ]
        )
        rng = np.random.default_rng(request.seed)
        attitudes = [model.attitudes.choose(n, b, rng) for n, b in zip(names, places, strict=True)]
        conditions, columns = [], []
        for frame, members in frames:
            here = tuple(names[i] for i in members), tuple(attitudes[i] for i in members)
            text = grounding.prompt(*here)
            units = tuple(frame.unit(places[i]) for i in members)
            conditions.append(Condition(text, grounding.phrases(*here), units, here[1]))
            columns.append(model.columns(text, grounding.spans(*here)))
        maps = AttentionMaps(columns, tuple(masks.shape[-2:]))  # type: ignore[arg-type]
        draft = Painting(
            scan=scan,
            request=request,
            prompt=grounding.prompt(names, attitudes),
            weights=self.models.fingerprint,
            windows=self._windows(scan, places, frames, kept),
            clear=scan.pixels,
            attention=(),
            kept=kept,
            notes=warnings(scan, request),
        )
        after, during = None, None
        if request.occlude and request.occlusion == "every-step":
            during = self._concealments(draft, request.occluder, request.placement)
            if during:
                after = during_denoising(during[: len(frames)], request.alpha, request.placement)
        every = max(1, round(request.steps / PREVIEWS))
        painted = draft.windows[: len(frames)]
        extra = finishing_steps(model, request, painted)
        total = request.steps + extra
        for step in denoise(
            model,
            images,
            masks,
            conditions,
            steps=request.steps,
            guidance=request.guidance,
            sampler=request.sampler,
            generator=torch.Generator().manual_seed(request.seed),
            maps=maps,
            after=after,
        ):
            preview = None
            if step.number % every == 0 or step.number == request.steps:
                painted = _filled(painted, step.latents)
                clear = preview = self._paste(scan, request, painted, maps)
            if step.number < total:
                yield Progress(step.number, total, preview)
        if extra:
            for number, finished in finish(model, scan, request, painted, conditions):
                if finished is None:
                    yield Progress(request.steps + number, total)
                else:
                    painted = finished
            clear = self._paste(scan, request, painted, maps)
        attention: list[Any] = [None] * len(places)
        for row, (frame, members) in enumerate(frames):
            for i, values in zip(members, maps.maps(row, frame.size), strict=True):
                attention[i] = np.maximum(frame.restore(values, scan.size), 0)
        painting = replace(
            draft,
            windows=(*painted, *draft.windows[len(frames) :]),
            clear=clear,
            attention=tuple(attention),
        )
        if during:
            painting = self._keep_every_step(painting, during, len(frames))
        yield Progress(total, total, painting.clear, painting)

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
                mask = None
                if result.mask is not None:
                    mask = np.zeros(painting.scan.size, bool)
                    mask[y1:y2, x1:x2] = result.mask
                objects[i] = PaintedObject(
                    category=asked.category,
                    grounding=asked.box,
                    refined=_moved(result.box, x1, y1),
                    mask=mask,
                    window=(x1, y1, x2, y2),
                    attention=painting.attention[i],
                    region=result.region,
                    points=np.asarray(result.points, np.float32).reshape(-1, 2)
                    + np.float32([x1, y1]),  # type: ignore[arg-type,operator]
                    labels=result.labels,
                    flags=tuple(result.flags),
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
            painting, request, image, _record(concealments, alpha, painting.scan.size), False
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

    def _windows(
        self,
        scan: Scan,
        places: Sequence[boxes.Box],
        frames: Sequence[tuple[Frame, tuple[int, ...]]],
        kept: Sequence[Annotation],
    ) -> tuple[Window, ...]:
        """Painted windows with their foregrounds, then windows of the known items elsewhere."""
        model = self.models.diffusion
        found = [[places[i] for i in members] for _, members in frames]
        elsewhere = []
        for known in kept:
            box = boxes.clip(known.box, scan.size)
            if known.iscrowd or boxes.area(box) == 0:
                continue
            for row, (frame, _) in enumerate(frames):
                if boxes.intersection(box, frame.box) == tuple(box):
                    found[row].append(box)
                    break
            else:
                elsewhere.append(box)
        nothing = torch.zeros(0)
        painted = [
            Window(frame, nothing, members, tuple(here))
            for (frame, members), here in zip(frames, found, strict=True)
        ]
        if not elsewhere:
            return tuple(painted)
        others = windows(elsewhere, scan.size, model.side)
        images = torch.stack([to_tensor(frame.cut(scan.pixels)) for frame, _ in others])
        latents = model.encode(images).cpu()
        return (
            *painted,
            *(
                Window(frame, latents[row], (), tuple(elsewhere[i] for i in members))
                for row, (frame, members) in enumerate(others)
            ),
        )

    def _concealments(
        self, painting: Painting, occluder: int, placement: int
    ) -> tuple[Concealment, ...]:
        """How the chosen occluder falls into each window; () without an occluder."""
        candidates = self.occluders(painting)
        if not candidates:
            return ()
        box = candidates[occluder % len(candidates)].box
        model, scan = self.models.diffusion, painting.scan
        result = []
        for number, window in enumerate(painting.windows):
            patch = None
            if painting.request.frame == "window":
                key = (scan.sha256, tuple(box), window.frame.scale, window.frame.size)
                patch = self._patches.get(
                    key,
                    lambda frame=window.frame: encode_patch(model, scan.pixels, box, frame),  # type: ignore[misc]
                )
            rng = np.random.default_rng((placement, number))
            result.append(
                place(model, window.frame, scan.pixels, box, window.foregrounds, patch, rng)
            )
        return tuple(result)

    def _cells(self, request: Request, frame: Frame, members: Sequence[int]) -> np.ndarray:
        """The latent cells of a frame that are repainted: bool (h, w)."""
        here = [request.groundings[i].box for i in members]
        return repainted_cells(frame, here, self.models.diffusion.factor)

    def _paste(
        self, scan: Scan, request: Request, windows: Sequence[Window], maps: AttentionMaps
    ) -> np.ndarray:
        """The scan with what was painted inside the grounding boxes and their feather."""
        image, model = scan.pixels.copy(), self.models.diffusion
        background = request.background if request.variant == "add" else "repaint"
        for row, window in enumerate(windows):
            frame, members = window.frame, window.grounded
            repainted = pixels_of(self._cells(request, frame, members), model.factor)
            targets = [request.groundings[i].box for i in members]
            attention = maps.maps(row, frame.size)
            decoded = to_pixels(model.decode(window.latents[None])[0])
            put_back(image, frame, decoded, repainted, targets, attention, background)
        return image

    def _keep_every_step(
        self, painting: Painting, concealments: Sequence[Concealment], painted: int
    ) -> Painting:
        """Put what was blended inside the loop into the image: the occluded areas of the painted
        windows as they came out, those of the others blended once."""
        image, alpha = painting.clear.copy(), painting.request.alpha
        model, size = self.models.diffusion, painting.scan.size
        for row, (window, hidden) in enumerate(zip(painting.windows, concealments, strict=True)):
            if row >= painted:
                conceal(image, model, window.latents, hidden, alpha)
                continue
            inside = window.frame.inside(size)
            decoded = window.frame.restore(to_pixels(model.decode(window.latents[None])[0]), size)
            composite(image, decoded, inside, weight(hidden.areas(size), inside))
        return replace(painting, clear=image, occlusion=_record(concealments, alpha, size))

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
                "No occluder was found: every segment of the scan touches an item, "
                "so the item is not hidden.",
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


def _filled(windows: Sequence[Window], latents: torch.Tensor) -> tuple[Window, ...]:
    """Painted windows with their latents, (B, c, h, w)."""
    return tuple(replace(w, latents=z) for w, z in zip(windows, latents.cpu(), strict=True))


def _hardly_painted(painting: Painting) -> list[str]:
    """A remark for each box in which the scan looks as before."""
    notes = []
    for asked in painting.request.groundings:
        x1, y1, x2, y2 = boxes.outward(boxes.clip(asked.box, painting.scan.size))
        before, after = (
            pixels[y1:y2, x1:x2].astype(np.float32)
            for pixels in (painting.scan.pixels, painting.clear)
        )
        if np.abs(after - before).mean() < HARDLY:
            notes.append(
                f"Hardly anything was painted for {asked.category}: "
                "try another seed, or another place."
            )
    return notes


def _record(
    concealments: Sequence[Concealment], alpha: float, scan_size: tuple[int, int]
) -> Occlusion:
    areas = [area for c in concealments for area in c.areas(scan_size)]
    return Occlusion(alpha, concealments[0].source, tuple(areas))


def _moved(box: Sequence[float], x: float, y: float) -> boxes.Box:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y
