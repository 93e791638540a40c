"""Finishing large windows at twice the model's side.

A window larger than the model's side is painted coarser than the scan around it. Enlarged, what
was painted is noised as far as the model learnt to begin from, and denoised with cells half as
large, as SDEdit goes on from a sketch (Meng et al., ICLR 2022), with the sketch in sight: so it
comes out as sharp as the scan.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from xsyn_core.boxes import Box
from xsyn_core.compositing import harmonise
from xsyn_core.concealment import to_pixels, to_tensor
from xsyn_core.diffusion import Condition, Diffusion
from xsyn_core.frames import Frame, pixels_of, repainted_cells, resample
from xsyn_core.inpainting import LITTLE, denoise, make_scheduler
from xsyn_core.painting import Window
from xsyn_core.sample import Request

# A longer run is finished with the steps of one of so many: more hardly add anything, and each
# costs several steps of painting.
STEPS = 25


def finishing_steps(model: Diffusion, request: Request, windows: Sequence[Window]) -> int:
    """How many of a run's last steps, or of one of `STEPS`, its large windows go through once more.

    0 where no window is coarser than the scan, or the model was not trained to; where the whole
    scan is painted, as in the paper; and where an occluder was blended inside the loop, which
    would be finished with the item.
    """
    inside = request.occlude and request.occlusion == "every-step"
    if request.frame == "whole" or inside or not any(map(_large, windows)):
        return 0
    timesteps = make_scheduler(model.scheduler, request.sampler, _steps(request)).timesteps
    return int((timesteps < model.finishing).sum())


def finish(
    model: Diffusion,
    scan: np.ndarray,
    request: Request,
    windows: Sequence[Window],
    conditions: Sequence[Condition],
) -> Iterator[tuple[int, tuple[Window, ...] | None]]:
    """Go through the `finishing_steps` of painted windows; yields each one's number, from 1, and
    with the last all windows, the large ones with twice as many model pixels a side.

    Attention is not measured, and guidance is no more than `LITTLE`: the items are there already.

    Args:
        scan: uint8 (H, W, 3), what the windows were cut from.
        windows: with what was painted in them.
        conditions: one a window.
    """
    count = finishing_steps(model, request, windows)
    rows = [row for row, window in enumerate(windows) if _large(window)]
    frames = [_finer(windows[row].frame) for row in rows]
    images, masks = [], []
    for row, frame in zip(rows, frames, strict=True):
        boxes = [request.groundings[i].box for i in windows[row].grounded]
        cells = repainted_cells(frame, boxes, model.factor)
        enlarged = resample(_painted(model, scan, windows[row], boxes), frame.size)
        inside = pixels_of(cells, model.factor)[..., None]
        image = np.where(inside, np.clip(enlarged, 0, 255), frame.cut(scan))
        images.append(to_tensor(image))
        masks.append(torch.from_numpy(~cells).float()[None])
    for step in denoise(
        model,
        torch.stack(images),
        torch.stack(masks),
        [conditions[row] for row in rows],
        steps=_steps(request),
        guidance=min(request.guidance, LITTLE),
        sampler=request.sampler,
        generator=torch.Generator().manual_seed(request.seed),
        skip=_steps(request) - count,
        sketched=True,
    ):
        number = step.number - (_steps(request) - count)
        if number < count:
            yield number, None
    finished = list(windows)
    for row, frame, latents in zip(rows, frames, step.latents.cpu(), strict=True):
        finished[row] = replace(windows[row], frame=frame, latents=latents)
    yield count, tuple(finished)


def _steps(request: Request) -> int:
    return min(request.steps, STEPS)


def _large(window: Window) -> bool:
    """Whether a window has fewer model pixels than scan pixels."""
    return max(window.frame.scale) < 1


def _finer(frame: Frame) -> Frame:
    return Frame(frame.box, (2 * frame.size[0], 2 * frame.size[1]))


def _painted(
    model: Diffusion, scan: np.ndarray, window: Window, boxes: Sequence[Box]
) -> np.ndarray:
    """What was painted in a window, in the colours of the scan: float32 (h, w, 3), 0..255."""
    repainted = pixels_of(repainted_cells(window.frame, boxes, model.factor), model.factor)
    decoded = to_pixels(model.decode(window.latents[None])[0])
    return harmonise(decoded, window.frame.cut(scan), repainted)
