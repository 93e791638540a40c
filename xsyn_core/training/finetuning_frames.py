"""Training frames of real scans, cut as the page cuts them, with their latents cached on disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from xsyn_core import boxes as box_math
from xsyn_core.boxes import Box
from xsyn_core.concealment import to_tensor
from xsyn_core.diffusion import Diffusion
from xsyn_core.errors import XsynError
from xsyn_core.frames import Frame, whole, window_around
from xsyn_core.inpainting import masked_latents
from xsyn_core.sample import FrameMode
from xsyn_core.scan import Annotation
from xsyn_core.training.finetuning_data import Selection, readable
from xsyn_core.training.parts import Part, Parts, encode

# Frames that are encoded at once.
TOGETHER = 8
# Of the other items of a frame, so many are repainted with its own: most often one item is
# painted at a time, beside known ones that stay.
JOINED = 0.4
# An item of which less than this is in the frame is not named.
IN_SIGHT = 0.5
MIRRORS = 4


@dataclass(frozen=True)
class Cut:
    """A frame with the objects in it.

    Attributes:
        frame: where it lies.
        boxes: shares of the frame, 0 to 1.
        names: their categories.
        repainted: which of them the inpainting stage repaints; the frame's own, the first, always.
        keep: float32 (h, w) on the latent grid, 0 where those are repainted.
    """

    frame: Frame
    boxes: tuple[Box, ...]
    names: tuple[str, ...]
    repainted: tuple[bool, ...]
    keep: np.ndarray


def mirrored(
    pixels: np.ndarray, objects: Sequence[Annotation], number: int
) -> tuple[np.ndarray, list[Annotation]]:
    """One of the `MIRRORS` mirror images of a scan: 0 as it is, 1 left and right exchanged, 2 top
    and bottom, 3 both."""
    height, width = pixels.shape[:2]
    across, down = bool(number & 1), bool(number & 2)
    pixels = pixels[:: -1 if down else 1, :: -1 if across else 1]
    turned = []
    for known in objects:
        x1, y1, x2, y2 = known.box
        x1, x2 = (width - x2, width - x1) if across else (x1, x2)
        y1, y2 = (height - y2, height - y1) if down else (y1, y2)
        turned.append(Annotation(known.category, (x1, y1, x2, y2)))
    return np.ascontiguousarray(pixels), turned


def cuts(
    size: tuple[int, int],
    objects: Sequence[Annotation],
    mode: FrameMode,
    model: Diffusion,
    rng: np.random.Generator,
) -> Iterator[Cut]:
    """The frames of one scan of (height, width): a window around each object, or the whole."""
    for number, own in enumerate(objects):
        if mode == "whole":
            own = objects[int(rng.integers(len(objects)))]
            frame = whole(size, model.side, model.multiple)
        else:
            frame = window_around(own.box, size, model.side)
        here = [own, *(o for o in objects if o is not own and _in_sight(o.box, frame))]
        here = here[: model.slots]
        repainted = [True, *(rng.random(len(here) - 1) < JOINED)]
        keep = np.ones([v // model.factor for v in frame.size], np.float32)
        for known, chosen in zip(here, repainted, strict=True):
            if chosen:
                x1, y1, x2, y2 = frame.cells(known.box, model.factor)
                keep[y1:y2, x1:x2] = 0
        yield Cut(
            frame,
            tuple(frame.unit(o.box) for o in here),
            tuple(o.category for o in here),
            tuple(map(bool, repainted)),
            keep,
        )
        if mode == "whole" and number == 0:
            return


def _in_sight(box: Box, frame: Frame) -> bool:
    return box_math.area(box_math.intersection(box, frame.box)) >= IN_SIGHT * box_math.area(box)


@dataclass(frozen=True)
class Batch:
    """B frames of one size, on the CPU.

    Attributes:
        clean: float32 (B, c, h, w), their latents.
        masked: float32 (B, c, h, w), what the model sees of the cells that are kept, see
            `inpainting.masked_latents`.
        keep: float32 (B, 1, h, w), the mask: 1 keeps, 0 repaints.
        boxes: float32 (B, slots, 4), shares of the frame; zeros where unused.
        categories: int64 (B, slots), -1 where unused.
        repainted: bool (B, slots), the objects that the mask covers.
    """

    clean: torch.Tensor
    masked: torch.Tensor
    keep: torch.Tensor
    boxes: torch.Tensor
    categories: torch.Tensor
    repainted: torch.Tensor


class Frames:
    """The cached frames of a selection.

    Attributes:
        names: the categories that frames number.
        sources: hash of the scan that each frame is from.
        mirrors: which mirror image each frame is of.
        sizes: int (N, 2), height and width in latent cells.

    Raises:
        XsynError: there is no frame.
    """

    def __init__(self, folders: Sequence[Path], names: Sequence[str], channels: int):
        self.names = tuple(names)
        if not folders:
            raise XsynError("Not one scan of the dataset can be read. Export it again.")
        self._depths = {"clean": channels, "masked": channels, "keep": 1}
        self._parts = Parts(folders, tuple(self._depths))
        table = self._parts.table
        self.sizes, self.sources, self.mirrors = (
            table[name] for name in ("sizes", "sources", "mirrors")
        )
        self._boxes, self._categories, self._repainted = (
            table[name] for name in ("boxes", "categories", "repainted")
        )
        self._start = self._parts.starts(self.sizes.prod(1))

    def __len__(self) -> int:
        return len(self.sizes)

    def groups(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows parted by the size of their frames, which alone go into one batch."""
        own = self.sizes[rows]
        return [rows[(own == size).all(1)] for size in np.unique(own, axis=0)]

    def batch(self, rows: np.ndarray) -> Batch:
        """Frames of one size."""
        height, width = map(int, self.sizes[rows[0]])
        found: dict[str, list[np.ndarray]] = {name: [] for name in self._depths}
        for row in rows:
            columns, start, cells = self._parts.columns(row), self._start[row], height * width
            for name, depth in self._depths.items():
                values = columns[name][depth * start : depth * (start + cells)]
                found[name].append(values.reshape(depth, height, width).astype(np.float32))
        clean, masked, keep = (torch.from_numpy(np.stack(found[name])) for name in self._depths)
        return Batch(
            clean,
            masked,
            keep,
            torch.from_numpy(self._boxes[rows]),
            torch.from_numpy(self._categories[rows].astype(np.int64)),
            torch.from_numpy(self._repainted[rows]),
        )


