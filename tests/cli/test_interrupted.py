"""Commands that end before their time."""

import signal
import sys
import types

import pytest
import typer
from calling import call, interrupted, passes, put_scan

from xsyn_core.curation.readers import read_dataset
from xsyn_core.curation.workspace import Workspace


def test_ctrl_c_exits_with_130(monkeypatch, tmp_path):
    def pressed(*_):
        raise KeyboardInterrupt

    Workspace(tmp_path).close()
    monkeypatch.setattr("xsyn_core.curation.coco.export", pressed)
    assert call("export", tmp_path, "--out", tmp_path / "out").exit_code == 130


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (typer.Exit(3), 3)])
def test_a_delegate_that_ends_early_does_not_exit_with_0(monkeypatch, error, code):
    def main() -> None:
        raise error

    monkeypatch.setitem(sys.modules, "xsyn_core.evaluation.speed", types.SimpleNamespace(main=main))
    assert call("evaluate", "speed").exit_code == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [0, 2])
def test_ctrl_c_keeps_what_is_finished(tmp_path, at, number):
    interrupted(put_scan(tmp_path / "bag.png"), tmp_path / "out", at, number)
    if at:
        assert len(read_dataset(tmp_path / "out")) == at
    else:
        assert [path.name for path in tmp_path.iterdir()] == ["bag.png"]


@pytest.mark.parametrize("at", [0, 2])
def test_ctrl_c_keeps_an_earlier_dataset(made, tmp_path, at):
    scan, out = put_scan(tmp_path / "bag.png"), tmp_path / "out"
    passes("synthesize", scan, "--count", 4, "--steps", 1, "--out", out)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    done = interrupted(scan, out, at)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    partial = tmp_path / "out-partial"
    if at:
        assert done.stdout == f"{partial}/annotations/instances.json\n"
        assert f"{out} stays as it was" in done.stderr
        assert len(read_dataset(partial)) == at
    else:
        assert {path.name for path in tmp_path.iterdir()} == {"bag.png", "out"}
