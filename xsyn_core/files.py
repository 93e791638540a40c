"""Files that are whole or not there: written beside, synced, then renamed into place; paths."""

import ctypes
import errno
import glob
import hashlib
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xsyn_core.errors import XsynError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
# Tells this machine or container from others that share a folder with it, and this process from an
# earlier one of the same number, as each start of a container has.
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_START = _HOST + uuid.uuid4().hex[:8]
_DAY = 24 * 3600.0


def expanded(path: str | Path) -> Path:
    """A path whose `~` or `~name` is the home folder that it stands for.

    Raises:
        XsynError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise XsynError(
            f"There is no folder {path}: the home folder that it begins with is not known. "
            "Write the path in full."
        ) from None


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on disk."""
    with open(path, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_file(path: Path) -> None:
    """Wait until a file that others have written is on disk."""
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder (names, renames) are on disk."""
    # Windows cannot open folders; its renames are journalled by the file system.
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # So say file systems on which folders cannot be synced.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextmanager
def writable(folder: Path, purpose: str) -> Iterator[None]:
    """Turn failures of the file system into one clear message.

    Raises:
        XsynError: the folder cannot be written, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise XsynError(
            f"{folder} cannot be written ({reason}). Choose another folder for {purpose}, "
            "or make this one writable and free some space."
        ) from error


def refuse_strangers(folder: Path, files: set[str], folders: set[str], what: str) -> None:
    """Check that a folder, which may be missing, can be replaced without loss.

    Args:
        files, folders: what may be in it, relative to it.
        what: the others, for the message.

    Raises:
        XsynError: it is a file, or holds anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise XsynError(f"{folder} is a file. Give a folder for the dataset.")
    for entry in sorted(folder.rglob("*")):
        name = entry.relative_to(folder).as_posix()
        if name not in (folders if entry.is_dir() and not entry.is_symlink() else files):
            raise XsynError(
                f"{folder} holds {what}, such as {name}. Give an empty or new folder, so that "
                "nothing of yours is overwritten."
            )


def free_beside(folder: Path, word: str) -> Path:
    """A path beside `folder` where nothing is yet, its name with a word more."""
    path = folder.with_name(f"{folder.name}-{word}")
    number = 1
    while os.path.lexists(path):
        number += 1
        path = folder.with_name(f"{folder.name}-{word}-{number}")
    return path


@dataclass
class Replacement:
    """A folder that is being made.

    Attributes:
        fresh: to fill.
        target: the place that it takes at the end; may be set to another one beside it.
    """

    fresh: Path
    target: Path


def refuse_mount(folder: Path) -> None:
    """Check that a folder can be replaced: nothing can be renamed onto a mount point, which would
    show at the very end only.

    Raises:
        XsynError: it is one.
    """
    if os.path.ismount(folder):
        raise XsynError(
            f"{folder} is a mount point, which cannot be replaced. Give a folder inside it."
        )


@contextmanager
def replacing(folder: Path) -> Iterator[Replacement]:
    """A fresh folder to fill, which takes the place of `folder` when the block ends well.

    Until then `folder` stays as it was, whatever happens. What processes that died left beside
    it is removed.

    Raises:
        XsynError: `folder` is a mount point (found out before the block), or the filled folder
            could not take its place; it is kept then.
    """
    refuse_mount(folder)
    fresh = _fresh_folder(folder)
    made = Replacement(fresh, folder)
    try:
        yield made
        for inner, _, _ in os.walk(fresh):
            sync_folder(Path(inner))
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    try:
        if made.target.exists():
            _exchange(fresh, made.target)
        else:
            fresh.rename(made.target)
    except OSError as error:
        raise XsynError(
            f"{made.target} could not be replaced ({error.strerror or error}). What was made is "
            f"whole and lies in {_kept(fresh, made.target)}: move it to where you want it."
        ) from error
    try:
        sync_folder(folder.parent)
    finally:
        # After an exchange this is the old folder.
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A path for a file to write, which takes the place of `path` when the block ends well.

    Until then `path` stays as it was, whatever happens. What processes that died left beside it
    is removed.
    """
    path = path.resolve()  # a link stays one
    folder = _fresh_folder(path)
    try:
        fresh = folder / path.name
        yield fresh
        sync_file(fresh)
        fresh.replace(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fresh_folder(path: Path) -> Path:
    """A new folder beside a path, under a name by which `remove_strays` knows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{path.name}.xsyn"
    remove_strays(path.parent, stem)
    fresh = path.parent / f"{stem}-{uuid.uuid4().hex[:8]}{owner()}"
    fresh.mkdir()
    return fresh


def _kept(fresh: Path, folder: Path) -> Path:
    """The folder under a name that `remove_strays` leaves alone, if it can be renamed at all."""
    kept = free_beside(folder, "new")
    try:
        fresh.rename(kept)
    except OSError:
        return fresh
    return kept


def owner() -> str:
    """The end of a name by which `remove_strays` knows whose folder it is."""
    return f"-{os.getpid()}-{_START}"


def remove_strays(parent: Path, stem: str) -> None:
    """Delete the folders `<stem>-...` with an `owner()` that died without deleting them; those of
    another machine or container, which nobody here can ask, a day after they changed last."""
    for stray in parent.glob(f"{glob.escape(stem)}-*-*"):
        process, start = stray.name.rsplit("-", 2)[1:]
        if not process.isdigit():
            continue
        if start.startswith(_HOST):
            left = not _alive(int(process), start)
        else:
            left = time.time() - stray.lstat().st_mtime > _DAY
        if left:
            shutil.rmtree(stray, ignore_errors=True)


def _alive(process: int, start: str) -> bool:
    if process == os.getpid():
        return start == _START
    # On Windows signal 0 would not merely ask, so there strays are left to the operator.
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _exchange(fresh: Path, folder: Path) -> None:
    """Swap two folders, in one step where the system can."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if _LINUX else None
    if rename is not None:
        names = os.fsencode(fresh), os.fsencode(folder)
        if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
    # Under a name that people find and `remove_strays` leaves alone, should this be the end.
    aside = free_beside(folder, "old")
    folder.rename(aside)
    try:
        fresh.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    aside.rename(fresh)


_LINUX = os.uname().sysname == "Linux" if hasattr(os, "uname") else False
