"""Ctrl-C, and the system's request to end, for what is long and must not lose its work."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stoppable(promise: str) -> Iterator[Callable[[], bool]]:
    """Let something long stop in order: the function given tells whether Ctrl-C was pressed, or
    the system asked the process to end.

    A second time interrupts at once. To be entered in the main thread.

    Args:
        promise: what will be done before it stops, for the operator.
    """
    pressed = False
    owner = os.getpid()

    def note(number: int, frame: Any) -> None:
        nonlocal pressed
        pressed = True
        restore()
        # processes forked meanwhile hear of it as well
        if os.getpid() == owner:
            print(f"\nStopping: {promise} Ctrl-C again stops at once.", file=sys.stderr, flush=True)

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    previous = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: pressed
    finally:
        restore()
