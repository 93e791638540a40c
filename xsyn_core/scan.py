"""A baggage scan as it came: pixels, name, known annotations."""

import hashlib
import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from xsyn_core.boxes import Box
from xsyn_core.errors import XsynError

MIN_SIDE = 32
MAX_PIXELS = 50_000_000
# Pillow would run Ghostscript on PostScript, and knows formats that no scanner writes.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
# Its remarks on sizes and metadata say nothing that `read_scan` does not decide.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class Annotation:
    """One known object of a scan: (c_i, b_i) of L in the paper.

    Attributes:
        category: a category name.
        box: (x1, y1, x2, y2) in pixels of the scan.
        mask: bool (H, W) of the whole scan, if known.
        iscrowd: COCO's flag.
    """

    category: str
    box: Box
    mask: np.ndarray | None = field(default=None, compare=False)
    iscrowd: bool = False


@dataclass(frozen=True)
class Scan:
    """I and L of the paper.

    Attributes:
        pixels: uint8 (H, W, 3) RGB, read-only.
        name: file name without folders.
        sha256: of `pixels` and their shape, as hex.
        annotations: the known objects.
    """

    pixels: np.ndarray = field(compare=False)
    name: str
    sha256: str
    annotations: tuple[Annotation, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


def make_scan(pixels: np.ndarray, name: str, annotations: tuple[Annotation, ...] = ()) -> Scan:
    """Freeze RGB pixels uint8 (H, W, 3) into a `Scan`.

    Raises:
        XsynError: wrong shape or type, or a side below `MIN_SIDE`.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise XsynError(
            f"{name}: a scan needs 8-bit RGB pixels, not {pixels.dtype} {pixels.shape}."
        )
    h, w = pixels.shape[:2]
    if min(h, w) < MIN_SIDE:
        raise XsynError(
            f"{name} is {w} x {h} pixels: too small for a baggage scan. "
            f"Use an image of at least {MIN_SIDE} pixels a side."
        )
    pixels = np.ascontiguousarray(pixels)
    if pixels.flags.writeable:
        pixels = pixels.copy()
        pixels.flags.writeable = False
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    return Scan(pixels, name, digest, annotations)


def read_scan(
    source: str | Path | bytes,
    name: str | None = None,
    annotations: tuple[Annotation, ...] = (),
) -> Scan:
    """Read a scan from an image file, or from the bytes of one.

    Palette, greyscale and 16-bit images become 8-bit RGB (16-bit ones by their own range),
    transparency is laid on white (air), EXIF orientation is applied.

    Raises:
        XsynError: missing, not an image, truncated, too small or too large.
    """
    name = name or (Path(source).name if not isinstance(source, bytes) else "scan.png")
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=FORMATS) as image:
            w, h = image.size
            if w * h > MAX_PIXELS:
                raise XsynError(
                    f"{name} has {w * h / 1e6:.0f} million pixels; the limit is "
                    f"{MAX_PIXELS // 1_000_000} million. Scale it down and open it again."
                )
            image.load()
            pixels = _rgb(ImageOps.exif_transpose(image), name)
    except XsynError:
        raise
    except FileNotFoundError:
        raise XsynError(f"There is no file {source!s}. Check the path.") from None
    except (UnidentifiedImageError, IsADirectoryError):
        raise XsynError(
            f"{name} is not an image that can be read. Use PNG, JPEG, TIFF, BMP or WebP."
        ) from None
    except Image.DecompressionBombError:
        raise XsynError(
            f"{name} has too many pixels; the limit is {MAX_PIXELS // 1_000_000} million. "
            "Scale it down and open it again."
        ) from None
    except PermissionError:
        raise XsynError(
            f"{source!s} may not be read. Give yourself permission to read it."
        ) from None
    except Exception as error:  # damaged images fail in many ways inside Pillow
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise XsynError(
            f"{name} is damaged or cut short ({reason}). Export it from its source again."
        ) from None
    return make_scan(pixels, name, annotations)


def _rgb(image: Image.Image, name: str) -> np.ndarray:
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise XsynError(
                f"{name} has pixels that are not finite numbers. Export it from its source again."
            )
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) / max(high - low, 1e-9) * 255
        return np.repeat(scaled.round().astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))
