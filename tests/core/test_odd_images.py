"""Images as they come: odd ones open and look right, broken ones are refused in words."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xsyn_core.errors import XsynError
from xsyn_core.scan import Scan, make_scan, read_scan

ROOT = Path(__file__).parents[2]
GREY = np.add.outer(np.arange(40), 3 * np.arange(48)).astype(np.uint8)
RGB = np.stack([GREY, GREY[::-1], 255 - GREY], -1)
DEEP = GREY.astype(np.uint16) * 150 + 700
ALPHA = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (40, 1))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, extra=b""):
    """A PNG made by hand, from raw rows."""
    raw = b"".join(b"\0" + row for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")


def saved(pixels, kind, **options):
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, kind, **options)
    return stream.getvalue()


def stretched(values):
    values = values.astype(float)
    scaled = (values - values.min()) / (values.max() - values.min()) * 255
    return np.repeat(np.floor(scaled + 0.5)[..., None], 3, -1)


def on_white(rgb, alpha):
    share = alpha[..., None] / 255
    return rgb * share + 255 * (1 - share)


def threefold(grey):
    return np.repeat(grey[..., None], 3, -1)


LEVELS = np.arange(0, 256, 5, dtype=np.uint8)
INDEX = (GREY // 5).clip(0, len(LEVELS) - 1)
PALETTE = np.stack([LEVELS, LEVELS[::-1], LEVELS // 2], -1)
# name: bytes of a file, what it must look like
ODD = {
    "greyscale": (saved(GREY, "PNG"), threefold(GREY)),
    "greyscale JPEG": (
        saved(GREY, "JPEG", quality=95),
        threefold(cv2.imdecode(np.frombuffer(saved(GREY, "JPEG", quality=95), np.uint8), 0)),
    ),
    "greyscale with alpha": (
        saved(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)]), "PNG"),
        on_white(threefold(GREY), ALPHA),
    ),
    "16-bit greyscale": (
        png(48, 40, 16, 0, [row.astype(">u2").tobytes() for row in DEEP]),
        stretched(DEEP),
    ),
    "16-bit TIFF": (saved(Image.fromarray(DEEP), "TIFF"), stretched(DEEP)),
    "float TIFF": (saved(Image.fromarray(DEEP.astype(np.float32)), "TIFF"), stretched(DEEP)),
    "16-bit colour": (
        png(48, 40, 16, 2, [(row.astype(np.uint16) * 257).astype(">u2").tobytes() for row in RGB]),
        RGB,
    ),
    "alpha": (saved(np.dstack([RGB, ALPHA]), "PNG"), on_white(RGB, ALPHA)),
    "transparent colour": (
        png(
            *(48, 40, 8, 2, [row.tobytes() for row in RGB]),
            chunk(b"tRNS", struct.pack(">HHH", *map(int, RGB[0, 0]))),
        ),
        np.where((RGB[0, 0] == RGB).all(-1, keepdims=True), 255, RGB),
    ),
    "palette": (
        png(*(48, 40, 8, 3, [row.tobytes() for row in INDEX]), chunk(b"PLTE", PALETTE.tobytes())),
        PALETTE[INDEX],
    ),
    "palette with alpha": (
        png(
            *(48, 40, 8, 3, [row.tobytes() for row in INDEX]),
            chunk(b"PLTE", PALETTE.tobytes()) + chunk(b"tRNS", LEVELS.tobytes()),
        ),
        on_white(PALETTE[INDEX], LEVELS[INDEX]),
    ),
    "black and white": (
        saved(Image.fromarray(GREY > 99), "PNG"),
        threefold(np.where(GREY > 99, 255, 0)),
    ),
    "turned by a camera": (
        saved(RGB, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"),
        np.rot90(RGB, -1),
    ),
    "BMP": (saved(RGB, "BMP"), RGB),
    "WebP": (saved(RGB, "WEBP", lossless=True), RGB),
    "GIF of palette": (saved(Image.fromarray(GREY), "GIF"), threefold(GREY)),
}
GOOD = saved(np.tile(RGB, (4, 4, 1)), "PNG")
PHOTO = saved(np.tile(RGB, (4, 4, 1)), "JPEG", quality=90)
SIXTEEN = saved(Image.fromarray(DEEP), "TIFF")
HUGE = png(20_000, 10_000, 8, 2, [b"\0" * 9])
LARGE = png(10_000, 10_000, 8, 2, [b"\0" * 9])
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n"
NOT_A_NUMBER = saved(Image.fromarray(np.full((40, 48), np.nan, np.float32)), "TIFF")
# name: bytes of a file, words of the message
BROKEN = {
    "text": (b"not an image at all", ("not an image", "PNG")),
    "nothing": (b"", ("not an image", "PNG")),
    "web page": (b"<html><body>404</body></html>", ("not an image", "PNG")),
    "program for a printer": (POSTSCRIPT, ("not an image", "PNG")),
    "truncated PNG": (GOOD[: len(GOOD) // 2], ("cut short", "Export it")),
    "truncated JPEG": (PHOTO[: len(PHOTO) // 2], ("cut short", "Export it")),
    "truncated TIFF": (SIXTEEN[: len(SIXTEEN) // 2], ("again",)),
    "200 million pixels": (HUGE, ("pixels", "limit", "Scale it down")),
    "100 million pixels": (LARGE, ("100 million pixels", "limit", "Scale it down")),
    "8 x 8 pixels": (saved(RGB[:8, :8], "PNG"), ("8 x 8", "too small", "at least 32")),
    "a long strip": (saved(RGB[:9], "PNG"), ("48 x 9", "too small")),
    "values that are no numbers": (NOT_A_NUMBER, ("finite", "again")),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_images_look_right(case, tmp_path):
    data, expected = ODD[case]
    scan = read_scan(data)
    assert scan.pixels.shape == expected.shape
    np.testing.assert_allclose(scan.pixels, expected, atol=1)
    (tmp_path / "scan").write_bytes(data)
    assert read_scan(tmp_path / "scan").sha256 == scan.sha256


@pytest.mark.parametrize("case", BROKEN)
def test_broken_images_are_refused_in_words(case):
    data, words = BROKEN[case]
    with pytest.raises(XsynError) as caught:
        read_scan(data, "bag.png")
    message = str(caught.value)
    assert message.startswith("bag.png") and "\n" not in message
    assert all(word in message for word in words), message


def test_files_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(XsynError, match=r"no file .*none\.png.*Check the path"):
        read_scan(tmp_path / "none.png")
    with pytest.raises(XsynError, match="not an image"):
        read_scan(tmp_path)

    def locked(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", locked)
    with pytest.raises(XsynError, match=r"may not be read.*permission"):
        read_scan(tmp_path / "locked.png")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_huge_image_costs_no_memory(tmp_path):
    program = (
        "import re, sys; from xsyn_core.scan import read_scan\n"
        "try: read_scan(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
        # getrusage would count what the parent held when it forked
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    for name, data in (("huge.png", HUGE), ("large.png", LARGE)):
        (tmp_path / name).write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path / name],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        message, peak = done.stdout.splitlines()
        # A warning of Pillow's would be a second message on the terminal.
        assert "limit" in message and done.stderr == ""
        assert int(peak) < 200_000  # kB; either image would take 300 MB and more


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([ODD[name][0] for name in ODD]),
    st.integers(0, 10_000),
    st.binary(max_size=12),
    st.booleans(),
)
def test_damage_anywhere_is_a_scan_or_a_message(data, at, patch, cut):
    """Some bytes written over, and the rest perhaps missing."""
    at %= len(data)
    damaged = data[:at] + patch + (b"" if cut else data[at + len(patch) :])
    try:
        assert isinstance(read_scan(damaged), Scan)
    except XsynError as error:
        assert "scan.png" in str(error)


def test_scans_are_told_apart_by_their_hash_and_can_be_kept_in_sets():
    pixels = np.zeros((40, 40, 3), np.uint8)
    one, two, other = (make_scan(p, "a.png") for p in (pixels, pixels.copy(), pixels + 1))
    assert one == two and one != other
    assert len({one, two, other}) == 2
