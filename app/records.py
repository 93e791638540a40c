"""The strip of decided samples, and what one operator may take back."""

import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

from app.session import address, temporary_folder
from xsyn_core.categories import Catalog
from xsyn_core.curation import store
from xsyn_core.curation.workspace import STATES, Decision, Record, Undone, Workspace
from xsyn_core.errors import XsynError
from xsyn_core.sample import Sample

log = logging.getLogger(__name__)

SHOWN = 200


class Records:
    """A workspace as the page shows it. Safe to share between threads."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self._folder = temporary_folder("records")
        # By whom: each has the ids of decisions, and takes back no others.
        self._own: defaultdict[str, set[int]] = defaultdict(set)

    def decide(self, sample: Sample, record: int | None, decision: Decision, by: str) -> int:
        """Store a sample, unless it is already `record`, and the decision on it; its id."""
        if record is None:
            record = self.workspace.add(sample)
        self._own[by].add(self.workspace.decide(record, decision))
        return record

    def undo(self, by: str) -> Undone:
        """Take back the latest decision.

        Raises:
            XsynError: there is none, or another browser, page or server made it.
        """
        undone = self.workspace.undo(self._own[by])
        if undone is None:
            raise XsynError("There is no decision to undo.")
        return undone

    def listing(self) -> dict[str, Any]:
        """Counts, the newest samples of each state, newest first, and how many samples of each scan
        are accepted, by the scan's sha256."""
        return {
            "counts": self.workspace.counts(),
            "items": [
                self._item(record)
                for state in STATES
                for record in reversed(self.workspace.records(state, newest=SHOWN))
            ],
            "accepted": self.workspace.accepted(),
        }

    def catalogs(self) -> tuple[Catalog, ...]:
        """Those of the accepted samples; none where they cannot be read."""
        try:
            return self.workspace.catalogs()
        except XsynError as error:
            log.warning("The catalogues of accepted samples are not offered: %s", error)
            return ()

    def _item(self, record: Record) -> dict[str, Any]:
        names = ", ".join(name.replace("_", " ") for name in record.categories)
        return {
            "id": record.id,
            "decision": record.decision,
            "label": names,
            "title": f"#{record.id} · {names} · {record.name}",
            "thumb": self._thumb(record),
        }

    def _thumb(self, record: Record) -> str:
        # A copy, for the workspace itself is not served.
        path = Path(self._folder.name, f"{record.id}.jpg")
        if not path.exists():
            try:
                path.write_bytes(store.thumbnail_file(record.folder))
            except XsynError as error:
                log.warning("Sample %d has no picture: %s", record.id, error)
                path.touch()
        return address(path)
