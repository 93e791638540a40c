"""Folders that take the place of others."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xsyn_core import files
from xsyn_core.errors import XsynError


def test_a_mount_point_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "disk")
    mounted = files.replacing(tmp_path / "disk")
    with pytest.raises(XsynError, match="Give a folder inside it"), mounted:
        pytest.fail("the block was entered")
    with files.replacing(tmp_path / "disk" / "inner") as made:
        (made.fresh / "a").touch()
    assert (tmp_path / "disk" / "inner" / "a").exists()


def test_what_cannot_be_put_in_place_is_kept(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "earlier").touch()

    def busy(*_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    with monkeypatch.context() as patch, pytest.raises(XsynError, match="resource busy") as caught:
        patch.setattr(files, "_exchange", busy)
        with files.replacing(folder) as made:
            (made.fresh / "new").touch()
    kept = tmp_path / "out-new"
    assert str(kept) in str(caught.value)
    with files.replacing(folder) as made:
        (made.fresh / "newer").touch()
    assert [path.name for path in kept.iterdir()] == ["new"]
    assert [path.name for path in folder.iterdir()] == ["newer"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out-new"}


def test_a_free_name_beside_a_folder(tmp_path):
    names = []
    for _ in range(3):
        path = files.free_beside(tmp_path / "out", "partial")
        path.mkdir()
        names.append(path.name)
    assert names == ["out-partial", "out-partial-2", "out-partial-3"]


def test_a_kill_between_two_renames_loses_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "earlier").touch()

    class Killed(BaseException):
        pass

    def rename(path, target, really=Path.rename):
        if target == folder:
            raise Killed
        return really(path, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        # a file system that cannot exchange two folders in one step
        patch.setattr(files, "_LINUX", False)
        patch.setattr(Path, "rename", rename)
        with files.replacing(folder) as made:
            (made.fresh / "new").touch()
    # a process of the same number, as each start of a container has
    monkeypatch.setattr(files, "_START", f"{files._HOST}0123abcd")
    with files.replacing(folder) as made:
        (made.fresh / "newer").touch()
    assert (tmp_path / "out-old" / "earlier").exists()
    assert [path.name for path in folder.iterdir()] == ["newer"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out-old"}


def test_strays_of_the_dead_alone_are_removed(tmp_path):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True).stdout.strip()  # fmt: skip
    start, other = f"{files._HOST}0123abcd", "89ef0123ffffffff"
    left = {f"a-x{files.owner()}", f"a-x-{os.getppid()}-{start}", f"b-{gone}-{start}", "a", "a-b",
            f"a-y-{gone}-{other}", f"a-y-{os.getpid()}-{other}"}  # fmt: skip
    strays = {f"a-x-{gone}-{start}", f"a-{gone}-{start}", f"a-x-{os.getpid()}-{start}",
              f"a-z-{os.getpid()}-{other}"}  # fmt: skip
    for name in left | strays:
        (tmp_path / name).mkdir()
    # what another machine left long ago
    os.utime(tmp_path / f"a-z-{os.getpid()}-{other}", (0, 0))
    files.remove_strays(tmp_path, "a")
    assert {path.name for path in tmp_path.iterdir()} == left


def test_a_file_takes_the_place_of_another_once_it_is_on_disk(tmp_path, monkeypatch):
    file, done = tmp_path / "weights", []
    file.write_bytes(b"old")
    # of an earlier process with this one's number
    (tmp_path / f".weights.xsyn-{os.getpid()}-{files._HOST}stray").mkdir()
    sync, replace = files.sync_file, Path.replace
    monkeypatch.setattr(files, "sync_file", lambda path: (done.append("synced"), sync(path)))
    monkeypatch.setattr(
        Path, "replace", lambda path, target: (done.append("replaced"), replace(path, target))
    )
    with files.replacing_file(file) as fresh:
        fresh.write_bytes(b"new")
        assert file.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2
    assert file.read_bytes() == b"new" and done == ["synced", "replaced"]
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_could_not_be_written_leaves_the_other(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), files.replacing_file(file) as fresh:
        fresh.write_bytes(b"new")
        raise KeyboardInterrupt
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]


def test_what_another_thread_writes_is_no_stray(tmp_path):
    with files.replacing_file(tmp_path / "weights") as one:
        one.write_bytes(b"one")
        with files.replacing_file(tmp_path / "weights") as other:
            other.write_bytes(b"other")
    assert (tmp_path / "weights").read_bytes() == b"one"


def test_what_a_link_points_to_is_replaced_and_the_link_stays(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "weights").symlink_to(disk / "weights")
    for data in (b"old", b"new"):
        with files.replacing_file(tmp_path / "weights") as fresh:
            fresh.write_bytes(data)
    assert (tmp_path / "weights").is_symlink()
    assert [path.read_bytes() for path in disk.iterdir()] == [b"new"]


def test_folders_that_cannot_be_synced_are_no_failure(tmp_path, monkeypatch):
    def refuse(number):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", lambda handle: refuse(errno.EINVAL))
    files.sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda handle: refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        files.sync_folder(tmp_path)
