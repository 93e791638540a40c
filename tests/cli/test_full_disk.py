"""A full disk ends a command with one message, whichever library finds out."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors import SafetensorError
from torch import nn
from typer.testing import CliRunner

from xsyn_core.cli.terminal import FULL, Explaining, disk_full
from xsyn_core.training.loop import Plan, train

LARGE = 1 << 16
pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.fixture
def full(tmp_path):
    """A path that takes no byte."""
    place = tmp_path / "full.npy"
    place.symlink_to("/dev/full")
    return place


def with_torch(place):
    with place.open("wb") as file:
        torch.save(torch.zeros(LARGE), file)


def with_safetensors(place):
    # in its words: it writes beside the path and not to where that points
    raise SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    )


def with_numpy_beforehand(place):
    # in its words: it asks for the room first where the file system can tell
    raise OSError("Not enough free space to write 104857600 bytes after offset 128")


def quota(place):
    raise OSError(errno.EDQUOT, "Disk quota exceeded")


WRITERS = {
    "plain": lambda place: place.write_bytes(bytes(LARGE)),
    "numpy": lambda place: np.save(place, np.zeros(LARGE)),
    "numpy, beforehand": with_numpy_beforehand,
    "numpy, packed": lambda place: np.savez(place.open("wb"), a=np.zeros(LARGE)),
    "torch": with_torch,
    "safetensors": with_safetensors,
    "quota": quota,
}


def invoked(action):
    app = typer.Typer(cls=Explaining)
    app.command("write")(action)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["write"])


@pytest.mark.parametrize("writer", WRITERS)
def test_it_is_told_in_one_line(full, writer):
    result = invoked(lambda: WRITERS[writer](full))
    assert result.exit_code == 2
    assert result.output == f"Error: {FULL}\n"


def failing(error):
    def fail():
        raise error

    return invoked(fail)


def test_other_errors_are_not_taken_for_it():
    error = RuntimeError("2 devices requested and 1 found")
    assert failing(error).exception is error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b: Permission denied. "),
        (OSError("broken"), "broken. "),
        (MemoryError(), "There is too little memory. "),
    ],
)
def test_what_else_the_system_refuses_is_told_in_one_line(error, said):
    result = failing(error)
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith(f"Error: {said}")


def test_what_a_run_saved_last_stays(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = nn.Linear(64, 64)

    def go(steps):
        train(
            model,
            lambda k, rng: torch.ones(2, 64),
            lambda k, batch: {"loss": model(batch).square().mean()},
            Plan(steps=steps, rate=0.01, warmup=1),
            tmp_path,
            workers=1,
        )

    go(2)
    saved = (tmp_path / "checkpoint.pt").read_bytes()
    really = torch.save

    def without_room(state, file):
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), file.fileno())
        really(state, file)

    with monkeypatch.context() as patch, pytest.raises((OSError, RuntimeError)) as found:
        patch.setattr(torch, "save", without_room)
        go(4)
    assert disk_full(found.value)
    assert (tmp_path / "checkpoint.pt").read_bytes() == saved
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "loss.csv"}
    go(4)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 4
