"""Training data from the simulator: windows and whole scans with every object's silhouette.

A shard is a folder of arrays that are opened as memory maps, so that data larger than memory
trains as fast as small data. Shard k depends on the seed and k alone. It keeps the line integrals
of its pictures, from which the same scenes are exposed by several scanners ("looks"); those of
windows twice, the second time with the window's own item on a plain background.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from xsyn_core.boxes import of_mask
from xsyn_core.categories import CATALOGS
from xsyn_core.simulation.looks import expose, random_look
from xsyn_core.simulation.physics import transmission
from xsyn_core.simulation.rendering import attenuation, attitude, silhouette
from xsyn_core.simulation.scene import Scene, item_window, random_scene
from xsyn_core.training.columns import open_columns, save_columns
from xsyn_core.workers import shared_out

SIDE = 256
# Pixels a side of what is painted, see `halved`.
WINDOW = SIDE // 2
MASK_SIDE = 128
SCENES = 80
WINDOWS = 4
MAX_OBJECTS = 20
# The optical density that is told as the highest.
DENSEST = 3.0
# Share of windows that show less than the whole clutter of their scene.
THINNED = 0.6
# What is narrower than the first share of a window's side is clutter; the second softens the rest.
CLUTTER, BLUR = 0.25, 0.06
# Objects of less than this share of the picture teach a segmenter of this size nothing.
MIN_SHARE = 0.002
NAMES = tuple(name for catalog in CATALOGS.values() for name in catalog.names)
# Four in five are PIDray's twelve, on which the page opens.
_WEIGHTS = np.array([0.8 / 12] * 12 + [0.2 / 13] * 13)

_EXPOSED = {"images": "basis", "plain": "plain_basis"}


@dataclass(frozen=True)
class Shard:
    """Pictures of one shard.

    Attributes:
        images: uint8 (N, SIDE, SIDE, 3) RGB; each scene gives one whole scan, then its windows.
        plain: uint8 (N, SIDE, SIDE, 3), the window's own item on the `background` of its window;
            black for whole scans.
        basis: float16 (N, 2, SIDE, SIDE), line integrals of `images` (see `simulation.physics`).
        plain_basis: float16 (N, 2, SIDE, SIDE), those of `plain`.
        pitch: float32 (N,), mm a pixel.
        masks: uint8 (N, MAX_OBJECTS, MASK_SIDE, MASK_SIDE // 8), bits of the silhouettes.
        density: uint8 (N, MASK_SIDE, MASK_SIDE), `density` of all prohibited items
            together, 0 to 255.
        boxes: float32 (N, MAX_OBJECTS, 4), tight boxes in pixels; zeros past the last object.
        categories: int16 (N, MAX_OBJECTS), index into `NAMES`, -1 for benign objects and
            past the last object; prohibited items come first.
        kinds: str (N, MAX_OBJECTS), `Item.kind` of prohibited items, else empty.
        angles: float32 (N, MAX_OBJECTS), degrees, see `rendering.attitude`.
        mirrored: bool (N, MAX_OBJECTS).
        whole: bool (N,), whether it is a whole scan.
        target: int16 (N,), which object a window was cut around; -1 for whole scans.
    """

    images: np.ndarray
    plain: np.ndarray
    basis: np.ndarray
    plain_basis: np.ndarray
    pitch: np.ndarray
    masks: np.ndarray
    density: np.ndarray
    boxes: np.ndarray
    categories: np.ndarray
    kinds: np.ndarray
    angles: np.ndarray
    mirrored: np.ndarray
    whole: np.ndarray
    target: np.ndarray

    @classmethod
    def open(cls, folder: Path, look: int) -> "Shard":
        names = {k: f"{k}{look}" if k in _EXPOSED else k for k in cls.__dataclass_fields__}
        maps = open_columns(folder, names.values())
        return cls(**{k: maps[file] for k, file in names.items()})

    def silhouettes(self, index: int) -> np.ndarray:
        """bool (MAX_OBJECTS, MASK_SIDE, MASK_SIDE) of one picture."""
        return np.unpackbits(self.masks[index], axis=-1).astype(bool)


def halved(image: np.ndarray) -> np.ndarray:
    """A picture uint8 (SIDE, SIDE, 3) at the size at which windows are painted, half as large."""
    blocks = image.reshape(SIDE // 2, 2, SIDE // 2, 2, 3)
    return blocks.mean((1, 3), dtype=np.float32).astype(np.uint8)


def picture(scene: Scene, view: tuple[float, float, float, float], texture: int, target=None):
    """One view of a scene with what can be seen in it.

    Args:
        target: the placement that the view was cut around, None for a whole scan.

    Returns:
        line integrals float32 (2, SIDE, SIDE) of the target, of all prohibited items and of
        everything but the target; and per object (prohibited first, large enough to be seen) its
        placement, tight box (pixels) and mask bool (SIDE, SIDE).
    """
    size = (SIDE, SIDE)
    rng = np.random.default_rng(texture)
    benign = attenuation([*scene.bag.parts, *scene.contents], view, size, rng)
    others = attenuation([p for p in scene.prohibited if p is not target], view, size, rng)
    own = attenuation([target] if target else [], view, size, rng)
    objects = []
    for placement in [*scene.prohibited, *scene.contents]:
        mask = silhouette(placement, view, size)
        if mask.mean() >= MIN_SHARE:
            objects.append((placement, of_mask(mask), mask))
    return own, own + others, benign + others, objects


def density(maps: np.ndarray) -> np.ndarray:
    """How dense items are, 0 to 1, from their line integrals (2, H, W): float32 (H, W).

    The square root parts pale matter, of which bodies and boards are, more finely than steel.
    """
    light = transmission(maps).mean(0)
    return np.sqrt(np.clip(-np.log(np.maximum(light, 1e-6)) / DENSEST, 0, 1))


def background(maps: np.ndarray) -> np.ndarray:
    """Line integrals float32 (2, S, S) without the clutter: what covers a disc of `CLUTTER` stays,
    softened."""
    side = SIDE // 4
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (round(CLUTTER * side),) * 2)
    found = []
    for one in maps:
        small = cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA)
        opened = cv2.GaussianBlur(
            cv2.morphologyEx(small, cv2.MORPH_OPEN, disc), (0, 0), BLUR * side
        )
        found.append(cv2.resize(opened, maps.shape[1:], interpolation=cv2.INTER_LINEAR))
    return np.stack(found)


def _thinned(scene: Scene, rng: np.random.Generator) -> Scene:
    """A scene that lost some of its contents by chance: in clutter alone, the outline of an item
    is hard to learn."""
    if rng.random() > THINNED:
        return scene
    left = rng.random(len(scene.contents)) < rng.random()
    contents = tuple(c for c, stays in zip(scene.contents, left, strict=True) if stays)
    return replace(scene, contents=contents)


def make_shard(task: tuple[Path, int, int]) -> None:
    """Render shard `index` of `seed` into its folder."""
    root, seed, index = task
    folder = root / f"{index:05d}"
    if folder.exists():
        return
    cv2.setNumThreads(1)
    rows: dict[str, list] = {k: [] for k in Shard.__dataclass_fields__ if k not in _EXPOSED}

    def add(view, own, items, rest, objects, target):
        masks = np.zeros((MAX_OBJECTS, MASK_SIDE, MASK_SIDE), bool)
        boxes = np.zeros((MAX_OBJECTS, 4), np.float32)
        categories = np.full(MAX_OBJECTS, -1, np.int16)
        kinds = np.zeros(MAX_OBJECTS, "<U8")
        angles = np.zeros(MAX_OBJECTS, np.float32)
        mirrored = np.zeros(MAX_OBJECTS, bool)
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
                kinds[k] = placement.item.kind
                angles[k], mirrored[k] = attitude(placement)
            if placement is target:
                chosen = k
        plain = own + background(rest) if target else np.zeros_like(own)
        rows["basis"].append((own + rest).astype(np.float16))
        rows["plain_basis"].append(plain.astype(np.float16))
        rows["pitch"].append((view[2] - view[0]) / SIDE)
        rows["masks"].append(np.packbits(masks, axis=-1))
        dense = np.round(density(items) * 255).astype(np.uint8)
        rows["density"].append(cv2.resize(dense, (MASK_SIDE,) * 2, interpolation=cv2.INTER_AREA))
        rows["boxes"].append(boxes)
        rows["categories"].append(categories)
        rows["kinds"].append(kinds)
        rows["angles"].append(angles)
        rows["mirrored"].append(mirrored)
        rows["whole"].append(target is None)
        rows["target"].append(chosen)

    for child in np.random.SeedSequence((seed, index)).spawn(SCENES):
        rng = np.random.default_rng(child)
        names = rng.choice(len(NAMES), WINDOWS, p=_WEIGHTS)
        scene = random_scene(rng, categories=[NAMES[k] for k in names])
        texture = int(rng.integers(2**31))
        add(scene.view, *picture(scene, scene.view, texture), None)  # type: ignore[call-arg]
        for placement in scene.prohibited:
            view = item_window(scene, placement, rng)
            *maps, objects = picture(_thinned(scene, rng), view, texture, placement)
            # the window's own item comes first, whatever else is in sight
            objects.sort(key=lambda o: o[0] is not placement)
            if objects and objects[0][0] is placement:
                add(view, *maps, objects, placement)  # type: ignore[call-arg]
    dtypes = {"target": np.int16, "whole": bool, "pitch": np.float32}
    save_columns(folder, {k: np.asarray(v, dtype=dtypes.get(k)) for k, v in rows.items()})


def expose_shard(task: tuple[Path, int, int, int]) -> None:
    """Expose shard `index` of `seed` as scanner number `look` of each picture shows it."""
    root, seed, index, look = task
    folder = root / f"{index:05d}"
    cv2.setNumThreads(1)
    pitch, whole = np.load(folder / "pitch.npy"), np.load(folder / "whole.npy")
    for name, source in _EXPOSED.items():
        file = folder / f"{name}{look}.npy"
        if file.exists():
            continue
        basis = np.load(folder / f"{source}.npy", mmap_mode="r")
        # the same scanner and noise for both
        rng = np.random.default_rng((seed, index, look, 5))
        images = np.zeros((len(basis), SIDE, SIDE, 3), np.uint8)
        for k, maps in enumerate(basis):
            scanner, noise = random_look(rng), rng.spawn(1)[0]
            if name == "images" or not whole[k]:
                maps = maps.astype(np.float32)
                images[k] = expose(maps, scanner, noise, mm_per_px=float(pitch[k]))
        temporary = file.with_suffix(".new.npy")
        np.save(temporary, images)
        temporary.rename(file)


def in_parallel(work, tasks: list, workers: int, title: str) -> None:
    """Do `work` on each of `tasks` in fresh processes, with a progress bar."""
    if tasks:
        with shared_out(work, tasks, workers) as results:
            for _ in tqdm(results, total=len(tasks), desc=title):
                pass


def shards(root: Path, seed: int, count: int, looks: int = 1, workers: int = 2) -> list[Shard]:
    """The first `count` shards of a seed under `root`, each in `looks` looks; what is missing is
    rendered first."""
    root = Path(root) / f"seed{seed}"
    root.mkdir(parents=True, exist_ok=True)
    folders = [root / f"{k:05d}" for k in range(count)]
    tasks = [(root, seed, k) for k in range(count) if not folders[k].exists()]
    in_parallel(make_shard, tasks, workers, "rendering shards")
    wanted = [(root, seed, k, look) for look in range(looks) for k in range(count)]
    missing = [t for t in wanted if not (folders[t[2]] / f"plain{t[3]}.npy").exists()]
    in_parallel(expose_shard, missing, workers, "exposing shards")
    return [Shard.open(folders[k], look) for _, _, k, look in wanted]
