"""A small cache of pure functions."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from typing import Any


class Cache:
    """The latest values of a pure function, for several threads.

    Args:
        limit: bytes of their arrays and tensors, at most; the latest value stays however large.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value for `key`, made by `make()` unless it is still known."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            sizes = [_bytes(kept) for kept in self._values.values()]
            while len(self._values) > 1 and sum(sizes) > self._limit:
                self._values.popitem(last=False)
                del sizes[0]
        return value


def _bytes(value: Any) -> int:
    """What the arrays and tensors in a value take."""
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    if is_dataclass(value):
        return sum(_bytes(getattr(value, field.name)) for field in fields(value))
    return getattr(value, "nbytes", 0)
