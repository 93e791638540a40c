"""Training pictures of the segmenter: whole scans, and windows around anything in them.

Half of what a bag holds is too small in a whole scan for a small model to draw its outline, so the
segmenter looks at a window around what it is asked for (`Segmenter`'s zoom), and learns from such
windows: around prohibited items and everyday things alike, which the painter's windows are not.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xsyn_core.boxes import of_mask
from xsyn_core.simulation.dataset import photograph
from xsyn_core.simulation.rendering import silhouette
from xsyn_core.simulation.scene import item_window, random_scene
from xsyn_core.training.data import MASK_SIDE, MAX_OBJECTS, MIN_SHARE, NAMES, SIDE, in_parallel

SCENES = 80
# Windows of one scene, and the prohibited items in it.
WINDOWS, ITEMS = 4, 2


@dataclass(frozen=True)
class Pictures:
    """One shard of pictures, opened as memory maps.

    Attributes:
        images: uint8 (N, SIDE, SIDE, 3) RGB; each scene gives one whole scan, then its windows.
        masks: uint8 (N, MAX_OBJECTS, MASK_SIDE, MASK_SIDE // 8), bits of the silhouettes; the
            object that a window was cut around comes first.
        boxes: float32 (N, MAX_OBJECTS, 4), tight boxes in pixels; zeros past the last object.
        whole: bool (N,), whether it is a whole scan.
    """

    images: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    whole: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> "Pictures":
        return cls(
            **{k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in cls.__dataclass_fields__}
        )

    def silhouettes(self, index: int) -> np.ndarray:
        """bool (MAX_OBJECTS, MASK_SIDE, MASK_SIDE) of one picture."""
        return np.unpackbits(self.masks[index], axis=-1).astype(bool)


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
            if target is not None and found[0].mean() < MIN_SHARE:
                continue
            image = photograph([*scene.bag.parts, *things], view, size, rng)
            masks = np.zeros((MAX_OBJECTS, MASK_SIDE, MASK_SIDE), bool)
            boxes = np.zeros((MAX_OBJECTS, 4), np.float32)
            large = [mask for mask in found if mask.mean() >= MIN_SHARE]
            for k, mask in enumerate(large[:MAX_OBJECTS]):
                share = cv2.resize(
                    mask.astype(np.float32), (MASK_SIDE,) * 2, interpolation=cv2.INTER_AREA
                )
                masks[k], boxes[k] = share > 0.499, of_mask(mask)
            rows["images"].append(image)
            rows["masks"].append(np.packbits(masks, axis=-1))
            rows["boxes"].append(boxes)
            rows["whole"].append(target is None)
    folder = root / f"{index:05d}"
    temporary = folder.with_name(folder.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, values in rows.items():
        np.save(temporary / f"{name}.npy", np.asarray(values))
    temporary.rename(folder)


def pictures(root: Path, seed: int, count: int, workers: int = 2) -> list[Pictures]:
    """The first `count` shards of a seed under `root`; what is missing is rendered first."""
    root = Path(root) / f"segmenter{seed}"
    root.mkdir(parents=True, exist_ok=True)
    missing = [(root, seed, k) for k in range(count) if not (root / f"{k:05d}").exists()]
    in_parallel(make_pictures, missing, workers, "rendering pictures")
    return [Pictures.open(root / f"{k:05d}") for k in range(count)]
