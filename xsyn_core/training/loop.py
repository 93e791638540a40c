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


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest matrices with singular values of about 1, by five Newton-Schulz steps.

    The steps run on the Gram matrix of the shorter side, so that the long one is multiplied
    twice instead of ten times.

    Args:
        matrices: float (N, rows, columns).

    Returns:
        float32 (N, rows, columns).
    """
    x = matrices.float()
    wide = x if x.shape[1] <= x.shape[2] else x.mT
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    gram = wide @ wide.mT
    one = torch.eye(gram.shape[1], device=x.device)
    product = one.expand_as(gram)
    for _ in range(5):
        # coefficients of Muon (Jordan et al., 2024): steep at 0, flat around 1
        step = 3.4445 * one + torch.baddbmm(-4.7750 * gram, gram, gram, alpha=2.0315)
        product = step @ product
        gram = step @ gram @ step
    result = product @ wide
    return result if x.shape[1] <= x.shape[2] else result.mT


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal (Muon), in float32: PyTorch's own computes in
    bfloat16, which many processors only emulate.

    Args:
        parameters: each counts as a matrix of its first axis by all the rest.
        rate: the update has the size of one of AdamW's at this rate.
        weight_decay: decoupled.
        momentum: Nesterov's.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        rate: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        defaults = {"lr": rate, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply the gradients."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[torch.nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((len(p), p.numel() // len(p)), []).append(p)
            for shape, some in alike.items():
                directions = []
                for p in some:
                    gradient = p.grad
                    assert gradient is not None
                    average = self.state[p].setdefault("average", torch.zeros_like(gradient))
                    average.lerp_(gradient, 1 - group["momentum"])
                    directions.append(gradient.lerp(average, group["momentum"]).reshape(shape))
                scale = 0.2 * max(shape) ** 0.5
                for p, change in zip(some, orthogonal(torch.stack(directions)), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(change.view_as(p), alpha=-group["lr"] * scale)


class Optimiser:
    """Muon for matrices, AdamW for everything else.

    A convolution counts as a matrix of its output channels by all the rest. With AdamW alone the
    autoencoder needed three times the steps to the same error.

    Args:
        parameters: what is smaller than `LEAST` on a side is no matrix.
        rate: learning rate of both.
        weight_decay: of both.
    """

    LEAST = 32

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], rate: float, weight_decay: float
    ) -> None:
        matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        for p in parameters:
            smaller = min(len(p), p.numel() // len(p)) if p.ndim > 1 else 0
            (matrices if smaller >= self.LEAST else others).append(p)
        self._parts: list[torch.optim.Optimizer] = []
        if others:
            self._parts.append(
                torch.optim.AdamW(others, rate, (0.9, 0.99), weight_decay=weight_decay)
            )
        if matrices:
            self._parts.append(Muon(matrices, rate, weight_decay))

    def step(self, rate: float) -> None:
        """Apply the gradients at a learning rate and forget them."""
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
