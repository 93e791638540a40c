"""The workspace: nothing is lost, undo takes back, broken folders say so."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from curation_samples import made_sample
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from xsyn_core.curation import store
from xsyn_core.curation import workspace as workspace_module
from xsyn_core.curation.thumbnails import thumbnail
from xsyn_core.curation.workspace import Undone, Workspace
from xsyn_core.errors import XsynError
from xsyn_core.sample import Sample


def assert_same(a: Sample, b: Sample) -> None:
    assert a.request == b.request
    assert (a.prompt, a.weights, a.notes, a.occlusion) == (
        b.prompt,
        b.weights,
        b.notes,
        b.occlusion,
    )
    assert (a.scan.name, a.scan.sha256) == (b.scan.name, b.scan.sha256)
    assert np.array_equal(a.scan.pixels, b.scan.pixels)
    assert np.array_equal(a.image, b.image)
    assert np.array_equal(a.clear, b.clear)
    for ours, theirs in ((a.kept, b.kept), (a.scan.annotations, b.scan.annotations)):
        assert ours == theirs
        for x, y in zip(ours, theirs, strict=True):
            assert (x.mask is None) == (y.mask is None)
            assert x.mask is None or np.array_equal(x.mask, y.mask)
    for x, y in zip(a.objects, b.objects, strict=True):
        assert (x.category, x.grounding, x.refined) == (y.category, y.grounding, y.refined)
        assert (x.window, x.flags) == (y.window, y.flags)
        assert (x.mask is None) == (y.mask is None)
        assert x.mask is None or np.array_equal(x.mask, y.mask)
        for name in ("attention", "region", "points", "labels"):
            ours, theirs = getattr(x, name), getattr(y, name)
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)


@pytest.fixture
def workspace(tmp_path):
    with Workspace(tmp_path / "work") as opened:
        yield opened


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("occluded", [True, False])
def test_load_gives_back_all_that_was_stored(workspace, masked, occluded):
    sample = made_sample(3, masked=masked, occluded=occluded)
    number = workspace.add(sample)
    assert_same(workspace.load(number), sample)
    folder = workspace.records()[0].folder
    assert {"image.png", "original.png", "mask.png", "attention.npz", "sample.json"} <= {
        file.name for file in folder.iterdir()
    }


def test_labels_and_settings_are_read_without_pictures(workspace):
    sample = made_sample(3)
    number = workspace.add(sample)
    folder = workspace.records()[0].folder
    for name in ("original.png", "image.png", "clear.png", "attention.npz"):
        (folder / name).unlink()
    found = workspace.load(number, pictures=False)
    assert (found.scan.size, found.scan.name) == (sample.scan.size, sample.scan.name)
    assert found.scan.sha256 == sample.scan.sha256
    for name in ("request", "objects", "kept", "occlusion", "prompt", "weights", "notes"):
        assert getattr(found, name) == getattr(sample, name)
    for ours, theirs in ((found.objects, sample.objects), (found.kept, sample.kept)):
        assert all(np.array_equal(x.mask, y.mask) for x, y in zip(ours, theirs, strict=True))
    (folder / "sample.json").write_text("{}")
    with pytest.raises(XsynError, match="incomplete or damaged"):
        workspace.load(number, pictures=False)


def test_a_thumbnail_lies_beside_the_sample(workspace, monkeypatch):
    sample = made_sample(3)
    workspace.add(sample)
    folder = workspace.records()[0].folder
    expected = thumbnail(sample.image, [painted.refined for painted in sample.objects])
    assert (folder / "thumb.jpg").read_bytes() == expected
    # samples of earlier versions have none, and only what it shows is read
    for name in ("original.png", "clear.png", "attention.npz", "thumb.jpg"):
        (folder / name).unlink()
    with monkeypatch.context() as patched:

        def locked(path, data):
            raise PermissionError(13, "Permission denied")

        patched.setattr(Path, "write_bytes", locked)
        assert store.thumbnail_file(folder) == expected
        assert not (folder / "thumb.jpg").exists()
    for before in (None, b"", expected[:-40]):
        if before is not None:
            (folder / "thumb.jpg").write_bytes(before)
        assert store.thumbnail_file(folder) == expected
        assert (folder / "thumb.jpg").read_bytes() == expected
    (folder / "image.png").unlink()
    assert store.thumbnail_file(folder) == expected
    (folder / "thumb.jpg").unlink()
    with pytest.raises(XsynError, match="incomplete or damaged"):
        store.thumbnail_file(folder)


def test_a_damaged_image_file_is_named(workspace):
    workspace.add(made_sample())
    folder = workspace.records()[0].folder
    size, whole = (72, 96), (folder / "image.png").read_bytes()
    assert store.image_file(folder, size) == whole
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for broken in (b"", b"[]", bytes(flipped), *(whole[:cut] for cut in range(8, len(whole), 997))):
        (folder / "image.png").write_bytes(broken)
        with pytest.raises(XsynError, match="incomplete or damaged"):
            store.image_file(folder, size)
    Image.new("RGB", (72, 96)).save(folder / "image.png")
    with pytest.raises(XsynError, match="another size"):
        store.image_file(folder, size)
    (folder / "image.png").unlink()
    with pytest.raises(XsynError, match="incomplete or damaged"):
        store.image_file(folder, size)


def test_decisions_are_rows_and_undo_takes_back_the_last(workspace):
    first, second = workspace.add(made_sample(0)), workspace.add(made_sample(1))
    assert workspace.counts() == {"accept": 0, "reject": 0, "skip": 0, "pending": 2}
    assert workspace.undo() is None
    workspace.decide(first, "skip")
    workspace.decide(second, "reject")
    workspace.decide(first, "accept")
    assert [record.id for record in workspace.records("accept")] == [first]
    assert workspace.undo() == Undone(first, "accept", "skip")
    assert workspace.undo() == Undone(second, "reject", "pending")
    assert workspace.undo() == Undone(first, "skip", "pending")
    assert workspace.undo() is None
    with sqlite3.connect(workspace.path / "workspace.sqlite") as database:
        actions = [row[0] for row in database.execute("SELECT action FROM decisions ORDER BY id")]
    assert actions == ["skip", "reject", "accept", "undo", "undo", "undo"]


def test_only_ones_own_decision_is_taken_back(workspace):
    number = workspace.add(made_sample())
    first, second = (workspace.decide(number, what) for what in ("skip", "accept"))
    for own in ((), {first}):
        with pytest.raises(XsynError, match="so it stays"):
            workspace.undo(own)
    assert workspace.counts()["accept"] == 1
    assert workspace.undo({second}) == Undone(number, "accept", "skip")
    third = workspace.decide(number, "reject")
    assert len({first, second, third}) == 3
    assert workspace.undo({first, third}) == Undone(number, "reject", "skip")
    assert workspace.undo({first, third}) == Undone(number, "skip", "pending")
    assert workspace.undo(()) is None


def test_decisions_outlive_the_process(tmp_path):
    with Workspace(tmp_path) as workspace:
        number = workspace.add(made_sample())
        workspace.decide(number, "skip")
        workspace.decide(number, "accept")
    with Workspace(tmp_path) as workspace:
        record = workspace.records("accept")[0]
        assert (record.id, record.categories, record.name) == (
            number,
            ("Knife", "Gun"),
            "bag 0.jpg",
        )
        assert workspace.undo() == Undone(number, "accept", "skip")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.just("undo"),
            st.tuples(st.integers(1, 3), st.sampled_from(["accept", "reject", "skip"])),
        ),
        max_size=12,
    )
)
def test_any_sequence_of_decisions_agrees_with_a_stack(actions):
    stack: list[tuple[int, str]] = []

    def state(number: int) -> str:
        return next((what for which, what in reversed(stack) if which == number), "pending")

    with tempfile.TemporaryDirectory() as folder:
        with Workspace(folder) as workspace:
            sample = made_sample()
            numbers = [workspace.add(sample) for _ in range(3)]
            for action in actions:
                if action == "undo":
                    undone = workspace.undo()
                    if not stack:
                        assert undone is None
                        continue
                    which, what = stack.pop()
                    assert undone == Undone(which, what, state(which))
                else:
                    stack.append(action)
                    workspace.decide(*action)
        with Workspace(folder) as workspace:
            assert [record.decision for record in workspace.records()] == list(map(state, numbers))
            assert workspace.counts() == {
                key: [state(n) for n in numbers].count(key)
                for key in ("accept", "reject", "skip", "pending")
            }
            assert [workspace.state(n) for n in numbers] == list(map(state, numbers))
            for key in ("accept", "reject", "skip", "pending"):
                alike = [n for n in numbers if state(n) == key]
                for newest in range(4):
                    found = workspace.records(key, newest=newest)
                    assert [record.id for record in found] == alike[max(0, len(alike) - newest) :]
            accepted = [state(n) for n in numbers].count("accept")
            assert workspace.accepted() == ({sample.scan.sha256: accepted} if accepted else {})


def test_threads_share_a_workspace(workspace):
    sample, failures = made_sample(), []

    def work() -> None:
        try:
            for _ in range(3):
                workspace.decide(workspace.add(sample), "accept")
                workspace.counts()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [record.id for record in workspace.records("accept")] == list(range(1, 13))


def test_two_workspaces_on_one_folder_see_each_other(tmp_path):
    with Workspace(tmp_path) as one, Workspace(tmp_path) as two:
        number = one.add(made_sample())
        two.decide(number, "accept")
        assert one.counts()["accept"] == 1
        assert two.add(made_sample(1)) == number + 1


KILLED = """
    import os, signal, sys
    sys.path[:0] = {paths!r}
    from curation_samples import made_sample
    from xsyn_core.curation import workspace as module
    from xsyn_core.curation.workspace import Workspace
    workspace = Workspace({folder!r})
    workspace.decide(workspace.add(made_sample(0)), "accept")
    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)
    {patch}
    workspace.add(made_sample(1))
