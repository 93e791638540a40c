"""How near simulated scans come to real ones: a sheet to look at, and a few numbers a look.

python -m xsyn_core evaluate simulator --scans DIR --out sheet.png
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from xsyn_core.errors import XsynError
from xsyn_core.evaluation.report import tried
from xsyn_core.files import writable
from xsyn_core.scan import read_scan
from xsyn_core.simulation.dataset import simulate_scan
from xsyn_core.simulation.looks import LOOKS

ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}
# Longer side of the compared pictures, pixels; and of their tiles on the sheet.
SIDE, TILE = 256, 176
COLUMNS, HEADER = 12, 28
# Luminances that part the attenuation levels, of 0 to 255; above the last one it is air.
LEVELS = (48, 96, 144, 192, 236)
HUES = 12
# Of HSV's 0 to 255: below it a colour is grey.
GREY = 24


@dataclass(frozen=True)
class Statistics:
    """What is compared of a picture, or the mean of several.

    Attributes:
        colours: float (levels, HUES + 1), at each attenuation level but air, darkest first, the
            shares of hues from red on, the last one grey; zeros for a level without pixels.
        edge: mean gradient of the luminance outside air, levels of 255 a pixel.
        air: share of the picture that is air.
    """

    colours: np.ndarray
    edge: float
    air: float


def statistics(pixels: np.ndarray) -> Statistics:
    """Of a picture uint8 (H, W, 3)."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    hue, saturation, _ = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL))
    kind = np.where(saturation < GREY, HUES, hue.astype(int) * HUES // 256)
    level = np.digitize(grey, LEVELS)
    counts = np.zeros((len(LEVELS) + 1, HUES + 1))
    np.add.at(counts, (level, kind), 1)
    counts = counts[:-1]
    colours = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    matter = level < len(LEVELS)
    edge = float(np.hypot(dx, dy)[matter].mean()) if matter.any() else 0.0
    return Statistics(colours, edge, float(1 - matter.mean()))


def mean(parts: Sequence[Statistics]) -> Statistics:
    """The mean of at least one; of colours, over the pictures that have the level."""
    colours = np.stack([part.colours for part in parts])
    seen = np.maximum((colours.sum(2) > 0).sum(0), 1)[:, None]
    return Statistics(
        colours.sum(0) / seen,
        float(np.mean([part.edge for part in parts])),
        float(np.mean([part.air for part in parts])),
    )


def difference(a: Statistics, b: Statistics) -> float:
    """How far the colours differ, 0 to 1: total variation, mean over the levels that both have."""
    both = (a.colours.sum(1) > 0) & (b.colours.sum(1) > 0)
    if not both.any():
        return 1.0
    return float(np.abs(a.colours - b.colours)[both].sum(1).mean() / 2)


def real_scans(folder: Path, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Up to `count` scans of a folder (or of its `images`), in random order, shrunk to SIDE.

    Raises:
        XsynError: no images there, or one that cannot be read.
    """
    folder = folder / "images" if (folder / "images").is_dir() else folder
    files = sorted(f for f in folder.glob("*") if f.suffix.lower() in ENDINGS)
    if not files:
        raise XsynError(f"There are no images in {folder}. Give a folder of baggage scans.")
    chosen = rng.permutation(len(files))[:count]
    return [_fitted(read_scan(files[k]).pixels, SIDE) for k in chosen]


def _fitted(pixels: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(pixels.shape[:2])
    size = [max(1, round(n * scale)) for n in pixels.shape[1::-1]]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def sheet(simulated: Sequence[np.ndarray], real: Sequence[np.ndarray]) -> np.ndarray:
    """Columns of simulated and of real scans in turn, each under its label: uint8 RGB."""
    columns = max(1, min(COLUMNS // 2, len(simulated), len(real)))
    parts = []
    for k in range(columns):
        for label, pictures in (("simulated", simulated), ("real", real)):
            tiles = [_header(label), *map(_tile, pictures[k::columns])]
            parts.append(np.vstack(tiles))
    height = max(len(part) for part in parts)
    blank = [(0, height - len(part)) for part in parts]
    return np.hstack(
        [
            np.pad(part, (rows, (0, 0), (0, 0)), constant_values=255)
            for part, rows in zip(parts, blank, strict=True)
        ]
    )


def _header(label: str) -> np.ndarray:
    line = np.full((HEADER, TILE, 3), 255, np.uint8)
    where, font = (6, HEADER - 9), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(line, label, where, font, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return line


def _tile(pixels: np.ndarray) -> np.ndarray:
    small = _fitted(pixels, TILE - 4)
    free = [TILE - n for n in small.shape[:2]]
    rows, columns = ((n // 2, n - n // 2) for n in free)
    return cv2.copyMakeBorder(small, *rows, *columns, cv2.BORDER_CONSTANT, value=(128, 128, 128))


def table(simulated: dict[str, list[Statistics]], real: Sequence[Statistics]) -> str:
    """A line a look, and one over all; a real scan counts with the look of the nearest colours.

    Args:
        simulated: at least one by look.
        real: at least one.
    """
    looks = {name: mean(parts) for name, parts in simulated.items()}
    nearest: dict[str, list[Statistics]] = {name: [] for name in looks}
    for one in real:
        nearest[min(looks, key=lambda name: difference(looks[name], one))].append(one)
    everything = [one for parts in simulated.values() for one in parts]
    rows = [(name, simulated[name], nearest[name]) for name in looks]
    rows.append(("all", everything, list(real)))
    lines = [
        "| look | simulated | real | colours differ | edge, sim. / real | air, sim. / real |",
        "|---|---|---|---|---|---|",
    ]
    for name, ours, theirs in rows:
        a = mean(ours)
        far, edge, air = "", f"{a.edge:.1f}", f"{a.air:.0%}"
        if theirs:
            b = mean(theirs)
            far, edge, air = (
                f"{difference(a, b):.2f}",
                f"{edge} / {b.edge:.1f}",
                f"{air} / {b.air:.0%}",
            )
        lines.append(f"| {name} | {len(ours)} | {len(theirs)} | {far} | {edge} | {air} |")
    return "\n".join(lines)


def main(
    scans: Annotated[Path, typer.Option(help="Folder of real scans.")],
    out: Annotated[Path, typer.Option(help="The sheet.")] = Path("runs/simulator.png"),
    count: Annotated[int, typer.Option(help="How many of each, at the most.")] = 48,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice and of the simulator.")] = 0,
) -> None:
    """Compare simulated scans with real ones: writes a sheet, prints a table.

    Raises:
        XsynError: no scans, or the sheet cannot be written.
    """
    if count < 1:
        raise XsynError("The sheet needs at least one scan of each.")
    rng = np.random.default_rng(seed)
    real = real_scans(Path(scans), count, rng)
    tried(out)
    by_look: dict[str, list[Statistics]] = {}
    simulated = []
    for k in range(max(count, len(LOOKS))):
        look = list(LOOKS)[k % len(LOOKS)]
        # The proportions of a real one: bags fill them alike.
        pixels = simulate_scan(rng, real[k % len(real)].shape[:2], look).pixels
        simulated.append(pixels)
        by_look.setdefault(look, []).append(statistics(pixels))
    mixed = [simulated[k] for k in rng.permutation(len(simulated))[: len(real)]]
    done, data = cv2.imencode(".png", sheet(mixed, real)[..., ::-1])
    assert done
    with writable(out, "the sheet"):
        out.write_bytes(data.tobytes())
    print(table(by_look, [statistics(pixels) for pixels in real]))
    print(out)
