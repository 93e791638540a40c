"""Handlers of the page's left side and of boxes: which scan, and where an item goes."""

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr

from app import incoming
from app.drawing import png
from app.guard import IDLE, canvas, guarded, placed, shown
from app.scene import annotation, regions, scene
from app.session import Session, Upload, address, served_folder, temporary_folder
from app.studio import Studio
from xsyn_core.categories import PIDRAY
from xsyn_core.curation.coco import counted
from xsyn_core.curation.readers import read_annotations
from xsyn_core.curation.thumbnails import thumbnail
from xsyn_core.errors import XsynError
from xsyn_core.grounding import modification
from xsyn_core.scan import Scan, read_scan


class Placing:
    """Open scans, find idle regions, make boxes."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self._thumbs = temporary_folder("examples")

    @guarded
    def load(self) -> tuple[str, Any, Any]:
        """A browser opened the page: (session id, canvas, catalogue)."""
        self.studio.engine.start()
        key = self.studio.sessions.new()
        session = self.studio.sessions.get(key)
        session.catalog = self.studio.engine.catalog or PIDRAY
        shown = canvas(
            scene=scene(session),
            shelf=self.shelf(session),
            records=self.studio.listing(session),
            models=self.studio.engine.report(),
        )
        return key, shown, self.studio.offer(session)

    def shelf(self, session: Session) -> list[dict[str, str]]:
        """What this browser sent, then the example scans, with thumbnails."""
        sent = [
            {"place": place, "name": sent.name, "thumb": sent.thumb, "sha256": sent.sha256}
            for place, sent in session.uploads.items()
        ]
        return sent + self._examples

    @cached_property
    def _examples(self) -> list[dict[str, str]]:
        items = []
        for name, path in self.studio.examples.items():
            scan = read_scan(path)
            thumb = Path(self._thumbs.name, f"{path.stem}.jpg")
            thumb.write_bytes(thumbnail(scan.pixels))
            items.append(
                {"place": name, "name": name, "thumb": address(thumb), "sha256": scan.sha256}
            )
        return items

    @guarded
    def open_upload(self, key: str, variant: str, event: gr.EventData) -> Any:
        """Files were dropped or chosen: all go on the shelf, the first readable one opens, with
        the annotations that were dropped beside them."""
        session = self.studio.sessions.get(key)
        opened, problems = None, []
        for name, path in incoming.uploads(event.files, served_folder()):
            try:
                scan = read_scan(path, name=name)
            except XsynError as error:
                problems.append(str(error))
                continue
            place = f"upload {len(session.uploads) + 1}"
            thumb = session.keep(thumbnail(scan.pixels), ".jpg")
            session.uploads[place] = Upload(name, path, thumb, scan.sha256)
            opened = opened or (scan, place)
        if opened is None:
            raise XsynError(problems[0])
        for problem in problems[:3]:
            gr.Warning(shown(problem), title="")
        if event.labels:
            try:
                self._labels(session, event.labels, opened[0])
            except XsynError as error:
                gr.Warning(shown(str(error)), title="")
        return self._open(session, *opened, variant)

    @guarded
    def open_shelf(self, key: str, variant: str, event: gr.EventData) -> Any:
        """A scan of the shelf was clicked."""
        session = self.studio.sessions.get(key)
        place = str(event.place)
        if place in session.uploads:
            upload = session.uploads[place]
            return self._open(session, read_scan(upload.path, name=upload.name), place, variant)
        if place not in self.studio.examples:
            raise XsynError("There is no such scan. Choose one from the list.")
        return self._open(session, read_scan(self.studio.examples[place]), place, variant)

    @guarded
    def failed(self, event: gr.EventData) -> None:
        """The browser could not send a file."""
        raise XsynError(
            f"{str(event.name)[:120]} could not be sent. Files may be up to 100 MB; "
            "check the file and the connection, then try again."
        )

    def _open(self, session: Session, scan: Scan, place: str, variant: str) -> Any:
        if session.labels is not None:
            file, labelled = session.labels
            # A file of annotations rarely lists every scan that is opened after it, and none but
            # COCO's tells of which scan it is.
            if file.suffix.lower() == ".json" or scan.sha256 == labelled:
                with suppress(XsynError):
                    found, _ = read_annotations(file, scan.name, scan.size, session.catalog)
                    scan = replace(scan, annotations=found)
        picture = png(scan.pixels)
        with session.lock:
            session.run += 1
            kept = self.studio.keep_undecided(session)
            session.open(scan, picture, place)
        update = {
            "scene": scene(session, self._finding()),
            "shelf": self.shelf(session),
            "live": IDLE,
            **kept,
        }
        if variant == "modify" and scan.annotations:
            update["placed"] = placed(session, self._annotated(session))
        return canvas(**update)

    @staticmethod
    def _labels(session: Session, files: Any, scan: Scan) -> Scan:
        """A scan with what an annotations file says of it; those opened later look in it too.

        Args:
            files: it, and those with YOLO's names of classes after it.
        """
        (name, path), *others = incoming.uploads(files, served_folder())
        if others:  # each arrives in a folder of its own, and names belong beside their labels
            session.files += 1
            folder = session.folder / f"labels-{session.files}"
            folder.mkdir()
            path, *_ = [Path(shutil.copy(one, folder)) for _, one in ((name, path), *others)]
        try:
            found, notes = read_annotations(path, scan.name, scan.size, session.catalog)
        except XsynError as error:  # they were sent under their names
            said = str(error).replace(str(path), name).replace(f"{path.parent}{os.sep}", "")
            raise XsynError(said) from None
        session.labels = path, scan.sha256
        some = counted(len(found), "annotation")
        gr.Info(f"{some} of this scan read from {shown(name)}.", title="", duration=4)
        for note in notes[:3]:
            gr.Warning(shown(note), title="")
        return replace(scan, annotations=found)

    def _finding(self) -> str:
        return self.studio.engine.waiting("Looking for idle regions …")

    @guarded
    def find_regions(self, key: str) -> Any:
        """Idle regions of the open scan (Eq. 3)."""
        session = self.studio.sessions.get(key)
        if session.scan is None:
            return gr.skip()
        scan, wanted = session.scan, (session.scan_id, session.catalog)
        try:
            found = self.studio.engine.run(lambda models: models.idle(scan, session.catalog))
        except XsynError as error:
            gr.Warning(shown(str(error)), title="")
            found = []
        outlined = regions(found)
        with session.lock:
            if wanted != (session.scan_id, session.catalog):
                return gr.skip()
            session.regions = outlined
        return canvas(scene=scene(session))

    @guarded
    def change_catalog(self, key: str, name: str) -> Any:
        """Another catalogue; the canvas replaces categories that it lacks by ones that fit."""
        session = self.studio.sessions.get(key)
        session.catalog = incoming.catalog(name, session.offered)
        session.regions = None
        return canvas(scene=scene(session, self._finding()))

    @guarded
    def change_variant(self, key: str, value: Any, variant: str) -> Any:
        """Xsyn-M starts from the scan's annotations, Xsyn-A from no boxes."""
        session = self.studio.sessions.get(key)
        if session.scan is None:
            return gr.skip()
        found = self._annotated(session) if variant == "modify" else []
        return canvas(placed=placed(session, found, instead=value))

    @staticmethod
    def _annotated(session: Session) -> list[dict[str, Any]]:
        scan = session.need_scan()
        if not scan.annotations:
            gr.Info("This scan has no annotations. Load a file that lists them.", title="")
            return []
        try:
            found = modification(scan, session.catalog)
        except XsynError as error:  # the scan opens all the same
            gr.Warning(shown(str(error)), title="")
            return []
        return [annotation(item) for item in found]

    @guarded
    def annotate(self, key: str, value: Any, variant: str, event: gr.EventData) -> Any:
        """An annotations file: for the open scan, and for others that it lists once they open."""
        session = self.studio.sessions.get(key)
        with session.lock:
            scan = self._labels(session, event.files, session.need_scan())
            kept = self.studio.keep_undecided(session)
            session.scan = scan
            session.regions = None
            session.clear()
            session.run += 1
        update = {"scene": scene(session, self._finding()), "live": IDLE, **kept}
        if variant == "modify" and session.scan.annotations:
            update["placed"] = placed(session, self._annotated(session), instead=value)
        return canvas(**update)

    @guarded
    def propose(self, key: str, value: Any, variant: str) -> Any:
        """Xsyn-A's own choice, a random idle region with a category of its area group; for Xsyn-M
        the annotated items. What was asked for after it waits on the canvas for this answer."""
        session = self.studio.sessions.get(key)
        with session.lock:
            scan, scan_id = session.need_scan(), session.scan_id
        if variant == "modify":
            known = self._annotated(session)
            instead = value if known else None
            return canvas(placed=placed(session, known, instead, proposed=True))
        seed = secrets.randbits(32)
        taken = [tuple(item["box"]) for item in incoming.drawn(value, session.scan_id)]
        found = self.studio.engine.run(
            lambda models: models.propose(scan, session.catalog, seed, taken)
        )
        if session.scan_id != scan_id:
            return gr.skip()
        item = {"category": found.category, "box": [round(v) for v in found.box]}
        return canvas(placed=placed(session, [item], proposed=True))
