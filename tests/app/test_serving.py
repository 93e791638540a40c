"""The page's process: how it starts, and what it leaves when it ends."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.serving import check_port, options
from xsyn_core.errors import XsynError

ROOT = Path(__file__).parents[2]
# The page without its models.
PAGE = """
import runpy, sys
from app.engine import Engine
Engine.start = lambda engine: None
sys.argv[0] = "app.py"
runpy.run_path("app.py", run_name="__main__")
"""


@contextmanager
def started(folder: Path, *arguments: object):
    """The page's process once it serves, and the address that it tells."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-u",
            "-c",
            PAGE,
            "--workspace",
            str(folder / "work"),
            *map(str, arguments),
        ],
        cwd=ROOT,
        env={**os.environ, "GRADIO_TEMP_DIR": str(folder / "served")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = next(line for line in process.stdout if "://" in line).split()[-1]
        yield process, address
    finally:
        process.kill()
        process.communicate()


def temporary(folder: Path) -> set[str]:
    """The temporary folders of servers, three each; Gradio keeps another beside them."""
    found = {path.name for path in (folder / "served").iterdir()}
    return {name for name in found if name.partition("-")[0] in ("studio", "records", "examples")}


def test_a_server_that_is_asked_to_end_leaves_no_folder(tmp_path):
    with started(tmp_path) as (process, _):
        assert len(temporary(tmp_path)) == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
    assert temporary(tmp_path) == set()


def test_folders_of_killed_servers_are_removed_at_the_next_start(tmp_path):
    with started(tmp_path) as (process, _):
        process.kill()
        process.wait()
        left = temporary(tmp_path)
    assert len(left) == 3
    with started(tmp_path):
        alive = temporary(tmp_path)
        assert len(alive) == 3 and alive.isdisjoint(left)


def test_a_busy_port_is_told_in_one_message(tmp_path):
    with started(tmp_path) as (_, address):
        port = int(address.rpartition(":")[2])
        command = [sys.executable, "app.py", "--workspace", tmp_path / "work", "--port", str(port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"Port {port} is in use; give another --port, or leave it out so that a free one is "
            "taken.\n"
        )
        # what the message says is so
        with started(tmp_path) as (_, another):
            assert int(another.rpartition(":")[2]) != port
            # and both servers have their folders
            assert len(temporary(tmp_path)) == 6


def test_addresses_that_are_not_to_be_had_are_told():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        for host in ("127.0.0.1", "localhost", "0.0.0.0"):
            with pytest.raises(XsynError, match=f"Port {port} is in use"):
                check_port(host, port)
    check_port("127.0.0.1", port)
    for host, number in (("192.0.2.1", port), ("127.0.0.1", 70000)):
        with pytest.raises(XsynError, match=f"Nothing can listen on {host}, port {number}"):
            check_port(host, number)


@pytest.mark.parametrize("host", [None, "0.0.0.0"])
def test_help_tells_which_address_is_this_machine_alone(monkeypatch, capsys, host):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    if host:
        monkeypatch.setenv("GRADIO_SERVER_NAME", host)
    with pytest.raises(SystemExit):
        options(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"127.0.0.1 is this machine alone (default: {host or '127.0.0.1'})" in told
