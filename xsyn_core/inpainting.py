"""The grounded inpainting function F (Section III, Eq. 4): our own loop over diffusers parts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch.nn import functional

from xsyn_core.attention import AttentionMaps
from xsyn_core.diffusion import Condition, Diffusion
from xsyn_core.errors import XsynError
from xsyn_core.sample import Sampler

# At most so much guidance once an item's shape is decided, where a model asks for it
# (`Diffusion.shaped`): with none what is in an item comes out soft, with more it comes out blotched
# and thin edges get nicks.
LITTLE = 2.0
# The mask of cells that are repainted where the model sees what is to be finished there.
SKETCHED = 0.5
# A schedule of at least so many steps has to begin in the last quarter of the training steps, or
# noise would be taken for signal; of fewer steps, one stride alone may be longer than that.
STEPS, BEGIN = 4, 0.75


@dataclass(frozen=True)
class Step:
    """One denoising step, done.

    Attributes:
        number: 1 to the number of steps.
        latents: (B, c, h, w) float32, the estimate of z_0 after this step; after the last one
            z_0 itself. Outside the repainted cells it is the latent of the image.
    """

    number: int
    latents: torch.Tensor


def make_scheduler(
    config: dict, sampler: Sampler, steps: int
) -> DDIMScheduler | DPMSolverMultistepScheduler:
    """A fresh scheduler with its timesteps set: schedulers keep state, so none is shared.

    Raises:
        XsynError: an unknown sampler, or steps outside 1 to the model's training steps, or so many
            that the model's schedule cannot space them.
    """
    if not 1 <= steps <= config["num_train_timesteps"]:
        raise XsynError(
            f"{steps} denoising steps are not possible; choose 1 to "
            f"{config['num_train_timesteps']} (50 is the paper's number)."
        )
    if sampler == "ddim":
        scheduler = DDIMScheduler.from_config(config)
    elif sampler == "dpm++":
        scheduler = DPMSolverMultistepScheduler.from_config(
            config, algorithm_type="dpmsolver++", solver_order=2, lower_order_final=True
        )
    else:
        raise XsynError(f"There is no sampler {sampler!r}. Choose ddim or dpm++.")
    if not _spaced(scheduler, steps):
        fewer = next((n for n in range(steps - 1, 0, -1) if _spaced(scheduler, n)), 1)
        raise XsynError(
            f"{steps} denoising steps are not possible with this model's schedule, which would not "
            f"begin where noise does; {fewer} are (50 is the paper's number)."
        )
    return scheduler


def _spaced(scheduler: DDIMScheduler | DPMSolverMultistepScheduler, steps: int) -> bool:
    """Whether a scheduler, set to so many steps, begins with noise that the model knows. Schedules
    of "leading" spacing take a whole number as their stride, and may end up anywhere."""
    scheduler.set_timesteps(steps)
    first, total = int(scheduler.timesteps[0]), scheduler.config.num_train_timesteps
    return first < total and (steps < STEPS or first >= BEGIN * total)


def masked_images(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Grey out (0) the repainted cells of images (B, 3, H, W); masks (B, 1, h, w), 1 keeps."""
    return images * functional.interpolate(masks, size=images.shape[-2:], mode="nearest")


def masked_latents(
    diffusion: Diffusion, images: torch.Tensor, masks: torch.Tensor, clean: torch.Tensor
) -> torch.Tensor:
    """What the UNet sees of the cells that are kept: z_0 times the mask (Section III), or what the
    model asks for instead, see `Diffusion.greyed`.

    Args:
        images: (B, 3, H, W), -1 to 1.
        masks: (B, 1, h, w), 1 keeps, on the model's device as `clean` is.
        clean: (B, c, h, w), z_0 of the images.

    Returns:
        (B, c, h, w), 0 in the repainted cells.
    """
    if not diffusion.greyed:
        return clean * masks
    return diffusion.encode(masked_images(images.to(masks.device), masks)) * masks


