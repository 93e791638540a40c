"""From a scan and a request to a painting: F of Eq. 4, window by window."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from xsyn_core import boxes, grounding
from xsyn_core.attention import AttentionMaps
from xsyn_core.attitudes import laid
from xsyn_core.checks import checked_request, warnings
from xsyn_core.compositing import put_back
from xsyn_core.concealment import (
    Concealment,
    conceal,
    during_denoising,
    occlusion_of,
    to_pixels,
    to_tensor,
)
from xsyn_core.diffusion import Condition, Diffusion
from xsyn_core.finishing import finish, finishing_steps
from xsyn_core.frames import pixels_of, repainted_cells, whole, window_around, windows
from xsyn_core.inpainting import denoise
from xsyn_core.painting import Painting, Progress, Window
from xsyn_core.removal import emptied
from xsyn_core.sample import Request
from xsyn_core.scan import Annotation, Scan
from xsyn_core.weights import Models

# Decoding a preview costs about half a step.
PREVIEWS = 6
# Painted at less than this share of the scan's own size, items are visibly blurred.
COARSE = 0.5


def paint(
    models: Models,
    scan: Scan,
    request: Request,
    concealments: Callable[[Painting], tuple[Concealment, ...]],
) -> Iterator[Progress]:
    """See `Synthesizer.paint`.

    Args:
        concealments: how the request's occluder falls into each window of a painting that is
            still empty; asked where it is blended inside the loop.
    """
    request = checked_request(scan, request)
    kept = grounding.kept_annotations(scan, request.groundings, request.variant)
    model = models.diffusion
    every = _windows(model, scan, request, kept)
    painted = tuple(window for window in every if window.grounded)
    others = every[len(painted) :]
    rng = np.random.default_rng(request.seed)
    names = [g.category for g in request.groundings]
    attitudes = [model.attitudes.choose(g.category, g.box, rng) for g in request.groundings]
    told = [attitude.words for attitude in attitudes]
    conditions, columns = [], []
    for window in painted:
        here = tuple(tuple(of[i] for i in window.grounded) for of in (names, told))
        text = grounding.prompt(*here)
        units = tuple(window.frame.unit(box) for box in _places(request, window))
        height, width = window.frame.size
        shape = model.channels, height // model.factor, width // model.factor
        hint = laid([attitudes[i] for i in window.grounded], units, shape)
        conditions.append(Condition(text, grounding.phrases(*here), units, hint))
        columns.append(model.columns(text, grounding.spans(*here)))
    cells = np.stack([_cells(model, request, window) for window in painted])
    maps = AttentionMaps(columns, cells.shape[1:])
    behind = _behind(models, scan, request, kept)
    draft = Painting(
        scan=scan,
        request=request,
        prompt=grounding.prompt(names, told),
        weights=models.fingerprint,
        windows=every,
        behind=behind,
        clear=behind,
        attention=(),
        kept=kept,
        notes=(*warnings(scan, request), *_blurred(request, painted)),
    )
    after, during = None, None
    if request.occlude and request.occlusion == "every-step":
        during = concealments(draft)
        if during:
            after = during_denoising(during[: len(painted)], request.alpha, request.placement)
    shown = max(1, round(request.steps / PREVIEWS))
    extra = finishing_steps(model, request, painted)
    total = request.steps + extra
    for step in denoise(
        model,
        torch.stack([to_tensor(window.frame.cut(behind)) for window in painted]),
        torch.from_numpy(~cells).float()[:, None],
        conditions,
        steps=request.steps,
        guidance=request.guidance,
        sampler=request.sampler,
        generator=torch.Generator().manual_seed(request.seed),
        maps=maps,
        after=after,
    ):
        preview = None
        if step.number % shown == 0 or step.number == request.steps:
            latents = step.latents.cpu()
            painted = tuple(replace(w, latents=z) for w, z in zip(painted, latents, strict=True))
            clear = preview = _paste(model, behind, request, painted, maps)
        if step.number < total:
            yield Progress(step.number, total, preview)
    attention: list[Any] = [None] * len(names)
    for row, window in enumerate(painted):
        for i, values in zip(window.grounded, maps.maps(row, window.frame.size), strict=True):
            attention[i] = np.maximum(window.frame.restore(values, scan.size), 0)
    if extra:
        for number, finished in finish(model, behind, request, painted, conditions):
            if finished is None:
                yield Progress(request.steps + number, total)
            else:
                painted = finished
        clear = _paste(model, behind, request, painted, maps)
    painting = replace(draft, windows=(*painted, *others), clear=clear, attention=tuple(attention))
    if during:
        painting = _keep_every_step(model, painting, during)
    yield Progress(total, total, painting.clear, painting)


def _blurred(request: Request, windows: Sequence[Window]) -> list[str]:
    """A remark where the whole scan is much larger than what the model sees of it."""
    scale = min(windows[0].frame.scale)
    if request.frame == "window" or scale > COARSE:
        return []
    return [
        f"The whole scan was painted at {scale:.0%} of its size, so the items are blurred: "
        "choose Window as the frame to have them sharp."
    ]


def _places(request: Request, window: Window) -> list[boxes.Box]:
    return [request.groundings[i].box for i in window.grounded]


def _cells(model: Diffusion, request: Request, window: Window) -> np.ndarray:
    """The latent cells of a window that are repainted: bool (h, w)."""
    return repainted_cells(window.frame, _places(request, window), model.factor)


def _windows(
    model: Diffusion, scan: Scan, request: Request, kept: Sequence[Annotation]
) -> tuple[Window, ...]:
    """Windows to paint with their foregrounds, then windows of the known items elsewhere."""
    places = [g.box for g in request.groundings]
    if request.frame == "whole":
        frames = [(whole(scan.size, model.side, model.multiple), tuple(range(len(places))))]
    elif request.background == "keep":
        # Laid upon the scan, items may lie upon each other. A small painter that is asked for two
        # in one window draws neither well.
        frames = [(window_around(p, scan.size, model.side), (i,)) for i, p in enumerate(places)]
    else:
        frames = windows(places, scan.size, model.side)
    found = [[places[i] for i in members] for _, members in frames]
    elsewhere = []
    for known in kept:
        box = boxes.clip(known.box, scan.size)
        if known.iscrowd or boxes.area(box) == 0:
            continue
        for row, (frame, _) in enumerate(frames):
            if boxes.intersection(box, frame.box) == tuple(box):
                found[row].append(box)
                break
        else:
            elsewhere.append(box)
    nothing = torch.zeros(0)
    painted = [
        Window(frame, nothing, members, tuple(here))
        for (frame, members), here in zip(frames, found, strict=True)
    ]
    if not elsewhere:
        return tuple(painted)
    others = windows(elsewhere, scan.size, model.side)
    images = torch.stack([to_tensor(frame.cut(scan.pixels)) for frame, _ in others])
    latents = model.encode(images).cpu()
    return (
        *painted,
        *(
            Window(frame, latents[row], (), tuple(elsewhere[i] for i in members))
            for row, (frame, members) in enumerate(others)
        ),
    )


def _behind(models: Models, scan: Scan, request: Request, kept: Sequence[Annotation]) -> np.ndarray:
    """What painted items are laid upon: the scan, less those that they replace if the rest of
    their boxes is kept."""
    if request.background == "repaint":
        return scan.pixels
    return emptied(models.segmenter, scan, kept, [g.box for g in request.groundings])


def _paste(
    model: Diffusion,
    behind: np.ndarray,
    request: Request,
    painted: Sequence[Window],
    maps: AttentionMaps,
) -> np.ndarray:
    """What lies behind with what was painted inside the grounding boxes and their feather."""
    image = behind.copy()
    for row, window in enumerate(painted):
        put_back(
            image,
            behind,
            window.frame,
            to_pixels(model.decode(window.latents[None])[0]),
            pixels_of(_cells(model, request, window), model.factor),
            _places(request, window),
            maps.maps(row, window.frame.size),
            request.background,
        )
    return image


def _keep_every_step(
    model: Diffusion, painting: Painting, concealments: Sequence[Concealment]
) -> Painting:
    """Blend after the last step, into z_0 as BOM does; what came before has left its traces in the
    repainted cells of z_0 alone."""
    image, alpha = painting.clear.copy(), painting.request.alpha
    for window, hidden in zip(painting.windows, concealments, strict=True):
        conceal(image, model, window.latents, hidden, alpha)
    occlusion = occlusion_of(concealments, alpha, painting.scan.size)
    return replace(painting, clear=image, occlusion=occlusion)
