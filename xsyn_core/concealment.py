"""BOM applied to frames: from an occluder in the scan to blended latents and changed pixels.

`occlusion` holds the equations; here they meet frames, the autoencoder and the scan's pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from xsyn_core.baggage import air_level
from xsyn_core.boxes import Box, area, clip, intersection, outward
from xsyn_core.compositing import composite, weight
from xsyn_core.diffusion import Diffusion
from xsyn_core.frames import Frame, resample
from xsyn_core.occlusion import IntBox, beside, blend, occluded_boxes
from xsyn_core.sample import Occlusion

# Latent cells around a crop, for the receptive field of encoder and decoder.
MARGIN = 4
# How often Eq. 8 and 9 are drawn for each foreground; the best draw counts.
DRAWS = 8
# An occluder fades in over this share of the shorter side of what it covers: it is a crop, and its
# straight ends would tell.
FADE = 0.15
# Beyond the baggage it fades out over about so many pixels of the scan.
SOFT = 1.5


@dataclass(frozen=True)
class Concealment:
    """Where an occluder falls in one frame.

    Attributes:
        frame: the frame.
        factor: model pixels a latent cell.
        source: the occluder's box, pixels of the scan.
        patch: the occluder's latent (c, a, b) at the frame's scale, put beside the frame's own
            latent; None where the occluder is cropped from the frame itself ("whole").
        occluder: l'_o in cells of the frame (used where `patch` is None).
        occluded: the l'_j in cells of the frame.
        baggage: bool (H, W) of the scan, see `baggage.baggage`.
    """

    frame: Frame
    factor: int
    source: Box
    patch: torch.Tensor | None = field(compare=False)
    occluder: IntBox
    occluded: tuple[IntBox, ...]
    baggage: np.ndarray = field(compare=False)

    def hidden(self, latents: torch.Tensor, alpha: float) -> torch.Tensor:
        """z_0^h of the frame from its z_0 (c, h, w)."""
        return self._blended(latents, self.patch, alpha)

    def hidden_noisy(
        self, latents: torch.Tensor, noise: torch.Tensor, share: float, alpha: float
    ) -> torch.Tensor:
        """The same on a noisy latent (c, h, w), with the occluder noised alike."""
        patch = self.patch
        if patch is not None:
            a, b = patch.shape[-2:]
            noised = share**0.5 * patch + (1 - share) ** 0.5 * noise[:, :a, :b]
            patch = noised.to(latents.device)
        return self._blended(latents, patch, alpha)

    def _blended(
        self, latents: torch.Tensor, patch: torch.Tensor | None, alpha: float
    ) -> torch.Tensor:
        if patch is None:
            return blend(latents, self.occluder, self.occluded, alpha)
        canvas, occluder = beside(latents, patch)
        return blend(canvas, occluder, self.occluded, alpha)[..., : latents.shape[-1]]

    def areas(self, scan_size: tuple[int, int]) -> list[Box]:
        """The occluded boxes in pixels of the scan; those in a frame's padding are left out."""
        found = [
            clip(self.frame.to_scan([v * self.factor for v in box]), scan_size)
            for box in self.occluded
        ]
        return [box for box in found if area(box) > 0]


