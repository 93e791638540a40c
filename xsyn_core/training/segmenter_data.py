"""Training pictures of the segmenter: whole scans, and windows around anything in them.

Scans differ in how many pixels a thing has. What is asked for in a whole scan is looked at in few,
in a window cut from it; in a window rendered around something in many.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xsyn_core.boxes import of_mask
from xsyn_core.simulation.dataset import photograph
from xsyn_core.simulation.rendering import silhouette
from xsyn_core.simulation.scene import item_window, random_scene
from xsyn_core.training.columns import open_columns, save_columns
from xsyn_core.training.data import (
    MAX_OBJECTS,
    NAMES,
    SIDE,
    in_parallel,
)

SCENES = 80
# Windows of one scene, and the prohibited items in it.
WINDOWS, ITEMS = 1, 2
# Objects of less than this share of the picture are not asked for.
LEAST = 0.003


@dataclass(frozen=True)
class Pictures:
    """One shard of pictures, opened as memory maps.

    Attributes:
        images: uint8 (N, SIDE, SIDE, 3) RGB; each scene gives one whole scan, then its windows.
        masks: uint8 (N, MAX_OBJECTS, SIDE, SIDE // 8), bits of the silhouettes; the object that a
            window was cut around comes first. At half the resolution thin things were lost.
        boxes: float32 (N, MAX_OBJECTS, 4), tight boxes in pixels; zeros past the last object.
        whole: bool (N,), whether it is a whole scan.
    """

    images: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    whole: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> "Pictures":
        return cls(**open_columns(folder, cls.__dataclass_fields__))

    def silhouette(self, index: int, which: int) -> np.ndarray:
        """bool (SIDE, SIDE), an object of a picture."""
        return np.unpackbits(self.masks[index][which], axis=-1).astype(bool)


def make_pictures(task: tuple[Path, int, int]) -> None:
    """Render shard `index` of `seed` into its folder."""
    root, seed, index = task
    cv2.setNumThreads(1)
    size = (SIDE, SIDE)
    rows: dict[str, list] = {k: [] for k in Pictures.__dataclass_fields__}
    for child in np.random.SeedSequence((seed, index)).spawn(SCENES):
        rng = np.random.default_rng(child)
        scene = random_scene(rng, categories=[str(n) for n in rng.choice(NAMES, ITEMS)])
        things = [*scene.prohibited, *scene.contents]
        around = rng.permutation(len(things))[:WINDOWS].tolist()
        for target in (None, *around):
            view = scene.view if target is None else item_window(scene, things[target], rng)
            order = sorted(range(len(things)), key=lambda k: k != target)
            found = [silhouette(things[k], view, size) for k in order]
            if target is not None and found[0].mean() < LEAST:
                continue
            image = photograph([*scene.bag.parts, *things], view, size, rng)
            masks = np.zeros((MAX_OBJECTS, SIDE, SIDE), bool)
            boxes = np.zeros((MAX_OBJECTS, 4), np.float32)
            large = [mask for mask in found if mask.mean() >= LEAST]
            for k, mask in enumerate(large[:MAX_OBJECTS]):
                masks[k], boxes[k] = mask, of_mask(mask)
            rows["images"].append(image)
            rows["masks"].append(np.packbits(masks, axis=-1))
            rows["boxes"].append(boxes)
            rows["whole"].append(target is None)
    save_columns(root / f"{index:05d}", {name: np.asarray(v) for name, v in rows.items()})


def pictures(root: Path, seed: int, count: int, workers: int = 2) -> list[Pictures]:
    """The first `count` shards of a seed under `root`; what is missing is rendered first."""
    root = Path(root) / f"segmenter{seed}"
    root.mkdir(parents=True, exist_ok=True)
    missing = [(root, seed, k) for k in range(count) if not (root / f"{k:05d}").exists()]
    in_parallel(make_pictures, missing, workers, "rendering pictures")
    return [Pictures.open(root / f"{k:05d}") for k in range(count)]
