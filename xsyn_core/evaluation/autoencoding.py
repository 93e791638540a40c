"""What the autoencoder loses, on simulated windows and on real scans."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from tqdm import tqdm

from xsyn_core.concealment import to_tensor
from xsyn_core.diffusion import Diffusion
from xsyn_core.evaluation.held_out import Case
from xsyn_core.evaluation.real import RealScans
from xsyn_core.evaluation.tiles import grid
from xsyn_core.frames import resample

# Real scans are shrunk to this longer side, pixels, and their busiest window of that side taken.
LONG_SIDE, WINDOW = 512, 256
# Noise on latents of unit variance, about what a painter leaves.
UNSURE = 0.3
SHOWN = 24


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 images, dB; infinite for equal ones."""
    error = np.square(a.astype(float) - b.astype(float)).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def busiest(image: np.ndarray, side: int, multiple: int) -> np.ndarray:
    """The part of an image with the most edges: the largest mean gradient of the luminance.

    Args:
        image: uint8 (H, W, 3).
        side: of the part, pixels; less where the image is smaller.
        multiple: sides of the part are multiples of it.

    Returns:
        uint8 (h, w, 3), a view of `image`.
    """
    h, w = (min(side, n) // multiple * multiple for n in image.shape[:2])
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    sums = cv2.integral(np.hypot(dx, dy))
    inside = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    return image[y : y + h, x : x + w]


def shrunk(image: np.ndarray) -> np.ndarray:
    """An image uint8 (H, W, 3) whose longer side is brought to `LONG_SIDE`."""
    scale = LONG_SIDE / max(image.shape[:2])
    height, width = (max(1, round(scale * n)) for n in image.shape[:2])
    resized = resample(image.astype(np.float32), (height, width))
    return np.clip(np.rint(resized), 0, 255).astype(np.uint8)


def _to_images(tensor: torch.Tensor) -> np.ndarray:
    """Decoded (B, 3, H, W), -1 to 1, to uint8 (B, H, W, 3)."""
    return ((tensor.permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255).byte().numpy()


def _there_and_back(
    model: Diffusion, images: Sequence[np.ndarray], noise: float = 0.0
) -> np.ndarray:
    latents = model.encode(torch.stack([to_tensor(image) for image in images]))
    white = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    return _to_images(model.decode(latents + noise * white.to(latents.device)))


def autoencoder(model: Diffusion, cases: Sequence[Case]) -> tuple[dict, np.ndarray]:
    """Mean PSNR (dB) of the round trip of held-out simulated windows, straight and with latents as
    uncertain as painted ones (see `UNSURE`), and a sheet: rows that went in above rows that came
    out."""
    images = [c.image for c in cases]
    back, unsure = (
        [
            image
            for k in range(0, len(images), 32)
            for image in _there_and_back(model, images[k : k + 32], noise)
        ]
        for noise in (0.0, UNSURE)
    )
    means = [
        float(np.mean([psnr(a, b) for a, b in zip(images, some, strict=True)]))
        for some in (back, unsure)
    ]
    rows = [
        grid(some[k : k + 12], 12)
        for k in range(0, min(SHOWN, len(images)), 12)
        for some in (images, back)
    ]
    found = {"PSNR, dB": means[0], "PSNR from noisy latents, dB": means[1]}
    return {**found, "windows": len(images)}, np.vstack(rows)


def autoencoder_real(model: Diffusion, real: RealScans) -> dict:
    """Mean PSNR (dB) of the round trip of the busiest window of every real scan."""
    values = []
    for name in tqdm(real.names, desc="encoding real scans"):
        image = busiest(shrunk(real.scan(name).pixels), WINDOW, model.factor)
        values.append(psnr(image, _there_and_back(model, [image])[0]))
    return {"PSNR, dB": float(np.mean(values)), "windows": len(values)}
