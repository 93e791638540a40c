"""How an item lies in its box: what a box and a category leave open.

A small painter that is asked for scissors in a box draws those of several attitudes on each other.
Told the attitude, it has one picture to draw. So the embedded model is trained on phrases such as
"scissors 210 nne mirrored": its make and how far it is open (`simulation.parts.Item.kind`), where
it points, and its handedness; and sees a coarse density map of the item as a `hint` in its input.
When painting, an attitude whose map fits the box's proportions is drawn from those that training
saw, which a file beside the model's tokenizer holds. Models without that file are asked for the
bare category.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from xsyn_core.boxes import Box
from xsyn_core.errors import XsynError

FILE = "attitudes.npz"
# Clockwise from the right, as angles of a picture go.
COMPASS = (
    *("e", "ebs", "ese", "sebe", "se", "sebs", "sse", "sbe"),
    *("s", "sbw", "ssw", "swbs", "sw", "swbw", "wsw", "wbs"),
    *("w", "wbn", "wnw", "nwbw", "nw", "nwbn", "nnw", "nbw"),
    *("n", "nbe", "nne", "nebn", "ne", "nebe", "ene", "ebn"),
)
MIRRORED = "mirrored"
# From how many attitudes of the nearest proportions one is drawn.
NEAREST = 16
# The share of a box that its item leaves free at each side: the boxes of training are loose.
MARGIN = 0.06
# A hint tells each cell in so many parts a side where the item lies and how dense it is, or in
# fewer if the latents have not as many channels.
PARTS = 4
# What a hint tells of the faintest spot of an item.
FAINTEST = 0.5
# Density maps tell so many densities apart.
LEVELS = 8
# They are laid this much finer than parts.
FINER = 4


@dataclass(frozen=True, eq=False)
class Attitude:
    """How one item lies.

    Attributes:
        words: see `words`; "" tells nothing.
        density: uint8 (h, w), tight around the item: 0 where it does not lie, else how dense it is,
            1 to `LEVELS`; None tells nothing.
    """

    words: str = ""
    density: np.ndarray | None = None


UNTOLD = Attitude()


def words(kind: str, angle: float, mirrored: bool) -> str:
    """An attitude as a prompt tells it.

    Args:
        kind: digits, `Item.kind`.
        angle: degrees clockwise from the right, where the item's own x axis points.
        mirrored: whether it is.
    """
    point = COMPASS[round(angle / 360 * len(COMPASS)) % len(COMPASS)]
    return " ".join([kind, point] + [MIRRORED] * mirrored).strip()


def tight(values: np.ndarray) -> np.ndarray | None:
    """The part of values (h, w) that holds all that is not 0; None if everything is."""
    rows, columns = np.flatnonzero(values.any(1)), np.flatnonzero(values.any(0))
    if not len(rows):
        return None
    return values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def shade(covered: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """What a `hint` tells of each spot: 0 where no item lies, else from `FAINTEST` to 1 with its
    density.

    Args:
        covered: bool, any shape. dense: float, 0 to 1, likewise, see `training.data.density`.
    """
    return covered * (FAINTEST + (1 - FAINTEST) * dense)


def levelled(covered: np.ndarray, shades: np.ndarray) -> np.ndarray | None:
    """An item's density map, see `Attitude`; None if nothing is covered.

    Args:
        covered: float (h, w), 0 to 1, the share of each part that an item covers; it is in the
            map where that is more than a half.
        shades: float (h, w), the part's mean of `shade`.
    """
    dense = (shades / np.maximum(covered, 0.5) - FAINTEST) / (1 - FAINTEST)
    levels = 1 + np.rint(dense.clip(0, 1) * (LEVELS - 1)).astype(np.uint8)
    return tight(np.where(covered > 0.5, levels, np.uint8(0)))


def hint(shades: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Shades as latents that a UNet sees where the masked image shows nothing.

    Args:
        shades: float (n h, n w), 0 to 1, the mean of `shade` in each of n x n parts of a cell; n a
            multiple of `PARTS`.
        shape: (c, h, w), of the latents.

    Returns:
        float32 (c, h, w): -1 where no item lies to 1 where the densest covers all of a part of the
        cell, one part a channel, row by row; 0 in channels beyond the parts.
    """
    count, height, width = shape
    parts = next(n for n in (PARTS, 2, 1) if n * n <= count)
    means = shades.reshape(height, parts, -1, width, parts, shades.shape[1] // (width * parts))
    means = means.mean((2, 5))
    result = np.zeros(shape, np.float32)
    result[: parts * parts] = 2 * means.transpose(1, 3, 0, 2).reshape(-1, height, width) - 1
    return result


def laid(
    attitudes: Sequence[Attitude], boxes: Sequence[Box], shape: tuple[int, int, int]
) -> np.ndarray:
    """The `hint` of items that are to lie in boxes.

    Each item is laid in the middle of its box, as large as `MARGIN` leaves room for.

    Args:
        attitudes: one a box.
        boxes: as shares of the frame, 0 to 1.
        shape: (c, h, w), of the latents.

    Returns:
        float32 (c, h, w), 0 outside the cells that boxes of known density maps touch.
    """
    _, height, width = shape
    shades = np.zeros((height * PARTS * FINER, width * PARTS * FINER), np.float32)
    told = np.zeros((height, width), bool)
    for attitude, (x1, y1, x2, y2) in zip(attitudes, boxes, strict=True):
        if attitude.density is None:
            continue
        told[
            int(np.floor(y1 * height)) : int(np.ceil(y2 * height)),
            int(np.floor(x1 * width)) : int(np.ceil(x2 * width)),
        ] = True
        h, w = attitude.density.shape
        room_y, room_x = (y2 - y1) * shades.shape[0], (x2 - x1) * shades.shape[1]
        scale = (1 - 2 * MARGIN) * min(room_y / h, room_x / w)
        h, w = max(1, round(scale * h)), max(1, round(scale * w))
        top = max(0, round((y1 + y2) / 2 * shades.shape[0] - h / 2))
        left = max(0, round((x1 + x2) / 2 * shades.shape[1] - w / 2))
        there = shades[top : top + h, left : left + w]
        drawn = _enlarged(attitude.density, (w, h))[: there.shape[0], : there.shape[1]]
        np.maximum(there, drawn, out=there)
    return hint(shades, shape) * told


def _enlarged(density: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The shades of a density map at another size (width, height), its outline sharp: float32."""
    item = density > 0
    shades = shade(item, (density - 1.0) / (LEVELS - 1))
    covered, drawn = (
        cv2.resize(np.float32(values), size, interpolation=cv2.INTER_LINEAR)
        for values in (item, shades)
    )
    return np.where(covered > 0.5, drawn / np.maximum(covered, 0.5), np.float32(0))


class Attitudes:
    """The attitudes that a model knows.

    Args:
        known: by category, with density maps.
    """

    def __init__(self, known: Mapping[str, Sequence[Attitude]]):
        self.known = known
        self._ratios = {
            name: np.log([one.density.shape[1] / one.density.shape[0] for one in some])  # type: ignore[union-attr]
            for name, some in known.items()
        }

    @classmethod
    def open(cls, folder: Path) -> "Attitudes":
        """Those beside a tokenizer; none where the folder holds none.

        Raises:
            XsynError: the file cannot be read.
        """
        file = Path(folder) / FILE
        if not file.is_file():
            return cls({})
        try:
            with np.load(file, allow_pickle=False) as columns:
                names, told, sizes, levels = (
                    columns[n] for n in ("names", "words", "sizes", "levels")
                )
            ends = np.cumsum(sizes.prod(1))
            if (sizes < 1).any() or len(levels) != ends[-1] or levels.max() > LEVELS:
                raise ValueError("its columns do not fit")
            known: dict[str, list[Attitude]] = {}
            for name, said, size, part in zip(
                names.tolist(), told.tolist(), sizes, np.split(levels, ends[:-1]), strict=True
            ):
                known.setdefault(str(name), []).append(Attitude(str(said), part.reshape(size)))
        except Exception as error:  # whatever a damaged archive makes of its readers
            raise XsynError(
                f"{file} cannot be read ({error}). Restore it, or remove it to paint without."
            ) from None
        return cls(known)

    def save(self, folder: Path) -> None:
        """Write them beside a tokenizer, where there are any."""
        rows = [(name, one) for name, some in self.known.items() for one in some]
        if rows:
            maps = [one.density for _, one in rows]
            np.savez_compressed(
                Path(folder) / FILE,
                names=np.array([name for name, _ in rows]),
                words=np.array([one.words for _, one in rows]),
                sizes=np.array([s.shape for s in maps], np.int32),  # type: ignore[union-attr]
                levels=np.concatenate([s.ravel() for s in maps]),  # type: ignore[union-attr]
            )

    def choose(self, category: str, box: Box, rng: np.random.Generator) -> Attitude:
        """An attitude for a category in a box, `UNTOLD` where none is known.

        Args:
            box: x1, y1, x2, y2 in any unit that is the same along both axes.
        """
        known = self.known.get(category)
        if not known:
            return UNTOLD
        ratio = (box[2] - box[0]) / (box[3] - box[1])
        near = np.argsort(np.abs(self._ratios[category] - np.log(ratio)), kind="stable")[:NEAREST]
        return known[int(rng.choice(near))]


NONE = Attitudes({})
