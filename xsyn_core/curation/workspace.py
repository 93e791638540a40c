"""The workspace: every scan, sample and decision of an operator, on disk.

`workspace.sqlite` is a journal: rows are added, never changed. Accept, reject, skip and undo are
rows, and the decision on a sample is its latest one that no undo took back.
"""

import os
import re
import shutil
import sqlite3
import threading
import uuid
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast, get_args

from xsyn_core.categories import CATALOGS, Catalog
from xsyn_core.curation import store
from xsyn_core.errors import XsynError
from xsyn_core.files import expanded, sync_folder, writable, write_synced
from xsyn_core.sample import Sample

Decision = Literal["accept", "reject", "skip"]
State = Literal["accept", "reject", "skip", "pending"]

DECISIONS: tuple[str, ...] = get_args(Decision)
STATES: tuple[State, ...] = get_args(State)
DATABASE = "workspace.sqlite"
# "Xsyn" in ASCII: tells our databases from those of other programs.
_APPLICATION = 0x5873796E
_VERSION = 1
_BUSY_SECONDS = 10.0
_HALF_WRITTEN = re.compile(r"\.[0-9a-f]{32}")
_FINISHED = re.compile(r"\d{6,}")
_SCHEMA = """
CREATE TABLE scans (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    height INTEGER NOT NULL,
    width INTEGER NOT NULL
);
CREATE TABLE samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    scan INTEGER NOT NULL REFERENCES scans (id),
    name TEXT NOT NULL,
    catalog TEXT NOT NULL,
    categories TEXT NOT NULL,
    at TEXT NOT NULL
);
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sample INTEGER NOT NULL REFERENCES samples (id),
    action TEXT NOT NULL CHECK (action IN ('accept', 'reject', 'skip', 'undo')),
    undone INTEGER UNIQUE REFERENCES decisions (id),
    at TEXT NOT NULL,
    CHECK ((action = 'undo') = (undone IS NOT NULL))
);
CREATE INDEX decisions_by_sample ON decisions (sample);
CREATE VIEW standing AS
    SELECT * FROM decisions AS d
    WHERE action != 'undo' AND NOT EXISTS (SELECT 1 FROM decisions WHERE undone = d.id);
CREATE VIEW states AS
    SELECT samples.id AS sample, coalesce((
        SELECT action FROM standing WHERE standing.sample = samples.id ORDER BY id DESC LIMIT 1
    ), 'pending') AS state FROM samples;
"""


@dataclass(frozen=True)
class Record:
    """A sample of a workspace at a glance.

    Attributes:
        id: from 1, in the order of adding, never used again.
        name, sha256: of the source scan.
        catalog: key of its catalogue.
        categories: of the painted objects, in their order.
        decision: "accept", "reject", "skip", or "pending" where none stands.
        folder: where its files lie.
    """

    id: int
    name: str
    sha256: str
    catalog: str
    categories: tuple[str, ...]
    decision: State
    folder: Path


@dataclass(frozen=True)
class Undone:
    """A decision taken back: on which sample, what it was, and the sample's state since."""

    id: int
    decision: Decision
    now: State


