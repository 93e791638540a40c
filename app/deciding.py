"""Handlers of decisions on samples, and of the export."""

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from app import incoming
from app.drawing import png
from app.guard import IDLE, canvas, guarded, placed
from app.painting import SETTINGS, Painter
from app.scene import annotation, result, scene
from app.session import Session, Stored
from app.studio import Studio
from xsyn_core.curation.workspace import Decision, State
from xsyn_core.errors import XsynError

REPLACED = (
    "Another scan or sample came up before this decision could be kept, so nothing was decided. "
    "Look at what is shown now."
)


class Deciding:
    """Accept, reject, skip, take back, look again, export."""

    def __init__(self, studio: Studio, painter: Painter):
        self.studio = studio
        self._painter = painter

    def decide(self, decision: Decision) -> Callable[..., Any]:
        """The handler of one decision on the sample under review."""

        @guarded
        def handle(key: str, *controls: Any) -> Any:
            session = self.studio.sessions.get(key)
            turn = session.turn
            # A key may be faster than the last move of a slider.
            self._painter.match(session, turn, controls)
            with session.lock:
                if session.turn != turn:
                    raise XsynError(REPLACED)
                sample = session.need_sample()
                if session.record is not None and session.decision == decision:
                    return gr.skip()
                record = self.studio.records.decide(sample, session.record, decision, key)
                session.remember(record, decision)
            return canvas(scene=scene(session), records=self.studio.listing(session))

        return handle

    @guarded
    def undo(self, key: str, value: Any) -> Iterator[Any]:
        """Take back the latest decision; its sample returns to the canvas."""
        session = self.studio.sessions.get(key)
        try:
            undone = self.studio.records.undo(key)
        except XsynError:
            # It may be one of another server, whose sample this page has not seen yet.
            listing = self.studio.listing(session)
            yield [canvas(records=listing), *[gr.skip()] * len(SETTINGS)]
            raise
        gr.Info(f"Took back: {undone.decision}.", title="", duration=3)
        yield self._recall(session, undone.id, undone.now, value)

    @guarded
    def inspect(self, key: str, value: Any, event: gr.EventData) -> Any:
        """A sample of the strip was clicked: it returns to the canvas, to be decided anew."""
        session = self.studio.sessions.get(key)
        number = incoming.whole(event.id, 1, 2**53, "The sample")
        state = self.studio.records.workspace.state(number)
        return self._recall(session, number, state, value)

    def _stored(self, session: Session, record: int) -> Stored:
        """A sample of the workspace, with its painting where this page has painted it lately."""
        for own in session.stored:
            if own.record == record:
                return own
        sample = self.studio.records.workspace.load(record)
        return Stored(record, sample.scan, None, sample)

    def _recall(self, session: Session, record: int, state: State, value: Any) -> list[Any]:
        """A stored sample on the canvas, with the settings that made it: (canvas, *settings)."""
        with session.lock:
            session.run += 1
            self.studio.keep_undecided(session)
            last = self._stored(session, record)
            asked = last.sample.request
            if session.scan is None or session.scan.sha256 != last.scan.sha256:
                session.open(last.scan, png(last.scan.pixels))
            session.clear()
            session.painting, session.record = last.painting, last.record
            session.decision = None if state == "pending" else state
            session.sample, session.result = last.sample, result(session, last.sample)
            session.catalog = asked.catalog
            session.occluder, session.placement = asked.occluder, asked.placement
        items = [annotation(g) for g in asked.groundings]
        shown = canvas(
            scene=scene(session),
            placed=placed(session, items, instead=value),
            live=IDLE,
            records=self.studio.listing(session),
        )
        settings = {name: getattr(asked, name) for name in SETTINGS}
        settings["catalog"] = self.studio.offer(session)
        return [shown, *settings.values()]

    @guarded
    def export(self, key: str) -> Iterator[Any]:
        """Write the accepted samples as a dataset and report on it."""
        session = self.studio.sessions.get(key)
        try:
            for dialog in self.studio.exports.run(session):
                yield canvas(dialog=dialog)
        except Exception:
            yield canvas(dialog=IDLE)
            raise
