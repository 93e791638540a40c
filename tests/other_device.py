"""A device that is not the CPU, for machines that have none.

Its tensors lie in main memory, yet torch takes them for another device's: like a GPU's they cannot
be mixed with the CPU's, nor read by NumPy.
"""

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "other"
# These take tensors of both.
COPIES = {"aten::_to_copy", "aten::copy_"}


class OtherTensor(torch.Tensor):
    """A tensor of the other device."""

    @staticmethod
    def __new__(cls, values):
        shape, strides, offset = values.shape, values.stride(), values.storage_offset()
        return torch.Tensor._make_wrapper_subclass(
            cls, shape, strides, offset, dtype=values.dtype, device=torch.device(NAME, 0)
        )

    def __init__(self, values: torch.Tensor):
        self.values_here = values

    def tolist(self):
        return self.values_here.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def _is_other(value) -> bool:
    return isinstance(value, OtherTensor)


def _run(function, args, kwargs):
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    there = [t for t in tensors if _is_other(t)]
    name = function._schema.name
    if there and name not in COPIES and any(t.dim() and not _is_other(t) for t in tensors):
        raise RuntimeError(f"{name}: tensors of two devices")
    device = kwargs.get("device")
    if device is None:
        # what is copied into decides
        stays = _is_other(args[0]) if name in COPIES else bool(there)
    else:
        stays = torch.device(device).type == NAME
        kwargs = {**kwargs, "device": torch.device("cpu")}
    stays = stays and name != "aten::_local_scalar_dense"
    here = tree_map(lambda t: t.values_here if _is_other(t) else t, (args, kwargs))
    result = function(*here[0], **here[1])
    if not stays:
        return result
    # what is written into stays the same tensor
    known = {id(t.values_here): t for t in there}

    def placed(value):
        return (
            known.get(id(value), OtherTensor(value)) if isinstance(value, torch.Tensor) else value
        )

    return tree_map(placed, result)


class Other(TorchDispatchMode):
    """While open, `torch.device("other:0")` can be used. For a process of its own: torch keeps
    what it learns here."""

    def __enter__(self):
        module = backend_registration._DummyBackendModule()
        module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
        backend_registration._setup_privateuseone_for_python_backend(NAME, module)
        # tensors of subclasses can neither replace a parameter's values nor be of inference mode
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        torch.inference_mode = torch.no_grad
        return super().__enter__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})
