"""One resumable training loop for all models."""

import copy
import csv
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

Step = Callable[[int, np.random.Generator], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Plan:
    """How long and how fast.

    Attributes:
        steps: to train in all, counted from the first run.
        rate: learning rate after warm-up.
        warmup: steps of linear warm-up.
        decay: the last share of `steps` over which the rate falls linearly to a twentieth.
        ema: decay of the moving average of the weights.
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
    """ "auto" takes CUDA where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def autocast(device: torch.device):
    """bfloat16 where the processor multiplies it faster than float32."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    if torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


class Optimiser:
    """Muon for matrices, AdamW for everything else.

    A convolution counts as a matrix of its output channels by all the rest. With AdamW alone the
    autoencoder needed three times the steps to the same error.

    Args:
        parameters: contiguous tensors; what is smaller than `LEAST` on a side is no matrix.
        rate: learning rate of both, Muon's update being scaled to the size of AdamW's.
        weight_decay: of both.
    """

    LEAST = 32

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], rate: float, weight_decay: float
    ) -> None:
        self._matrices: list[tuple[torch.nn.Parameter, torch.nn.Parameter]] = []
        others = []
        for parameter in parameters:
            flat = parameter.detach().view(len(parameter), -1) if parameter.ndim > 1 else None
            if flat is not None and min(flat.shape) >= self.LEAST:
                # the same memory: a step of one is a step of the other
                self._matrices.append((parameter, torch.nn.Parameter(flat)))
            else:
                others.append(parameter)
        self._parts: list[torch.optim.Optimizer] = []
        if others:
            self._parts.append(
                torch.optim.AdamW(others, rate, (0.9, 0.99), weight_decay=weight_decay)
            )
        if self._matrices:
            flats = [flat for _, flat in self._matrices]
            self._parts.append(
                torch.optim.Muon(flats, rate, weight_decay, adjust_lr_fn="match_rms_adamw")
            )

    def step(self, rate: float) -> None:
        """Apply the gradients at a learning rate and forget them."""
        for parameter, flat in self._matrices:
            if parameter.grad is not None:
                flat.grad = parameter.grad.reshape(flat.shape)
                parameter.grad = None
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad()

    def state_dict(self) -> dict[str, dict]:
        """What `load_state_dict` needs to go on."""
        return {type(part).__name__: part.state_dict() for part in self._parts}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        """Go on from a state."""
        for part in self._parts:
            part.load_state_dict(state[type(part).__name__])


def train(
    model: torch.nn.Module,
    step: Step,
    plan: Plan,
    folder: Path,
    on_save: Callable[[torch.nn.Module, int], None] | None = None,
) -> torch.nn.Module:
    """Train `model` in place and return its moving average.

    Args:
        model: everything with weights, on its device.
        step: gives the losses of step k as scalars by name; "loss" is minimised, the others
            are only written down. It gets a generator that depends on the seed and k alone.
        plan: see `Plan`.
        folder: holds `checkpoint.pt`, from which an interrupted run goes on to the step, and
            `loss.csv`.
        on_save: called with the moving average at every checkpoint and at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    average = copy.deepcopy(model)
    optimiser = Optimiser(model.parameters(), plan.rate, plan.weight_decay)
    start = 0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]

    def save(done: int) -> None:
        temporary = checkpoint.with_suffix(".new")
        torch.save(
            {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": done,
            },
            temporary,
        )
        temporary.replace(checkpoint)
        if on_save:
            on_save(average, done)

    model.train()
    recent: dict[str, list[float]] = {}
    saved = time.monotonic()
    with open(folder / "loss.csv", "a", newline="") as log:
        rows = csv.writer(log)
        bar = tqdm(range(start, plan.steps), initial=start, total=plan.steps, mininterval=5)
        for k in bar:
            losses = step(k, np.random.default_rng((plan.seed, k)))
            losses["loss"].backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
            optimiser.step(plan.rate_at(k))
            # early on a slow average would mostly remember the random start
            decay = min(plan.ema, (1 + k) / (10 + k))
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(average.parameters()), list(model.parameters()), 1 - decay
                )
            for name, value in losses.items():
                recent.setdefault(name, []).append(value.item())
            if (k + 1) % 50 == 0 or k + 1 == plan.steps:
                means = {name: sum(v) / len(v) for name, v in recent.items()}
                recent.clear()
                rows.writerow([k + 1, *(f"{name}={v:.5f}" for name, v in means.items())])
                log.flush()
                bar.set_postfix({name: f"{v:.4f}" for name, v in means.items()})
            if time.monotonic() - saved > plan.save_every:
                save(k + 1)
                saved = time.monotonic()
        save(plan.steps)
    return average.eval()
