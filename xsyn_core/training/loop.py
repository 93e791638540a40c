"""One resumable training loop for all models, on one processor or many.

Started by `accelerate launch`, every process takes its own samples and the gradients are averaged,
so that all end with the same weights; the first one writes.
"""

import copy
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from xsyn_core import weights
from xsyn_core.errors import XsynError
from xsyn_core.files import replacing_file
from xsyn_core.stopping import stoppable
from xsyn_core.training import processes
from xsyn_core.training.optimiser import Optimiser
from xsyn_core.training.scalars import Scalars

# In the folder of a run: all that it needs to go on.
CHECKPOINT = "checkpoint.pt"

Draw = Callable[[int, np.random.Generator], Any]
Step = Callable[[int, Any], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Plan:
    """How long and how fast.

    Attributes:
        steps: to train in all, counted from the first run.
        rate: learning rate after warm-up.
        warmup: steps of linear warm-up.
        decay: the last share of `steps` over which the rate falls linearly to a twentieth.
        ema: decay of the moving average of the weights; 0 keeps none.
        clip: largest norm of the gradient.
        weight_decay: of the weights.
        seed: of everything random; step k always sees the same randomness.
        save_every: seconds between checkpoints.
    """

    steps: int
    rate: float
    warmup: int = 200
    decay: float = 0.3
    ema: float = 0.999
    clip: float = 1.0
    weight_decay: float = 0.01
    seed: int = 0
    save_every: float = 180.0

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: warm up, hold, decay."""
        up = min(1.0, (step + 1) / max(1, self.warmup))
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.rate * up * max(0.05, min(1.0, left))


def pick_device(device: str = "auto") -> torch.device:
    """ "auto" takes CUDA where there is one, each of several processes its own.

    Raises:
        XsynError: there is no such device.
    """
    if device == "auto":
        device = f"cuda:{processes.local()}" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        # what autocast leaves in float32 needs no more than ten bits
        torch.set_float32_matmul_precision("high")
    return weights.pick_device(device)


def autocast(device: torch.device):
    """bfloat16 where the processor multiplies it faster than float32."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()
    if torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


class _Batches(Dataset):
    """What each step learns from."""

    def __init__(self, draw: Draw, seed: int):
        self._draw, self._seed = draw, seed

    def __getitem__(self, k: int) -> Any:
        return self._draw(k, np.random.default_rng((self._seed, k, *processes.branch())))


def _ahead(batches: _Batches, steps: range, device: torch.device, workers: int) -> DataLoader:
    """The batches of some steps, for a GPU drawn ahead by other processes: it would wait for one.

    They are forked, for what draws holds memory maps, and never touch the GPU. A CPU has no core
    to spare for them.
    """
    able = device.type == "cuda" and "fork" in multiprocessing.get_all_start_methods()
    if able and workers:
        # each draws in one thread, and a process forked beside OpenCV's threads waits for them
        cv2.setNumThreads(1)
    return DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        num_workers=workers if able else 0,
        multiprocessing_context="fork" if able and workers else None,
        collate_fn=_as_drawn,
        # its own randomness is not used, and would move the global one
        generator=torch.Generator(),
        worker_init_fn=_deaf,
    )


