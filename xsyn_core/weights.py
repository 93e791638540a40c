"""Loading models: the embedded ones, a local folder or file, a hub id."""

import json
import logging
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils.logging import set_tqdm_hook

from xsyn_core import catalogs, memory
from xsyn_core.attitudes import Attitudes
from xsyn_core.checkpoint_files import check_finite
from xsyn_core.compilation import Compiled
from xsyn_core.diffusion import ENTRIES, Diffusion
from xsyn_core.errors import XsynError
from xsyn_core.gligen_checkpoint import (
    NEEDED,
    Parts,
    check_inputs,
    load_gligen,
)
from xsyn_core.memory import Need, Residence
from xsyn_core.segmentation import Segmenter, load_sam, prompts_at_once
from xsyn_core.weight_sources import EMBEDDED, PARTS, diffusion_source, fingerprint, sam_file

log = logging.getLogger(__name__)


AUTOENCODER_NEEDED = "An autoencoder is the vae folder of a diffusers model."
# What the libraries raise for a missing or damaged part.
UNREADABLE = OSError, ValueError, RuntimeError, KeyError, SafetensorError

# Sound weights load in silence: diffusers does not know `inpainting`'s own entries in a UNet's
# configuration, and transformers shows a bar for every file. Real warnings come through.
_OWN = rf"'({'|'.join(ENTRIES)})': [\w.]+"
logging.getLogger("diffusers.configuration_utils").addFilter(
    lambda record: not re.search(rf"attributes {{{_OWN}(, {_OWN})*}} were", record.getMessage())
)
set_tqdm_hook(lambda bar, args, options: bar(*args, **{**options, "disable": True}))


@dataclass(frozen=True, eq=False)
class Models:
    """Everything with weights.

    Attributes:
        diffusion: the grounded inpainting model.
        segmenter: SAM.
        fingerprint: sha256 over all weights files, as hex.
    """

    diffusion: Diffusion
    segmenter: Segmenter
    fingerprint: str


def load_models(
    diffusion: str | Path = EMBEDDED,
    sam: str | Path = EMBEDDED,
    device: str = "auto",
    compiled: bool = False,
    staying: bool = False,
) -> Models:
    """Load both models.

    Where the device has less free memory than they need, their parts rest on the CPU and are on
    the device only while they work; where not even one would fit, "auto" takes the CPU. A warning
    in the log says so.

    Args:
        diffusion: "embedded", a diffusers folder, an original GLIGEN file, or the id of either on
            the Hugging Face hub.
        sam: "embedded" or a file of SAM weights.
        device: "auto" takes CUDA where there is one, else the CPU; or a name torch knows.
        compiled: run the UNet through `torch.compile`.
        staying: leave all parts on the device, whatever memory is free, as training needs them.

    Raises:
        XsynError: missing, unreadable or unfit weights, no such device, or a device that was
            asked for and has too little free memory for any way.
    """
    where = pick_device(device)
    source = diffusion_source(str(diffusion))
    sam_source = sam_file(str(sam))
    network = load_sam(sam_source)
    model = _unplaced(source, where, str(diffusion))
    residence: Residence | None = Residence()
    if not staying:
        needs = memory.diffusion_needs(model.unet, model.vae, model.text_encoder)
        needs.append(memory.segmenter_need(network, prompts_at_once(where)))
        residence = _residence(needs, where, device)
    if residence is None:
        # Loaded again, for other types suit the CPU.
        return load_models(diffusion, sam, "cpu", compiled)
    return Models(
        diffusion=_placed(model, residence, compiled),
        segmenter=Segmenter(network, where, str(sam), residence),
        fingerprint=fingerprint(source, sam_source),
    )


def load_segmenter(
    sam: str | Path = EMBEDDED, device: str = "auto", staying: bool = False
) -> Segmenter:
    """Load the segmenter alone; see `load_models`.

    Raises:
        XsynError: as for `load_models`.
    """
    where = pick_device(device)
    network = load_sam(sam_file(str(sam)))
    residence: Residence | None = Residence()
    if not staying:
        needs = [memory.segmenter_need(network, prompts_at_once(where))]
        residence = _residence(needs, where, device)
    if residence is None:
        where, residence = torch.device("cpu"), Residence()
    return Segmenter(network, where, str(sam), residence)


