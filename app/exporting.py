"""Export from the page: a dataset folder in the workspace, a zip for the browser, a report."""

import html
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.session import Session, address
from xsyn_core.curation.coco import ExportReport, counted, export
from xsyn_core.curation.workspace import Workspace


class Exports:
    """Writes the datasets of one workspace, to `exports/<catalogue>` in its folder."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace

    def run(self, session: Session) -> dict[str, Any]:
        """Export the accepted samples of the session's catalogue: the dialog that reports on it.

        Raises:
            XsynError: nothing is accepted, or the folder cannot be written.
        """
        out = self.workspace.path / "exports" / session.catalog.key
        report = export(self.workspace, out, session.catalog)
        name = f"xsyn-{session.catalog.key}.zip"
        session.files += 1
        packed = session.folder / f"{session.files}-{name}"
        pack(out, packed)
        for earlier in set(session.folder.glob("*.zip")) - {packed}:
            with suppress(OSError):  # Windows keeps what is still being sent
                earlier.unlink()
        return {"html": sheet(report, session, packed, name)}


def pack(folder: Path, out: Path) -> None:
    """Put a folder into a zip; pictures are packed already and stay as they are."""
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.rglob("*")):
            kind = zipfile.ZIP_STORED if path.suffix == ".png" else zipfile.ZIP_DEFLATED
            archive.write(path, path.relative_to(folder).as_posix(), compress_type=kind)


def sheet(report: ExportReport, session: Session, packed: Path, name: str) -> str:
    """The report as the dialog's HTML."""
    told = (
        counted(report.images, "image"),
        counted(report.annotations, "annotation"),
        f"{report.painted} of them painted",
    )
    parts = (one.partition(" ") for one in told)
    tiles = "".join(f"<div><b>{count}</b>{what}</div>" for count, _, what in parts)
    notes = "".join(f'<p class="flag">{html.escape(note)}</p>' for note in report.notes)
    size = packed.stat().st_size / 1e6
    title = html.escape(session.catalog.title)
    return (
        f'<header><h2>{title} dataset exported</h2><button class="xs-x" data-do="close" '
        f'aria-label="Close">&times;</button></header><div class="tiles">{tiles}</div>{notes}'
        f'<p class="path">COCO, written to<code>{html.escape(str(report.path))}</code></p>'
        f'<footer><a class="xs-btn primary" download="{name}" '
        f'href="{address(packed)}">Download zip · {size:.1f} MB</a></footer>'
    )


BUSY = {"html": '<div class="busy">Writing the dataset …</div>'}
