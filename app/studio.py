"""What stands behind every page of one server."""

from dataclasses import dataclass
from pathlib import Path

from app.engine import Engine
from app.exporting import Exports
from app.records import Records
from app.session import Sessions
from xsyn_core.curation.workspace import Workspace


@dataclass(frozen=True)
class Studio:
    """Shared by all browsers.

    Attributes:
        engine: the models.
        records: the workspace's samples.
        sessions: what each browser works on.
        exports: writes datasets.
        examples: the example scans by file name.
    """

    engine: Engine
    records: Records
    sessions: Sessions
    exports: Exports
    examples: dict[str, Path]


def make_studio(engine: Engine, workspace: Workspace, examples: Path) -> Studio:
    """A studio over a workspace and a folder of example scans (PNG)."""
    found = {path.name: path for path in sorted(examples.glob("*.png"))}
    return Studio(engine, Records(workspace), Sessions(), Exports(workspace), found)
