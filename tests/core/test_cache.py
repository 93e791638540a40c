"""What is kept of what was computed."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from xsyn_core.cache import Cache


@dataclass(frozen=True)
class Found:
    mask: np.ndarray
    score: float


def megabyte(kind: str):
    """A value of a megabyte."""
    array = np.zeros(1 << 20, np.uint8)
    return {
        "array": array,
        "tensor": torch.from_numpy(array),
        "objects": [Found(half, 0.5) for half in np.split(array, 2)],
    }[kind]


@pytest.mark.parametrize("kind", ["array", "tensor", "objects"])
def test_the_latest_values_are_kept_up_to_so_many_bytes(kind):
    cache, made = Cache(3 << 20), []

    def get(key):
        return cache.get(key, lambda: made.append(key) or megabyte(kind))

    for key in "abcab":
        assert get(key) is get(key)
    assert made == ["a", "b", "c"]
    # the longest unused goes
    get("d")
    for key in "abd":
        get(key)
    assert made == ["a", "b", "c", "d"]
    get("c")
    assert made == ["a", "b", "c", "d", "c"]


def test_the_latest_value_stays_however_large():
    cache = Cache(1)
    first = cache.get("a", lambda: megabyte("array"))
    assert cache.get("a", lambda: pytest.fail("made again")) is first
    cache.get("b", lambda: megabyte("array"))
    assert cache.get("a", lambda: None) is None
