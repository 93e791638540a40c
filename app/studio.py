"""What stands behind every page of one server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.engine import Engine
from app.exporting import Exports
from app.records import Records
from app.session import Session, Sessions
from xsyn_core.categories import CATALOGS
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

    def offer(self, session: Session) -> gr.Dropdown:
        """The session's catalogue, to be chosen among those of the datasets, of the models, of the
        accepted samples, and its own."""
        found = [self.engine.catalog, *self.records.catalogs(), session.catalog]
        session.offered = CATALOGS | {own.key: own for own in found if own is not None}
        choices = [(own.title, key) for key, own in session.offered.items()]
        return gr.Dropdown(choices, value=session.catalog.key)

    def listing(self, session: Session) -> dict[str, Any]:
        """The workspace's samples, and which of them others have before them."""
        return {**self.records.listing(), "elsewhere": self.sessions.reviewed(besides=session)}

    def keep_undecided(self, session: Session) -> dict[str, Any]:
        """Store the sample under review, if no decision did, before another scan or sample takes
        its place, and say so; what the canvas has to know of it."""
        with session.lock:
            if session.sample is None or session.record is not None:
                return {}
            session.remember(self.records.workspace.add(session.sample), None)
        gr.Info("The sample without a decision is kept under Undecided.", title="", duration=4)
        return {"records": self.listing(session)}


def make_studio(engine: Engine, workspace: Workspace, examples: Path) -> Studio:
    """A studio over a workspace and a folder of example scans (PNG)."""
    found = {path.name: path for path in sorted(examples.glob("*.png"))}
    return Studio(engine, Records(workspace), Sessions(), Exports(workspace), found)
