"""Work shared out to fresh processes."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import cv2

from xsyn_core.errors import XsynError

T = TypeVar("T")


@contextmanager
def shared_out(
    work: Callable[[Any], T], tasks: Iterable[Any], workers: int
) -> Iterator[Iterator[T]]:
    """The results of `work` on each of `tasks`, in their order, from so many processes.

    An exception that ends the block early, such as that of Ctrl-C, ends the processes at once.

    Raises:
        XsynError: a process was killed.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin) as pool:
        try:
            yield _results(pool, work, iter(tasks), 2 * workers)
        except BrokenProcessPool:
            raise XsynError(
                "A process at work was killed, most often because memory ran out. Close other "
                "programs, or give fewer --workers."
            ) from None
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


def _results(
    pool: ProcessPoolExecutor, work: Callable[[Any], T], tasks: Iterator[Any], ahead: int
) -> Iterator[T]:
    # The pool's own map asks for all at once and takes back what is left over when one fails,
    # by which the pool, that tells all of it the same, hangs.
    asked = deque(pool.submit(work, task) for task in islice(tasks, ahead))
    while asked:
        result = asked.popleft().result()
        asked.extend(pool.submit(work, task) for task in islice(tasks, 1))
        yield result


def _begin() -> None:
    """Of a process at work."""
    # Ctrl-C is for the process that waits
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    """Where the waiting process is killed, nothing else would end this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