def load_diffusion(source: Path, device: torch.device, name: str) -> Diffusion:
    """Load a diffusers folder or an original GLIGEN file, all of it onto the device.

    A model that was trained for generation only (c input channels) is widened to 2c + 1 by
    weights of zero, with a warning in the log.

    Raises:
        XsynError: a part is missing or damaged, or the UNet is not a gated one.
    """
    return _placed(_unplaced(source, device, name), Residence(), compiled=False)


def load_autoencoder(folder: Path) -> AutoencoderKL:
    """Load the autoencoder of a diffusers model in float32, on the CPU.

    Raises:
        XsynError: it is missing or damaged.
    """
    # the library would look for it on the hub
    if not (folder / "config.json").is_file():
        raise XsynError(f"{folder} has no config.json. {AUTOENCODER_NEEDED}")
    try:
        # Autoencoders overflow in float16.
        return _whole(AutoencoderKL, folder, torch_dtype=torch.float32)
    except UNREADABLE as error:
        raise XsynError(
            f"{folder} cannot be read ({_reason(error)}). {AUTOENCODER_NEEDED}"
        ) from None


def _residence(needs: list[Need], where: torch.device, asked: str) -> Residence | None:
    """How parts with such needs share the device; None where "auto" has to take the CPU.

    Raises:
        XsynError: no part fits into a device that was asked for by name.
    """
    free = memory.free_memory(where)
    together = memory.needed_together(needs)
    if free is None or free >= together:
        return Residence()
    alone, largest = memory.needed_alone(needs)
    if free >= alone:
        _remark(
            f"The device {where} has {_gigabytes(free)} of free memory, and the models need "
            f"{_gigabytes(together)} at once: each part is there only while it works, which takes "
            "longer. Close what else uses the device, or take smaller weights, to have them stay."
        )
        return Residence(where, memory.room(needs))
    short = (
        f"The device {where} has {_gigabytes(free)} of free memory, and the {largest.name} alone "
        f"needs {_gigabytes(alone)}"
    )
    if asked != "auto":
        raise XsynError(
            f"{short}. Close what else uses the device, take smaller weights, or choose another "
            "device, such as cpu."
        )
    _remark(
        f"{short}: the models run on the CPU, which takes much longer. "
        "Close what else uses the device, or take smaller weights."
    )
    return None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _placed(model: Diffusion, residence: Residence, compiled: bool) -> Diffusion:
    """The model with its parts on the device, or where they rest."""
    for part in (model.unet, model.vae, model.text_encoder):
        part.requires_grad_(False).eval()
        if residence.device is None:
            part.to(model.device)
    if model.device.type != "cpu":
        # One frame at a time fills an accelerator, and takes the memory of one.
        model.vae.enable_slicing()
    compiled_unet = Compiled(model.unet) if compiled else None
    return replace(model, residence=residence, compiled=compiled_unet)


def _unplaced(source: Path, device: torch.device, name: str) -> Diffusion:
    """A model for a device in the types that suit it, with its parts still on the CPU.

    Raises:
        XsynError: a part is missing or damaged, its weights are no numbers, or the UNet is not a
            gated one.
    """
    # On mps float32 is the safe type: half precision has been reported to give NaN and black
    # images (huggingface/diffusers#7563, nagadomi/nunif#669), bfloat16 to be missing.
    half = torch.float16 if device.type == "cuda" else torch.float32
    load = load_gligen if source.is_file() else _load_folder
    unet, vae, text, tokenizer, scheduler = load(source, half)
    for part in (unet, vae, text):
        check_finite(source, part.state_dict())
    if scheduler.get("prediction_type", "epsilon") not in ("epsilon", "v_prediction"):
        raise XsynError(
            f"The model in {source} predicts {scheduler['prediction_type']!r}; "
            "Xsyn runs models that predict epsilon or v_prediction."
        )
    if scheduler.get("prediction_type", "epsilon") == "epsilon" and scheduler.get(
        "rescale_betas_zero_snr"
    ):
        raise XsynError(
            f"The model in {source} predicts epsilon, yet its schedule starts from pure noise "
            "(rescale_betas_zero_snr), where epsilon says nothing. Set rescale_betas_zero_snr to "
            "false in its scheduler_config.json, or take a model that predicts v_prediction."
        )
    channels = unet.config.out_channels
    if vae.config.latent_channels != channels:
        raise XsynError(
            f"The autoencoder in {source} has {vae.config.latent_channels} latent channels, its "
            f"UNet {channels}: they do not belong together. {NEEDED}"
        )
    if unet.config.in_channels == channels:
        _widen(unet)
        _remark(
            f"{name} was trained for generation, not for inpainting: it does not see what lies "
            "around a box, and paints accordingly. Fine-tune it, or take an inpainting model."
        )
    attitudes = Attitudes.open(source / "tokenizer")
    parts = unet, vae, text, tokenizer, scheduler
    own = catalogs.of_model(source)
    return Diffusion(*parts, device, _arithmetic(device), name, attitudes, own)


