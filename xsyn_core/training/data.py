"""Training data from the simulator: windows and whole scans with every object's silhouette.

A shard is a folder of arrays that are opened as memory maps, so that data larger than memory
trains as fast as small data. Shard k depends on the seed and k alone.
"""

import multiprocessing
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from xsyn_core.boxes import of_mask
from xsyn_core.categories import CATALOGS
from xsyn_core.simulation.looks import expose, random_look
from xsyn_core.simulation.rendering import attenuation, silhouette
from xsyn_core.simulation.scene import Scene, item_window, random_scene

SIDE = 256
MASK_SIDE = 128
SCENES = 80
WINDOWS = 4
MAX_OBJECTS = 20
# Objects of less than this share of the picture teach a segmenter of this size nothing.
MIN_SHARE = 0.002
NAMES = tuple(name for catalog in CATALOGS.values() for name in catalog.names)
# Four in five are PIDray's twelve, on which the page opens.
_WEIGHTS = np.array([0.8 / 12] * 12 + [0.2 / 13] * 13)


@dataclass(frozen=True)
class Shard:
    """Pictures of one shard.

    Attributes:
        images: uint8 (N, SIDE, SIDE, 3) RGB; each scene gives one whole scan, then its windows.
        masks: uint8 (N, MAX_OBJECTS, MASK_SIDE, MASK_SIDE // 8), bits of the silhouettes.
        boxes: float32 (N, MAX_OBJECTS, 4), tight boxes in pixels; zeros past the last object.
        categories: int16 (N, MAX_OBJECTS), index into `NAMES`, -1 for benign objects and
            past the last object; prohibited items come first.
        whole: bool (N,), whether it is a whole scan.
        target: int16 (N,), which object a window was cut around; -1 for whole scans.
    """

    images: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    categories: np.ndarray
    whole: np.ndarray
    target: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> "Shard":
        return cls(
            **{k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in cls.__dataclass_fields__}
        )

    def silhouettes(self, index: int) -> np.ndarray:
        """bool (MAX_OBJECTS, MASK_SIDE, MASK_SIDE) of one picture."""
        return np.unpackbits(self.masks[index], axis=-1).astype(bool)


def picture(scene: Scene, view: tuple[float, float, float, float], look, rng, texture: int):
    """One exposure of a scene with what can be seen in it.

    Returns:
        image uint8 (SIDE, SIDE, 3), and per object (prohibited first, large enough to be seen)
        its placement, tight box (pixels) and mask bool (SIDE, SIDE).
    """
    size = (SIDE, SIDE)
    texture_rng = np.random.default_rng(texture)
    basis = attenuation(
        [*scene.bag.parts, *scene.contents, *scene.prohibited], view, size, texture_rng
    )
    image = expose(basis, look, rng, mm_per_px=(view[2] - view[0]) / SIDE)
    objects = []
    for placement in [*scene.prohibited, *scene.contents]:
        mask = silhouette(placement, view, size)
        if mask.mean() >= MIN_SHARE:
            objects.append((placement, of_mask(mask), mask))
    return image, objects


def make_shard(task: tuple[Path, int, int]) -> None:
    """Render shard `index` of `seed` into its folder."""
    root, seed, index = task
    folder = root / f"{index:05d}"
    if folder.exists():
        return
    cv2.setNumThreads(1)
    rows: dict[str, list] = {k: [] for k in Shard.__dataclass_fields__}

    def add(image, objects, whole, target):
        masks = np.zeros((MAX_OBJECTS, MASK_SIDE, MASK_SIDE), bool)
        boxes = np.zeros((MAX_OBJECTS, 4), np.float32)
        categories = np.full(MAX_OBJECTS, -1, np.int16)
        chosen = -1
        for k, (placement, box, mask) in enumerate(objects[:MAX_OBJECTS]):
            masks[k] = (
                cv2.resize(
                    mask.astype(np.uint8) * 255, (MASK_SIDE,) * 2, interpolation=cv2.INTER_AREA
                )
                > 127
            )
            boxes[k] = box
            if placement.item.name in NAMES and any(placement is p for p in scene.prohibited):
                categories[k] = NAMES.index(placement.item.name)
            if placement is target:
                chosen = k
        rows["images"].append(image)
        rows["masks"].append(np.packbits(masks, axis=-1))
        rows["boxes"].append(boxes)
        rows["categories"].append(categories)
        rows["whole"].append(whole)
        rows["target"].append(chosen)

    for child in np.random.SeedSequence((seed, index)).spawn(SCENES):
        rng = np.random.default_rng(child)
        names = rng.choice(len(NAMES), WINDOWS, p=_WEIGHTS)
        scene = random_scene(rng, categories=[NAMES[k] for k in names])
        look, texture = random_look(rng), int(rng.integers(2**31))
        add(*picture(scene, scene.view, look, rng, texture), True, None)
        for placement in scene.prohibited:
            view = item_window(scene, placement, rng)
            image, objects = picture(scene, view, look, rng, texture)
            # the window's own item comes first, whatever else is in sight
            objects.sort(key=lambda o: o[0] is not placement)
            if objects and objects[0][0] is placement:
                add(image, objects, False, placement)
    temporary = folder.with_name(folder.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    dtypes = {"target": np.int16, "whole": bool}
    for name, values in rows.items():
        np.save(temporary / f"{name}.npy", np.asarray(values, dtype=dtypes.get(name)))
    temporary.rename(folder)


def shards(root: Path, seed: int, count: int, workers: int = 2) -> list[Shard]:
    """The first `count` shards of a seed under `root`, rendering those that are missing."""
    root = Path(root) / f"seed{seed}"
    tasks = [(root, seed, k) for k in range(count)]
    missing = [t for t in tasks if not (root / f"{t[2]:05d}").exists()]
    if missing:
        root.mkdir(parents=True, exist_ok=True)
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            done = pool.imap_unordered(make_shard, missing)
            for _ in tqdm(done, total=len(missing), desc="rendering shards"):
                pass
    return [Shard.open(t[0] / f"{t[2]:05d}") for t in tasks]
