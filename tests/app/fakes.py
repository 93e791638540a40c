"""A synthesizer without models: plain image processing behind the same interface."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from xsyn_core import boxes
from xsyn_core.categories import Catalog
from xsyn_core.errors import XsynError
from xsyn_core.sample import Grounding, Occlusion, PaintedObject, Request, Sample
from xsyn_core.scan import Scan


@dataclass(frozen=True, eq=False)
class FakeSegment:
    mask: np.ndarray
    box: boxes.Box
    area: int
    predicted_iou: float = 0.9


@dataclass(frozen=True, eq=False)
class FakePainting:
    scan: Scan
    request: Request
    clear: np.ndarray
    weights: str
    objects: tuple[PaintedObject, ...] = ()


@dataclass(frozen=True, eq=False)
class FakeProgress:
    step: int
    steps: int
    preview: np.ndarray | None = None
    result: FakePainting | None = None


class FakeSynthesizer:
    """Paints a steel-blue bar into each box; `pause` seconds a step, `finishing` for a last one."""

    def __init__(self, pause: float = 0.02, weights: str = 64 * "0"):
        self.pause, self.finishing, self.weights = pause, 0.0, weights
        self.catalog: Catalog | None = None
        self._found: dict[str, list[FakeSegment]] = {}

    def segments(self, scan: Scan) -> list[FakeSegment]:
        if scan.sha256 not in self._found:
            self._found[scan.sha256] = self._segments(scan)
        return self._found[scan.sha256]

    def _segments(self, scan: Scan) -> list[FakeSegment]:
        grey = cv2.GaussianBlur(cv2.cvtColor(scan.pixels, cv2.COLOR_RGB2GRAY), (0, 0), 4)
        found = []
        for level in (90, 130, 170, 205):
            count, labels, stats, _ = cv2.connectedComponentsWithStats(
                (np.abs(grey.astype(int) - level) < 18).astype(np.uint8)
            )
            for i in range(1, count):
                x, y, w, h, area = (int(v) for v in stats[i])
                if area > 400:
                    found.append(FakeSegment(labels == i, (x, y, x + w, y + h), area))
        return sorted(found, key=lambda s: -s.area)[2:]

    def idle(self, scan: Scan, catalog: Catalog) -> list[FakeSegment]:
        least = catalog.min_area_ratio * scan.size[0] * scan.size[1]
        known = [a.box for a in scan.annotations]
        return [
            s
            for s in self.segments(scan)
            if boxes.area(s.box) >= least and all(boxes.iou(s.box, b) < 0.2 for b in known)
        ]

    def propose(self, scan: Scan, catalog: Catalog, rng, taken=()) -> Grounding:
        found = self.idle(scan, catalog)
        if not found:
            raise XsynError("No idle region. Draw a box.")
        rng = np.random.default_rng(rng)
        chosen = found[rng.integers(len(found))]
        names = catalog.fitting(chosen.box, scan.size)
        return Grounding(names[rng.integers(len(names))], chosen.box)

    def paint(self, scan: Scan, request: Request) -> Iterator[FakeProgress]:
        rng = np.random.default_rng(request.seed)
        clear = scan.pixels.copy()
        for grounding in request.groundings:
            x1, y1, x2, y2 = boxes.outward(grounding.box)
            angle = float(rng.uniform(0, 180))
            shape = np.zeros(scan.size, np.uint8)
            size = (0.8 * (x2 - x1), 0.35 * (y2 - y1))
            rectangle = ((x1 + x2) / 2, (y1 + y2) / 2), size, angle
            cv2.fillPoly(shape, [cv2.boxPoints(rectangle).astype(int)], 255)
            shape[: max(0, y1)] = shape[y2:] = 0
            shape[:, : max(0, x1)] = shape[:, x2:] = 0
            soft = cv2.GaussianBlur(shape, (0, 0), 1.2)[..., None] / 255
            clear = (clear * (1 - soft) + soft * clear * np.array([0.2, 0.3, 0.62])).astype(
                np.uint8
            )
        every = max(1, request.steps // 6)
        total = request.steps + 2
        for step in range(1, request.steps + 1):
            time.sleep(self.pause)
            preview = None
            if step % every == 0:
                part = step / request.steps
                noise = rng.normal(0, 60 * (1 - part), scan.pixels.shape)
                preview = scan.pixels.copy()
                for grounding in request.groundings:
                    x1, y1, x2, y2 = boxes.outward(grounding.box)
                    crop = np.s_[y1:y2, x1:x2]
                    preview[crop] = np.clip(clear[crop] + noise[crop], 0, 255)
            yield FakeProgress(step, total, preview)
        yield FakeProgress(total - 1, total)
        time.sleep(self.finishing)
        painting = FakePainting(scan, request, clear, self.weights)
        yield FakeProgress(total, total, clear, painting)

    def made(self, painting: FakePainting) -> bool:
        return painting.weights == self.weights

    def refine(self, painting: FakePainting, divisions=None, points=None) -> FakePainting:
        request = replace(
            painting.request,
            divisions=painting.request.divisions if divisions is None else divisions,
            points=points or painting.request.points,
        )
        objects = []
        for grounding in request.groundings:
            x1, y1, x2, y2 = boxes.outward(grounding.box)
            before, after = painting.scan.pixels[y1:y2, x1:x2], painting.clear[y1:y2, x1:x2]
            inner = np.abs(before.astype(int) - after).sum(2) > 40
            mask = np.zeros(painting.scan.size, bool)
            mask[y1:y2, x1:x2] = inner
            attention = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 9)
            margin = 0.4 * max(x2 - x1, y2 - y1)
            window = boxes.clip(boxes.outward(boxes.expand(grounding.box, margin)), mask.shape)
            wx1, wy1, wx2, wy2 = (int(v) for v in window)
            ys, xs = mask.nonzero()
            count = 2**request.divisions
            pick = np.linspace(0, max(0, len(xs) - 1), count).astype(int)
            found = np.stack([xs[pick], ys[pick]], 1).astype(np.float32) + 0.5
            found[-1] = x1 + 2, y1 + 2
            labels = np.ones(count, int)
            labels[-1] = 0
            small = not inner.any()
            objects.append(
                PaintedObject(
                    category=grounding.category,
                    grounding=grounding.box,
                    refined=boxes.of_mask(mask) or grounding.box,
                    mask=mask,
                    window=window,
                    attention=attention[wy1:wy2, wx1:wx2],
                    region=attention[wy1:wy2, wx1:wx2] > 0.5,
                    points=found,
                    labels=labels,
                    flags=("No item was found, so the label is the drawn box.",) if small else (),
                )
            )
        return replace(painting, request=request, objects=tuple(objects))

    def occlude(
        self, painting, alpha=0.3, occluder=0, placement=0, mode="latent", enabled=True
    ) -> Sample:
        request = replace(
            painting.request,
            alpha=alpha,
            occluder=occluder,
            placement=placement,
            occlusion=mode,
            occlude=enabled,
        )
        image, done = painting.clear, None
        found = self.idle(painting.scan, request.catalog)
        if enabled and found:
            source = found[occluder % len(found)]
            image, covered = image.copy(), []
            rng = np.random.default_rng(placement)
            sx1, sy1, sx2, sy2 = (int(v) for v in source.box)
            for item in painting.objects:
                x1, y1, x2, y2 = (int(v) for v in item.refined)
                x = int(x1 + rng.uniform(-0.3, 0.3) * (x2 - x1))
                y = int(y1 + rng.uniform(-0.3, 0.3) * (y2 - y1))
                x, y = max(0, x), max(0, y)
                h = min(sy2 - sy1, image.shape[0] - y)
                w = min(sx2 - sx1, image.shape[1] - x)
                crop = painting.scan.pixels[sy1 : sy1 + h, sx1 : sx1 + w]
                target = image[y : y + h, x : x + w]
                image[y : y + h, x : x + w] = (alpha * crop + (1 - alpha) * target).astype(np.uint8)
                covered.append((x, y, x + w, y + h))
            done = Occlusion(alpha, source.box, tuple(covered))
        return Sample(
            scan=painting.scan,
            request=request,
            image=image,
            clear=painting.clear,
            objects=painting.objects,
            kept=painting.scan.annotations if request.variant == "add" else (),
            occlusion=done,
            prompt=", ".join(g.category for g in request.groundings),
            weights=painting.weights,
        )
