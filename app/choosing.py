"""Handlers of the models: how far they are, and which they are."""

import html
import secrets
from collections.abc import Iterator
from typing import Any

import gradio as gr

from app import incoming
from app.engine import EMBEDDED, FIXED, Choice
from app.guard import IDLE, canvas, guarded
from app.scene import scene
from app.studio import Studio
from xsyn_core.categories import CATALOGS, PIDRAY
from xsyn_core.errors import XsynError

FIELDS = (
    ("diffusion", "Diffusion", "a diffusers folder, an original GLIGEN file, or a hub id"),
    ("sam", "SAM", "a file of SAM ViT-B, L or H, or of MobileSAM"),
)


class Choosing:
    """Tell which models are in use, and exchange them."""

    def __init__(self, studio: Studio):
        self.studio = studio

    def tick(self) -> tuple[Any, Any]:
        """While models load: (canvas, timer)."""
        engine = self.studio.engine
        return canvas(models=engine.report()), gr.Timer(active=engine.state == "loading")

    @guarded
    def choose(self) -> Any:
        """The dialog that asks for models."""
        engine = self.studio.engine
        return canvas(dialog=sheet(engine.choice, engine.fixed), models=engine.report())

    @guarded
    def exchange(self, key: str, event: gr.EventData) -> Iterator[tuple[Any, Any]]:
        """Use the models that the dialog names; where they cannot be loaded it says why. What they
        were fine-tuned to paint can be asked for then: (canvas, catalogue)."""
        engine = self.studio.engine
        try:
            session = self.studio.sessions.get(key)
            named = [incoming.source(getattr(event, name), title) for name, title, _ in FIELDS]
        except XsynError:
            yield canvas(dialog=IDLE), gr.skip()
            raise
        choice = Choice(*named)
        yield canvas(models={"state": "loading", "text": "Loading models"}), gr.skip()
        try:
            engine.exchange(choice)
        except XsynError as error:
            again = sheet(choice, engine.fixed, str(error))
            yield canvas(dialog=again, models=engine.report()), gr.skip()
            return
        if engine.catalog is not None or session.catalog.key not in CATALOGS:
            session.catalog = engine.catalog or PIDRAY
        session.regions = None
        shown = canvas(dialog=IDLE, models=engine.report(), scene=scene(session))
        yield shown, self.studio.offer(session)


def sheet(choice: Choice, fixed: bool, problem: str = "") -> dict[str, str]:
    """The dialog's HTML; its id tells it from the same one, closed by the operator before."""
    locked = "disabled" if fixed else ""
    fields = "".join(
        f'<label>{title}<input name="{name}" value="{html.escape(getattr(choice, name))}" '
        f'autocomplete="off" spellcheck="false" {locked}><i>{EMBEDDED}, {hint}</i></label>'
        for name, title, hint in FIELDS
    )
    told = f'<p class="flag">{html.escape(problem)}</p>' if problem else ""
    if fixed:
        end = f'<p class="path">{html.escape(FIXED)}</p>'
    else:
        end = '<footer><button class="xs-btn primary" data-do="exchange">Load</button></footer>'
    return {
        "id": secrets.token_hex(4),
        "html": '<header><h2>Models</h2><button class="xs-x" data-do="close" aria-label="Close">'
        f'&times;</button></header><div class="fields">{fields}</div>{told}{end}',
    }