def denoise(
    diffusion: Diffusion,
    images: torch.Tensor,
    masks: torch.Tensor,
    conditions: Sequence[Condition],
    *,
    steps: int,
    guidance: float,
    sampler: Sampler,
    generator: torch.Generator,
    maps: AttentionMaps | None = None,
    after: Callable[[torch.Tensor, float], torch.Tensor] | None = None,
    skip: int = 0,
    sketched: bool = False,
) -> Iterator[Step]:
    """Repaint frames; yields after every step, the last step holds z_0.

    Before every UNet call Eq. 2 puts the noised original back outside the repainted cells. Its
    noise is the start noise, the same in all steps: outside the cells the state so runs along the
    very path that ends in the original. Guidance is classifier-free: text, grounding and attitudes
    are dropped together in the unconditional rows (Section V-A); see `guided`. Where guidance is 1
    there is none; below the timestep `Diffusion.shaped` it is at most `LITTLE`. What the UNet sees
    of the cells that are kept is told by `masked_latents`. After the last step the original latent
    stands outside the cells.

    Args:
        images: (B, 3, H, W), -1 to 1.
        masks: (B, 1, h, w), 1 keeps, 0 repaints.
        conditions: one a frame.
        steps, guidance, sampler: see `Request`.
        generator: a CPU generator; the noise is drawn on the CPU, so that a seed means the same
            on every device.
        maps: where to sum cross-attention, or None.
        after: called with the noisy latents and the signal's share alpha-bar after every step but
            the last; what it returns goes on (for BOM's rival inside the loop).
        skip: leave out this many steps and start from the noised images themselves, so that an
            item which is already there stays while its attention is measured.
        sketched: in the repainted cells too the model sees the images, of what it is to finish
            there, in the place of attitudes; unconditional rows see them as well.

    Raises:
        XsynError: steps or sampler out of range, or too many objects in a frame.
    """
    device, count = diffusion.device, len(conditions)
    scheduler = make_scheduler(diffusion.scheduler, sampler, steps)
    signal = scheduler.alphas_cumprod.tolist()
    masks = masks.to(device, torch.float32)
    original = diffusion.encode(images)
    kept = masked_latents(diffusion, images, masks, original)
    hints = torch.zeros_like(kept), _hints(conditions, kept)
    seen = masks
    if sketched:
        hints, seen = (original, original), masks + SKETCHED * (1 - masks)
    plain, told = (torch.cat([kept + inside * (1 - masks), seen], 1) for inside in hints)
    text = diffusion.text_states([c.prompt for c in conditions])
    grounding = diffusion.grounding_tokens(conditions)
    copies, context = 1, told
    if guidance != 1:
        # unconditional rows first, then conditional ones
        copies, context = 2, torch.cat([plain, told])
        text = torch.cat([diffusion.text_states([""] * count), text])
        grounding = {name: torch.cat([value, value]) for name, value in grounding.items()}
        grounding["masks"][:count] = 0
    noise = randn_tensor(original.shape, generator=generator, device=torch.device("cpu"))
    noise = noise.to(device)
    latents = noise
    if skip:
        share = signal[int(scheduler.timesteps[skip])]
        latents = share**0.5 * original + (1 - share) ** 0.5 * noise

    with diffusion.residence.held(diffusion.unet):
        for number, timestep in enumerate(scheduler.timesteps[skip:], start=1 + skip):
            share = signal[int(timestep)]
            noised = share**0.5 * original + (1 - share) ** 0.5 * noise
            latents = latents * (1 - masks) + noised * masks
            inputs = torch.cat([latents.repeat(copies, 1, 1, 1), context], dim=1)
            output = diffusion.predict(inputs, timestep.to(device), text, grounding, maps)
            if guidance != 1:
                without, conditional = output.chunk(2)
                scale = min(guidance, LITTLE) if timestep < diffusion.shaped else guidance
                output = guided(without, conditional, scale, diffusion.rescale, 1 - masks)
            estimate = _clean(output, latents, share, scheduler.config.prediction_type)
            latents = scheduler.step(output, timestep, latents).prev_sample
            if number == len(scheduler.timesteps):
                estimate = latents
            elif after is not None:
                latents = after(latents, signal[int(scheduler.timesteps[number])])
            yield Step(number, _outside(estimate, original, masks))


def _hints(conditions: Sequence[Condition], like: torch.Tensor) -> torch.Tensor:
    """What the UNet sees of the attitudes in each frame, shaped and placed as latents."""
    nothing = np.zeros(like.shape[1:], np.float32)
    rows = [nothing if c.hint is None else c.hint for c in conditions]
    return torch.from_numpy(np.stack(rows)).to(like)


def guided(
    without: torch.Tensor,
    conditional: torch.Tensor,
    guidance: float,
    rescale: float,
    inside: torch.Tensor,
) -> torch.Tensor:
    """What the UNet's outputs (B, c, h, w) for one state come to.

    Classifier-free guidance, without + guidance (conditional - without). The result's spread is
    brought towards that of the conditional output, for guidance makes it larger.

    Args:
        without, conditional: the outputs of unconditional and conditional rows.
        guidance: the scale.
        rescale: how far, 0 to 1.
        inside: (B, 1, h, w), 1 where the spread counts.
    """
    result = without + guidance * (conditional - without)
    if rescale:
        ratio = _spread(conditional, inside) / _spread(result, inside).clamp(min=1e-6)
        result = result * (1 + rescale * (ratio - 1))
    return result


def _spread(values: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """The standard deviation of each row of (B, c, h, w) where inside is 1: (B, 1, 1, 1)."""
    count = (inside.sum((1, 2, 3), keepdim=True) * values.shape[1]).clamp(min=1)
    mean = (values * inside).sum((1, 2, 3), keepdim=True) / count
    return (((values - mean).square() * inside).sum((1, 2, 3), keepdim=True) / count).sqrt()


def _outside(latents: torch.Tensor, original: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    return latents * (1 - masks) + original * masks


def _clean(output: torch.Tensor, noisy: torch.Tensor, share: float, kind: str) -> torch.Tensor:
    """The estimate of z_0 from the UNet's output at one step."""
    if kind == "v_prediction":
        return share**0.5 * noisy - (1 - share) ** 0.5 * output
    return (noisy - (1 - share) ** 0.5 * output) / share**0.5
