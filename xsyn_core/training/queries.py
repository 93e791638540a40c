"""What the segmenter learns from: prompts, each with the window in which it looks for an answer."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from PIL import Image

from xsyn_core import sam_refiner
from xsyn_core.prompt_windows import extent, moved, window
from xsyn_core.simulation.rendering import middle
from xsyn_core.training.data import SIDE
from xsyn_core.training.prompting import KINDS, prompt

# The window's side over the longer one of what is asked for.
ZOOM = 1.4
# Cells of a mask's logits a side.
CELLS = SIDE // 4
# A box alone is tight, as a known label is: its ends err by about this share of its sides. What
# lies in a box that is tight reaches each of its sides, which tells of an outline that cannot be
# seen (Lempitsky et al., "Image Segmentation with a Bounding Box Prior", ICCV 2009). A grounding
# box is loose; it always comes with points, or with a map.
SPREAD = 0.03
# So do those of the box of a mask that a click gave, which is looked at again with the click, but
# by shares that differ widely: those of the embedded model have quartiles of 0.04, 0.11 and 0.28.
ASTRAY = (0.05, 0.8)
# Share of clicks in the middle of what is meant, as people click.
CENTRAL = 0.6


@dataclass(frozen=True)
class Query:
    """A prompt as `Segmenter.segment` answers it, points alone first.

    Attributes:
        window: uint8 (SIDE, SIDE, 3), what SAM sees.
        pixels: uint8 (2 CELLS, 2 CELLS, 3), what the refiner sees of it.
        drawing: float32 (3, CELLS, CELLS), see `sam_refiner.drawn`.
        box: float32 (4,), pixels of the window; (0,) for none.
        points: float32 (k, 2), likewise. labels: float32 (k,).
        truth: float32 (CELLS, CELLS), the share of each cell that the object fills.
    """

    window: np.ndarray
    pixels: np.ndarray
    drawing: np.ndarray
    box: np.ndarray
    points: np.ndarray
    labels: np.ndarray
    truth: np.ndarray

    def turned(self, turns: int, mirrored: bool) -> "Query":
        """As `turned` turns pictures."""
        corners = turned_places(self.box.reshape(-1, 2), turns, mirrored)
        if len(corners):
            corners = np.concatenate([corners.min(0), corners.max(0)])
        return Query(
            turned(self.window, turns, mirrored),
            turned(self.pixels, turns, mirrored),
            turned(self.drawing, turns, mirrored, (1, 2)),
            corners.reshape(-1),
            turned_places(self.points, turns, mirrored),
            self.labels,
            turned(self.truth, turns, mirrored),
        )


def turned(
    picture: np.ndarray, turns: int, mirrored: bool, axes: tuple[int, int] = (0, 1)
) -> np.ndarray:
    """A picture as `np.rot90` turns it so often, then flipped left to right by choice."""
    picture = np.rot90(picture, turns, axes)
    return np.ascontiguousarray(np.flip(picture, axes[1]) if mirrored else picture)


def turned_places(xy: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Where points (n, 2) of a picture of SIDE pixels are once that is `turned`."""
    for _ in range(turns):
        xy = np.stack([xy[:, 1], SIDE - xy[:, 0]], 1)
    return np.stack([SIDE - xy[:, 0], xy[:, 1]], 1) if mirrored else xy


@dataclass(frozen=True)
class QueryBatch:
    """QueryBatch with prompts of one kind: the same, each with a first axis more."""

    window: torch.Tensor
    pixels: torch.Tensor
    drawing: torch.Tensor
    box: torch.Tensor
    points: torch.Tensor
    labels: torch.Tensor
    truth: torch.Tensor


