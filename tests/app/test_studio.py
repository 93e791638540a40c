import errno
import io
import threading
import time
import weakref
import zipfile
from pathlib import Path

import gradio as gr
import pytest
from browsing import serving
from fakes import FakeSynthesizer
from gradio import networking
from PIL import Image

from app import exporting
from app.engine import Choice, Engine
from app.exporting import Exports
from app.layout import build
from app.records import Records
from app.serving import open_studio, options
from app.session import MAX_SESSIONS, Sessions
from app.studio import make_studio
from xsyn_core import catalogs, weights
from xsyn_core.curation import store
from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError


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


def test_nobody_takes_back_what_was_decided_on_another_server(tmp_path, sample):
    with Workspace(tmp_path) as one, Workspace(tmp_path) as two:
        ours, theirs = Records(one), Records(two)
        first = ours.decide(sample, None, "accept", "ann")
        second = theirs.decide(sample, None, "accept", "bob")
        with pytest.raises(XsynError, match=f"on sample {second}, .*another server"):
            ours.undo("ann")
        assert ours.listing()["counts"]["accept"] == 2
        assert theirs.undo("bob").id == second
        # a server that was started meanwhile has made none of them
        with pytest.raises(XsynError, match=f"on sample {first}, .*before this page"):
            Records(two).undo("bob")
        assert ours.undo("ann").id == first


def test_a_changed_mind_keeps_one_record(tmp_path, sample):
    with Workspace(tmp_path) as workspace:
        records = Records(workspace)
        number = records.decide(sample, None, "skip", "ann")
        assert records.decide(sample, number, "accept", "ann") == number
        found = records.listing()
        assert found["counts"]["accept"] == 1
        assert [item["id"] for item in found["items"]] == [number]
        assert found["accepted"] == {sample.scan.sha256: 1}


def test_a_restart_draws_no_thumbnail_anew(tmp_path, sample, monkeypatch):
    with Workspace(tmp_path) as workspace:
        Records(workspace).decide(sample, None, "accept", "ann")
        monkeypatch.setattr(store, "thumbnail", None)
        records = Records(workspace)
        (item,) = records.listing()["items"]
        shown = Path(item["thumb"].partition("file=")[2]).read_bytes()
        (record,) = workspace.records()
        assert shown == (record.folder / "thumb.jpg").read_bytes()
        assert Image.open(io.BytesIO(shown)).size == (160, 120)


def test_a_sample_without_a_picture_stays_in_the_strip(tmp_path, sample):
    with Workspace(tmp_path) as workspace:
        Records(workspace).decide(sample, None, "accept", "ann")
        for name in ("thumb.jpg", "image.png"):
            (workspace.records()[0].folder / name).unlink()
        assert len(Records(workspace).listing()["items"]) == 1


def test_no_page_ends_by_the_clock(tmp_path):
    with Workspace(tmp_path) as workspace:
        page = build(make_studio(Engine(lambda choice: FakeSynthesizer()), workspace, tmp_path))
    # Gradio forgets these, however busy their page is
    assert not [block for block in page.blocks.values() if isinstance(block, gr.State)]


def test_only_the_latest_zip_is_kept(tmp_path, sample):
    with Workspace(tmp_path) as workspace:
        Records(workspace).decide(sample, None, "accept", "ann")
        sessions = Sessions()
        session = sessions.get(sessions.new())
        for _ in range(2):
            told = list(Exports(workspace).run(session))[-1]["html"]
        assert "<b>1</b>image<" in told and "<b>1</b>annotation<" in told
        (packed,) = session.folder.glob("*.zip")
        assert zipfile.is_zipfile(packed)


def test_an_export_tells_how_far_it_is(tmp_path, sample, monkeypatch):
    seen = threading.Event()

    def slow(self, number, pictures=True, load=Workspace.load):
        if number == 3:
            assert seen.wait(20), "nothing was told"
        return load(self, number, pictures)

    monkeypatch.setattr(exporting, "PAUSE", 0.01)
    with Workspace(tmp_path) as workspace:
        for _ in range(3):
            Records(workspace).decide(sample, None, "accept", "ann")
        monkeypatch.setattr(Workspace, "load", slow)
        sessions = Sessions()
        told = []
        for dialog in Exports(workspace).run(sessions.get(sessions.new())):
            told.append(dialog["html"])
            if "2 of 3" in told[-1]:
                seen.set()
    assert told[0] == '<div class="busy">Writing the dataset …</div>'
    assert '<div class="busy" data-more>Writing the dataset: 2 of 3 …</div>' in told
    assert "Packing" in told[-2] and "<b>3</b>images<" in told[-1]


def test_an_export_that_cannot_be_packed_is_written_all_the_same(tmp_path, sample, monkeypatch):
    def full(folder, out):
        out.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "pack", full)
    with Workspace(tmp_path) as workspace:
        Records(workspace).decide(sample, None, "accept", "ann")
        sessions = Sessions()
        session = sessions.get(sessions.new())
        told = list(Exports(workspace).run(session))[-1]["html"]
    assert "no zip to download (No space left on device)" in told and "download=" not in told
    assert "<b>1</b>image<" in told and not list(session.folder.glob("*.zip"))
    assert (tmp_path / "exports" / "pidray" / "annotations" / "instances.json").is_file()


def test_the_picture_of_the_open_scan_alone_is_kept(sample):
    sessions = Sessions()
    session = sessions.get(sessions.new())
    thumb = session.keep(b"thumb", ".jpg")
    for picture in (b"first", b"second"):
        session.open(sample.scan, picture)
        assert Path(session.scan_url.partition("file=")[2]).read_bytes() == picture
    kept = {path.read_bytes() for path in session.folder.iterdir()}
    assert kept == {b"thumb", b"second"} and thumb != session.scan_url


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