def place(
    diffusion: Diffusion,
    frame: Frame,
    pixels: np.ndarray,
    occluder: Box,
    foregrounds: Sequence[Box],
    patch: torch.Tensor | None,
    baggage: np.ndarray,
    rng: np.random.Generator,
    before: Sequence[Box] = (),
) -> Concealment:
    """Let an occluder fall over the foregrounds of a frame (Eq. 8 and 9).

    Drawn once, it often hangs out of the bag, where it hides nothing; and where items lie close
    together it falls on the same place again and again, until nothing but the occluder is left
    there. So it is drawn `DRAWS` times for each foreground, and of these draws the first is taken
    that covers the fewest cells as bright as air and of what is occluded already (as often as it
    is).

    Args:
        diffusion: whose cells count.
        frame: the frame.
        pixels: of the scan, uint8 (H, W, 3).
        occluder: l_o, pixels of the scan.
        foregrounds: the l_j, pixels of the scan.
        patch: from `encode_patch`, or None to crop the occluder from the frame itself.
        baggage: bool (H, W), where bags lie in the scan.
        rng: the only source of chance.
        before: what is occluded already through other frames, boxes in pixels of the scan.
    """
    factor = diffusion.factor
    size = frame.size[0] // factor, frame.size[1] // factor
    cells = frame.cells(occluder, factor)
    if patch is not None:
        cells = (0, 0, patch.shape[-1], patch.shape[-2])
    avoided = _air(frame, pixels, size).astype(np.int64)
    for box in before:
        if area(intersection(box, frame.box)) > 0:
            x1, y1, x2, y2 = frame.cells(box, factor)
            avoided[y1:y2, x1:x2] += 1
    occluded = []
    for box in foregrounds:
        front = frame.cells(box, factor)
        draws = [occluded_boxes([front], cells, size, rng)[0] for _ in range(DRAWS)]
        x1, y1, x2, y2 = min(draws, key=lambda b: avoided[b[1] : b[3], b[0] : b[2]].sum())
        occluded.append((x1, y1, x2, y2))
        avoided[y1:y2, x1:x2] += 1
    return Concealment(frame, factor, occluder, patch, cells, tuple(occluded), baggage)


