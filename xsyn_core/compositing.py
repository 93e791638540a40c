"""Putting painted frames back into the scan: what is written where, and how an item lies in it."""

from collections.abc import Sequence

import cv2
import numpy as np

from xsyn_core.boxes import Box
from xsyn_core.frames import Frame, IntBox, resample
from xsyn_core.sample import Background

FEATHER = 6.0
# The background of a painted frame is looked for at no more than so many pixels a side: the
# brightest within a disc of the first share of it, wider than what an item's parts cover; or, for
# items that cover more, what lies along the rim of the repainted cells, the second share wide,
# carried inwards over the third.
BACKGROUND_SIDE = 128
REACH, RIM, CARRIED = 0.32, 0.05, 0.15
# Painted backgrounds vary by less than the first share of the light, items take more than the
# second; where the painter did not attend to an item, both by `ASIDE` more: a shade there is a
# background that came out otherwise than the scan's, and what is darker still a part of the item.
FAINT, SURE = 0.02, 0.05
ASIDE = 0.4
# What takes more than this share beside an item is a shade, not the background behind the item.
SHADE = 0.11
# Shares of the highest attention: none at the first or below, in full from the second on. Thin
# lines need less of it than shades: so rings of scissors stay, to which painters hardly attend.
ATTENDED, HINTED = (0.05, 0.3), (0.05, 0.15)
# Lines are narrower than the first share of the side; they take from what is beside them more than
# the second, and for sure twice as much; and they have a margin of the third. Nearer than the
# fourth to the border of the repainted cells they may be the scan's own, cut off there.
NARROW, LINE, EDGE, BORDER = 0.1, 0.03, 0.024, 0.04
# Parts of an item hang together by more than the first. Each holds a place that was attended to, or
# that takes more than the second share of the light; others are the scan's, painted again.
HANGS_ON, METAL = 0.15, 0.75
# What is painted all over the rim darker than this share of the scan is no background.
DARKEST = 0.6
# What crosses an item darkens it the less, and in its own colour the less, the darker the item is,
# by this power of the light that it takes: scanners show the darkest matter in few shades, and
# colour a pixel by what is heaviest there. That is so up to about the density (natural) of `DENSE`:
# what lies in denser matter still takes its share of the little light.
MUTED, DENSE = 1.5, 1.2
# Scan and guessed background whose logarithms differ by less than the first are one background, on
# which the item keeps the colour that it was painted in: guesses are off by about as much. From the
# second on something else crosses the item.
ALIKE, OTHER = 0.05, 0.15
# That is so where the item takes more than the second share of a colour. What takes less than the
# first lets all of the scan's texture through, or grain as strong as itself would hide it.
PALE, DEEP = 0.1, 0.5
# Where an item is by more than the first share, and as far around it as the second share of the
# side, its background is carried inwards from all around, from afar where nothing nearer is known.
LIKELY, MARGIN = 0.25, 0.025
CARRIED_IN = (0.19, 0.09, 0.05, 0.023)


def put_back(
    image: np.ndarray,
    scan: np.ndarray,
    frame: Frame,
    decoded: np.ndarray,
    repainted: np.ndarray,
    targets: Sequence[Box],
    attention: Sequence[np.ndarray],
    background: Background,
) -> None:
    """Put a painted frame into the scan that it was cut from, inside the targets and their feather.

    Args:
        image: uint8 (H, W, 3), the scan with what was put into it before; written in place.
        scan: uint8 (H, W, 3), as it was when the frame was cut.
        frame: where it lies.
        decoded: float32 (h, w, 3), 0..255, the whole frame out of the autoencoder.
        repainted: bool (h, w), the pixels of the repainted cells.
        targets: boxes in scan pixels.
        attention: float32 (h, w) each, the map M_i of every target.
        background: see `Request`.
    """
    source = frame.cut(scan)
    painted = harmonise(decoded, source, repainted)
    x1, y1, x2, y2 = inside = frame.inside(image.shape[:2])
    if background == "keep":
        attended = np.max([m / max(m.max(), np.finfo(m.dtype).tiny) for m in attention], axis=0)
        taken = absorption(painted, frame.cut(image), repainted, attended)
        taken = frame.restore(taken, image.shape[:2])
        patch = image[y1:y2, x1:x2] * (1 - np.minimum(taken, 1))
    else:
        patch = frame.restore(painted, image.shape[:2])
    composite(image, patch, inside, weight(targets, inside))


