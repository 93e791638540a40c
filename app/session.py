"""What one browser is working on, kept on the server under an id that cannot be guessed."""

import itertools
import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gradio.utils import get_upload_folder

from xsyn_core.categories import CATALOGS, PIDRAY, Catalog
from xsyn_core.errors import XsynError
from xsyn_core.files import owner, remove_strays
from xsyn_core.sample import Request, Sample
from xsyn_core.scan import Scan

if TYPE_CHECKING:  # the page is up before torch is imported
    from xsyn_core.painting import Painting

MAX_SESSIONS = 16
IDLE_SECONDS = 4 * 3600


def address(path: Path) -> str:
    """Where a browser finds a file below `served_folder()`, relative to the page."""
    return f"gradio_api/file={path.as_posix()}"


def served_folder() -> Path:
    """The folder whose files Gradio serves and into which it puts uploads."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def temporary_folder(stem: str) -> tempfile.TemporaryDirectory:
    """A folder below `served_folder()` that goes with the object; those that servers which were
    killed left are removed."""
    place = served_folder()
    remove_strays(place, stem)
    return tempfile.TemporaryDirectory(prefix=f"{stem}-", suffix=owner(), dir=place)


@dataclass
class Stored:
    """A sample in the workspace, with what was on this operator's canvas at the time."""

    record: int
    scan: Scan
    painting: "Painting | None"
    sample: Sample


@dataclass(frozen=True)
class Upload:
    """A scan that this browser sent; `thumb` is the address of its thumbnail, `sha256` is as in
    `Scan`."""

    name: str
    path: Path
    thumb: str
    sha256: str


@dataclass
class Session:
    """One operator's work: open scan, its regions, the painting under review, decisions.

    Attributes:
        offered: the catalogues that its page lets choose, by key.
        place: the open scan's place on the shelf: an example's or upload's key, else None.
        labels: the annotations file that was loaded last, in which scans opened later look too,
            and the sha256 of the scan that it was loaded for.
        regions: the scan's idle regions as the canvas draws them (`scene.regions`).
        run: grows with every painting and stop; a painting ends when it is no longer the latest.
        wanted: what is to be painted once the models are free, and its run.
        lock: held while the open scan or the sample under review changes or is decided upon, never
            while the models are waited for.
        matching: held while the sample under review gets another label or occlusion.
        turn: grows when something else comes under review; another label or occlusion leaves it.
        record: the sample under review in the workspace, once it is there.
        stored: the latest samples that went there.
        numbers: tells scenes that reach the browser in the wrong order.
    """

    id: str
    folder: Path
    used: float = field(default_factory=time.monotonic)
    catalog: Catalog = PIDRAY
    offered: dict[str, Catalog] = field(default_factory=CATALOGS.copy)
    scan: Scan | None = None
    scan_id: str = ""
    scan_url: str = ""
    place: str | None = None
    regions: list[dict] | None = None
    painting: "Painting | None" = None
    sample: Sample | None = None
    result: dict | None = None
    occluder: int = 0
    placement: int = 0
    record: int | None = None
    decision: str | None = None
    stored: list[Stored] = field(default_factory=list)
    labels: tuple[Path, str] | None = None
    uploads: dict[str, Upload] = field(default_factory=dict)
    run: int = 0
    wanted: tuple[Request, int] | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    matching: threading.Lock = field(default_factory=threading.Lock)
    turn: int = 0
    files: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def open(self, scan: Scan, picture: bytes, place: str | None = None) -> None:
        """Make `scan` the open one; its results start empty, decisions stay. The file of its
        picture, a PNG, takes the place of the last one's."""
        shown, self.scan_url = self.scan_url, self.keep(picture)
        if shown:
            Path(self.folder, shown.rpartition("/")[2]).unlink(missing_ok=True)
        self.scan = scan
        self.scan_id = secrets.token_hex(4)
        self.place = place
        self.regions = None
        self.clear()

    def clear(self) -> None:
        """Forget the painting under review."""
        self.turn += 1
        self.painting = self.sample = self.result = self.record = self.decision = None

    def remember(self, record: int, decision: str | None) -> None:
        """The sample under review is in the workspace, decided on or (None) not."""
        sample = self.need_sample()
        self.record, self.decision = record, decision
        others = [one for one in self.stored if one.record != record]
        self.stored = [*others[-3:], Stored(record, sample.scan, self.painting, sample)]

    def need_scan(self) -> Scan:
        """The open scan.

        Raises:
            XsynError: none is open.
        """
        if self.scan is None:
            raise XsynError("Open a scan first.")
        return self.scan

    def need_sample(self) -> Sample:
        """The sample under review.

        Raises:
            XsynError: nothing has been painted.
        """
        if self.sample is None:
            raise XsynError("Nothing has been painted yet. Choose Generate first.")
        return self.sample

    def keep(self, data: bytes, suffix: str = ".png") -> str:
        """Write a file that this browser may fetch, until the session ends; its address."""
        self.files += 1
        path = self.folder / f"{self.files}{suffix}"
        path.write_bytes(data)
        return address(path)


class Sessions:
    """The sessions of all browsers; the longest unused go first. Files go with the object."""

    def __init__(self) -> None:
        self._folder = temporary_folder("studio")
        self._all: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def new(self) -> str:
        """Start a session; its id."""
        key = secrets.token_urlsafe(16)
        folder = Path(self._folder.name, key)
        folder.mkdir()
        with self._lock:
            self._all[key] = Session(key, folder)
            now = time.monotonic()
            stale = [k for k, s in self._all.items() if now - s.used > IDLE_SECONDS]
            surplus = [k for k in self._all if k != key][: max(0, len(self._all) - MAX_SESSIONS)]
        for old in {*stale, *surplus}:
            self.drop(old)
        return key

    def get(self, key: str | None) -> Session:
        """The session of an id.

        Raises:
            XsynError: it is over, or the page has not finished loading.
        """
        with self._lock:
            session = self._all.get(key or "")
            if session is None:
                raise XsynError(
                    "This page was left alone for too long and its scan was put away. "
                    "Reload the page; everything decided so far is kept."
                )
            session.used = time.monotonic()
            self._all.move_to_end(session.id)
        return session

    def reviewed(self, besides: Session) -> list[int]:
        """The stored samples that are on the canvases of other sessions."""
        with self._lock:
            others = [session.record for session in self._all.values() if session is not besides]
        return [record for record in others if record is not None]

    def drop(self, key: str | None) -> None:
        """End a session and delete its files."""
        with self._lock:
            session = self._all.pop(key or "", None)
        if session is not None:
            session.run += 1
            shutil.rmtree(session.folder, ignore_errors=True)
