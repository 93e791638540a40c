"""Simulated datasets on disk: pictures of packed bags with COCO annotations."""

import json
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xsyn_core.boxes import of_mask, to_xywh
from xsyn_core.categories import PIDRAY
from xsyn_core.curation.masks import encode
from xsyn_core.errors import XsynError
from xsyn_core.files import expanded, refuse_strangers, replacing, writable, write_synced
from xsyn_core.scan import MAX_PIXELS
from xsyn_core.simulation.looks import LOOKS, expose, random_look
from xsyn_core.simulation.parts import Part, Placement
from xsyn_core.simulation.rendering import View, attenuation, silhouette
from xsyn_core.simulation.scene import random_scene
from xsyn_core.workers import shared_out

MAX_ITEMS = 3
# Marks datasets that `simulate` wrote, and may therefore replace.
DESCRIPTION = "Simulated X-ray baggage scans by Xsyn Studio"
_INSTANCES = "annotations/instances.json"
_MIN_PIXELS = 12  # a silhouette smaller than this is not annotated
_NAMES = PIDRAY.names


@dataclass(frozen=True)
class SimulatedScan:
    """A picture and what is prohibited in it.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        names: category of each item.
        masks: (H, W) bool silhouette of each item, in the same order.
    """

    pixels: np.ndarray
    names: tuple[str, ...]
    masks: tuple[np.ndarray, ...]


def _fitted(view: View, size: tuple[int, int]) -> View:
    """The smallest view of the picture's proportions around `view`, with the same centre."""
    x1, y1, x2, y2 = view
    mm = max((x2 - x1) / size[1], (y2 - y1) / size[0])
    x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, mm * size[1] / 2, mm * size[0] / 2
    return (x - w, y - h, x + w, y + h)


def photograph(
    objects: Iterable[Part | Placement],
    view: View,
    size: tuple[int, int],
    rng: np.random.Generator,
    look: str | None = None,
) -> np.ndarray:
    """What a scanner shows of objects: uint8 (H, W, 3) RGB.

    Args:
        view: the part of the plane that is seen, mm, of the picture's proportions.
        size: height and width, pixels.
        look: a key of `LOOKS`; any if not given.
    """
    maps = attenuation(objects, view, size, rng)
    return expose(maps, random_look(rng, look), rng, (view[2] - view[0]) / size[1])


def simulate_scan(
    rng: np.random.Generator, size: tuple[int, int] = (256, 256), look: str | None = None
) -> SimulatedScan:
    """A bag with 0 to 3 prohibited items (PIDray's twelve categories, drawn evenly).

    Args:
        size: height and width, pixels.
        look: a key of `LOOKS`; any if not given.
    """
    wanted = rng.choice(_NAMES, int(rng.choice(MAX_ITEMS + 1, p=(0.1, 0.5, 0.25, 0.15))))
    scene = random_scene(rng, [str(name) for name in wanted])
    view = _fitted(scene.view, size)
    pixels = photograph(scene.objects, view, size, rng, look)
    masks = [(p.item.name, silhouette(p, view, size)) for p in scene.prohibited]
    masks = [(name, mask) for name, mask in masks if np.count_nonzero(mask) >= _MIN_PIXELS]
    names = tuple(name for name, _ in masks)
    return SimulatedScan(pixels, names, tuple(mask for _, mask in masks))


def _write(task: tuple[np.random.SeedSequence, Path, tuple[int, int], str | None]) -> list[dict]:
    """Render one scan into its file; its annotations, without ids."""
    seed, path, size, look = task
    scan = simulate_scan(np.random.default_rng(seed), size, look)
    # Unlike cv2.imwrite, this fails where the disk is full.
    write_synced(path, cv2.imencode(".png", scan.pixels[..., ::-1])[1].tobytes())
    return [
        {
            "category_id": _NAMES.index(name) + 1,
            "bbox": [float(v) for v in to_xywh(of_mask(mask))],  # type: ignore[arg-type]
            "area": int(np.count_nonzero(mask)),
            "segmentation": encode(mask),
            "iscrowd": 0,
        }
        for name, mask in zip(scan.names, scan.masks, strict=True)
    ]


def simulate(
    count: int,
    seed: int,
    out: Path,
    look: str | None = None,
    workers: int = 1,
    size: tuple[int, int] = (256, 256),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `count` simulated scans as a COCO dataset.

    The folder's bytes depend on `count`, `seed`, `look` and `size` only, not on `workers`.

    Args:
        out: folder to write `images/` and `annotations/instances.json` into; it is replaced
            as a whole when the last scan is done, and must be empty or absent, or an earlier
            result.
        look: a key of `LOOKS`; a random one for each scan if not given.
        size: height and width, pixels.
        progress: called with the number of scans done and `count`.

    Returns:
        The path of the annotations.

    Raises:
        XsynError: for values that make no sense, a folder that holds something else or cannot be
            written, or a process that was killed.
    """
    out = expanded(out).resolve()
    if count < 1 or workers < 1 or seed < 0:
        raise XsynError("Simulating needs a count and workers of at least 1 and a seed of 0 or up.")
    if min(size) < 32:
        raise XsynError(f"A scan of {size[1]} x {size[0]} pixels is too small: 32 at least.")
    if size[0] * size[1] > MAX_PIXELS:
        raise XsynError(
            f"A scan of {size[1]} x {size[0]} pixels is too large: "
            f"{MAX_PIXELS // 1_000_000} million pixels at most."
        )
    if look is not None and look not in LOOKS:
        raise XsynError(f'There is no look "{look}". Choose one of: {", ".join(LOOKS)}.')
    what = "something else than an earlier result"
    refuse_strangers(out, _ours(out), {"images", "annotations"}, what)
    names = [f"images/{k:06d}.png" for k in range(1, count + 1)]
    seeds = np.random.SeedSequence(seed).spawn(count)
    with writable(out, "the simulated scans"), replacing(out) as made:
        fresh = made.fresh
        (fresh / "images").mkdir()
        (fresh / "annotations").mkdir()
        tasks = [(s, fresh / name, size, look) for s, name in zip(seeds, names, strict=True)]
        annotations: list[dict] = []
        alone = workers == 1
        shared = nullcontext(map(_write, tasks)) if alone else shared_out(_write, tasks, workers)
        with shared as results:
            for done, found in enumerate(results, 1):
                for entry in found:
                    annotations.append({"id": len(annotations) + 1, "image_id": done, **entry})
                if progress:
                    progress(done, count)
        images = [
            {"id": k, "file_name": name, "height": size[0], "width": size[1]}
            for k, name in enumerate(names, 1)
        ]
        categories = [{"id": k, "name": name} for k, name in enumerate(_NAMES, 1)]
        content = {
            "info": {"description": DESCRIPTION},
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        write_synced(fresh / _INSTANCES, json.dumps(content).encode())
    return out / _INSTANCES


def _ours(folder: Path) -> set[str]:
    """The files in a folder that `simulate` put there, if it holds a result of it."""
    try:
        document = json.loads((folder / _INSTANCES).read_bytes())
        if document["info"]["description"] == DESCRIPTION:
            return {_INSTANCES} | {image["file_name"] for image in document["images"]}
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        pass  # no dataset of ours, so whatever is there is the user's
    return set()
