"""The optimiser of all training: Muon for matrices, AdamW for everything else."""

from collections.abc import Iterable

import torch


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
    product = None
    for left in range(4, -1, -1):
        # coefficients of Muon (Jordan et al., 2024): steep at 0, flat around 1
        step = 3.4445 * one + torch.baddbmm(-4.7750 * gram, gram, gram, alpha=2.0315)
        product = step if product is None else step @ product
        if left:
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
            alike: dict[tuple[int, int], list[tuple[torch.nn.Parameter, torch.Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((len(p), p.numel() // len(p)), []).append((p, p.grad))
            for shape, some in alike.items():
                directions = []
                for p, gradient in some:
                    average = self.state[p].setdefault("average", torch.zeros_like(gradient))
                    average.lerp_(gradient, 1 - group["momentum"])
                    directions.append(gradient.lerp(average, group["momentum"]).reshape(shape))
                scale = 0.2 * max(shape) ** 0.5
                for (p, _), change in zip(some, orthogonal(torch.stack(directions)), strict=True):
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
