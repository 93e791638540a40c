"""Handlers of painting, of the label and of occlusion."""

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import incoming
from app.guard import IDLE, canvas, guarded
from app.scene import changeable, crop, result, scene
from app.session import Session
from app.studio import Studio
from xsyn_core.sample import Request, Sample

if TYPE_CHECKING:  # the page is up before torch is imported
    from xsyn_core.painting import Painting, Progress
    from xsyn_core.synthesis import Synthesizer

    Made = tuple[Painting, Sample]

# Fields of `Request` that have a control of the same name.
SETTINGS = (
    *("variant", "catalog", "seed", "steps", "guidance", "sampler", "frame", "background"),
    *incoming.REVIEW,
)

# Seconds between two messages about a painting: each takes time from it, and nobody sees more.
TELL_EVERY = 0.25

OTHERS = "Painted by other models."


class Painter:
    """Paint (F of Eq. 4), refine (CAR), occlude (BOM)."""

    def __init__(self, studio: Studio):
        self.studio = studio

    @guarded
    def begin(self, key: str, value: Any, *settings: Any) -> Any:
        """Check the request before it waits for the models."""
        session = self.studio.sessions.get(key)
        asked = incoming.request(
            session.need_scan(),
            session.scan_id,
            value,
            dict(zip(SETTINGS, settings, strict=True)),
            session.occluder,
            session.placement,
            session.offered,
        )
        session.run += 1
        session.wanted = asked, session.run
        waiting = self.studio.engine.waiting("Starting …")
        return canvas(live={"painting": True, "step": 0, "steps": 0, "text": waiting})

    @guarded
    def generate(self, key: str) -> Iterator[Any]:
        """Paint what was asked for last, unless it was stopped while it waited; refine, occlude; a
        generator of canvas updates."""
        session = self.studio.sessions.get(key)
        wanted, session.wanted = session.wanted, None
        try:
            if wanted is not None:
                yield from self._paint(session, *wanted)
        except Exception:
            yield canvas(live=IDLE)
            raise
        # Another browser may have exchanged the models.
        yield canvas(scene=scene(session), live=IDLE, models=self.studio.engine.report())

    def _paint(self, session: Session, asked: Request, run: int) -> Iterator[Any]:
        if session.run != run:
            return
        scan = session.need_scan()

        def work(synthesizer: "Synthesizer") -> "Generator[tuple[Progress, Made | None]]":
            for progress in synthesizer.paint(scan, asked):
                yield progress, None
            painting = synthesizer.refine(progress.result)  # type: ignore[arg-type]
            yield progress, (painting, occluded(synthesizer, painting, vars(asked)))

        begun, told, crop_shown = time.monotonic(), 0.0, None
        with closing(self.studio.engine.steps(work)) as steps:
            for progress, made in steps:
                if made is not None:
                    break
                with session.lock:  # the preview is compared with the open scan
                    if session.run != run:
                        return
                    if progress.preview is not None:
                        crop_shown = crop(session, progress.preview)
                finishing = progress.step - asked.steps
                late = time.monotonic() - told >= TELL_EVERY
                if progress.preview is None and finishing != 1 and not late:
                    continue
                told = time.monotonic()
                text = f"Step {progress.step} of {asked.steps}"
                if finishing > 0:
                    text = "Finishing in detail"
                yield canvas(
                    live={
                        "painting": True,
                        "step": progress.step,
                        "steps": progress.steps,
                        "text": f"{text} · {time.monotonic() - begun:.1f} s",
                        "patch": crop_shown,
                    }
                )
        assert made is not None
        painting, sample = made
        with session.lock:
            if session.run == run:
                session.clear()
                session.painting = painting
                session.sample, session.result = sample, result(session, sample)

    @guarded
    def stop(self, key: str) -> Any:
        """End the painting at its next step, or before its first."""
        self.studio.sessions.get(key).run += 1
        return canvas(live=IDLE)

    @staticmethod
    def next_seed(seed: Any) -> int:
        """The seed after this one."""
        try:
            return (int(seed) + 1) % (incoming.MAX_SEED + 1)
        except (TypeError, ValueError):
            return 0

    @guarded
    def adjust(self, key: str, *controls: Any) -> Any:
        """Other points, another alpha, BOM on or off: nothing is denoised again.

        The whole scene goes out after a new label, only the changed crop after a new occlusion.
        """
        session = self.studio.sessions.get(key)
        decided = session.record is not None
        changed = self.match(session, session.turn, controls)
        if changed is None:
            return gr.skip()
        if changed == "label":
            return canvas(scene=scene(session), live=IDLE)
        shown = session.result or {}
        live = {name: shown.get(name) for name in ("patch", "occlusion", "notes")}
        return canvas(live=live, scene=scene(session)) if decided else canvas(live=live)

    @guarded
    def next_occluder(self, key: str, *controls: Any) -> Any:
        """The next candidate in line."""
        self.studio.sessions.get(key).occluder += 1
        return self.adjust(key, *controls)

    @guarded
    def next_placement(self, key: str, *controls: Any) -> Any:
        """Another random overlap (Eq. 9)."""
        self.studio.sessions.get(key).placement += 1
        return self.adjust(key, *controls)

    def match(self, session: Session, turn: int, controls: tuple[Any, ...]) -> str | None:
        """Make the sample under review what the controls ask for.

        Args:
            turn: the session's when the controls were read; what came under review since then is
                left alone.
            controls: values of points, divisions, occlude, alpha and occlusion.

        Returns:
            "label" where CAR ran again (Section IV-B), "occlusion" where only BOM did (Section
            IV-C), None where nothing had to change or nothing can: a sample from the workspace
            comes without its latents, and one of other models is "label" once, to say so. None
            too where something else came under review.

        Raises:
            XsynError: a value out of range.
        """
        with session.matching:  # the change that was asked for last is the last to be made
            return self._match(session, turn, incoming.review(controls))

    def _match(self, session: Session, turn: int, wanted: dict[str, Any]) -> str | None:
        with session.lock:
            painting, sample = session.painting, session.sample
            if session.turn != turn or painting is None or sample is None:
                return None
            wanted |= {"occluder": session.occluder, "placement": session.placement}
        asked = vars(sample.request)
        differs = {name for name, value in wanted.items() if asked[name] != value}
        if not differs:
            return None
        label = bool(differs & {"points", "divisions"})

        def work(synthesizer: "Synthesizer", before: "Painting" = painting) -> "Made | None":
            if not synthesizer.made(before):
                return None
            if label:
                before = synthesizer.refine(before, wanted["divisions"], wanted["points"])
            return before, occluded(synthesizer, before, wanted)

        made = self.studio.engine.run(work)
        with session.lock:
            if session.turn != turn:
                return None
            if made is None:
                session.painting, session.result = None, result(session, sample)
                session.result["notes"].append(OTHERS)
                return "label"
            session.painting, session.sample = painting, sample = made
            session.record = session.decision = None
            if label or session.result is None:
                session.result = result(session, sample)
            else:
                session.result = {**session.result, **changeable(session, sample)}
        return "label" if label else "occlusion"


def occluded(synthesizer: "Synthesizer", painting: "Painting", wanted: Mapping[str, Any]) -> Sample:
    """BOM with the values of a request's fields."""
    return synthesizer.occlude(
        painting,
        wanted["alpha"],
        wanted["occluder"],
        wanted["placement"],
        wanted["occlusion"],
        wanted["occlude"],
    )
