"""The canvas component: a `gr.HTML` whose one HTML5 canvas holds every layer.

Its value is what the operator drew: {"scan": id, "boxes": [{"box": [4], "category": name}]}, as
unvalidated as anything from a browser (`incoming` checks it). Only the browser sets it: an answer
of the server may be late, and what was drawn since must stay. What the server shows travels in
props:

- scene: scan, regions, painting under review (`scene.scene`); {} before a session has begun. A new
  scan starts without boxes.
- placed: boxes that join those on the canvas (`guard.placed`).
- live: progress of a painting with its preview, or the newest occluded crop; {} when idle.
- shelf, records, models, dialog: example scans, decided samples, state of the models, a dialog.

It triggers open, shelf, annotate, failed, choose, exchange, inspect and export with the data that
the handler of the same purpose reads.
"""

from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parent / "static"
# one scope, in the order in which they need each other
SCRIPTS = (
    "canvas.js",
    "editing.js",
    "controls.js",
    "opening.js",
    "panels.js",
    "deciding.js",
    "keys.js",
    "answers.js",
)
STYLES = (STATIC / "page.css", STATIC / "controls.css")


def make_canvas() -> gr.HTML:
    """The component, to be placed once in the page."""
    return gr.HTML(
        value={"scan": None, "boxes": []},
        html_template=(STATIC / "page.html").read_text("utf-8"),
        js_on_load="\n".join((STATIC / name).read_text("utf-8") for name in SCRIPTS),
        apply_default_css=False,
        elem_id="xs-page",
        scene={},
        placed={},
        live={},
        shelf=[],
        records={"counts": {}, "items": [], "accepted": {}, "elsewhere": []},
        models={"state": "loading", "text": "Loading models"},
        dialog={},
    )
