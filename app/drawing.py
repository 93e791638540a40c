"""Pictures and outlines for the canvas: PNG bytes, heat maps, contours."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from xsyn_core.boxes import Box

# Masks are compared, and their outlines rounded, on about as many pixels a side.
COARSE = 192
# Two masks may share so much of the smaller one, or the smaller lies so far in one twice its size.
SHARED, NESTED = 0.2, 0.9


def png(pixels: np.ndarray, level: int = 1) -> bytes:
    """Lossless PNG of RGB or RGBA pixels uint8 (H, W, 3 or 4); `level` 0 to 9 trades speed."""
    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    done, data = cv2.imencode(
        ".png", cv2.cvtColor(pixels, order), [cv2.IMWRITE_PNG_COMPRESSION, level]
    )
    if not done:
        raise RuntimeError("PNG encoding failed")
    return data.tobytes()


def data_uri(data: bytes) -> str:
    """A PNG as an address that needs no further request."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def changed_box(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int] | None:
    """The smallest box that holds every pixel in which two images (H, W, 3) differ, or None."""
    # OpenCV's reductions are ten times as fast as numpy's here: this runs while alpha is dragged.
    differs = cv2.absdiff(before, after).reshape(before.shape[0], -1)
    rows = np.flatnonzero(cv2.reduce(differs, 1, cv2.REDUCE_MAX))
    if not len(rows):
        return None
    y1, y2 = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(cv2.reduce(differs[y1:y2], 0, cv2.REDUCE_MAX)) // 3
    return int(columns[0]), y1, int(columns[-1]) + 1, y2


def patch(before: np.ndarray, after: np.ndarray) -> dict | None:
    """What the canvas lays over the scan to show `after`: {x, y, url}, or None if all is equal."""
    box = changed_box(before, after)
    if box is None:
        return None
    x1, y1, x2, y2 = box
    return {"x": x1, "y": y1, "url": data_uri(png(after[y1:y2, x1:x2]))}


def heat(attention: np.ndarray) -> np.ndarray:
    """A cross-attention map float (h, w) as RGBA uint8 (h, w, 4): the hotter, the more opaque."""
    low, high = float(attention.min()), float(attention.max())
    level = (attention - low) / max(high - low, 1e-9)
    colour = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_MAGMA)
    opacity = np.clip(level * 1.5 - 0.4, 0, 0.8)
    return np.dstack([colour[..., ::-1], (opacity * 255).astype(np.uint8)])


def rings(mask: np.ndarray, box: Box, smooth: float = 0.6) -> list[list[list[float]]]:
    """The contours of a bool mask (h, w) that covers `box` of the scan, in pixels of the scan.

    Holes come as rings of their own, for the even-odd rule. `smooth` is the largest deviation
    in mask pixels.
    """
    h, w = mask.shape
    sx, sy = (box[2] - box[0]) / w, (box[3] - box[1]) / h
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    out = []
    for contour in found:
        points = cv2.approxPolyDP(contour, smooth, True)[:, 0]
        if len(points) >= 3:
            out.append(
                [
                    [round(box[0] + (x + 0.5) * sx, 1), round(box[1] + (y + 0.5) * sy, 1)]
                    for x, y in points.tolist()
                ]
            )
    return out


def distinct(masks: Sequence[np.ndarray], trust: Sequence[float]) -> list[bool]:
    """Which of many masks (bool (H, W) each) can be outlined at once and still be told apart.

    From the most trusted one down: one is left out where it crosses or repeats one that is in.
    """
    if not masks:
        return []
    stride = max(1, max(masks[0].shape) // COARSE)
    flat = np.stack([m[::stride, ::stride].ravel() for m in masks]).astype(np.float32)
    area = np.maximum(flat.sum(1), 1.0)
    smaller, larger = np.minimum.outer(area, area), np.maximum.outer(area, area)
    shared = flat @ flat.T / smaller
    nested = (shared > NESTED) & (larger > 2 * smaller)
    clash = (shared > SHARED) & ~nested
    shown = np.zeros(len(masks), bool)
    for k in np.argsort(-np.asarray(trust), kind="stable"):
        shown[k] = not (clash[k] & shown).any()
    return [bool(one) for one in shown]


def rounded_off(mask: np.ndarray) -> np.ndarray:
    """A bool mask (H, W) without the ripples that a small segmenter leaves on its border; one so
    thin that it would lose a fifth stays as it is."""
    sigma = max(mask.shape) / COARSE
    smooth = cv2.GaussianBlur(mask.astype(np.uint8) * 255, (0, 0), sigma) > 127
    return smooth if smooth.sum() > 0.8 * mask.sum() else mask
