"""How an item lies in its box, in words: what a box and a category leave open.

A small painter that is asked for scissors in a box draws those of several attitudes on each other.
Told the attitude, it has one picture to draw. So the embedded model is trained on phrases such as
"scissors 210 nne mirrored": its make and how far it is open (`simulation.parts.Item.kind`), where
it points, and its handedness. When painting, an attitude that fits the box's proportions is drawn
from those that training saw, which a file beside the model's tokenizer lists. Models without that
file are asked for the bare category.
"""

import json
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
        except (OSError, ValueError, TypeError, AttributeError) as error:
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
