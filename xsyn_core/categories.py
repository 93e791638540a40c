"""The categories of the three datasets and their area groups (Table I)."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from xsyn_core.boxes import area, aspect_ratio
from xsyn_core.errors import XsynError

# No item is proposed in a longer box, in long sides over short: those are straps and seams.
LONGEST = 8.0


@dataclass(frozen=True)
class Catalog:
    """The categories of one dataset.

    Attributes:
        key: "pidray", "opixray" or "hixray", or of a catalogue of one's own (see `catalogs`).
        title: for people; the dataset's name as written in the paper.
        names: in the dataset's own order; COCO ids are 1 to len(names) in this order.
        groups: names by area group, small to large (Table I).
        boundaries: square pixels between the groups (Table I), in the dataset's own scans.
        max_aspect_ratios: one a name: of its items' boxes, long side over short, hardly one has
            more. Of the three datasets' those of nineteen in twenty simulated items.
        scan_areas: square pixels of its smallest and its largest scans, or of a usual one twice.
        min_area_ratio: boxes below this share of the image are filtered out (Section V-A).
        max_area_ratio: boxes above this share are not proposed, for Table I's intervals end with
            the largest item.
    """

    key: str
    title: str
    names: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    boundaries: tuple[float, ...]
    max_aspect_ratios: tuple[float, ...]
    scan_areas: tuple[float, float]
    min_area_ratio: float
    max_area_ratio: float = 0.25

    def candidates(self, area_px: float) -> tuple[str, ...]:
        """The names of the group whose area interval holds `area_px` square pixels (Table I).

        A boundary belongs to the smaller group.
        """
        return self.groups[bisect_left(self.boundaries, area_px)]

    def fitting(self, box: Sequence[float], scan_size: tuple[int, int]) -> tuple[str, ...]:
        """The names that fit a box (x1, y1, x2, y2) in a scan of (height, width): of its area
        group those whose items are as long, or all where none is.

        Table I tells areas in the dataset's own scans. A larger scan shows all things larger, so
        the box counts by the area that it would have in the dataset's largest, and likewise in the
        smallest.
        """
        group = self._group(box, scan_size)
        return tuple(name for name in group if self.as_long(name, box)) or group

    def item_sized(self, box: Sequence[float], scan_size: tuple[int, int]) -> bool:
        """Whether a box in a scan of (height, width) is like an item's: not larger than
        `max_area_ratio`, and no longer than items of its area group."""
        return area(box) <= self.max_area_ratio * scan_size[0] * scan_size[1] and any(
            self.as_long(name, box) for name in self._group(box, scan_size)
        )

    def as_long(self, name: str, box: Sequence[float]) -> bool:
        """Whether items of one of `names` have boxes of this shape."""
        return aspect_ratio(box) <= self.max_aspect_ratios[self.names.index(name)]

    def _group(self, box: Sequence[float], scan_size: tuple[int, int]) -> tuple[str, ...]:
        pixels = scan_size[0] * scan_size[1]
        least, most = self.scan_areas
        return self.candidates(area(box) * min(max(pixels, least), most) / pixels)

    def id_of(self, name: str) -> int:
        """The COCO id of a category.

        Raises:
            XsynError: the catalogue has no such category.
        """
        return self.names.index(self.find(name)) + 1

    def known(self, name: str) -> str:
        """As `find`, but "" where the catalogue has no such category."""
        wanted = plain(name)
        return next((own for own in self.names if plain(own) == wanted), "")

    def find(self, name: str) -> str:
        """The catalogue's own spelling of a name given in any case, with spaces or underscores.

        Raises:
            XsynError: the catalogue has no such category.
        """
        own = self.known(name)
        if own:
            return own
        raise XsynError(
            f"{name!r} is not a category of {self.title}. Choose one of: {', '.join(self.names)}."
        )


def plain(name: str) -> str:
    """What spellings of a category have in common: "Utility_Knife" is "utilityknife"."""
    return name.strip().lower().replace("_", "").replace(" ", "").replace("-", "")


def phrase(name: str) -> str:
    """How a category is written in a prompt: "Utility_Knife" is "utility knife"."""
    return name.replace("_", " ").replace("-", " ").lower()


_CATALOGS = (
    Catalog(
        key="pidray",
        title="PIDray",
        names=(
            *("Baton", "Pliers", "Hammer", "Powerbank", "Scissors", "Wrench"),
            *("Gun", "Bullet", "Sprayer", "HandCuffs", "Knife", "Lighter"),
        ),
        groups=(
            ("Lighter", "Bullet"),
            (
                *("Knife", "Gun", "Powerbank", "Wrench", "HandCuffs"),
                *("Baton", "Pliers", "Scissors", "Sprayer"),
            ),
            ("Hammer",),
        ),
        boundaries=(10_000, 25_000),
        max_aspect_ratios=(8.0, 3.2, 3.0, 2.0, 2.0, 6.0, 2.3, 2.8, 3.1, 2.6, 7.3, 2.8),
        scan_areas=(340 * 448, 660 * 448),
        min_area_ratio=0.001,
    ),
    Catalog(
        key="opixray",
        title="OPIXray",
        names=("Folding_Knife", "Straight_Knife", "Scissor", "Utility_Knife", "Multi-tool_Knife"),
        groups=(
            ("Multi-tool_Knife", "Folding_Knife"),
            ("Straight_Knife", "Utility_Knife"),
            ("Scissor",),
        ),
        boundaries=(10_000, 15_000),
        max_aspect_ratios=(5.8, 6.5, 2.1, 6.5, 2.4),
        scan_areas=(1225 * 954, 1225 * 954),
        min_area_ratio=0.004,
    ),
    Catalog(
        key="hixray",
        title="HiXray",
        names=(
            *("Portable_Charger_1", "Portable_Charger_2", "Water", "Laptop", "Mobile_Phone"),
            *("Tablet", "Cosmetic", "Nonmetallic_Lighter"),
        ),
        groups=(
            (
                *("Portable_Charger_1", "Portable_Charger_2", "Water", "Mobile_Phone"),
                *("Cosmetic", "Nonmetallic_Lighter"),
            ),
            ("Tablet",),
            ("Laptop",),
        ),
        boundaries=(40_000, 100_000),
        max_aspect_ratios=(2.0, 2.0, 3.3, 1.5, 2.0, 1.5, 2.7, 2.8),
        scan_areas=(1200 * 900, 1200 * 900),
        min_area_ratio=0.005,
    ),
)

CATALOGS: dict[str, Catalog] = {catalog.key: catalog for catalog in _CATALOGS}

PIDRAY = CATALOGS["pidray"]
