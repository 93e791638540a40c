"""Handlers of painting, of the label and of occlusion."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from app import incoming
from app.guard import IDLE, canvas, guarded
from app.scene import crop, occlusion, patch, result, scene
from app.session import Session
from app.studio import Studio
from xsyn_core.sample import Request

# Fields of `Request` that have a control of the same name.
SETTINGS = (
    *("variant", "catalog", "seed", "steps", "guidance", "sampler", "frame"),
    *("points", "divisions", "occlude", "alpha", "occlusion"),
)


class Painter:
    """Paint (F of Eq. 4), refine (CAR), occlude (BOM)."""

    def __init__(self, studio: Studio):
        self.studio = studio

    @guarded
    def begin(self, key: str, value: Any, *settings: Any) -> Any:
        """Check the request before it waits for the models."""
        session = self.studio.sessions.get(key)
        self._request(session, value, settings)
        session.run += 1
        waiting = self.studio.engine.waiting("Starting …")
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
        session = self.studio.sessions.get(key)
        try:
            yield from self._paint(session, self._request(session, value, settings))
        except Exception:
            yield canvas(live=IDLE)
            raise
        yield canvas(scene=scene(session), live=IDLE)

    def _paint(self, session: Session, asked: Request) -> Iterator[Any]:
        scan, run = session.need_scan(), session.run
        begun, crop_shown, painting = time.monotonic(), None, None
        with (
            self.studio.engine.use() as synthesizer,
            closing(synthesizer.paint(scan, asked)) as steps,  # type: ignore[type-var]
        ):
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
            painting = synthesizer.refine(painting)  # type: ignore[arg-type]
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
            session.sample, session.result = sample, result(session, sample)

    def stop(self, key: str) -> None:
        """End the painting at its next step."""
        self.studio.sessions.get(key).run += 1

    @staticmethod
    def next_seed(seed: Any) -> int:
        """The seed after this one."""
        try:
            return (int(seed) + 1) % (incoming.MAX_SEED + 1)
        except (TypeError, ValueError):
            return 0

    @guarded
    def refine(self, key: str, points: str, divisions: Any, *controls: Any) -> Any:
        """Other points: CAR once more (Section IV-B)."""
        session = self.studio.sessions.get(key)
        if session.painting is None:
            return gr.skip()
        painting = session.painting
        with self.studio.engine.use() as synthesizer:
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
        session.sample, session.result = sample, result(session, sample)
        return canvas(scene=scene(session), live=IDLE)

    @guarded
    def occlude(self, key: str, *controls: Any) -> Any:
        """Another alpha, or BOM on or off: no denoising, only the changed crop goes out."""
        session = self.studio.sessions.get(key)
        if session.painting is None:
            return gr.skip()
        painting = session.painting
        if self._in_step(session, controls):
            return gr.skip()
        with self.studio.engine.use() as synthesizer:
            sample = self._occluded(session, synthesizer, painting, controls)
        if session.painting is not painting:
            return gr.skip()
        undecided = session.record is None
        session.record = session.decision = None
        session.sample = sample
        live = {"patch": patch(session, sample), "occlusion": occlusion(sample)}
        session.result = {**session.result, **live, "notes": list(sample.notes)}  # type: ignore[dict-item]
        return canvas(live=live) if undecided else canvas(live=live, scene=scene(session))

    @staticmethod
    def _in_step(session: Session, controls: tuple[Any, ...]) -> bool:
        """Whether the sample under review is what the controls ask for."""
        asked = session.need_sample().request
        return (asked.occluder, asked.placement) == (session.occluder, session.placement) and (
            asked.occlude,
            asked.alpha,
            asked.occlusion,
        ) == controls

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
        self.studio.sessions.get(key).occluder += 1
        return self.occlude(key, *controls)

    @guarded
    def next_placement(self, key: str, *controls: Any) -> Any:
        """Another random overlap (Eq. 9)."""
        self.studio.sessions.get(key).placement += 1
        return self.occlude(key, *controls)
