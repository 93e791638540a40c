"""The look of a scanner: from line integrals to a pseudo-coloured picture.

The chain is a scanner's own: transmission of both channels, blur and noise of the detector,
edge enhancement on the logarithms, then a colour by two numbers: grey level (how much is
absorbed) and effective atomic number (from the ratio of the two channels), then what
displaying and storing do: dithering, a colour depth, JPEG.

A scanner has its own pixel pitch. A view finer than that is computed at the scanner's pitch and
enlarged, so that a zoomed window is as soft and noisy as a crop of a real scan.
"""

import math
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import cv2
import numpy as np

from xsyn_core.errors import XsynError

from .palettes import FAMILIES, LEVELS, NUMBERS, measured
from .physics import PHOTO_BARN, PHOTO_POWER, klein_nishina, transmission

FLOOR = 3e-4  # of the transmission: what electronics still tell from darkness
_LEVELS, _RATIOS = 160, 112  # of the look-up table of colours
_DEEPEST = 9.0  # -log of the high-energy transmission at the table's end
_RATIO_RANGE = (0.75, 4.5)


@dataclass(frozen=True)
class Look:
    """Everything that makes a scanner's picture its own.

    Attributes:
        family: of `palettes.FAMILIES`; `blend` parts in one of `other`.
        other, blend: a second palette and its share, 0 to 1.
        pixel_mm: pitch of the scanner's pixels.
        gamma: grey level is the transmission (mean of both logarithms) to this power.
        black: transmission-to-the-gamma shown as black; contrast beyond it is lost.
        number_scale: factor on the atomic numbers at which colours change.
        softness: 0: hard colour bands by atomic number; 1: colours blend all the way.
        prior: how much thin matter is drawn to `prior_ratio`, in -log of transmission.
        prior_ratio: the ratio of low to high logarithms shown where there is almost nothing.
        saturation, hue, brightness: of the palette: factor, degrees, factor.
        blur: standard deviation of the detector's blur, in scanner pixels.
        noise: quantum noise, relative, of open air, in each channel.
        floor_noise: electronic noise, absolute.
        edge: strength of edge enhancement, and `edge_width` its scale in scanner pixels.
        shading: relative fall of the beam to the sides of the detector.
        streak: relative gain error of detector rows.
        dither: amplitude of ordered dithering, 0 to 1, and `depth` the levels a channel has.
        jpeg: quality of the JPEG pass, 0 for none.
    """

    family: str = "opixray"
    other: str = "opixray"
    blend: float = 0.0
    pixel_mm: float = 1.0
    gamma: float = 0.55
    black: float = 0.02
    number_scale: float = 1.0
    softness: float = 0.5
    prior: float = 0.03
    prior_ratio: float = 1.3
    saturation: float = 1.0
    hue: float = 0.0
    brightness: float = 1.0
    blur: float = 0.6
    noise: float = 0.01
    floor_noise: float = 0.0005
    edge: float = 0.8
    edge_width: float = 1.2
    shading: float = 0.0
    streak: float = 0.0
    dither: float = 0.0
    depth: int = 256
    jpeg: int = 0


@cache
def _numbers() -> np.ndarray:
    """Effective atomic number by -log of high transmission and ratio: (_LEVELS, _RATIOS).

    A scanner's calibration: for each atomic number, step wedges of rising thickness give the
    ratio at every level, beam hardening included.
    """
    numbers = np.array([1, 4, 5.5, 6.5, 7.5, 8.5, 10, 11.5, 13, 15, 17, 20, 23, 26, 30, 36, 45.0])
    thickness = np.concatenate([[0], np.geomspace(1e-3, 60, 400)])
    level, ratio = _axes()
    curves = np.empty((len(numbers), _LEVELS))
    for k, number in enumerate(numbers):
        compton = thickness
        photo = thickness * PHOTO_BARN * number**PHOTO_POWER / klein_nishina(60.0)
        low, high = -np.log(np.maximum(transmission(np.stack([photo, compton])[:, None]), 1e-30))
        low, high = low[0].astype(float), high[0].astype(float)
        curves[k] = np.interp(level, high[1:], low[1:] / high[1:])
    curves = np.maximum.accumulate(curves + np.arange(len(numbers))[:, None] * 1e-6, axis=0)
    return np.stack([np.interp(ratio, curves[:, i], numbers) for i in range(_LEVELS)])


def _axes() -> tuple[np.ndarray, np.ndarray]:
    """Levels (square-root spaced) and ratios (logarithmic) of the colour table's cells."""
    level = _DEEPEST * np.linspace(0, 1, _LEVELS) ** 2
    level[0] = 1e-3
    return level, np.geomspace(*_RATIO_RANGE, _RATIOS)