def cache_frames(
    selection: Selection,
    origins: dict[str, str],
    folder: Path,
    mode: FrameMode,
    mirrors: int,
    model: Diffusion,
    seed: int,
) -> Frames:
    """Cut and encode every frame, once; what is in `folder` already is taken from there.

    Scans that cannot be read are left out, with a remark. Several processes share the work.

    Args:
        selection: which objects.
        origins: for painted images, by file name, the hash of the source scan.
        folder: of the cache.
        mode: a window around each object, or the whole scan.
        mirrors: how many of the `MIRRORS` mirror images of each scan, 1 for the scan alone.
        model: whose autoencoder and geometry.
        seed: of what is repainted together.

    Raises:
        XsynError: not one scan can be read.
    """

    def encoded(part: Sequence[int]) -> Part | None:
        return _encoded(selection, origins, part, mode, mirrors, model, seed)

    folders = encode(list(selection.objects), folder, encoded)
    return Frames(folders, selection.names, model.channels)


def _encoded(
    selection: Selection,
    origins: dict[str, str],
    part: Sequence[int],
    mode: FrameMode,
    mirrors: int,
    model: Diffusion,
    seed: int,
) -> Part | None:
    """The frames of some scans; None where no scan can be read."""
    number = {name: k for k, name in enumerate(selection.names)}
    found: list[tuple[Cut, str, int]] = []
    flat: dict[str, list[np.ndarray]] = {name: [] for name in ("clean", "masked", "keep")}
    for index, scan, source in readable(selection, part, origins):
        for mirror in range(mirrors):
            pixels, objects = mirrored(scan.pixels, selection.objects[index], mirror)
            rng = np.random.default_rng((seed, index, mirror))
            own = list(cuts(scan.size, objects, mode, model, rng))
            found += [(cut, source, mirror) for cut in own]
            for k in range(0, len(own), TOGETHER):
                some = own[k : k + TOGETHER]
                images = torch.stack([to_tensor(cut.frame.cut(pixels)) for cut in some])
                keep = torch.from_numpy(np.stack([cut.keep for cut in some]))[:, None]
                clean = model.encode(images)
                masked = masked_latents(model, images, keep.to(clean.device), clean)
                flat["clean"].append(_flat(clean))
                flat["masked"].append(_flat(masked))
                flat["keep"].append(_flat(keep).astype(bool))
    if not found:
        return None
    slots = model.slots
    boxes = np.zeros((len(found), slots, 4), np.float32)
    categories = np.full((len(found), slots), -1, np.int16)
    repainted = np.zeros((len(found), slots), bool)
    for row, (cut, _, _) in enumerate(found):
        count = len(cut.names)
        boxes[row, :count] = cut.boxes
        categories[row, :count] = [number[name] for name in cut.names]
        repainted[row, :count] = cut.repainted
    table: dict[str, np.ndarray] = {
        "sizes": np.array([cut.keep.shape for cut, _, _ in found], np.int32).reshape(-1, 2),
        "boxes": boxes,
        "categories": categories,
        "repainted": repainted,
        "sources": np.array([source for _, source, _ in found], "U64"),
        "mirrors": np.array([mirror for _, _, mirror in found], np.uint8),
    }
    return Part({name: np.concatenate(values) for name, values in flat.items()}, table)


def _flat(values: torch.Tensor) -> np.ndarray:
    return values.half().cpu().numpy().ravel()
