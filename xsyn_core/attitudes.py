"""How an item lies in its box, in words: what a box and a category leave open.

A small painter that is asked for scissors in a box draws those of several attitudes on each other.
Told the attitude, it has one picture to draw. So the embedded model is trained on phrases such as
"scissors 210 nne mirrored": its make and how far it is open (`simulation.parts.Item.kind`), where
it points, and its handedness; and sees the last two as a `hint` in its input. When painting, an
attitude that fits the box's proportions is drawn from those that training saw, which a file beside
the model's tokenizer lists. Models without that file are asked for the bare category.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xsyn_core.boxes import Box
from xsyn_core.errors import XsynError

FILE = "attitudes.json"
# Clockwise from the right, as angles of a picture go.
COMPASS = (
    *("e", "ebs", "ese", "sebe", "se", "sebs", "sse", "sbe"),
    *("s", "sbw", "ssw", "swbs", "sw", "swbw", "wsw", "wbs"),
    *("w", "wbn", "wnw", "nwbw", "nw", "nwbn", "nnw", "nbw"),
    *("n", "nbe", "nne", "nebn", "ne", "nebe", "ene", "ebn"),
)
MIRRORED = "mirrored"
# From how many attitudes of the nearest proportions one is drawn.
NEAREST = 12


def words(kind: str, angle: float, mirrored: bool) -> str:
    """An attitude as a prompt tells it.

    Args:
        kind: digits, `Item.kind`.
        angle: degrees clockwise from the right, where the item's own x axis points.
        mirrored: whether it is.
    """
    point = COMPASS[round(angle / 360 * len(COMPASS)) % len(COMPASS)]
    return " ".join([kind, point] + [MIRRORED] * mirrored).strip()


def hint(told: Sequence[str], boxes: Sequence[Box], shape: tuple[int, int, int]) -> np.ndarray:
    """Attitudes as a picture of the frame: where each cell lies in its item's own drawing.

    Words alone leave a painter to learn what "nne" means for each place of a box. Laid where the
    masked image shows nothing, this says it cell by cell: low Fourier features of the cell's place
    along and across the item, 0 in the middle of the box, 1 half the box's longer side away.

    Args:
        told: attitudes (see `words`), one a box; of those that name no direction nothing is laid.
        boxes: as shares of the frame, 0 to 1. Where they meet, the later one counts.
        shape: (c, h, w), of the latents.

    Returns:
        float32 (c, h, w), 0 outside the cells that the boxes touch, and from the 17th channel on.
    """
    count, height, width = shape
    result = np.zeros(shape, np.float32)
    for spoken, (x1, y1, x2, y2) in zip(map(str.split, told), boxes, strict=True):
        points = [COMPASS.index(word) for word in spoken if word in COMPASS]
        if not points:
            continue
        left, right = int(np.floor(x1 * width)), int(np.ceil(x2 * width))
        top, bottom = int(np.floor(y1 * height)), int(np.ceil(y2 * height))
        x, y = np.meshgrid(
            (np.arange(left, right) + 0.5) / width - (x1 + x2) / 2,
            (np.arange(top, bottom) + 0.5) / height - (y1 + y2) / 2,
        )
        turn, half = 2 * np.pi * points[0] / len(COMPASS), max(x2 - x1, y2 - y1) / 2
        along = (x * np.cos(turn) + y * np.sin(turn)) / half
        across = (y * np.cos(turn) - x * np.sin(turn)) / half
        places = along, -across if MIRRORED in spoken else across
        waves = [
            wave(np.pi * frequency * place)
            for frequency in (0.5, 1, 2, 4)
            for place in places
            for wave in (np.sin, np.cos)
        ]
        result[: len(waves), top:bottom, left:right] = waves[:count]
    return result


class Attitudes:
    """The attitudes that a model knows.

    Args:
        known: by category, (words, width of the box over its height).
    """

    def __init__(self, known: dict[str, list[tuple[str, float]]]):
        self.known = known

    @classmethod
    def open(cls, folder: Path) -> "Attitudes":
        """Those beside a tokenizer; none where the folder lists none.

        Raises:
            XsynError: the list cannot be read.
        """
        file = Path(folder) / FILE
        if not file.is_file():
            return cls({})
        try:
            listed = json.loads(file.read_text(encoding="utf-8"))
            known = {
                str(name): [(str(told), float(ratio)) for told, ratio in some]
                for name, some in listed.items()
            }
            if not all(ratio > 0 for some in known.values() for _, ratio in some):
                raise ValueError("a box has no width")
        except (OSError, ValueError, RecursionError, TypeError, AttributeError) as error:
            raise XsynError(
                f"{file} cannot be read ({error}). Restore it, or remove it to paint without."
            ) from None
        return cls(known)

    def save(self, folder: Path) -> None:
        """Write the list beside a tokenizer, where there is any."""
        if self.known:
            lines = [f"{json.dumps(n)}: {json.dumps(some)}" for n, some in self.known.items()]
            text = "{\n" + ",\n".join(lines) + "\n}\n"
            (Path(folder) / FILE).write_text(text, encoding="utf-8")

    def choose(self, category: str, box: Box, rng: np.random.Generator) -> str:
        """An attitude for a category in a box, "" where none is known.

        Args:
            box: x1, y1, x2, y2 in any unit that is the same along both axes.
        """
        known = self.known.get(category)
        if not known:
            return ""
        ratio = (box[2] - box[0]) / (box[3] - box[1])
        apart = np.abs(np.log([r for _, r in known]) - np.log(ratio))
        near = np.argsort(apart, kind="stable")[:NEAREST]
        return known[int(rng.choice(near))][0]


NONE = Attitudes({})
