"""Work in several processes: whatever ends, nothing hangs and nothing stays behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from xsyn_core.errors import XsynError
from xsyn_core.workers import shared_out

ROOT = Path(__file__).parents[2]
FOREVER = 10_000_000


def stumbled(number: int) -> int:
    """A worker that is killed, as where memory has run out."""
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(FOREVER * (number == 3))
    return number


def fails(number: int) -> int:
    time.sleep(FOREVER * (number == 1))
    if number == 2:
        raise OSError("broken")
    return number


def test_results_come_in_order():
    with shared_out(abs, range(-9, 9), 2) as results:
        assert list(results) == [abs(k) for k in range(-9, 9)]
    assert multiprocessing.active_children() == []


def test_a_killed_process_is_told():
    with (
        pytest.raises(XsynError, match=r"killed, .* fewer --workers"),
        shared_out(stumbled, range(20_000), 3) as results,
    ):
        list(results)
    assert multiprocessing.active_children() == []


def test_an_error_ends_those_at_work():
    with (
        pytest.raises(OSError, match="broken"),
        shared_out(fails, [0, 2, *900 * [1]], 2) as results,
    ):
        list(results)
    assert multiprocessing.active_children() == []


def test_ctrl_c_ends_those_at_work():
    with (
        pytest.raises(KeyboardInterrupt),
        shared_out(time.sleep, [0, *900 * [FOREVER]], 2) as slept,
    ):
        next(slept)
        raise KeyboardInterrupt
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    "kill",
    [
        # Ctrl-C in a terminal is for all
        "os.killpg(0, signal.SIGINT)",
        "os.kill(os.getpid(), signal.SIGKILL)",
    ],
)
def test_none_of_them_outlives_the_process_that_waits(kill):
    code = f"""
        import os, signal, time
        from xsyn_core.workers import shared_out
        # tests may run where it is ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with shared_out(time.sleep, [0, *900 * [{FOREVER}]], 1) as slept:
                print(next(slept), flush=True)
                {kill}
                list(slept)
        except KeyboardInterrupt:
            pass
    """
    # ends when all have closed their output
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert done.stdout == "None\n", done.stderr
    assert "Traceback" not in done.stderr