def test_what_models_paint_is_known_before_they_are_loaded(tmp_path):
    def load(choice):
        raise AssertionError("nothing is loaded")

    own = catalogs.own_catalog("lab", {"tent": [(30, 30)]}, (1e4, 1e4), 0.001, 0.25)
    catalogs.save(own, tmp_path)
    engine = Engine(load, Choice(str(tmp_path)))
    assert engine.catalog == own
    # what is wrong with it, loading tells
    (tmp_path / catalogs.FILE).write_text("[]")
    assert engine.catalog is None
    assert Engine(load).catalog is None
    for name in ("~nobody-of-that-name/x", 300 * "a"):
        assert Engine(load, Choice(name)).catalog is None


def test_engine_loads_once_and_serves_one_at_a_time():
    loads, inside, most = [], [], []

    def load(choice):
        loads.append(threading.get_ident())
        return object()

    engine = Engine(load)

    def work(models):
        for _ in range(3):
            inside.append(1)
            yield threading.get_ident()
            most.append(len(inside))
            inside.pop()

    where = []
    threads = [threading.Thread(target=lambda: where.extend(engine.steps(work))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(loads), max(most), engine.state) == (1, 1, "ready")
    # whoever asks, it is computed in the thread that loaded the models
    assert len(where) == 24 and set(where) == {engine.run(lambda models: threading.get_ident())}
    assert set(where) == {loads[0]}


def test_the_command_lines_models_are_those_loaded(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(weights, "load_models", lambda *given: asked.append(given))
    own = ["--workspace", str(tmp_path), "--sam", "s.pth", "--device", "cuda:1"]
    for more in ([], ["--compile", "--diffusion", "folder"]):
        open_studio(options([*own, *more])).engine.run(lambda models: models)
    assert asked == [("embedded", "s.pth", "cuda:1", False), ("folder", "s.pth", "cuda:1", True)]


@pytest.mark.parametrize(
    ("error", "said"), [(XsynError("No weights here."), "No weights"), (OSError("boom"), "log")]
)
def test_engine_says_why_it_has_no_models(error, said):
    def load(choice):
        raise error

    engine = Engine(load)
    with pytest.raises(XsynError, match=said):
        engine.run(lambda models: models)
    with pytest.raises(XsynError, match=said):
        next(engine.steps(lambda models: (yield models)))
    assert engine.report()["state"] == "failed"


def test_exchanged_models_serve_from_then_on():
    inside = threading.Event()
    loads = []

    def load(choice):
        assert not inside.is_set()
        loads.append(choice)
        return choice

    engine, others = Engine(load), Choice("folder", "s.pth")

    def work(models):
        inside.set()
        yield models
        time.sleep(0.2)
        yield models
        inside.clear()

    seen = []
    worker = threading.Thread(target=lambda: seen.extend(engine.steps(work)))
    worker.start()
    inside.wait(5)
    engine.exchange(others)
    worker.join()
    assert seen == [Choice(), Choice()]
    assert engine.run(lambda models: models) == others
    assert loads == [Choice(), others]
    assert engine.report() == {"state": "ready", "text": "Ready · folder + s.pth", "why": ""}


def test_models_make_room_for_others():
    class Loaded:
        def __init__(self):
            self.itself = self

    before = []

    def load(choice):
        assert all(models() is None for models in before)
        models = Loaded()
        before.append(weakref.ref(models))
        return models

    engine = Engine(load)
    for folder in "abc":
        engine.exchange(Choice(folder))
    assert len(before) == 4


def test_models_come_back_where_others_cannot_be_loaded():
    good = {"embedded", "folder"}

    def load(choice):
        if choice.diffusion not in good:
            raise XsynError(f"There is no {choice.diffusion}.")
        return choice

    engine = Engine(load)
    for before, wrong in ((Choice(), Choice("x")), (Choice("folder"), Choice("y"))):
        if before != engine.choice:
            engine.exchange(before)
        with pytest.raises(XsynError, match=f"no {wrong.diffusion}"):
            engine.exchange(wrong)
        assert engine.run(lambda models: models) == engine.choice == before
        assert engine.report()["why"] == ""
    # what never loaded does not come back, but others can take its place
    engine = Engine(load, Choice("x"))
    with pytest.raises(XsynError, match="no y"):
        engine.exchange(Choice("y"))
    assert engine.report()["state"] == "failed"
    engine.exchange(Choice("folder"))
    assert engine.report()["state"] == "ready"


@pytest.mark.parametrize(
    ("host", "fixed"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)]
)
def test_whom_other_machines_reach_lets_nobody_choose(tmp_path, monkeypatch, host, fixed):
    monkeypatch.setattr(weights, "load_models", lambda *given: given)
    studio = open_studio(options(["--workspace", str(tmp_path), "--host", host]))
    if fixed:
        with pytest.raises(XsynError, match="where it is started"):
            studio.engine.exchange(Choice("folder"))
    else:
        studio.engine.exchange(Choice("folder"))
    assert studio.engine.choice == (Choice() if fixed else Choice("folder"))


@pytest.mark.parametrize("where", ["GRADIO_SHARE", "KAGGLE_KERNEL_RUN_TYPE", "colab"])
def test_no_page_gets_a_public_address(tmp_path, monkeypatch, where):
    opened = []

    def tunnel(*given, **named):
        opened.append(named)
        return "https://public.example"

    monkeypatch.setattr(networking, "setup_tunnel", tunnel)
    if where == "colab":
        monkeypatch.setattr("gradio.utils.colab_check", lambda: True)
    else:
        monkeypatch.setenv(where, "True")
    with serving(FakeSynthesizer(), tmp_path / "workspace", tmp_path):
        assert opened == []
