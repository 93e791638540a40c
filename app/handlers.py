"""What each control of the page does. One method an event; every value is checked first."""

import functools
import html
import inspect
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from app import incoming
from app.drawing import png, thumbnail
from app.engine import Engine
from app.exporting import BUSY, Exports
from app.records import Records
from app.scene import annotation, crop, occlusion, patch, result, scene
from app.session import Decided, Session, Sessions, Upload, served_folder
from xsyn_core.categories import CATALOGS, catalog
from xsyn_core.curation.readers import read_annotations
from xsyn_core.errors import XsynError
from xsyn_core.grounding import modification
from xsyn_core.sample import Request, Sample
from xsyn_core.scan import Scan, read_scan

log = logging.getLogger(__name__)

IDLE: dict[str, Any] = {}
# Fields of `Request` that have a control of the same name.
SETTINGS = (
    *("variant", "catalog", "seed", "steps", "guidance", "sampler", "frame"),
    *("points", "divisions", "occlude", "alpha", "occlusion"),
)


def guarded(method: Callable) -> Callable:
    """Show an `XsynError` as a message; log anything else and say that it happened."""

    def told(error: Exception) -> gr.Error:
        if isinstance(error, gr.Error):
            return error
        if isinstance(error, XsynError):
            return gr.Error(html.escape(str(error)), title="", print_exception=False, duration=8)
        log.error("A handler of the page failed", exc_info=error)
        return gr.Error(
            "Something went wrong here, not with what you did. The server's log has the details; "
            "your work is still here.",
            title="",
            print_exception=False,
        )

    if inspect.isgeneratorfunction(method):

        @functools.wraps(method)
        def steps(*args: Any, **kwargs: Any) -> Iterator[Any]:
            try:
                yield from method(*args, **kwargs)
            except Exception as error:
                raise told(error) from None

        return steps

    @functools.wraps(method)
    def once(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as error:
            raise told(error) from None

    return once


def canvas(**props: Any) -> Any:
    """An update of the canvas."""
    return gr.HTML(**props)


def boxes_of(session: Session, items: list[dict[str, Any]]) -> dict[str, Any]:
    """The canvas's value: boxes of the open scan."""
    return {"scan": session.scan_id, "boxes": items}


class Handlers:
    """The page's events.

    Args:
        engine: the models.
        records: the workspace's samples.
        sessions: what each browser works on.
        exports: writes datasets.
        examples: folder of example scans.
    """

    def __init__(
        self,
        engine: Engine,
        records: Records,
        sessions: Sessions,
        exports: Exports,
        examples: Path,
    ):
        self.engine = engine
        self.records = records
        self.sessions = sessions
        self.exports = exports
        self.examples = {path.name: path for path in sorted(examples.glob("*.png"))}
        self._shelf: list[dict[str, str]] | None = None

    # ---- the page ----
    @guarded
    def load(self) -> tuple[str, Any]:
        """A browser opened the page: (session id, canvas)."""
        self.engine.start()
        key = self.sessions.new()
        session = self.sessions.get(key)
        return key, canvas(
            scene=scene(session),
            shelf=self.shelf(session),
            records=self.records.listing(),
            models=self.models(),
        )

    def models(self) -> dict[str, str]:
        """State of the models for the top bar."""
        return {"state": self.engine.state, "text": self.engine.text, "why": self.engine.problem}

    def tick(self) -> tuple[Any, Any]:
        """While models load: (canvas, timer)."""
        return canvas(models=self.models()), gr.Timer(active=self.engine.state == "loading")

    def shelf(self, session: Session) -> list[dict[str, str]]:
        """What this browser sent, newest first, then the example scans, with thumbnails."""
        if self._shelf is None:
            self._shelf = [
                {"place": name, "name": name, "thumb": thumbnail(read_scan(path).pixels)}
                for name, path in self.examples.items()
            ]
        sent = [
            {"place": place, "name": upload.name, "thumb": upload.thumb}
            for place, upload in reversed(session.uploads.items())
        ]
        return sent + self._shelf

    # ---- opening ----
    @guarded
    def open_upload(self, key: str, variant: str, event: gr.EventData) -> Any:
        """Files were dropped or chosen: all go on the shelf, the first readable one opens."""
        session = self.sessions.get(key)
        opened, problems = None, []
        for name, path in incoming.uploads(event.files, served_folder()):
            try:
                scan = read_scan(path, name=name)
            except XsynError as error:
                problems.append(str(error))
                continue
            place = f"upload {len(session.uploads) + 1}"
            session.uploads[place] = Upload(name, path, thumbnail(scan.pixels))
            opened = opened or (scan, place)
        if opened is None:
            raise XsynError(problems[0])
        for problem in problems[:3]:
            gr.Warning(html.escape(problem), title="")
        return self._open(session, *opened, variant)

    @guarded
    def open_shelf(self, key: str, variant: str, event: gr.EventData) -> Any:
        """A scan of the shelf was clicked."""
        session = self.sessions.get(key)
        place = str(event.place)
        if place in session.uploads:
            upload = session.uploads[place]
            return self._open(session, read_scan(upload.path, name=upload.name), place, variant)
        if place not in self.examples:
            raise XsynError("There is no such scan. Choose one from the list.")
        return self._open(session, read_scan(self.examples[place]), place, variant)

    @guarded
    def failed(self, event: gr.EventData) -> None:
        """The browser could not send a file."""
        raise XsynError(
            f"{str(event.name)[:120]} could not be sent. Files may be up to 100 MB; "
            "check the file and the connection, then try again."
        )

    def _open(self, session: Session, scan: Scan, place: str, variant: str) -> Any:
        session.run += 1
        if session.labels is not None:
            # A file of annotations rarely lists every scan that is opened after it.
            with suppress(XsynError):
                found, _ = read_annotations(session.labels, scan.name, scan.size, session.catalog)
                scan = replace(scan, annotations=found)
        session.open(scan, place)
        session.scan_url = session.keep(png(scan.pixels))
        value = boxes_of(session, [])
        if variant == "modify" and scan.annotations:
            value = self._modified(session)
        return canvas(
            value=value,
            scene=scene(session, self._finding()),
            shelf=self.shelf(session),
            live=IDLE,
        )

    def _finding(self) -> str:
        return (
            "Waiting for the models …"
            if self.engine.state == "loading"
            else "Looking for idle regions …"
        )

    @guarded
    def find_regions(self, key: str) -> Any:
        """Idle regions of the open scan (Eq. 3)."""
        session = self.sessions.get(key)
        scan, wanted = session.need_scan(), (session.scan_id, session.catalog)
        try:
            with self.engine.use() as synthesizer:
                found = synthesizer.idle(scan, session.catalog)
        except XsynError as error:
            gr.Warning(html.escape(str(error)), title="")
            found = []
        if wanted != (session.scan_id, session.catalog):
            return gr.skip()
        session.regions = found
        return canvas(scene=scene(session))

    # ---- boxes ----
    @guarded
    def change_catalog(self, key: str, value: Any, name: str) -> Any:
        """Another catalogue: categories that it lacks are replaced by ones that fit."""
        session = self.sessions.get(key)
        session.catalog = catalog(name).key
        update = {"scene": scene(session, self._finding() if session.scan else None)}
        items = value.get("boxes") if isinstance(value, dict) else None
        if session.scan is not None and items:
            update["value"] = boxes_of(session, [self._fitting(session, item) for item in items])
        return canvas(**update)

    def _fitting(self, session: Session, item: dict[str, Any]) -> dict[str, Any]:
        names = CATALOGS[session.catalog]
        try:
            return {**item, "category": names.find(str(item.get("category")))}
        except XsynError:
            x1, y1, x2, y2 = item["box"]
            return {**item, "category": names.candidates((x2 - x1) * (y2 - y1))[0]}

    @guarded
    def change_variant(self, key: str, variant: str) -> Any:
        """Xsyn-M starts from the scan's annotations, Xsyn-A from no boxes."""
        session = self.sessions.get(key)
        if session.scan is None:
            return gr.skip()
        if variant == "add":
            return canvas(value=boxes_of(session, []))
        if not session.scan.annotations:
            gr.Info("This scan has no annotations. Load a file that lists them.", title="")
            return canvas(value=boxes_of(session, []))
        return canvas(value=self._modified(session))

    @staticmethod
    def _modified(session: Session) -> dict[str, Any]:
        found = modification(session.need_scan(), CATALOGS[session.catalog])
        return boxes_of(session, [annotation(item) for item in found])

    @guarded
    def annotate(self, key: str, variant: str, event: gr.EventData) -> Any:
        """An annotations file: for the open scan, and for others that it lists once they open."""
        session = self.sessions.get(key)
        scan = session.need_scan()
        ((name, path),) = incoming.uploads(event.files, served_folder())[:1]
        found, notes = read_annotations(path, scan.name, scan.size, session.catalog)
        session.labels = path
        session.scan = replace(scan, annotations=found)
        session.regions = None
        session.clear()
        session.run += 1
        gr.Info(f"{len(found)} annotations read from {html.escape(name)}.", title="", duration=4)
        for note in notes[:3]:
            gr.Warning(html.escape(note), title="")
        update = {"scene": scene(session, self._finding()), "live": IDLE}
        if variant == "modify" and found:
            update["value"] = self._modified(session)
        return canvas(**update)

    @guarded
    def propose(self, key: str, value: Any) -> Any:
        """Xsyn-A's own choice: a random idle region with a category of its area group."""
        session = self.sessions.get(key)
        scan = session.need_scan()
        with self.engine.use() as synthesizer:
            found = synthesizer.propose(scan, session.catalog, secrets.randbits(32))
        own = isinstance(value, dict) and value.get("scan") == session.scan_id
        items = list(value.get("boxes") or []) if own else []
        item = {"category": found.category, "box": [round(v) for v in found.box]}
        return canvas(value=boxes_of(session, [*items, item]))

    # ---- painting ----
    @guarded
    def begin(self, key: str, value: Any, *settings: Any) -> Any:
        """Check the request before it waits for the models."""
        session = self.sessions.get(key)
        self._request(session, value, settings)
        session.run += 1
        waiting = "Waiting for the models …" if self.engine.state == "loading" else "Starting …"
        return canvas(live={"painting": True, "step": 0, "steps": 0, "text": waiting})

    def _request(self, session: Session, value: Any, settings: tuple[Any, ...]) -> Request:
        return incoming.request(
            session.need_scan(),
            session.scan_id,
            value,
            dict(zip(SETTINGS, settings, strict=True)),
            session.occluder,
            session.placement,
        )

    @guarded
    def generate(self, key: str, value: Any, *settings: Any) -> Iterator[Any]:
        """Paint, refine, occlude; a generator of canvas updates."""
        session = self.sessions.get(key)
        try:
            yield from self._paint(session, self._request(session, value, settings))
        except Exception:
            yield canvas(live=IDLE)
            raise
        yield canvas(scene=scene(session), live=IDLE)

    def _paint(self, session: Session, asked: Request) -> Iterator[Any]:
        scan, run = session.need_scan(), session.run
        begun, crop_shown, painting = time.monotonic(), None, None
        with self.engine.use() as synthesizer, closing(synthesizer.paint(scan, asked)) as steps:
            for progress in steps:
                if session.run != run:
                    return
                if progress.preview is not None:
                    crop_shown = crop(session, progress.preview)
                painting = progress.result or painting
                text = f"Step {progress.step} of {progress.steps}"
                yield canvas(
                    live={
                        "painting": True,
                        "step": progress.step,
                        "steps": progress.steps,
                        "text": f"{text} · {time.monotonic() - begun:.1f} s",
                        "patch": crop_shown,
                    }
                )
            painting = synthesizer.refine(painting)
            sample = synthesizer.occlude(
                painting,
                asked.alpha,
                asked.occluder,
                asked.placement,
                asked.occlusion,
                asked.occlude,
            )
        if session.run == run:
            session.clear()
            session.painting = painting
            self._show(session, sample)

    def _show(self, session: Session, sample: Sample) -> None:
        session.sample = sample
        session.result = result(session, sample)

    def stop(self, key: str) -> None:
        """End the painting at its next step."""
        self.sessions.get(key).run += 1

    @staticmethod
    def next_seed(seed: Any) -> int:
        """The seed after this one."""
        try:
            return (int(seed) + 1) % (incoming.MAX_SEED + 1)
        except (TypeError, ValueError):
            return 0

    # ---- label and occlusion ----
    @guarded
    def refine(self, key: str, points: str, divisions: Any, *controls: Any) -> Any:
        """Other points: CAR once more (Section IV-B)."""
        session = self.sessions.get(key)
        if session.painting is None:
            return gr.skip()
        painting = session.painting
        with self.engine.use() as synthesizer:
            refined = synthesizer.refine(
                painting,
                incoming.whole(divisions, 0, 4, "Divisions"),
                incoming.choice(points, ("median", "topk"), "The point sampling"),
            )
            sample = self._occluded(session, synthesizer, refined, controls)
        if session.painting is not painting:
            return gr.skip()
        session.clear()
        session.painting = refined
        self._show(session, sample)
        return canvas(scene=scene(session), live=IDLE)

    @guarded
    def occlude(self, key: str, *controls: Any) -> Any:
        """Another alpha, or BOM on or off: no denoising, only the changed crop goes out."""
        session = self.sessions.get(key)
        if session.painting is None:
            return gr.skip()
        painting = session.painting
        with self.engine.use() as synthesizer:
            sample = self._occluded(session, synthesizer, painting, controls)
        if session.painting is not painting:
            return gr.skip()
        undecided = session.record is None
        session.record = session.decision = None
        session.sample = sample
        live = {"patch": patch(session, sample), "occlusion": occlusion(sample)}
        session.result = {**session.result, **live, "notes": list(sample.notes)}
        return canvas(live=live) if undecided else canvas(live=live, scene=scene(session))

    @staticmethod
    def _occluded(session: Session, synthesizer: Any, painting: Any, controls: Any) -> Any:
        enabled, alpha, mode = controls
        return synthesizer.occlude(
            painting,
            incoming.number(alpha, 0, 1, "Alpha"),
            session.occluder,
            session.placement,
            incoming.choice(mode, ("latent", "every-step", "pixel"), "The occlusion"),
            bool(enabled),
        )

    @guarded
    def next_occluder(self, key: str, *controls: Any) -> Any:
        """The next candidate in line."""
        self.sessions.get(key).occluder += 1
        return self.occlude(key, *controls)

    @guarded
    def next_placement(self, key: str, *controls: Any) -> Any:
        """Another random overlap (Eq. 9)."""
        self.sessions.get(key).placement += 1
        return self.occlude(key, *controls)

    # ---- decisions ----
    def decide(self, decision: str) -> Callable[[str], Any]:
        """The handler of one decision on the sample under review."""

        @guarded
        def handle(key: str) -> Any:
            session = self.sessions.get(key)
            sample = session.need_sample()
            if session.record is not None and session.decision == decision:
                return gr.skip()
            record = self.records.decide(sample, session.record, decision, key)
            session.record, session.decision = record, decision
            session.decided.append(Decided(record, sample.scan, session.painting, sample))
            del session.decided[:-12]
            return canvas(scene=scene(session), records=self.records.listing())

        return handle

    @guarded
    def undo(self, key: str) -> Any:
        """Take back the latest decision; its sample returns to the canvas."""
        session = self.sessions.get(key)
        undone = self.records.undo(key)
        last = session.decided.pop() if session.decided else None
        if last is None or last.record != undone.id:
            sample = self.records.workspace.load(undone.id)
            last = Decided(undone.id, sample.scan, None, sample)
        decision = None if undone.now == "pending" else undone.now
        gr.Info(f"Took back: {undone.decision}.", title="", duration=3)
        return self._recall(session, last, decision)

    @guarded
    def inspect(self, key: str, event: gr.EventData) -> Any:
        """A sample of the strip was clicked: it returns to the canvas, to be decided anew."""
        session = self.sessions.get(key)
        number = incoming.whole(event.id, 1, 2**53, "The sample")
        state = {r.id: r.decision for r in self.records.workspace.records()}.get(number)
        sample = self.records.workspace.load(number)
        for own in session.decided:
            if own.record == number:
                return self._recall(session, own, state)
        return self._recall(session, Decided(number, sample.scan, None, sample), state)

    def _recall(self, session: Session, last: Decided, decision: str | None) -> list[Any]:
        """A decided sample on the canvas, with the settings that made it: (canvas, *settings)."""
        if session.scan is None or session.scan.sha256 != last.scan.sha256:
            session.run += 1
            name = last.scan.name
            session.open(last.scan, name if name in self.examples else None)
            session.scan_url = session.keep(png(last.scan.pixels))
        session.clear()
        session.painting, session.record = last.painting, last.record
        session.decision = decision
        self._show(session, last.sample)
        asked = last.sample.request
        session.catalog = asked.catalog
        session.occluder, session.placement = asked.occluder, asked.placement
        items = [annotation(g) for g in asked.groundings]
        shown = canvas(
            scene=scene(session),
            value=boxes_of(session, items),
            live=IDLE,
            records=self.records.listing(),
        )
        return [shown, *(getattr(asked, name) for name in SETTINGS)]

    # ---- export ----
    @guarded
    def export(self, key: str) -> Iterator[Any]:
        """Write the accepted samples as a dataset and report on it."""
        session = self.sessions.get(key)
        yield canvas(dialog=BUSY)
        try:
            dialog = self.exports.run(session)
        except Exception:
            yield canvas(dialog=IDLE)
            raise
        yield canvas(dialog=dialog)