class Workspace:
    """A folder of samples and decisions. Safe to share between threads and processes.

    Args:
        path: the folder.
        create: make a workspace where there is none, instead of refusing.

    Raises:
        XsynError: the folder or its database cannot be written or read, or is not ours.
    """

    def __init__(self, path: str | Path, create: bool = True) -> None:
        self.path = expanded(path).resolve()
        self._samples = self.path / "samples"
        self._lock = threading.RLock()
        if not create and not (self.path / DATABASE).is_file():
            raise XsynError(f"{self.path} is no workspace: it has no {DATABASE}. Check the path.")
        if self.path.exists() and not self.path.is_dir():
            raise XsynError(f"{self.path} is a file. Give a folder for the workspace.")
        with writable(self.path, "the workspace"):
            self._samples.mkdir(parents=True, exist_ok=True)
            if not os.access(self.path, os.W_OK) or not os.access(self._samples, os.W_OK):
                raise PermissionError(13, "Permission denied")
        self._database = self._open()
        try:
            self._recover()
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database; nothing is lost without it."""
        with self._lock:
            self._database.close()

    def add(self, sample: Sample) -> int:
        """Store a sample, undecided, and return its id. It is on disk when this returns.

        Raises:
            XsynError: the folder cannot be written, or another program holds it.
        """
        # Encoding is slow: it is done before the lock that other writers wait for.
        files = store.pack(sample)
        with writable(self.path, "the workspace"), self._transaction() as database:
            number = self._insert(database, sample)
            folder = self._folder(number)
            fresh = self._samples / f".{uuid.uuid4().hex}"
            try:
                fresh.mkdir()
                for name, data in files.items():
                    write_synced(fresh / name, data)
                sync_folder(fresh)
                # Left by a commit that failed: ids that were committed never come again.
                if folder.exists():
                    shutil.rmtree(folder)
                fresh.rename(folder)
                sync_folder(self._samples)
            except BaseException:
                shutil.rmtree(fresh, ignore_errors=True)
                raise
        return number

    def decide(self, sample: int, decision: Decision) -> int:
        """Accept, reject or skip a sample; an earlier decision on it may be overruled.

        Returns:
            The decision's id, from 1, never used again.

        Raises:
            XsynError: no such sample or decision.
        """
        if decision not in DECISIONS:
            raise XsynError(f"{decision!r} is no decision. Choose accept, reject or skip.")
        with self._transaction() as database:
            self._require(database, sample)
            (number,) = database.execute(
                "INSERT INTO decisions (sample, action, at) VALUES (?, ?, ?) RETURNING id",
                (sample, decision, _now()),
            ).fetchone()
        return int(number)

    def undo(self, own: Container[int] | None = None) -> Undone | None:
        """Take back the latest decision that stands, on whichever sample; None if there is none.

        Args:
            own: ids of the decisions that may be taken back; None for all.

        Raises:
            XsynError: the latest is another one.
        """
        with self._transaction() as database:
            row = database.execute(
                "SELECT id, sample, action FROM standing ORDER BY id DESC LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            number, sample, action = row
            if own is not None and number not in own:
                raise XsynError(
                    f"The latest decision, on sample {sample}, was made in another browser, by "
                    "another server, or before this page was loaded, so it stays. To change it, "
                    "click the sample and decide anew."
                )
            database.execute(
                "INSERT INTO decisions (sample, action, undone, at) VALUES (?, 'undo', ?, ?)",
                (sample, number, _now()),
            )
            return Undone(sample, action, self._state(database, sample))

    def records(self, decision: State | None = None, newest: int | None = None) -> list[Record]:
        """The samples in the order of adding: all, or those in one state, or so many of these at
        most, the newest."""
        if decision is not None and decision not in STATES:
            raise XsynError(f"{decision!r} is no state of a sample. Choose: {', '.join(STATES)}.")
        with self._reading() as database:
            rows = database.execute(
                "SELECT samples.id, samples.name, sha256, catalog, categories, state FROM samples "
                "JOIN scans ON scans.id = scan JOIN states ON states.sample = samples.id "
                "WHERE ?1 IS NULL OR state = ?1 ORDER BY samples.id DESC LIMIT ?2",
                (decision, -1 if newest is None else newest),
            ).fetchall()
        return [
            Record(
                number,
                name,
                sha256,
                catalog,
                tuple(names.splitlines()),
                state,
                self._folder(number),
            )
            for number, name, sha256, catalog, names, state in reversed(rows)
        ]

    def catalogs(self) -> tuple[Catalog, ...]:
        """Those of the accepted samples, the one with most samples first.

        Raises:
            XsynError: a sample that tells what one's own catalogue holds is damaged.
        """
        accepted = self.records("accept")
        counts = Counter(record.catalog for record in accepted)
        first = {record.catalog: record.id for record in reversed(accepted)}
        return tuple(
            CATALOGS.get(key) or self.load(first[key], pictures=False).request.catalog
            for key, _ in counts.most_common()
        )

    def counts(self) -> dict[str, int]:
        """How many samples are in each state: accept, reject, skip, pending."""
        with self._reading() as database:
            rows = database.execute("SELECT state, count(*) FROM states GROUP BY state").fetchall()
        return {**dict.fromkeys(STATES, 0), **dict(rows)}

    def accepted(self) -> dict[str, int]:
        """How many samples are accepted of each scan that has any, by its sha256."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT sha256, count(*) FROM samples JOIN scans ON scans.id = scan "
                "JOIN states ON states.sample = samples.id WHERE state = 'accept' GROUP BY sha256"
            ).fetchall()
        return dict(rows)

    def state(self, sample: int) -> State:
        """The state of one sample.

        Raises:
            XsynError: no such sample.
        """
        with self._reading() as database:
            self._require(database, sample)
            return self._state(database, sample)

    def load(self, sample: int, pictures: bool = True) -> Sample:
        """All that was stored of a sample; without `pictures` see `store.unpack`.

        Raises:
            XsynError: no such sample, or its files are damaged.
        """
        with self._reading() as database:
            self._require(database, sample)
        return store.unpack(self._folder(sample), pictures)

    def _folder(self, sample: int) -> Path:
        return self._samples / f"{sample:06d}"

    def _require(self, database: sqlite3.Connection, sample: int) -> None:
        if database.execute("SELECT 1 FROM samples WHERE id = ?", (sample,)).fetchone() is None:
            raise XsynError(f"The workspace {self.path} has no sample {sample}.")

    def _state(self, database: sqlite3.Connection, sample: int) -> State:
        row = database.execute("SELECT state FROM states WHERE sample = ?", (sample,)).fetchone()
        return cast(State, row[0])

    def _open(self) -> sqlite3.Connection:
        file = self.path / DATABASE
        with self._explained():
            # One connection under one lock; transactions are begun by hand.
            database = sqlite3.connect(
                file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                # A rollback journal works on network folders too, where a shared log does not.
                database.execute("PRAGMA journal_mode = DELETE")
                database.execute("PRAGMA synchronous = EXTRA")
                database.execute("PRAGMA foreign_keys = ON")
                database.execute("BEGIN IMMEDIATE")
                self._check(database, file)
                database.execute("COMMIT")
            except BaseException:
                database.close()
                raise
        return database

    @staticmethod
    def _check(database: sqlite3.Connection, file: Path) -> None:
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not (application or version or tables):
            for statement in _SCHEMA.split(";\n"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        elif application != _APPLICATION:
            raise XsynError(
                f"{file} belongs to another program. Choose another folder for the workspace."
            )
        elif version > _VERSION:
            raise XsynError(
                f"{file} was written by a newer Xsyn Studio (format {version}; this one reads "
                f"{_VERSION}). Update this one, or choose another folder for the workspace."
            )

    def _recover(self) -> None:
        """Mend what a killed process left: half-written folders, folders without a row."""
        # Folders are made only while the writer's lock is held, so whoever holds it sees
        # no folder that is still being written.
        with writable(self.path, "the workspace"), self._transaction() as database:
            known = {number for (number,) in database.execute("SELECT id FROM samples")}
            for folder in sorted(self._samples.iterdir()):
                if _HALF_WRITTEN.fullmatch(folder.name):
                    shutil.rmtree(folder)
                elif _FINISHED.fullmatch(folder.name) and int(folder.name) not in known:
                    self._adopt(database, folder)

    def _adopt(self, database: sqlite3.Connection, folder: Path) -> None:
        # A folder under its final name is whole, only its row is missing: the process died
        # just before, or the database was lost. The sample comes back, undecided.
        try:
            sample = store.unpack(folder)
        except XsynError:
            folder.rename(folder.with_name(f"damaged-{folder.name}-{uuid.uuid4().hex[:8]}"))
        else:
            self._insert(database, sample, int(folder.name))

    def _insert(
        self, database: sqlite3.Connection, sample: Sample, number: int | None = None
    ) -> int:
        scan = sample.scan
        database.execute(
            "INSERT OR IGNORE INTO scans (sha256, name, height, width) VALUES (?, ?, ?, ?)",
            (scan.sha256, scan.name, *scan.size),
        )
        row = database.execute(
            "INSERT INTO samples (id, scan, name, catalog, categories, at) "
            "VALUES (?, (SELECT id FROM scans WHERE sha256 = ?), ?, ?, ?, ?) RETURNING id",
            (
                number,
                scan.sha256,
                scan.name,
                sample.request.catalog.key,
                "\n".join(painted.category for painted in sample.objects),
                _now(),
            ),
        ).fetchone()
        return int(row[0])

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            yield self._database

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise XsynError(self._explanation(error)) from error

    def _explanation(self, error: sqlite3.Error) -> str:
        file = self.path / DATABASE
        code = getattr(error, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"{file} is held by another program. Close that one, then try again."
        if primary == sqlite3.SQLITE_NOTADB:
            return f"{file} is not a database. Choose another folder for the workspace."
        if primary == sqlite3.SQLITE_CORRUPT:
            return f"{file} is damaged ({error}). Restore it from a copy; samples/ is untouched."
        if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return (
                f"{file} cannot be written ({error}). Make it writable, "
                "or choose another folder for the workspace."
            )
        if primary == sqlite3.SQLITE_FULL:
            return f"The disk of {self.path} is full. Free some space, then try again."
        return f"The workspace {self.path} cannot be used: {error}. Open it again."


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