def _air(frame: Frame, pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which cells of a frame are as bright as air: bool, of the given size. In a bag too, for where
    there is nothing to see yet, an occluder is a patch out of nowhere."""
    return resample(frame.cut(pixels), size).mean(-1) >= air_level(pixels)


def encode_patch(
    diffusion: Diffusion, pixels: np.ndarray, occluder: Box, frame: Frame
) -> torch.Tensor:
    """The latent of an occluder at a frame's scale, no larger than the frame: (c, a, b), CPU.

    It is encoded with its surroundings, which are then cut off.
    """
    factor, (sx, sy) = diffusion.factor, frame.scale
    x1, y1, x2, y2 = outward(occluder)
    columns = min(math.ceil((x2 - x1) * sx / factor), frame.size[1] // factor)
    rows = min(math.ceil((y2 - y1) * sy / factor), frame.size[0] // factor)
    left, top = round(x1 - MARGIN * factor / sx), round(y1 - MARGIN * factor / sy)
    height, width = rows + 2 * MARGIN, columns + 2 * MARGIN
    box = (left, top, left + round(width * factor / sx), top + round(height * factor / sy))
    around = Frame(box, (height * factor, width * factor))
    latents = diffusion.encode(to_tensor(around.cut(pixels))[None])[0].cpu()
    return latents[:, MARGIN : MARGIN + rows, MARGIN : MARGIN + columns].clone()


def conceal(
    image: np.ndarray,
    diffusion: Diffusion,
    latents: torch.Tensor,
    concealment: Concealment,
    alpha: float,
) -> None:
    """Blend in latent space and put the decoded change into `image` (H, W, 3) uint8, in place.

    Only the changed cells and a margin are decoded, with and without occlusion. What decoding
    loses of the clear image is kept to the share 1 - alpha, in line with Eq. 5: so an alpha of 0
    changes nothing, and the scan stays as sharp as it was where the occluder hardly shows. The air
    beside the baggage stays air, for nothing lies there that could hide an item.

    Args:
        image: the clear image; written inside the occluded areas, into which the occluder fades.
        diffusion: its decoder.
        latents: z_0 (c, h, w) of the frame.
        concealment: where the occluder falls.
        alpha: degree of occlusion.
    """
    frame, factor = concealment.frame, concealment.factor
    if not concealment.occluded or alpha == 0:
        return
    height, width = latents.shape[-2:]
    x1 = max(min(b[0] for b in concealment.occluded) - MARGIN, 0)
    y1 = max(min(b[1] for b in concealment.occluded) - MARGIN, 0)
    x2 = min(max(b[2] for b in concealment.occluded) + MARGIN, width)
    y2 = min(max(b[3] for b in concealment.occluded) + MARGIN, height)
    hidden = concealment.hidden(latents, alpha)
    pair = torch.stack([latents[:, y1:y2, x1:x2], hidden[:, y1:y2, x1:x2]])
    clear, occluded = (to_pixels(part) for part in diffusion.decode(pair))
    size = image.shape[:2]
    full = np.zeros((*frame.size, 3), np.float32)
    rows = slice(y1 * factor, y2 * factor)
    columns = slice(x1 * factor, x2 * factor)
    full[rows, columns] = occluded - (1 - alpha) * clear
    change = frame.restore(full, size)
    inside = frame.inside(size)
    left, top, right, bottom = inside
    # (1 - alpha) times the clear image plus the change: alpha times the old look goes.
    target = (1 - alpha) * image[top:bottom, left:right] + change
    share = _faded(concealment.areas(size), inside) * _shown(image, concealment.baggage, inside)
    composite(image, target, inside, share)


def _faded(areas: Sequence[Box], inside: IntBox) -> np.ndarray:
    """How much of the occluded areas, boxes in scan pixels, goes into the scan, float32 (height,
    width) of `inside`: 0 at their ends, 1 further in than `FADE`."""
    total = np.zeros((inside[3] - inside[1], inside[2] - inside[0]), np.float32)
    for x1, y1, x2, y2 in areas:
        fade = FADE * min(x2 - x1, y2 - y1)
        core = x1 + fade, y1 + fade, x2 - fade, y2 - fade
        total = np.maximum(total, weight([core], inside, fade))
    return total


def _shown(image: np.ndarray, baggage: np.ndarray, inside: IntBox) -> np.ndarray:
    """How much an occluder shows, float32 (height, width) of `inside`: 1 in the baggage and on what
    hangs or lies beside it, 0 in the air."""
    left, top, right, bottom = inside
    there = image[top:bottom, left:right].mean(-1, dtype=np.float32) < air_level(image)
    there |= baggage[top:bottom, left:right]
    return cv2.GaussianBlur(there.astype(np.float32), (0, 0), SOFT)


def conceal_pixels(
    image: np.ndarray, concealments: Sequence[Concealment], alpha: float
) -> np.ndarray:
    """BOM's rival of Table IX: the same boxes, blended on pixels uint8 (H, W, 3), a new image; at
    least one concealment, with one occluder."""
    size = image.shape[:2]
    values = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)
    source = outward(clip(concealments[0].source, size))
    targets = [outward(clip(box, size)) for c in concealments for box in c.areas(size)]
    # all at once, for the occluder's crop is that of the given image
    values = blend(values, source, targets, alpha)
    return np.rint(values.permute(1, 2, 0).numpy()).astype(np.uint8)


def occlusion_of(
    concealments: Sequence[Concealment], alpha: float, scan_size: tuple[int, int]
) -> Occlusion:
    """What is written down of at least one concealment with one occluder."""
    areas = [area for c in concealments for area in c.areas(scan_size)]
    return Occlusion(alpha, concealments[0].source, tuple(areas))


def during_denoising(
    concealments: Sequence[Concealment], alpha: float, placement: int
) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """BOM's rival of Table IX that blends after every denoising step but the last, after which the
    image is blended as in BOM; for `inpainting.denoise`."""
    generator = torch.Generator().manual_seed(placement)
    noises = [
        torch.randn(c.patch.shape, generator=generator) if c.patch is not None else torch.zeros(0)
        for c in concealments
    ]

    def after(latents: torch.Tensor, share: float) -> torch.Tensor:
        return torch.stack(
            [
                concealment.hidden_noisy(row, noise, share, alpha)
                for row, concealment, noise in zip(latents, concealments, noises, strict=True)
            ]
        )

    return after


def to_tensor(values: np.ndarray) -> torch.Tensor:
    """Frame values float32 or uint8 (h, w, 3), 0..255, to the model's (3, h, w), -1..1."""
    return torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1) / 127.5 - 1


def to_pixels(values: torch.Tensor) -> np.ndarray:
    """The model's (3, h, w), -1..1, to frame values float32 (h, w, 3), 0..255."""
    return np.ascontiguousarray(((values + 1) * 127.5).permute(1, 2, 0).numpy(), np.float32)