def palette(look: Look) -> np.ndarray:
    """The colours of a look by effective atomic number (rows) and grey level: (5, 14, 3)."""
    colours = measured(look.family)
    if look.blend:
        colours = colours + (measured(look.other) - colours) * np.float32(look.blend)
    if look.hue or look.saturation != 1 or look.brightness != 1:
        # Rotate and stretch the chroma about each colour's own grey; air keeps its tint.
        grey = colours.mean(-1, keepdims=True)
        axis = np.full(3, 1 / np.sqrt(3))
        a = np.deg2rad(look.hue)
        cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
        turn = np.cos(a) * np.eye(3) + np.sin(a) * cross + (1 - np.cos(a)) * np.outer(axis, axis)
        chroma = (colours - grey) @ turn.T * look.saturation
        changed = (grey + chroma) * look.brightness
        weight = np.clip((255 - np.array(LEVELS)) / 40, 0, 1)[None, :, None]
        colours = colours + (changed - colours) * weight
    return np.clip(colours, 0, 255).astype(np.float32)


@lru_cache(maxsize=64)
def _table(look: Look) -> np.ndarray:
    """(_LEVELS, _RATIOS, 3) float32 RGB, 0 to 255, over -log high transmission and ratio."""
    colours = palette(look)
    level, ratio = _axes()
    number = _numbers() / look.number_scale
    mean = level[:, None] * (1 + ratio) / 2
    grey = np.exp(-look.gamma * mean)
    grey = np.clip((grey - look.black) / (1 - look.black), 0, 1) * 255
    column = np.interp(grey, LEVELS, np.arange(len(LEVELS)))
    row = np.interp(number, NUMBERS, np.arange(len(NUMBERS)))
    # Harder bands: push the fraction between two rows towards 0 or 1.
    base = np.floor(row)
    fraction = (row - base - 0.5) / max(look.softness, 1e-3)
    row = base + np.clip(fraction + 0.5, 0, 1)
    maps = column.astype(np.float32), row.astype(np.float32)
    return cv2.remap(colours, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _colour(low: np.ndarray, high: np.ndarray, look: Look) -> np.ndarray:
    """(H, W, 3) float32 RGB of -log transmissions."""
    ratio = (low + look.prior * look.prior_ratio) / (high + look.prior)
    a, b = math.log(_RATIO_RANGE[0]), math.log(_RATIO_RANGE[1])
    x = (cv2.log(ratio) - a) * ((_RATIOS - 1) / (b - a))
    y = cv2.sqrt(high * (1 / _DEEPEST)) * (_LEVELS - 1)
    return cv2.remap(_table(look), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32)


def _dither(picture: np.ndarray, look: Look) -> np.ndarray:
    """Round to the look's levels a channel, with an ordered pattern."""
    h, w = picture.shape[:2]
    step = 255 / (look.depth - 1)
    pattern = np.tile((_BAYER + 0.5) / 16 - 0.5, (h // 4 + 1, w // 4 + 1))[:h, :w, None]
    return np.round((picture + pattern * (look.dither * step)) / step) * step


def _detect(beam: np.ndarray, look: Look, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Blur, shading and noise of the detector, on (2, h, w) transmissions."""
    _, h, w = beam.shape
    sigma = look.blur * scale
    if sigma > 0.2:
        for channel in beam:
            cv2.GaussianBlur(channel, (0, 0), sigma, dst=channel)
    noise = rng.standard_normal((2, h, w), np.float32)
    # Where one picture pixel gathers several of the scanner's, noise averages out.
    noise *= look.noise * scale * cv2.sqrt(beam.reshape(2, -1)).reshape(beam.shape) + (
        look.floor_noise * scale
    )
    beam = beam + noise
    if look.shading:
        across = np.linspace(-1, 1, h, dtype=np.float32)[None, :, None] ** 2
        beam *= 1 - look.shading * across
    if look.streak:
        rows = rng.standard_normal((2, h, 1), np.float32)
        rows *= 0.3 + 6 * (rng.random((1, h, 1), np.float32) > 0.985)
        beam *= 1 + look.streak * rows
    return beam


def expose(
    attenuation: np.ndarray,
    look: Look,
    rng: np.random.Generator,
    mm_per_px: float | None = None,
) -> np.ndarray:
    """The picture a scanner shows of a scene.

    Args:
        attenuation: (2, H, W) basis line integrals (see `physics`).
        look: the scanner.
        rng: of the noise.
        mm_per_px: size of a pixel of the maps; the scanner's own pitch if not given.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    _, height, width = attenuation.shape
    zoom = look.pixel_mm / (mm_per_px or look.pixel_mm)  # picture pixels a scanner pixel
    beam = transmission(attenuation)
    if zoom > 1.1:
        native = max(8, round(width / zoom)), max(8, round(height / zoom))
        beam = np.stack([cv2.resize(c, native, interpolation=cv2.INTER_AREA) for c in beam])
        scale = 1.0
    else:
        scale = min(zoom, 1.0)
    beam = _detect(beam, look, scale, rng)
    np.clip(beam, FLOOR, None, out=beam)
    logs = -cv2.log(beam.reshape(2, -1)).reshape(beam.shape)
    if look.edge:
        sigma = max(look.edge_width * scale, 0.4)
        for channel in logs:
            channel += look.edge * (channel - cv2.GaussianBlur(channel, (0, 0), sigma))
    np.maximum(logs, 0, out=logs)
    picture = _colour(logs[0], logs[1], look)
    if look.dither or look.depth < 256:
        picture = _dither(picture, look)
    picture = np.clip(np.round(picture), 0, 255).astype(np.uint8)
    if look.jpeg:
        # OpenCV takes BGR; the channels' order matters to JPEG's colour transform.
        coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, look.jpeg])[1]
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]
    if picture.shape[:2] != (height, width):
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(picture)


LOOKS: dict[str, Look] = {
    "sixray": Look("sixray", pixel_mm=0.7, gamma=0.45, edge=1.2, noise=0.012, jpeg=85),
    "opixray": Look("opixray", pixel_mm=1.0, gamma=0.6, edge=1.0, noise=0.008, jpeg=85),
    "pixray": Look("pixray", pixel_mm=1.0, gamma=0.6, black=0.06, edge=1.6, noise=0.012, jpeg=80),
    "parcel": Look("parcel", pixel_mm=1.0, gamma=0.6, edge=1.0, noise=0.01, jpeg=80),
    "deep": Look("deep", pixel_mm=1.1, gamma=0.75, edge=1.0, noise=0.01, jpeg=85),
    "tray": Look("tray", pixel_mm=1.0, gamma=0.7, black=0.05, edge=0.6, noise=0.004, jpeg=85),
    "yellow": Look("yellow", pixel_mm=0.9, gamma=0.55, edge=0.4, noise=0.008, jpeg=90),
    "pale": Look("pale", pixel_mm=0.9, gamma=0.4, edge=0.4, noise=0.006, jpeg=90),
    "orange": Look("orange", pixel_mm=1.1, gamma=0.8, edge=1.2, noise=0.008, jpeg=75),
    "grey": Look("grey", pixel_mm=1.0, gamma=0.6, black=0.1, edge=1.6, noise=0.03, jpeg=85),
    "green": Look("green", pixel_mm=1.3, gamma=0.7, black=0.08, edge=0.5, noise=0.008, jpeg=85),
}


def random_look(rng: np.random.Generator, family: str | None = None) -> Look:
    """A scanner of the family (any if not given), unlike every other in its particulars.

    Raises:
        XsynError: if there is no such family.
    """
    if family is None:
        family = str(rng.choice(FAMILIES))
    if family not in LOOKS:
        raise XsynError(f'There is no look "{family}". Choose one of: {", ".join(LOOKS)}.')
    base = LOOKS[family]

    def about(value: float, spread: float) -> float:
        return float(value * np.exp(rng.normal(0, spread)))

    return replace(
        base,
        other=str(rng.choice(FAMILIES)),
        blend=float(rng.uniform(0.1, 0.6)) if rng.random() < 0.25 else 0.0,
        pixel_mm=about(base.pixel_mm, 0.15),
        gamma=about(base.gamma, 0.15),
        black=float(np.clip(base.black + rng.normal(0, 0.02), 0, 0.15)),
        number_scale=about(1, 0.05),
        softness=float(rng.uniform(0.3, 1)),
        prior=about(base.prior, 0.4),
        prior_ratio=float(base.prior_ratio + rng.normal(0, 0.08)),
        saturation=about(base.saturation, 0.12),
        hue=float(rng.normal(0, 4)),
        brightness=about(1, 0.04),
        blur=about(base.blur, 0.25),
        noise=about(base.noise, 0.4),
        floor_noise=about(base.floor_noise, 0.5),
        edge=about(base.edge, 0.35),
        edge_width=about(base.edge_width, 0.2),
        shading=float(rng.uniform(0, 0.03)) if rng.random() < 0.3 else 0.0,
        streak=about(0.003, 0.6) if rng.random() < 0.4 else 0.0,
        dither=base.dither * float(rng.uniform(0.3, 1)),
        depth=base.depth,
        jpeg=int(rng.integers(60, 97)) if rng.random() < 0.7 else 0,
    )
