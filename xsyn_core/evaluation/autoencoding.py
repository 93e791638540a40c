"""What the autoencoder loses."""

from collections.abc import Sequence

import numpy as np

from xsyn_core.evaluation.batches import to_images, to_tensor
from xsyn_core.evaluation.held_out import Case
from xsyn_core.inpainting import Diffusion


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 images, dB."""
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b.astype(float)).mean()))


def autoencoder(model: Diffusion, cases: Sequence[Case]) -> tuple[dict, np.ndarray]:
    """PSNR of the round trip of held-out windows, and a sheet (above: in, below: out)."""
    images = [c.image for c in cases]
    back = np.concatenate(
        [
            to_images(model.decode(model.encode(to_tensor(images[k : k + 32]))))
            for k in range(0, len(images), 32)
        ]
    )
    values = [psnr(a, b) for a, b in zip(images, back, strict=True)]
    rows = [np.hstack(x) for k in range(0, 24, 12) for x in (images[k : k + 12], back[k : k + 12])]  # type: ignore[arg-type]
    return {"psnr": float(np.mean(values)), "windows": len(values)}, np.vstack(rows)
