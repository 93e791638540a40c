"""Thumbnails of scans and samples."""

from collections.abc import Sequence

import cv2
import numpy as np

from xsyn_core.boxes import Box, outward

THUMB = (180, 120)
_INK = (155, 17, 228)  # magenta of the refined box, as OpenCV's BGR


def thumbnail(image: np.ndarray, boxes: Sequence[Box] = ()) -> bytes:
    """A small JPEG of an image (H, W, 3) with its boxes, no larger than `THUMB`."""
    h, w = image.shape[:2]
    scale = min(THUMB[0] / w, THUMB[1] / h, 1.0)
    small = cv2.resize(
        cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
        (max(1, round(w * scale)), max(1, round(h * scale))),
        interpolation=cv2.INTER_AREA,
    )
    for box in boxes:
        x1, y1, x2, y2 = outward([v * scale for v in box])
        cv2.rectangle(small, (x1, y1), (x2 - 1, y2 - 1), _INK, 1)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return data.tobytes()
