"""One resumable training loop for all models."""

import copy
import csv
import time
from collections.abc import Callable
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
        weight_decay: of AdamW.
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
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=plan.rate, weight_decay=plan.weight_decay, betas=(0.9, 0.99)
    )
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
            for group in optimiser.param_groups:
                group["lr"] = plan.rate_at(k)
            losses = step(k, np.random.default_rng((plan.seed, k)))
            losses["loss"].backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
            optimiser.step()
            optimiser.zero_grad()
            # early on a slow average would mostly remember the random start
            decay = min(plan.ema, (1 + k) / (10 + k))
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(average.parameters()), list(model.parameters()), 1 - decay
                )
            for name, value in losses.items():
                recent.setdefault(name, []).append(float(value))
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
