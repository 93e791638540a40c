"""One thread for everything that computes with torch.

Every thread that has computed keeps a team of OpenMP threads, as many as there are cores. With two
teams there are more of them than cores, and they go to sleep between any two operations instead of
waiting for the next: much slower. Gradio calls each handler in a thread of its choice, so that
there would be several teams soon.
"""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class ComputingThread:
    """Runs functions one after the other. Ends with the process, whatever it is at."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Future, Callable[[], Any]]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="computing", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while True:
            self._do(*self._waiting.get())

    @staticmethod
    def _do(future: Future, function: Callable[[], Any]) -> None:
        # names end with this call: nothing of the last function stays in memory
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    def submit(self, function: Callable[[], T]) -> "Future[T]":
        """Run `function` after those before it."""
        future: Future[T] = Future()
        self._waiting.put((future, function))
        return future

    def run(self, function: Callable[[], T]) -> T:
        """What `function` returns, or raises; may be called from a function that runs here."""
        if threading.current_thread() is self._thread:
            # `steps` that nobody ended may be collected, and so closed, here
            return function()
        return self.submit(function).result()

    def steps(self, generator: Generator[T, None, None]) -> Generator[T, None, None]:
        """What a generator yields, each step of it run here; it is closed at the end."""
        nothing = object()
        try:
            while (one := self.run(lambda: next(generator, nothing))) is not nothing:
                yield one  # type: ignore[misc]
        finally:
            self.run(generator.close)
