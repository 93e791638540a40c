"""The look of a scanner: from line integrals to a pseudo-coloured picture.

The chain is a scanner's own: transmission of both channels, blur and noise of the detector,
edge enhancement on the logarithms, then a colour by two numbers: grey level (how much is
absorbed) and effective atomic number (from the ratio of the two channels), then what
storing does.

A scanner has its own pixel pitch. A view finer than that is computed at the scanner's pitch and
enlarged, so that a zoomed window is as soft and noisy as a crop of a real scan.
"""

import math
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import cv2
import numpy as np

from xsyn_core.errors import XsynError

from .palettes import FAMILIES, LEVELS, NUMBERS, THREE, measured
from .physics import PHOTO_BARN, PHOTO_POWER, klein_nishina, transmission

FLOOR = 3e-4  # of the transmission: what electronics still tell from darkness
_LEVELS, _RATIOS = 160, 112  # of the look-up table of colours
_DEEPEST = 9.0  # -log of the high-energy transmission at the table's end
_EDGE_LIMIT = 0.4  # of edge enhancement, in -log of transmission
_RATIO_RANGE = (0.75, 4.5)


@dataclass(frozen=True)
class Look:
    """Everything that makes a scanner's picture its own.

    Attributes:
        family: of `palettes.FAMILIES`; `blend` parts in one of `other`.
        other, blend: a second palette and its share, 0 to 1.
        pixel_mm: pitch of the scanner's pixels.
        gamma: grey level is the transmission (mean of both logarithms) to this power.
        black: transmission-to-the-gamma shown as black, contrast beyond it being lost; if negative,
            the grey level at which the most opaque matter ends.
        number_scale: factor on the atomic numbers at which colours change.
        softness: 0: hard colour bands by atomic number; 1: colours blend all the way.
        three: only the first, middle and last hue of the palette are used, with hard bands.
        hue_blur: deviation of the smoothing of the atomic number, in scanner pixels.
        hue_noise: of the atomic number, as a deviation of the logarithm of the channels' ratio.
        air: absorption that is still shown as open air, in -log of transmission.
        prior: how much thin matter is drawn to `prior_ratio`, in -log of transmission.
        prior_ratio: the ratio of low to high logarithms shown where there is almost nothing.
        saturation, hue, brightness: of the palette: factor, degrees, factor.
        blur: standard deviation of the detector's blur, in scanner pixels.
        noise: quantum noise, relative, of open air, in each channel.
        floor_noise: electronic noise, absolute.
        edge: strength of edge enhancement, and `edge_width` its scale in scanner pixels.
        shading: relative fall of the beam to the sides of the detector.
        streak: relative gain error of detector rows.
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
    three: bool = False
    hue_blur: float = 0.7
    hue_noise: float = 0.0
    air: float = 0.015
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
    jpeg: int = 85


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
    if look.three:
        row = np.round(row / 2) * 2
    # Harder bands: push the fraction between two rows towards 0 or 1.
    base = np.floor(row)
    fraction = (row - base - 0.5) / max(look.softness, 1e-3)
    row = base + np.clip(fraction + 0.5, 0, 1)
    maps = column.astype(np.float32), row.astype(np.float32)
    return cv2.remap(colours, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _colour(logs: np.ndarray, look: Look, scale: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float32 RGB of -log transmissions (2, H, W)."""
    low, high = logs
    ratio = (low + look.prior * look.prior_ratio) / (high + look.prior)
    a, b = math.log(_RATIO_RANGE[0]), math.log(_RATIO_RANGE[1])
    ratio = cv2.log(ratio)
    if look.hue_blur * scale > 0.3:
        ratio = cv2.GaussianBlur(ratio, (0, 0), look.hue_blur * scale)
    if look.hue_noise:
        ratio += rng.standard_normal(ratio.shape, np.float32) * np.float32(look.hue_noise * scale)
    x = (ratio - a) * ((_RATIOS - 1) / (b - a))
    y = cv2.sqrt(high * (1 / _DEEPEST)) * (_LEVELS - 1)
    return cv2.remap(_table(look), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


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
            detail = channel - cv2.GaussianBlur(channel, (0, 0), sigma)
            # Thick metal would draw outlines of pure black.
            channel += look.edge * np.tanh(detail / _EDGE_LIMIT) * _EDGE_LIMIT
    logs -= look.air
    np.maximum(logs, 0, out=logs)
    picture = _colour(logs, look, scale, rng)
    picture = np.clip(np.round(picture), 0, 255).astype(np.uint8)
    if look.jpeg:
        # OpenCV takes BGR; the channels' order matters to JPEG's colour transform.
        how = [cv2.IMWRITE_JPEG_QUALITY, look.jpeg]
        if look.three:
            # Hues by the pixel would be lost to the usual halving of the colours' resolution.
            how += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        coded = cv2.imencode(".jpg", picture[..., ::-1], how)[1]
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]  # type: ignore[index]
    if picture.shape[:2] != (height, width):
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(picture)


_BASES = (
    Look("sixray", pixel_mm=0.7, gamma=0.5, black=-0.14, edge=1.0, noise=0.014),
    Look("opixray", pixel_mm=1.0, gamma=0.6, black=-0.12, edge=1.2, noise=0.009),
    Look("pixray", pixel_mm=1.0, gamma=0.55, edge=2.0, air=0.04, noise=0.018, hue_blur=1.5),
    Look("parcel", pixel_mm=1.0, gamma=0.55, black=-0.06, edge=1.8, noise=0.015, jpeg=75),
    Look("deep", pixel_mm=1.1, gamma=0.75, black=-0.1, edge=1.2, noise=0.012),
    Look("tray", pixel_mm=1.0, gamma=0.6, black=0.03, edge=0.4, noise=0.004),
    Look("yellow", pixel_mm=0.9, gamma=0.55, black=0.0, edge=0.3, noise=0.005, jpeg=90),
    Look("pale", pixel_mm=0.9, gamma=0.4, black=0.0, edge=0.4, noise=0.008, jpeg=90),
    Look("orange", pixel_mm=1.1, gamma=0.8, black=-0.06, edge=1.5, noise=0.01, jpeg=75),
    Look(
        "grey",
        pixel_mm=1.0,
        gamma=0.55,
        number_scale=0.9,
        edge=1.6,
        air=0.04,
        noise=0.03,
        hue_blur=0.0,
        hue_noise=0.14,
    ),
    Look("green", pixel_mm=1.3, gamma=0.65, number_scale=0.8, edge=0.5, noise=0.01, hue_noise=0.02),
)
# The looks of `palettes`, each in a typical setting.
LOOKS: dict[str, Look] = {
    look.family: replace(look, other=look.family, three=look.family in THREE) for look in _BASES
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
        blend=float(rng.uniform(0.1, 0.6)) if rng.random() < 0.25 and not base.three else 0.0,
        pixel_mm=about(base.pixel_mm, 0.15),
        gamma=about(base.gamma, 0.15),
        black=float(np.clip(base.black + rng.normal(0, 0.03), -0.2, 0.12)),
        number_scale=about(base.number_scale, 0.05),
        softness=float(rng.uniform(0.3, 1)),
        prior=about(base.prior, 0.4),
        prior_ratio=float(base.prior_ratio + rng.normal(0, 0.08)),
        air=about(base.air, 0.4),
        hue_blur=about(base.hue_blur, 0.4),
        hue_noise=about(base.hue_noise, 0.6) * float(rng.random() < 0.7),
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
        jpeg=int(rng.integers(60, 97)) if rng.random() < 0.7 else 0,
    )