def _load_folder(folder: Path, half: torch.dtype) -> Parts:
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise XsynError(f"{folder} has no {', no '.join(missing)}. {NEEDED}")
    _check_unet(folder)
    try:
        return Parts(
            _whole(UNet2DConditionModel, folder / "unet", torch_dtype=half),
            load_autoencoder(folder / "vae"),
            _whole(CLIPTextModel, folder / "text_encoder", dtype=half),
            CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            _entries(folder / "scheduler" / "scheduler_config.json"),
        )
    except UNREADABLE as error:
        raise XsynError(f"{folder} cannot be read ({_reason(error)}). {NEEDED}") from None


def _entries(file: Path) -> dict[str, Any]:
    """What a configuration sets.

    Raises:
        OSError, ValueError, RecursionError: it is missing or broken.
    """
    found = json.loads(file.read_text())
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} is no configuration")
    return found


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _widen(unet: UNet2DConditionModel) -> None:
    """Let the UNet take the masked latent and the mask too, and make nothing of them."""
    old, channels = unet.conv_in, unet.config.out_channels
    weight = old.weight.new_zeros(old.out_channels, 2 * channels + 1, *old.kernel_size)
    weight[:, :channels] = old.weight
    old.weight = torch.nn.Parameter(weight, requires_grad=False)
    old.in_channels = 2 * channels + 1
    unet.register_to_config(in_channels=2 * channels + 1)


@lru_cache(maxsize=256)
def _remark(words: str) -> None:
    """Warn once, however often a model is loaded."""
    log.warning(words)


def _whole(kind: Any, folder: Path, **options: Any) -> Any:
    """Load a part. The libraries would fill weights that its file lacks with random numbers.

    Raises:
        ValueError: there are such weights.
    """
    part, told = kind.from_pretrained(folder, output_loading_info=True, **options)
    missing = sorted(told["missing_keys"])
    if missing:
        raise ValueError(f"{folder.name} lacks {len(missing)} weights, such as {missing[0]}")
    return part


def pick_device(name: str) -> torch.device:
    """The device of a name; "auto" takes CUDA where there is one.

    Raises:
        XsynError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise XsynError(f"The device {name!r} cannot be used ({reason}). Try cpu.") from None
    return device


def _arithmetic(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.float16
    # With AMX a step takes three quarters of its float32 time; with AVX512-BF16 alone, no less.
    if device.type == "cpu" and torch.cpu._is_amx_tile_supported():
        return torch.bfloat16
    return torch.float32


def _check_unet(folder: Path) -> None:
    try:
        config = _entries(folder / "unet" / "config.json")
    except UNREADABLE as error:
        raise XsynError(f"{folder}/unet has no readable config.json ({error}). {NEEDED}") from None
    kind, inputs = config.get("attention_type", "default"), config.get("in_channels", 4)
    channels = config.get("out_channels", 4)
    if kind != "gated":
        what = "an inpainting model" if inputs == 2 * channels + 1 else "a diffusion model"
        raise XsynError(
            f"The UNet in {folder} has attention_type {kind!r} and {inputs} input channels: it is "
            f"{what} that knows no grounding boxes. {NEEDED}"
        )
    check_inputs(folder, inputs, channels)