def _deaf(number: int) -> None:
    """Ctrl-C is for the process that trains: it ends those that draw when it has saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _as_drawn(batch: Any) -> Any:
    return batch


def train(
    model: torch.nn.Module,
    draw: Draw,
    step: Step,
    plan: Plan,
    folder: Path,
    on_save: Callable[[torch.nn.Module, int], None] | None = None,
    workers: int = 0,
) -> torch.nn.Module:
    """Train `model` in place and return its moving average (itself where `plan.ema` is 0).

    Parameters that need no gradient are neither trained nor saved nor copied: the average shares
    them with `model`.

    Args:
        model: everything with weights, on its device.
        draw: gives the batch of step k, in main memory. It gets a generator that depends on the
            seed, k and the number of the process alone.
        step: gives the losses of step k and its batch as scalars by name; "loss" is minimised,
            the others are only written down.
        plan: see `Plan`.
        folder: holds `checkpoint.pt`, from which an interrupted run goes on to the step, and
            `loss.csv`.
        on_save: called in the first process with the moving average at every checkpoint and at
            the end.
        workers: processes that draw for a model on a GPU.

    Raises:
        XsynError: the checkpoint in `folder` is damaged, of another model or of more steps; or the
            loss is no number any more, which leaves the checkpoint as it was.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; the step begun is finished and saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trained = [p for p in model.parameters() if p.requires_grad]
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    shared = {id(p): p for p in model.parameters() if not p.requires_grad}
    average = copy.deepcopy(model, shared) if plan.ema else model
    averaged: list[torch.Tensor] = [p for p in average.parameters() if p.requires_grad]
    optimiser = Optimiser(trained, plan.rate, plan.weight_decay)
    start = 0
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        state = _read(checkpoint)
        start = state["step"]
        if start > plan.steps:
            raise XsynError(
                f"{folder} holds a run of {start} steps, more than the {plan.steps} asked for. Ask "
                "for as many or more, or choose another folder for the run."
            )
        _restore(model, state["model"], frozen, checkpoint)
        _restore(average, state["average"] or state["model"], frozen, checkpoint)
        optimiser.load_state_dict(state["optimiser"])

    def save(done: int) -> None:
        if not processes.first():
            return
        if done > start:
            state = {
                "model": _learnt(model, frozen),
                "average": _learnt(average, frozen) if plan.ema else None,
                "optimiser": optimiser.state_dict(),
                "step": done,
            }
            # given a path, torch does not tell that a disk is full
            with replacing_file(checkpoint) as fresh, fresh.open("wb") as file:
                torch.save(state, file)
        if on_save:
            on_save(average, done)

    model.train()
    recent: dict[str, list[float]] = {}
    kept, saved = start, time.monotonic()
    quiet = not processes.first()
    with (
        Scalars(folder, "loss.csv", anew=not start) as log,
        _without_subnormals(),
        stoppable("the step that has begun is finished first.") as stopped,
    ):
        batches = _ahead(
            _Batches(draw, plan.seed), range(start, plan.steps), _device(model), workers
        )
        bar = tqdm(batches, initial=start, total=plan.steps, mininterval=5, disable=quiet)
        for k, batch in enumerate(bar, start):
            losses = step(k, batch)
            losses["loss"].backward()
            processes.average([p.grad for p in trained if p.grad is not None])
            # the same in all processes
            if not torch.nn.utils.clip_grad_norm_(trained, plan.clip).isfinite():
                last = (
                    f"The last checkpoint is of step {kept}" if kept else "There is no checkpoint"
                )
                raise XsynError(
                    f"The loss or its gradient is no number at step {k + 1}: training diverged. "
                    f"{last}. Begin anew in another folder (--run) with a smaller --rate."
                )
            optimiser.step(plan.rate_at(k))
            if plan.ema:
                # early on a slow average would mostly remember the random start
                decay = min(plan.ema, (1 + k) / (10 + k))
                with torch.no_grad():
                    torch._foreach_lerp_(averaged, list[torch.Tensor](trained), 1 - decay)
            for name, value in losses.items():
                recent.setdefault(name, []).append(value.item())
            if (k + 1) % 50 == 0 or k + 1 == plan.steps:
                means = {name: sum(v) / len(v) for name, v in recent.items()}
                recent.clear()
                log.write(k + 1, means)
                bar.set_postfix({name: f"{v:.4f}" for name, v in means.items()})
            # the first process tells the time for all
            due = stopped() or time.monotonic() - saved > plan.save_every
            if k + 1 < plan.steps and processes.agreed(due):
                save(k + 1)
                processes.wait()
                kept, saved = k + 1, time.monotonic()
                if processes.agreed(stopped()):
                    raise KeyboardInterrupt
        save(plan.steps)
        processes.wait()
        # asked for during the last save: what would follow is not begun
        if processes.agreed(stopped()):
            raise KeyboardInterrupt
    return average.eval()


def steps_done(folder: Path) -> int:
    """How many steps the checkpoint of a run's folder has, 0 where there is none.

    Raises:
        XsynError: it is damaged.
    """
    checkpoint = folder / CHECKPOINT
    return _read(checkpoint, mmap=True)["step"] if checkpoint.exists() else 0


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device


@contextmanager
def _without_subnormals() -> Iterator[None]:
    """Gradients of sharp softmaxes underflow, and subnormal numbers are slow on a CPU."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _read(checkpoint: Path, mmap: bool = False) -> dict[str, Any]:
    """What `train` saved; mapped, tensors are read as they are used."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=mmap)
        missing = {"model", "average", "optimiser", "step"} - set(state)
        reason = f"no {min(missing)}" if missing else ""
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged files fail in many ways inside torch
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    if reason:
        raise XsynError(
            f"{checkpoint} is damaged or cut short ({reason}). Put a copy of it back, or remove it "
            "to train from the beginning."
        )
    return state


def _learnt(model: torch.nn.Module, frozen: set[str]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def _restore(
    model: torch.nn.Module, state: dict[str, torch.Tensor], frozen: set[str], file: Path
) -> None:
    try:
        told = model.load_state_dict(state, strict=False)
        foreign = [*told.unexpected_keys, *(set(told.missing_keys) - frozen)]
    except RuntimeError:  # tensors of other shapes
        foreign = ["shapes"]
    if foreign:
        raise XsynError(
            f"{file} is a checkpoint of another model ({foreign[0]}). "
            "Choose another folder for the run, or remove that one to start anew."
        )
