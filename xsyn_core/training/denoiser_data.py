"""What the embedded denoiser learns from: windows with their grounding boxes, as latents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tqdm import tqdm

from xsyn_core import grounding
from xsyn_core.attitudes import PARTS, hint, shade, words
from xsyn_core.concealment import to_tensor
from xsyn_core.diffusion import Condition, Diffusion
from xsyn_core.frames import resample
from xsyn_core.inpainting import denoise
from xsyn_core.training import architectures
from xsyn_core.training.architectures import CELL
from xsyn_core.training.data import NAMES, SIDE, WINDOW, Shard, halved, shards
from xsyn_core.training.loop import autocast

SLOTS = architectures.GROUNDING_SLOTS
# More items than this in one window are rare, in training as in use.
MOST = 3
# Share of windows in which the item is to be painted on a plain background: nobody can foresee the
# clutter in a box, and learning to draw it costs the item its outline. Added items are laid over
# the scan's own clutter afterwards (see `compositing.absorption`).
PLAIN = 0.85
# What a painter leaves to be finished errs by up to this share of a latent's deviation where there
# is none yet to be asked; else it has gone through the last of so many steps, at most so many.
ERRS = 0.3
STEPS, REPAINTED, GUIDANCE = 10, 6, 7.5
# Where there is a painter, one part in so many, of TOGETHER windows, errs by chance all the same:
# painters to come will leave other errors.
ASTRAY = 4
# Windows that are encoded at once.
TOGETHER = 32


@dataclass(frozen=True)
class Latents:
    """Cached inputs of the denoiser; N windows on a grid of g x g cells.

    Attributes:
        clean: float16 (N, c, g, g), scaled latents of the windows.
        masked: float16 (N, c, g, g), of the windows with their grounding boxes greyed out.
        boxes: float32 (N, SLOTS, 4), grounding boxes in 0..1, zeros where unused.
        categories: int16 (N, SLOTS), index into `data.NAMES`, -1 where unused.
        attitudes: str (N, SLOTS), see `attitudes.words`, "" where unused.
        silhouettes: uint8 (N, PARTS g, PARTS g), share of each part of a cell covered by the items
            (0 to 255).
        shades: likewise, the mean of `attitudes.shade`.
        coarse: float16 (N, c, g, g), as `clean`, with what a painter of windows of WINDOW pixels
            leaves in the boxes; of windows of that side `clean` itself, in no memory of its own.
    """

    clean: np.ndarray
    masked: np.ndarray
    boxes: np.ndarray
    categories: np.ndarray
    attitudes: np.ndarray
    silhouettes: np.ndarray
    shades: np.ndarray
    coarse: np.ndarray

    def hints(self, row: int, told: bool) -> np.ndarray:
        """The `attitudes.hint` of a window's objects, with their attitudes or without."""
        shape = self.clean.shape[1:]
        if not told:
            return np.zeros(shape, np.float32)
        return hinted(self.shades[row], self.boxes[row], shape)

    def items(self, rows: np.ndarray) -> np.ndarray:
        """The share of each cell of some windows that the items cover, float32 (n, g, g), 0..1."""
        n, g = len(rows), self.clean.shape[-1]
        parts = self.silhouettes[rows].reshape(n, g, -1, g, self.silhouettes.shape[-1] // g)
        return parts.mean((2, 4), dtype=np.float32) / 255

    def phrases(self, row: int, told: bool) -> tuple[str, ...]:
        """How the objects of a window are described, with their attitudes or without."""
        used = self.categories[row] >= 0
        names = [NAMES[k] for k in self.categories[row][used]]
        return grounding.phrases(names, self.attitudes[row][used].tolist() if told else ())


def loosened(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grounding box around an item that need not touch it (0..1, clipped)."""
    w, h = box[2] - box[0], box[3] - box[1]
    grow = rng.uniform(0, 0.2, 4) * (w, h, w, h)
    return np.clip(box + grow * (-1, -1, 1, 1), 0, 1).astype(np.float32)


def keep_mask(boxes: np.ndarray, grid: int) -> np.ndarray:
    """The inpainting mask on the latent grid, 1 keeps and 0 repaints: bool (grid, grid)."""
    mask = np.ones((grid, grid), bool)
    for x1, y1, x2, y2 in boxes * grid:
        if x2 > x1:
            mask[int(np.floor(y1)) : int(np.ceil(y2)), int(np.floor(x1)) : int(np.ceil(x2))] = 0
    return mask


def hinted(shades: np.ndarray, boxes: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The `attitudes.hint` of a window's shades in its grounding boxes, see `Latents`: float32
    `shape`."""
    return hint(shades / np.float32(255), shape) * ~keep_mask(boxes, shape[-1])


def turned_pose(angle: float, mirrored: bool, turns: int, flip: bool) -> tuple[float, bool]:
    """Where an item points (degrees clockwise) and whether it is mirrored, once its picture was
    turned by `np.rot90` so often and then flipped left to right."""
    angle = float(angle) - 90 * turns
    return (180 - angle, not mirrored) if flip else (angle, bool(mirrored))


def _encode(vae: AutoencoderKL, images: np.ndarray, where: torch.device) -> np.ndarray:
    x = torch.from_numpy(images).to(where).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad(), autocast(where):
        mean = vae.encode(F.pixel_unshuffle(x, architectures.PATCH)).latent_dist.mean
    return (mean.float() * vae.config.scaling_factor).half().cpu().numpy()


def coarsened(
    vae: AutoencoderKL,
    images: np.ndarray,
    boxes: np.ndarray,
    described: Sequence[tuple[list[str], list[str]]],
    shades: np.ndarray,
    rng: np.random.Generator,
    where: torch.device,
    painter: Diffusion | None = None,
) -> np.ndarray:
    """Windows uint8 (N, SIDE, SIDE, 3) with what a painter of half the side leaves in their boxes:
    as coarse as that, as the autoencoder shows it, and with its errors.

    Args:
        boxes, shades: see `Latents`.
        described: categories and attitudes of the items of each.
        painter: repaints them from less and more noise; None for errors by chance.
    """
    halves = np.stack([halved(x) for x in images])
    if painter is None:
        latents = torch.from_numpy(_encode(vae, halves, where)).float()
        errors = rng.standard_normal(latents.shape, np.float32)
        errors *= rng.uniform(0, ERRS, (len(latents), 1, 1, 1)).astype(np.float32)
        latents += torch.from_numpy(errors)
    else:
        latents = _repainted(painter, halves, boxes, described, shades, rng)
    latents = latents.to(where) / vae.config.scaling_factor
    with torch.no_grad(), autocast(where):
        decoded = F.pixel_shuffle(vae.decode(latents).sample, architectures.PATCH)
    pixels = ((decoded.float().clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).cpu().numpy()
    found = images.copy()
    for image, painted, some in zip(found, pixels, boxes, strict=True):
        keep = keep_mask(some, SIDE // CELL).repeat(CELL, 0).repeat(CELL, 1)
        larger = resample(np.ascontiguousarray(painted), (SIDE, SIDE))
        image[~keep] = np.clip(np.rint(larger), 0, 255).astype(np.uint8)[~keep]
    return found


def _repainted(
    painter: Diffusion,
    images: np.ndarray,
    boxes: np.ndarray,
    described: Sequence[tuple[list[str], list[str]]],
    shades: np.ndarray,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Scaled latents (N, c, g, g) of windows uint8 (N, WINDOW, WINDOW, 3) whose items a painter
    drew once more over themselves; other arguments as in `coarsened`."""
    grid = WINDOW // CELL
    keep = np.stack([keep_mask(some, grid) for some in boxes])[:, None]
    shape = painter.channels, grid, grid
    conditions = [
        Condition(
            grounding.prompt(names, told),
            grounding.phrases(names, told),
            tuple(map(tuple, some[: len(names)].tolist())),
            hinted(drawn, some, shape),
        )
        for some, (names, told), drawn in zip(boxes, described, shades, strict=True)
    ]
    *_, last = denoise(
        painter,
        torch.stack([to_tensor(image) for image in images]),
        torch.from_numpy(keep).float(),
        conditions,
        steps=STEPS,
        guidance=GUIDANCE,
        sampler="ddim",
        generator=torch.Generator().manual_seed(int(rng.integers(2**31))),
        skip=STEPS - int(rng.integers(1, REPAINTED + 1)),
    )
    return last.latents


def window(
    shard: Shard, index: int, rng: np.random.Generator, side: int = WINDOW
) -> dict[str, np.ndarray]:
    """One row of `Latents` from a window of a shard, turned, flipped and boxed at random, with
    pictures uint8 (side, side, 3) in the place of latents; side is WINDOW or SIDE."""
    grid = side // CELL
    plain = rng.random() < PLAIN
    chosen = [0]
    for other in range(1, len(shard.categories[index])):
        b = shard.boxes[index][other]
        inside = (b[:2] > 2).all() and (b[2:] < SIDE - 2).all()
        big = min(b[2] - b[0], b[3] - b[1]) > SIDE / 12
        known = shard.categories[index][other] >= 0
        if not plain and known and inside and big and len(chosen) < MOST and rng.random() < 0.4:
            chosen.append(other)
    turns, flip = int(rng.integers(4)), rng.random() < 0.5

    def turned(image: np.ndarray) -> np.ndarray:
        image = np.rot90(image, turns)
        return image[:, ::-1] if flip else image

    boxes = np.zeros((SLOTS, 4), np.float32)
    categories = np.full(SLOTS, -1, np.int16)
    attitudes = np.zeros(SLOTS, "<U24")
    for slot, k in enumerate(chosen):
        x1, y1, x2, y2 = shard.boxes[index][k] / SIDE
        for _ in range(turns):
            x1, y1, x2, y2 = y1, 1 - x2, y2, 1 - x1
        if flip:
            x1, x2 = 1 - x2, 1 - x1
        boxes[slot] = loosened(np.array([x1, y1, x2, y2]), rng)
        categories[slot] = shard.categories[index][k]
        pose = turned_pose(shard.angles[index][k], shard.mirrored[index][k], turns, flip)
        attitudes[slot] = words(str(shard.kinds[index][k]), *pose)
    keep = keep_mask(boxes, grid).repeat(CELL, 0).repeat(CELL, 1)[..., None]
    sized = halved if side == WINDOW else np.asarray
    picture = turned(sized(shard.images[index]))
    inside_box = turned(sized(shard.plain[index])) if plain else picture
    item = turned(np.any(shard.silhouettes(index)[chosen], axis=0))
    shades = shade(item, turned(shard.density[index]) / np.float32(255))
    return {
        "clean": np.where(keep, picture, inside_box),
        # grey is 0 in [-1, 1]
        "masked": np.where(keep, picture, 127.5).astype(np.uint8),
        "boxes": boxes,
        "categories": categories,
        "attitudes": attitudes,
        "silhouettes": _by_part(item, PARTS * grid),
        "shades": _by_part(shades, PARTS * grid),
    }


def _by_part(values: np.ndarray, parts: int) -> np.ndarray:
    """Means of values (S, S), 0 to 1, over parts x parts squares: uint8, 0 to 255."""
    means = values.reshape(parts, -1, parts, values.shape[1] // parts).mean((1, 3))
    return (means * 255).astype(np.uint8)


def _described(row: dict[str, np.ndarray]) -> tuple[list[str], list[str]]:
    """Categories and attitudes of the items of a `window`."""
    used = row["categories"] >= 0
    return [NAMES[k] for k in row["categories"][used]], row["attitudes"][used].tolist()


def cache_latents(
    vae: AutoencoderKL,
    data: Path,
    folder: Path,
    seed: int,
    shard_count: int,
    looks: int,
    copies: int,
    workers: int,
    where: torch.device,
    side: int = WINDOW,
    painter: Diffusion | None = None,
) -> Latents:
    """Encode every window of every look `copies` times, each time another `window`; for the painter
    see `coarsened`, which one part in `ASTRAY` goes through without it."""
    for number, shard in enumerate(copies * shards(data, seed, shard_count, looks, workers)):
        part = folder / f"{number:05d}.npz"
        if part.exists():
            continue
        rng = np.random.default_rng((seed, number, 17))
        rows = [window(shard, int(k), rng, side) for k in np.flatnonzero(~shard.whole)]
        columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        some = [slice(k, k + TOGETHER) for k in range(0, len(rows), TOGETHER)]
        pictures = ["clean", "masked"]
        if side != WINDOW:
            x, boxes, said = columns["clean"], columns["boxes"], [_described(r) for r in rows]
            drawn = columns["shades"]
            left = [
                coarsened(
                    *(vae, x[k], boxes[k], said[k], drawn[k], rng, where),
                    painter if (number + n) % ASTRAY else None,
                )
                for n, k in enumerate(some)
            ]
            columns["coarse"] = np.concatenate(left)
            pictures.append("coarse")
        for name in pictures:
            columns[name] = np.concatenate([_encode(vae, columns[name][k], where) for k in some])
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{number:05d}.new.npz"
        np.savez(temporary, **columns)  # type: ignore[arg-type]
        temporary.rename(part)
        tqdm.write(f"latents of shard {number}: {len(rows)} windows")
    parts = [np.load(folder / f"{k:05d}.npz") for k in range(shard_count * looks * copies)]
    columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0].files}
    return Latents(**{"coarse": columns["clean"], **columns})
