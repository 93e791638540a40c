"""The values between painting and a finished sample: `Window`, `Painting`, `Progress`."""

from dataclasses import dataclass, field

import numpy as np
import torch

from xsyn_core import boxes
from xsyn_core.frames import Frame
from xsyn_core.sample import Occlusion, PaintedObject, Request
from xsyn_core.scan import Annotation, Scan


@dataclass(frozen=True)
class Window:
    """A frame with its latents.

    Attributes:
        frame: where it lies.
        latents: z_0 float32 (c, h, w) on the CPU.
        grounded: indices of the groundings painted in it; () where it only shows a known item.
        foregrounds: l_j of Eq. 8 that lie in it, pixels of the scan.
    """

    frame: Frame
    latents: torch.Tensor = field(compare=False)
    grounded: tuple[int, ...]
    foregrounds: tuple[boxes.Box, ...]


@dataclass(frozen=True)
class Painting:
    """A painted scan before occlusion, with all that refinement and occlusion need.

    Attributes:
        scan: the source.
        request: what was asked for, checked.
        prompt: Y.
        weights: fingerprint of the models that painted it.
        windows: the painted ones first.
        behind: uint8 (H, W, 3), what the items were laid upon: the scan, less those they replace.
        clear: uint8 (H, W, 3), I* without occlusion; where `occlusion` is told, with it, for what
            is blended inside the loop cannot be taken out of the image again.
        attention: M_i float32, one an object, over the part of its window inside the scan.
        kept: annotations of the scan that stay valid.
        objects: empty until `Synthesizer.refine`.
        occlusion: what was blended inside the denoising loop ("every-step"), else None.
        notes: sentences for the operator.
    """

    scan: Scan
    request: Request
    prompt: str
    weights: str
    windows: tuple[Window, ...] = field(compare=False)
    behind: np.ndarray = field(compare=False)
    clear: np.ndarray = field(compare=False)
    attention: tuple[np.ndarray, ...] = field(compare=False)
    kept: tuple[Annotation, ...]
    objects: tuple[PaintedObject, ...] = ()
    occlusion: Occlusion | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """One denoising step, done.

    Attributes:
        step: 1 to `steps`.
        steps: of the run.
        preview: uint8 (H, W, 3), the scan with the estimate so far; None for most steps.
        result: the painting, with the last step only.
    """

    step: int
    steps: int
    preview: np.ndarray | None = field(compare=False, default=None)
    result: Painting | None = None