def weight(targets: Sequence[Box], inside: IntBox, feather: float = FEATHER) -> np.ndarray:
    """How much of a painted frame goes into the scan: 1 on every pixel that a target box touches,
    falling to 0 within `feather` scan pixels outside it, 0 beyond.

    Args:
        targets: boxes in scan pixels.
        inside: the part of the scan to weigh, scan pixels.

    Returns:
        float32 (height, width) of `inside`.
    """
    x1, y1, x2, y2 = inside
    xs, ys = np.arange(x1, x2), np.arange(y1, y2)
    total = np.zeros((y2 - y1, x2 - x1), np.float32)
    for box in targets:
        dx = np.maximum(np.maximum(box[0] - (xs + 1), xs - box[2]), 0)
        dy = np.maximum(np.maximum(box[1] - (ys + 1), ys - box[3]), 0)
        reach = np.hypot(dx[None, :], dy[:, None])
        # A pixel that lies next to the box has distance 0 but does not touch it.
        touched_x = (xs + 1 > box[0]) & (xs < box[2])
        touched_y = (ys + 1 > box[1]) & (ys < box[3])
        reach += ~(touched_y[:, None] & touched_x[None, :])
        share = 0.5 + 0.5 * np.cos(np.pi * np.minimum(reach / feather, 1))
        total = np.maximum(total, share.astype(np.float32))
    return total


def composite(image: np.ndarray, patch: np.ndarray, inside: IntBox, share: np.ndarray) -> None:
    """Mix a patch float32 (h, w, 3), 0..255, into `image` uint8 in place; pixels whose share is 0
    are not written at all."""
    x1, y1, x2, y2 = inside
    region = image[y1:y2, x1:x2]
    # a share of 1 gives the patch to the last bit
    mixed = (1 - share[..., None]) * region + share[..., None] * patch
    written = share > 0
    region[written] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)[written]


def harmonise(painted: np.ndarray, source: np.ndarray, repainted: np.ndarray) -> np.ndarray:
    """Take the autoencoder's colour shift out of a painted frame near the repainted border.

    The low frequencies of `source - painted`, known outside the repainted cells, are carried into
    them and fade out away from the border.

    Args:
        painted: float32 (h, w, 3), 0..255, decoded.
        source: float32 (h, w, 3), 0..255, what the frame was cut from.
        repainted: bool (h, w).

    Returns:
        float32 (h, w, 3).
    """
    known = (~repainted).astype(np.float32)
    sigma = max(painted.shape[:2]) / 24
    reach = cv2.GaussianBlur(known, (0, 0), sigma)
    shift = cv2.GaussianBlur((source - painted) * known[..., None], (0, 0), sigma)
    confidence = np.clip(2 * reach, 0, 1) / np.maximum(reach, 1e-3)
    return painted + shift * confidence[..., None]


def absorption(
    painted: np.ndarray, source: np.ndarray, repainted: np.ndarray, attention: np.ndarray
) -> np.ndarray:
    """The share of each colour that a painted item takes from what lies behind and above it.

    In transmission layers multiply. So the painted item is divided by its own painted background,
    and what is left of the light goes onto the source; in the colours of a scanner, so that metal
    stays blue on orange. Whatever crosses the item stays visible through it, and no repainted
    background shows, even where it came out darker than the scan. The background behind an item is
    carried inwards from what is painted next to it. Where the painter attended to the item tells
    shades of the background from faint parts of the item; thin lines need little attention, and
    what hangs on nothing attended to is a part of the scan that was painted again.

    Args:
        painted: float32 (h, w, 3), 0..255, the decoded frame.
        source: float32 (h, w, 3), 0..255, what the frame was cut from.
        repainted: bool (h, w), the pixels of the repainted cells.
        attention: float32 (h, w), to the item, 0 to 1 where it is highest.

    Returns:
        float32 (h, w, 3), 0 (nothing there, or not repainted) to 1 (opaque), and less than 0 where
        the item has more of a colour than the source.
    """
    h, w = painted.shape[:2]
    scale = min(1.0, BACKGROUND_SIDE / max(h, w))
    size = max(1, round(h * scale)), max(1, round(w * scale))

    def coarse(where: np.ndarray) -> np.ndarray:
        return cv2.resize(where.astype(np.uint8), size[::-1], interpolation=cv2.INTER_AREA) > 0

    def fine(values: np.ndarray) -> np.ndarray:
        return cv2.resize(values, (w, h), interpolation=cv2.INTER_LINEAR)

    small, inside = resample(painted, size), coarse(repainted)
    # all colours alike: organic items take most of the blue, which counts little in a grey picture
    dark = painted.mean(-1)
    attended, hinted = (
        np.interp(attention, (least, full), (0, 1)).astype(np.float32)
        for least, full in (ATTENDED, HINTED)
    )
    thin = hinted * fine(_lines(small.mean(-1), inside))
    told = np.maximum(attended, thin)

    def item(behind: np.ndarray) -> np.ndarray:
        # by the light altogether: where a colour is all but missing, its share means nothing
        lost = np.where(repainted, 1 - dark / np.maximum(behind.mean(-1), 1), 0)
        lost = cv2.GaussianBlur(lost.astype(np.float32), (0, 0), 0.7 / scale)
        sure = np.clip((lost - FAINT - ASIDE * (1 - told)) / (SURE - FAINT), 0, 1)
        sure = np.maximum(sure, thin)
        return sure * _hanging_on(sure, (attended >= 1) | (lost > METAL))

    rough = _background(small, resample(source, size), inside)
    around = cv2.dilate(np.uint8(item(fine(rough)) > LIKELY), _disc(2 * MARGIN * max(h, w)))
    # what is darker is a shade beside the item, not what lies behind it
    lit = small.mean(-1) > (1 - SHADE) * rough.mean(-1)
    carried = fine(_carried_in(small, rough, inside & lit & ~coarse(around)))
    behind = np.where(around[..., None] > 0, carried, painted)
    taken = 1 - _through(np.maximum(painted, 0), source, behind) / np.maximum(source, 1)
    return taken * repainted[..., None] * item(behind)[..., None]


