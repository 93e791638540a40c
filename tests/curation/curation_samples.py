"""Made-up samples: no model is needed to keep and export them."""

import numpy as np

from xsyn_core import boxes
from xsyn_core.boxes import Box
from xsyn_core.categories import PIDRAY, Catalog
from xsyn_core.sample import Grounding, Occlusion, PaintedObject, Request, Sample
from xsyn_core.scan import Annotation, Scan, make_scan

SIZE = (72, 96)


def ellipse(box: Box, size: tuple[int, int] = SIZE) -> np.ndarray:
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5
    x1, y1, x2, y2 = box
    return ((xs - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + (
        (ys - (y1 + y2) / 2) / ((y2 - y1) / 2)
    ) ** 2 <= 1


def made_scan(seed: int = 0, annotations: tuple[Annotation, ...] = (), name: str = "") -> Scan:
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return make_scan(pixels, name or f"bag {seed}.jpg", annotations)


def made_object(
    category: str, grounding: Box, rng: np.random.Generator, masked: bool = True
) -> PaintedObject:
    mask = ellipse(grounding) if masked else None
    refined = boxes.of_mask(mask) if mask is not None else None
    return PaintedObject(
        category=category,
        grounding=grounding,
        refined=refined or grounding,
        mask=mask,
        window=(0.0, 0.0, 64.0, 64.0),
        attention=rng.random((16, 16), dtype=np.float32),
        region=rng.random((16, 16)) > 0.5,
        points=rng.random((16, 2), dtype=np.float32) * 60,
        labels=np.array([1] * 15 + [0]),
        flags=() if masked else ("The mask was implausible; the grounding box is kept.",),
    )


def made_sample(
    seed: int = 0,
    scan: Scan | None = None,
    catalog: Catalog = PIDRAY,
    categories: tuple[str, ...] = ("Knife", "Gun"),
    masked: bool = True,
    occluded: bool = True,
) -> Sample:
    rng = np.random.default_rng(seed)
    if scan is None:
        box = (60.0, 40.0, 85.5, 66.25)
        scan = made_scan(
            seed,
            (
                Annotation("Hammer", box, ellipse(box)),
                Annotation("Wrench", (70.3, 2.2, 120.0, 14.7)),
            ),
        )
    groundings = tuple(
        Grounding(name, (4.0 + 12 * i, 5.5 + 9 * i, 34.25 + 12 * i, 31.0 + 9 * i))
        for i, name in enumerate(categories)
    )
    clear = scan.pixels.copy()
    clear[6:40, 5:60] = rng.integers(0, 256, 3)
    image = clear.copy()
    if occluded:
        image[10:20, 10:20] //= 2
    occlusion = Occlusion(0.3, (50.0, 50.0, 60.0, 60.0), ((10.0, 10.0, 20.0, 20.0),))
    return Sample(
        scan=scan,
        request=Request(groundings, catalog=catalog, seed=seed, steps=4, alpha=0.3),
        image=image,
        clear=clear,
        objects=tuple(made_object(g.category, g.box, rng, masked) for g in groundings),
        kept=scan.annotations,
        occlusion=occlusion if occluded else None,
        prompt=", ".join(name.lower() for name in categories),
        weights="ab" * 32,
        notes=("A note.",),
    )
