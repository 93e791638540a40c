"""Files of weights of any origin, read without running anything that is in them."""

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch.serialization import MAGIC_NUMBER

from xsyn_core.errors import XsynError

SAM = "a Segment Anything (SAM) model"
# What names of tensors begin with -> what such a file is; the first that fits counts.
KINDS = (
    (("image_encoder.trunk.", "sam_mask_decoder.", "memory_attention."), "a SAM 2 model"),
    (("mask_decoder.hf_token", "mask_decoder.compress_vit_feat"), "HQ-SAM"),
    (("vision_encoder.", "shared_image_embedding."), "a SAM in the layout of transformers"),
    (("image_encoder.", "mask_decoder."), SAM),
    (("model.diffusion_model.", "input_blocks."), "a diffusion model in its original layout"),
    (("down_blocks.",), "a part of a diffusion model (the UNet of a diffusers folder)"),
    (("text_model.",), "a CLIP text model"),
    (("encoder.conv_in.", "decoder.conv_in."), "an image autoencoder"),
)


class Foreign:
    """Stands where a pickle names anything but tensors and plain containers; it runs nothing.

    Attributes:
        origin: the name in the file, such as "omegaconf.dictconfig.DictConfig".
        state: what the file gives as the object's state, as plain data.
    """

    origin = ""
    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "Foreign":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any):
        pass

    def __call__(self, *_: Any, **__: Any) -> "Foreign":
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def _ignore(self, *_: Any) -> None:
        pass

    # A pickle fills containers through these.
    append = extend = add = __setitem__ = _ignore


class _Plain(dict):
    """A dictionary without the attributes that PyTorch hangs onto a state dict."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Maker:
    """A function that a pickle may call, but not change."""

    def __init__(self, function: Any):
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function is given a state")


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    """A view of a storage; the rest that a file gives (gradients, hooks) is left out."""
    memory, dtype = storage._untyped_storage, storage.dtype
    reach = offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min(offset, *size, *stride, 0) < 0 or (
        0 not in size and reach * dtype.itemsize > memory.nbytes()
    ):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    return torch.empty(0, dtype=dtype).set_(memory, offset, tuple(size), tuple(stride))


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Plain,
    ("torch", "Size"): _Maker(tuple),
    ("torch._utils", "_rebuild_tensor"): _Maker(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Maker(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Maker(lambda tensor, *_: tensor),
}


class _Unpickler(pickle.Unpickler):
    """Imports nothing: every name that is not in `_ALLOWED` becomes a kind of `Foreign`."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        return type("Foreign", (Foreign,), {"origin": f"{module}.{name}"})


def _load(file: BinaryIO, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


# What `torch.load` wants of a module that stands in for `pickle`.
_PICKLE = SimpleNamespace(__name__="xsyn_pickle", Unpickler=_Unpickler, load=_load)


def read_checkpoint(path: Path, wanted: str) -> tuple[dict[Any, Any], dict[str, str]]:
    """Read a safetensors file or a PyTorch file (zip archive or the older plain pickle).

    Tensors lie on the CPU and, but for plain pickles, are mapped: pages are read as they are used
    and a large file is never in memory twice.

    Args:
        path: a file, whatever it is called: its bytes tell what it is.
        wanted: the sentence that tells which file to give; it ends the messages.

    Returns:
        What the file holds, as plain containers, tensors and `Foreign`s, and the metadata of
        safetensors ({} for others).

    Raises:
        XsynError: missing, a web page, a Git LFS pointer, cut short, or no file of weights.
    """
    if os.path.isdir(path):  # unlike pathlib's, takes names that no file can have
        raise XsynError(f"{path} is a folder. {wanted}")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        raise XsynError(f"There is no file {path}. {wanted}") from None
    except OSError as error:
        raise XsynError(f"{path} cannot be read ({error.strerror}). {wanted}") from None
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise XsynError(
            f"{path.name} is a web page, not weights: the download was answered with a page. "
            f"Download the file itself. {wanted}"
        )
    if text.startswith(b"version https://git-lfs"):
        raise XsynError(
            f"{path.name} is only a Git LFS pointer: fetch the file itself (git lfs pull). {wanted}"
        )
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head.startswith((b"PK", b"\x80")):
        return _read_pytorch(path, head, wanted), {}
    raise XsynError(f"{path.name} is neither a safetensors nor a PyTorch file. {wanted}")


def tensors_in(content: Any) -> dict[str, torch.Tensor]:
    """The tensors of a mapping by name; other values, and what is no mapping, count for nothing."""
    if not isinstance(content, Mapping):
        return {}
    return {str(k): v.detach() for k, v in content.items() if isinstance(v, torch.Tensor)}


def check_finite(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that a training spoilt.

    Raises:
        XsynError: some are infinite or no numbers.
    """
    for name, values in tensors.items():
        if values.is_floating_point() and values.numel():
            # Both are no numbers where any value is none. To ask them all takes ten times as long.
            least, largest = values.aminmax()
            if not (least.isfinite() and largest.isfinite()):
                raise XsynError(
                    f"{path} has weights that are no numbers, such as in {name}: its training "
                    "diverged. Take an earlier model, or train again with a smaller --rate."
                )


def kind_of(names: Mapping[str, Any]) -> str | None:
    """What a file with tensors of these names is, in words; None where nobody knows."""
    for beginnings, kind in KINDS:
        if any(name.startswith(beginnings) for name in names):
            return kind
    return None


def _damaged(path: Path, error: Exception) -> XsynError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return XsynError(f"{path.name} is damaged or cut short ({reason}). Copy or download it again.")


def _read_safetensors(path: Path) -> tuple[dict[Any, Any], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _read_pytorch(path: Path, head: bytes, wanted: str) -> dict[Any, Any]:
    zipped = head.startswith(b"PK")
    if zipped:
        _check_archive(path, wanted)
    elif MAGIC_NUMBER.to_bytes(10, "little") not in head[:64]:
        raise XsynError(
            f"{path.name} is a pickle, but none that PyTorch wrote, or it was cut short. Nothing "
            f"in it was run. {wanted}"
        )
    # By this ending `torch.load` would take a path for safetensors; a stream has no name.
    mapped = zipped and path.suffix != ".safetensors"
    options: dict[str, Any] = {
        "map_location": "cpu",
        "pickle_module": _PICKLE,
        "weights_only": False,
    }
    try:
        if mapped:
            content = torch.load(str(path), mmap=True, **options)
        else:
            with path.open("rb") as file:
                content = torch.load(file, mmap=False, **options)
    except Exception as error:  # damaged files fail in many ways inside torch
        raise _damaged(path, error) from None
    if not isinstance(content, dict):
        held = content.origin if isinstance(content, Foreign) else type(content).__name__
        raise XsynError(
            f"{path.name} holds a {held}, not weights, and nothing in it was run. {wanted}"
        )
    return content


def _check_archive(path: Path, wanted: str) -> None:
    """Refuse zip archives that `torch.load` would not unpickle.

    The very reader of `torch.load` looks, so that both see the same archive.
    """
    try:
        records = set(torch._C.PyTorchFileReader(str(path)).get_all_records())
    except RuntimeError as error:
        if not zipfile.is_zipfile(path):
            raise _damaged(path, error) from None
        records = set()
    if "constants.pkl" in records:
        raise XsynError(
            f"{path.name} is a TorchScript program, which Xsyn does not run, not weights. {wanted}"
        )
    if "data.pkl" not in records:
        raise XsynError(f"{path.name} is a zip archive, but none that PyTorch wrote. {wanted}")