def _lines(dark: np.ndarray, repainted: np.ndarray) -> np.ndarray:
    """How surely each place is in or next to a thin line of the painted light, float32 (h, w), in
    the repainted cells, bool (h, w): float32 (h, w), 0 to 1."""
    side = max(dark.shape)
    beside = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, _disc(NARROW * side))
    inner = cv2.erode(
        repainted.astype(np.uint8),
        cv2.getStructuringElement(cv2.MORPH_RECT, (2 * round(BORDER * side) + 1,) * 2),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    lost = np.where(inner > 0, 1 - dark / np.maximum(beside, 1), 0).astype(np.float32)
    lost = cv2.GaussianBlur(lost, (0, 0), 0.7)
    return cv2.dilate(np.clip(lost / LINE - 1, 0, 1), _disc(EDGE * side))


def _hanging_on(sure: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """Where an item, `sure` float32 (h, w), hangs together with what is `certain`, bool (h, w), or
    is as good as none: bool (h, w). Everywhere if nothing of it is certain."""
    count, parts = cv2.connectedComponents((sure > HANGS_ON).astype(np.uint8))
    found = np.zeros(count, bool)
    found[parts[certain]] = True
    found[0] = True
    return found[parts] if found[1:].any() else np.ones_like(certain)


def _through(painted: np.ndarray, source: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """How an item that was painted before one background looks before what is in the source:
    (h, w, 3) as all of them, no lighter than the source but in blue."""

    def light(picture: np.ndarray) -> np.ndarray:
        return picture.mean(-1, keepdims=True)

    source, behind = np.maximum(source, 1), np.maximum(behind, 1)
    crossing = np.log(source / behind)
    most = np.abs(crossing).max(-1, keepdims=True)
    other = np.clip((most - ALIKE) / (OTHER - ALIKE), 0, 1)
    taken = (1 - painted / behind).max(-1, keepdims=True)
    deep = np.clip((taken - PALE) / (DEEP - PALE), 0, 1)
    trust = 1 - deep * (1 - other * other * (3 - 2 * other))
    dark = np.clip(1 - light(painted) / light(behind), 0, 1) ** MUTED
    shown = crossing + dark * (np.log(light(source) / light(behind)) - crossing)
    muted = dark * DENSE * np.tanh(shown / DENSE)
    seen = painted * np.exp(trust * (shown - muted))
    # whatever is added to matter takes red and green, but on orange metal is bluer than orange
    seen[..., :2] = np.minimum(seen, source)[..., :2]
    return seen * np.minimum(light(source) / np.maximum(light(seen), 1), 1)


def _disc(width: float) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(1, round(width)),) * 2)


def _spread(values: np.ndarray, where: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Values (h, w, 3) of the places `where`, carried to all others; and how much of what lies
    around each is known, (h, w, 1)."""
    share = cv2.GaussianBlur(where.astype(np.float32), (0, 0), sigma)[..., None]
    sums = cv2.GaussianBlur(values * where[..., None], (0, 0), sigma)
    return sums / np.maximum(share, 1e-6), share


def _carried_in(painted: np.ndarray, rough: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A rough background (h, w, 3) replaced by what is painted around the items, where that is
    `known`: the nearer the better."""
    behind = rough
    for reach in CARRIED_IN:
        nearer, share = _spread(painted, known, reach * max(known.shape))
        behind = behind + np.minimum(4 * share, 1) * (nearer - behind)
    return behind.astype(np.float32)


def _background(painted: np.ndarray, source: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """What is painted behind an item, (h, w, 3), from what is painted inside the repainted cells
    alone: a background is painted smoother than the scan, and not always as bright."""
    side = max(inside.shape)
    there = inside[..., None]
    brightest = cv2.dilate(np.where(there, painted, 0), _disc(REACH * side))
    closed = cv2.erode(np.where(there, brightest, 255), _disc(REACH * side))
    outside = cv2.copyMakeBorder(
        (~inside).astype(np.uint8), *(1,) * 4, cv2.BORDER_CONSTANT, value=1
    )
    rim = inside & (cv2.dilate(outside, _disc(2 * RIM * side))[1:-1, 1:-1] > 0)
    if not rim.any():
        return closed
    carried, _ = _spread(closed, rim, CARRIED * side)
    least = DARKEST * np.quantile(source[rim], 0.5, axis=0)
    behind = np.maximum(np.maximum(closed, carried), least.astype(np.float32))
    return _spread(behind, inside, 6)[0]
