"""Work shared out to fresh processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

import cv2

from xsyn_core.errors import XsynError

T = TypeVar("T")


@contextmanager
def shared_out(
    work: Callable[[Any], T], tasks: Sequence[Any], workers: int
) -> Iterator[Iterator[T]]:
    """The results of `work` on each of `tasks`, in their order, from so many processes.

    What ends the block early, such as Ctrl-C, ends the processes at once.

    Raises:
        XsynError: a process was killed.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin) as pool:
        try:
            yield pool.map(work, tasks)
        except BrokenProcessPool:
            raise XsynError(
                "A process at work was killed, most often because memory ran out. Close other "
                "programs, or give fewer --workers."
            ) from None
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


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
