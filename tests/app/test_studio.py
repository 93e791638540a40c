import threading

import numpy as np
import pytest
from fakes import FakeSynthesizer

from app.engine import Engine
from app.records import Records
from app.serving import open_studio, options
from app.session import MAX_SESSIONS, Sessions
from xsyn_core import weights
from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import make_scan


@pytest.fixture
def sample():
    scan = make_scan(np.full((120, 160, 3), 240, np.uint8), "bag.png")
    request = Request((Grounding("Knife", (30, 30, 100, 90)),), steps=1)
    synthesizer = FakeSynthesizer(0)
    *_, last = synthesizer.paint(scan, request)
    return synthesizer.occlude(synthesizer.refine(last.result))


def test_nobody_takes_back_the_decision_of_another(tmp_path, sample):
    with Workspace(tmp_path) as workspace:
        records = Records(workspace)
        first = records.decide(sample, None, "accept", "ann")
        records.decide(sample, None, "reject", "bob")
        with pytest.raises(XsynError, match="another browser"):
            records.undo("ann")
        assert records.undo("bob").decision == "reject"
        assert records.undo("ann").id == first
        with pytest.raises(XsynError, match="no decision"):
            records.undo("ann")


def test_a_changed_mind_keeps_one_record(tmp_path, sample):
    with Workspace(tmp_path) as workspace:
        records = Records(workspace)
        number = records.decide(sample, None, "skip", "ann")
        assert records.decide(sample, number, "accept", "ann") == number
        found = records.listing()
        assert found["counts"]["accept"] == 1
        assert [item["id"] for item in found["items"]] == [number]


def test_sessions_are_bounded_and_clean_up():
    sessions = Sessions()
    keys = [sessions.new() for _ in range(MAX_SESSIONS + 1)]
    folder = sessions.get(keys[-1]).folder
    with pytest.raises(XsynError, match="Reload"):
        sessions.get(keys[0])
    sessions.drop(keys[-1])
    assert not folder.exists()
    for unknown in (None, "", "x"):
        with pytest.raises(XsynError):
            sessions.get(unknown)


def test_engine_loads_once_and_serves_one_at_a_time():
    loads, inside, most = [], [], []

    def load():
        loads.append(1)
        return object()

    engine = Engine(load)

    def work():
        with engine.use():
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(loads), max(most), engine.state) == (1, 1, "ready")


def test_the_command_lines_models_are_those_loaded(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(weights, "load_models", lambda *given: asked.append(given))
    own = ["--workspace", str(tmp_path), "--sam", "s.pth", "--device", "cuda:1"]
    for more in ([], ["--compile", "--diffusion", "folder"]):
        with open_studio(options([*own, *more])).engine.use():
            pass
    assert asked == [("embedded", "s.pth", "cuda:1", False), ("folder", "s.pth", "cuda:1", True)]


@pytest.mark.parametrize(
    ("error", "said"), [(XsynError("No weights here."), "No weights"), (OSError("boom"), "log")]
)
def test_engine_says_why_it_has_no_models(error, said):
    def load():
        raise error

    engine = Engine(load)
    with pytest.raises(XsynError, match=said), engine.use():
        pass
    assert engine.report()["state"] == "failed"