def query(
    image: np.ndarray,
    mask: np.ndarray,
    box: np.ndarray | None,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Query:
    """One prompt.

    Args:
        image: uint8 (H, H, 3).
        mask: bool (S, S) of the same square, the truth.
        box: (4,) or None. points, labels: (k, 2), (k,) or None. All in pixels of the image.
    """
    size = image.shape[:2]
    view = None if box is None else window(extent(box, points, labels), size, ZOOM)
    x1, y1, x2, y2 = view = view or (0, 0, *size[::-1])
    asked = moved(view, box, points, labels)
    seen = np.ascontiguousarray(image[y1:y2, x1:x2])
    # the window is square, as the image is
    scale = SIDE / (x2 - x1)
    shapes = (0,), (0, 2), (0,)
    corners, places, marks = (
        np.zeros(shape, np.float32) if values is None else values.astype(np.float32)
        for values, shape in zip(asked, shapes, strict=True)
    )
    corners, places = corners * scale, places * scale
    finer = SIDE / CELLS
    drawing = sam_refiner.drawn(
        corners / finer if len(corners) else None, places / finer, marks, CELLS
    )
    return Query(
        # as `Segmenter.embed` resizes
        np.array(Image.fromarray(seen).resize((SIDE, SIDE), Image.Resampling.BILINEAR)),
        sam_refiner.shrunk(seen, CELLS),
        drawing,
        corners,
        places,
        marks,
        shares(mask, np.array(view) * len(mask) / size[0]),
    )


def shares(mask: np.ndarray, view: np.ndarray) -> np.ndarray:
    """The share of each cell of a square window (4,) that a mask bool (S, S) fills, float32
    (CELLS, CELLS)."""
    step = (view[2] - view[0]) / CELLS
    width = max(1, round(step))
    fine = cv2.blur(mask.astype(np.float32), (width, width))
    # OpenCV's even kernels reach further to the left
    x, y = view[:2] + step / 2 - 0.5 + (0.5 if width % 2 == 0 else 0)
    matrix = np.array([[step, 0, x], [0, step, y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(fine, matrix, (CELLS, CELLS), flags=flags)


def by_box(image, mask: np.ndarray, tight: np.ndarray, rng: np.random.Generator) -> Query:
    """What lies in a box (4,), pixels of the image; other arguments as in `query`."""
    return query(image, mask, _astray(tight, SPREAD, len(image), rng))


def by_click(
    image, mask: np.ndarray, tight: np.ndarray, rng: np.random.Generator, central: float = CENTRAL
) -> Query:
    """What a click means, by this chance in the middle of it. The mask bool (H, H) has the image's
    pixels."""
    return query(image, mask, None, click_on(mask, tight, rng, central), np.ones(1, np.float32))


def again(image, mask: np.ndarray, tight: np.ndarray, rng: np.random.Generator) -> Query:
    """What a click means, in the box of what it may have found at first, which holds it."""
    click, (least, most) = click_on(mask, tight, rng, CENTRAL), ASTRAY
    found = _astray(tight, least * (most / least) ** rng.random(), len(image), rng)
    found[:2], found[2:] = np.minimum(found[:2], click[0] - 1), np.maximum(found[2:], click[0] + 1)
    return query(image, mask, found.clip(0, len(image)), click, np.ones(1, np.float32))


def batched(queries: Sequence[Query]) -> list[QueryBatch]:
    """Batches of tensors, one for each kind of prompt: padding them to one length would show
    SAM's decoder tokens that it never meets in use."""
    kinds: dict[tuple[bool, int], list[Query]] = {}
    for one in queries:
        kinds.setdefault((len(one.box) > 0, len(one.labels)), []).append(one)
    names = [field.name for field in fields(Query)]
    return [
        QueryBatch(*(torch.from_numpy(np.stack([getattr(one, n) for one in some])) for n in names))
        for some in kinds.values()
    ]


def click_on(
    mask: np.ndarray, tight: np.ndarray, rng: np.random.Generator, central: float
) -> np.ndarray:
    """A click on an object as `by_click` has it: float32 (1, 2), x and y."""
    if rng.random() < central:
        return middle(mask)[None].astype(np.float32)
    return prompt(mask, tight, KINDS[1], rng, len(mask))[1]


def _astray(tight: np.ndarray, spread: float, side: int, rng: np.random.Generator) -> np.ndarray:
    """A box (4,) whose ends err by about this share of its sides, within 0 to `side`."""
    x1, y1, x2, y2 = tight
    ends = np.array([x2 - x1, y2 - y1] * 2)
    box = tight + rng.normal(0, spread, 4).clip(-2 * spread, 2 * spread) * ends
    return box.clip(0, side).astype(np.float32)
