"""Where the parts of the models lie when the memory of the accelerator is short.

The working sets are the bytes alive beside the weights, summed up tensor by tensor over a pass of
full-size networks in float32 on torch's meta device, whose fused attention makes no matrix of
scores (`tests/core/test_memory.py` does it again): 0.29 GB for the UNet on 64 x 64 cells with
guidance, 0.80 GB for decoding 512 x 512 pixels, 3.4 GB for SAM's ViT-H on 1024 x 1024. Half
precision takes no more, since norms and softmax stay in float32. Attention slicing would save
nothing on top of fused attention, and on mps it has been reported to give NaN
(huggingface/diffusers#11229, #14438).
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn

UNET_BYTES = 72_000  # a latent cell, both halves of a guided frame
VAE_BYTES = 3_100  # a pixel that the autoencoder sees
SCORES = 3.2  # float32 matrices (heads, tokens, tokens) alive in SAM's global attention
DECODER_BYTES = 6_200  # an image token and prompt in SAM's mask decoder
# For the libraries' workspaces and for gaps between what is allocated.
MARGIN = 500_000_000


@dataclass(frozen=True)
class Need:
    """What one part takes on the device.

    Attributes:
        name: for people.
        weights: bytes.
        working: bytes beside them while it works on one frame.
    """

    name: str
    weights: int
    working: int = 0


def size(part: nn.Module) -> int:
    """Bytes of the parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in _tensors(part))


def diffusion_needs(unet: Any, vae: Any, text_encoder: nn.Module) -> list[Need]:
    """The needs of a diffusion model's parts at the frame size that its UNet was trained for."""
    side = unet.config.sample_size
    rows, columns = (side, side) if isinstance(side, int) else side
    cells = rows * columns
    pixels = cells * 4 ** (len(vae.config.block_out_channels) - 1)
    return [
        Need("UNet", size(unet), UNET_BYTES * cells),
        Need("autoencoder", size(vae), VAE_BYTES * pixels),
        Need("text encoder", size(text_encoder)),
    ]


def segmenter_need(sam: Any, batch: int) -> Need:
    """The need of a `Sam` that decodes masks for `batch` prompts at once."""
    rows, columns = sam.prompt_encoder.image_embedding_size
    tokens = rows * columns
    heads = max((b.attn.num_heads for b in getattr(sam.image_encoder, "blocks", ())), default=0)
    encoding, decoding = SCORES * 4 * heads * tokens**2, DECODER_BYTES * batch * tokens
    return Need("SAM", size(sam), int(max(encoding, decoding)))


def needed_together(needs: Sequence[Need]) -> int:
    """Bytes for all parts to stay on the device, of which one works at a time."""
    return sum(n.weights for n in needs) + room(needs)


def needed_alone(needs: Sequence[Need]) -> tuple[int, Need]:
    """Bytes for the part that takes most, and that part."""
    largest = max(needs, key=lambda n: n.weights + n.working)
    return largest.weights + largest.working + MARGIN, largest


def room(needs: Sequence[Need]) -> int:
    """Bytes that any of the parts takes beside its weights, at most."""
    return max(n.working for n in needs) + MARGIN


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None where nobody tells (the CPU)."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch keeps for later counts as taken there.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return None


class Residence:
    """Keeps parts on the CPU and on a device only while they work. Safe to share between threads.

    The weights must be frozen: what lies on the device is a copy, which is dropped. Only one part
    works at a time. A part that a run will need again and again is held: it stays until the run
    ends, and leaves in between only for a part that would not fit beside it.

    Args:
        device: where parts work; None leaves all parts where they are, for good.
        room: bytes to keep free there for a part that works.
    """

    def __init__(self, device: torch.device | None = None, room: int = 0):
        self.device = device
        self.room = room
        # Reentrant: a run that is garbage ends in whatever thread collects it.
        self._lock = threading.RLock()
        self._users: Counter[nn.Module] = Counter()
        # Of the parts on the device: the tensors' values on the CPU.
        self._resting: dict[nn.Module, list[torch.Tensor]] = {}

    @contextmanager
    def at_work(self, part: nn.Module) -> Iterator[None]:
        """While open, a part is on the device, and no other thread works there.

        For single calls, not for what yields: others wait.
        """
        if self.device is None:
            yield
            return
        with self._lock, self.held(part):
            self._bring(part)
            yield

    @contextmanager
    def held(self, part: nn.Module) -> Iterator[None]:
        """While open, a part stays on the device once it has worked; other threads may work."""
        if self.device is None:
            yield
            return
        with self._lock:
            self._users[part] += 1
        try:
            yield
        finally:
            with self._lock:
                self._users[part] -= 1
                if not self._users[part]:
                    del self._users[part]
                    self._rest(part)

    def _bring(self, part: nn.Module) -> None:
        if part in self._resting:
            return
        assert self.device is not None
        needed = size(part) + self.room
        for other in list(self._resting):
            free = free_memory(self.device)
            if free is None or free >= needed:
                break
            self._rest(other)
        tensors = list(_tensors(part))
        self._resting[part] = [tensor.data for tensor in tensors]
        try:
            # Inference mode would mark the copies, and only it could use them.
            with torch.inference_mode(False):
                for tensor in tensors:
                    tensor.data = tensor.data.to(self.device, copy=True)
        except BaseException:
            self._rest(part)
            raise

    def _rest(self, part: nn.Module) -> None:
        values = self._resting.pop(part, None)
        if values is not None:
            with torch.inference_mode(False):
                for tensor, value in zip(_tensors(part), values, strict=True):
                    tensor.data = value


def _tensors(part: nn.Module) -> Iterable[torch.Tensor]:
    return chain(part.parameters(), part.buffers())