"""


def run_until_killed(script: str, **values) -> None:
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    code = textwrap.dedent(script).format(paths=paths, **values)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("patch", "survivors"),
    [
        ("module.write_synced = lambda path, data: die() if path.name == 'mask.png' else None", 1),
        ("module.sync_folder = lambda folder: die() if folder.name != 'samples' else None", 1),
        # The folder has its name, its row is not committed: the sample comes back undecided.
        ("module.sync_folder = lambda folder: die() if folder.name == 'samples' else None", 2),
    ],
)
def test_a_killed_process_leaves_a_workspace_that_opens(tmp_path, patch, survivors):
    folder = tmp_path / "work"
    run_until_killed(KILLED, folder=str(folder), patch=patch)
    with Workspace(folder) as workspace:
        assert [record.decision for record in workspace.records()] == (
            ["accept"] if survivors == 1 else ["accept", "pending"]
        )
        for record in workspace.records():
            assert_same(workspace.load(record.id), made_sample(record.id - 1))
        assert len(list((folder / "samples").iterdir())) == survivors
        number = workspace.add(made_sample(7))
        assert_same(workspace.load(number), made_sample(7))


def test_a_lost_database_loses_no_sample(tmp_path):
    with Workspace(tmp_path) as workspace:
        workspace.add(made_sample(0))
        workspace.add(made_sample(1))
    (tmp_path / "workspace.sqlite").unlink()
    (tmp_path / "samples" / "000001" / "image.png").write_bytes(b"")
    with Workspace(tmp_path) as workspace:
        assert [(record.id, record.decision) for record in workspace.records()] == [(2, "pending")]
        assert_same(workspace.load(2), made_sample(1))
    assert len(list((tmp_path / "samples").glob("damaged-000001-*"))) == 1


def test_a_failed_write_leaves_nothing_and_says_so(workspace, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(workspace_module, "write_synced", full)
        with pytest.raises(XsynError, match=r"No space left.*free some space"):
            workspace.add(made_sample())
    assert workspace.records() == []
    assert list((workspace.path / "samples").iterdir()) == []
    assert workspace.add(made_sample()) == 1


def test_unknown_samples_and_decisions_are_refused(workspace):
    with pytest.raises(XsynError, match="no sample 5"):
        workspace.decide(5, "accept")
    with pytest.raises(XsynError, match="no sample 5"):
        workspace.load(5)
    with pytest.raises(XsynError, match="no sample 5"):
        workspace.state(5)
    number = workspace.add(made_sample())
    with pytest.raises(XsynError, match="accept, reject or skip"):
        workspace.decide(number, "undo")
    with pytest.raises(XsynError, match="pending"):
        workspace.records("maybe")


def test_damaged_samples_are_named(workspace):
    number = workspace.add(made_sample())
    folder = workspace.records()[0].folder
    for name in ("original.png", "image.png", "attention.npz", "sample.json"):
        whole = (folder / name).read_bytes()
        for broken in (b"", b"[]", whole[: len(whole) // 2]):
            (folder / name).write_bytes(broken)
            with pytest.raises(XsynError, match="incomplete or damaged"):
                workspace.load(number)
        (folder / name).unlink()
        with pytest.raises(XsynError, match="incomplete or damaged"):
            workspace.load(number)
        (folder / name).write_bytes(whole)
    document = json.loads((folder / "sample.json").read_text())
    (folder / "sample.json").write_text(json.dumps({**document, "format": 99}))
    with pytest.raises(XsynError, match="newer Xsyn Studio"):
        workspace.load(number)


def test_folders_that_are_no_workspace_are_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(XsynError, match="is a file"):
        Workspace(file)
    with pytest.raises(XsynError, match="no workspace"):
        Workspace(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    with sqlite3.connect(foreign / "workspace.sqlite") as database:
        database.execute("CREATE TABLE things (id)")
    with pytest.raises(XsynError, match="another program"):
        Workspace(foreign)

    text = tmp_path / "text"
    text.mkdir()
    (text / "workspace.sqlite").write_text("no database " * 100)
    with pytest.raises(XsynError, match="not a database"):
        Workspace(text)

    Workspace(tmp_path / "newer").close()
    with sqlite3.connect(tmp_path / "newer" / "workspace.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(XsynError, match="newer Xsyn Studio"):
        Workspace(tmp_path / "newer")


def test_a_held_database_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(workspace_module, "_BUSY_SECONDS", 0.05)
    with Workspace(tmp_path) as workspace:
        number = workspace.add(made_sample())
        other = sqlite3.connect(tmp_path / "workspace.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(XsynError, match="held by another program"):
            workspace.decide(number, "accept")
        other.execute("ROLLBACK")
        other.close()
        workspace.decide(number, "accept")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(XsynError, match="cannot be written"):
        Workspace(tmp_path / "work")
    tmp_path.chmod(0o700)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(XsynError, match="cannot be written"):
        Workspace(tmp_path / "file" / "work")


def test_a_scan_that_is_not_the_stored_one_is_told(workspace):
    number = workspace.add(made_sample(0))
    other = workspace.add(made_sample(1))
    mine, others = (workspace.records()[k].folder / "original.png" for k in (0, 1))
    mine.write_bytes(others.read_bytes())
    with pytest.raises(XsynError, match="not the scan that was stored"):
        workspace.load(number)
    assert_same(workspace.load(other), made_sample(1))


def test_a_folder_left_by_a_commit_that_failed_is_in_nobodys_way(workspace):
    left = workspace.path / "samples" / "000001"
    left.mkdir()
    (left / "image.png").write_bytes(b"half")
    assert workspace.add(made_sample(0)) == 1
    assert_same(workspace.load(1), made_sample(0))


def test_the_mask_file_numbers_the_items_from_one(workspace):
    sample = made_sample(0)
    workspace.add(sample)
    with Image.open(workspace.records()[0].folder / "mask.png") as shown:
        labels = np.asarray(shown)
    first, second = (painted.mask for painted in sample.objects)
    assert np.array_equal(labels == 1, first & ~second) and np.array_equal(labels == 2, second)
