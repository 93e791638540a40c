"""Several processes that train together, as `accelerate launch` starts them."""

import atexit
import os
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, reduce

# One may be done with its share of the scans long before another, and the first one saves and
# judges alone. The usual ten minutes are too few for that; who fails is not waited for anyway.
PATIENCE = timedelta(hours=12)


def count() -> int:
    """How many train together; 1 unless `accelerate launch` (or torchrun) started them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def number() -> int:
    """Of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def local() -> int:
    """Of this process on its machine, from 0: also of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def first() -> bool:
    """Whether this is the process that writes."""
    return number() == 0


def branch() -> tuple[int, ...]:
    """What tells this process's randomness from the others'; () where it is alone."""
    return (number(),) if count() > 1 else ()


@lru_cache(maxsize=1)
def _state() -> PartialState:
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    # The threads of a group that is still there when the process ends can abort it
    # (pytorch issue 190489). Whoever keeps a name of the group keeps its threads.
    atexit.register(state.destroy_process_group)
    return state


def wait() -> None:
    """Until all have come here."""
    if count() > 1:
        _state().wait_for_everyone()


def agreed(flag: bool) -> bool:
    """The first process's answer, in all."""
    if count() == 1:
        return flag
    return bool(broadcast(torch.tensor([float(flag)], device=_state().device)).item())


def average(gradients: Sequence[torch.Tensor]) -> None:
    """Replace tensors of one device by their means over the processes, all at once."""
    if count() == 1:
        return
    _state()
    whole = reduce(torch.cat([g.flatten() for g in gradients]), "mean")
    start = 0
    for gradient in gradients:
        end = start + gradient.numel()
        gradient.copy_(whole[start:end].view_as(gradient))
        start = end
