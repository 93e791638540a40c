"""Export from the page: a dataset folder in the workspace, a zip for the browser, a report."""

import html
import logging
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.session import Session, address
from xsyn_core.curation.coco import ExportReport, counted, export
from xsyn_core.curation.workspace import Workspace

log = logging.getLogger(__name__)

# Seconds between two words on how far it is.
PAUSE = 0.5


class Exports:
    """Writes the datasets of one workspace, to `exports/<catalogue>` in its folder."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace

    def run(self, session: Session) -> Iterator[dict[str, Any]]:
        """Export the accepted samples of the session's catalogue: dialogs that tell how far it is,
        and the one that reports on it.

        Raises:
            XsynError: nothing is accepted, or the folder cannot be written.
        """
        out = self.workspace.path / "exports" / session.catalog.key
        text = "Writing the dataset …"
        yield busy(text, more=False)

        def written(done: int, total: int) -> None:
            nonlocal text
            text = f"Writing the dataset: {done} of {total} …"

        with ThreadPoolExecutor(1) as beside:
            writing = beside.submit(export, self.workspace, out, session.catalog, progress=written)
            while wait([writing], PAUSE).not_done:
                yield busy(text)
        report = writing.result()
        yield busy("Packing it for the download …")
        name = f"xsyn-{session.catalog.key}.zip"
        session.files += 1
        packed = session.folder / f"{session.files}-{name}"
        # before there is another: each is as large as its dataset
        for earlier in session.folder.glob("*.zip"):
            with suppress(OSError):  # Windows keeps what is still being sent
                earlier.unlink()
        try:
            pack(out, packed)
        except OSError as error:
            log.warning("The dataset could not be packed: %s", error)
            packed.unlink(missing_ok=True)
            reason = error.strerror or error
            note = f"There is no zip to download ({reason}), but the dataset is written whole."
            report = replace(report, notes=(*report.notes, note))
        yield sheet(report, session, packed, name)


def pack(folder: Path, out: Path) -> None:
    """Put a folder into a zip; pictures are packed already and stay as they are."""
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.rglob("*")):
            kind = zipfile.ZIP_STORED if path.suffix == ".png" else zipfile.ZIP_DEFLATED
            archive.write(path, path.relative_to(folder).as_posix(), compress_type=kind)


def sheet(report: ExportReport, session: Session, packed: Path, name: str) -> dict[str, Any]:
    """The dialog that reports, with the zip if there is one."""
    told = (
        counted(report.images, "image"),
        counted(report.annotations, "annotation"),
        f"{report.painted} of them painted",
    )
    parts = (one.partition(" ") for one in told)
    tiles = "".join(f"<div><b>{count}</b>{what}</div>" for count, _, what in parts)
    notes = "".join(f'<p class="flag">{html.escape(note)}</p>' for note in report.notes)
    title = html.escape(session.catalog.title)
    text = (
        f'<header><h2>{title} dataset exported</h2><button class="xs-x" data-do="close" '
        f'aria-label="Close">&times;</button></header><div class="tiles">{tiles}</div>{notes}'
        f'<p class="path">COCO, written to<code>{html.escape(str(report.path))}</code></p>'
    )
    if packed.exists():
        text += (
            f'<footer><a class="xs-btn primary" download="{name}" href="{address(packed)}">'
            f"Download zip · {packed.stat().st_size / 1e6:.1f} MB</a></footer>"
        )
    return {"html": text}


def busy(text: str, more: bool = True) -> dict[str, Any]:
    """The dialog while one waits, or `more` of it, which opens none that was closed meanwhile."""
    return {"html": f'<div class="busy"{" data-more" if more else ""}>{text}</div>'}
