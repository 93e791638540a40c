"""Where everything is: one screen, canvas to the left, controls to the right."""

import gradio as gr

from app.canvas import STYLES, make_canvas
from app.choosing import Choosing
from app.deciding import Deciding
from app.incoming import REVIEW
from app.painting import SETTINGS, Painter
from app.placing import Placing
from app.studio import Studio
from xsyn_core.categories import CATALOGS
from xsyn_core.sample import Grounding, Request

MAX_UPLOAD = "100mb"
DEFAULTS = Request((Grounding("Knife", (0, 0, 1, 1)),))
# The page's events mean nothing without its canvas, so they are not offered as an API.
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
GPU = {"concurrency_id": "gpu", "concurrency_limit": 1, **QUIET}
FAST = {"concurrency_limit": 8, **QUIET}
# Asked again before the answer is there, Gradio would do nothing; these run once more then.
AGAIN = {"trigger_mode": "always_last"}
# The catalogue is left out: which are offered, and which comes first, the models decide.
KEPT = tuple(name for name in SETTINGS if name != "catalog")
THEN = [("None", "stay"), ("Seed", "seed"), ("Scan", "scan"), ("Undecided", "undecided")]


def build(studio: Studio) -> gr.Blocks:
    """The page."""
    with gr.Blocks(
        title="Xsyn Studio", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
    ) as page:
        # Not a `gr.State`: those end some hours after they were set, however busy the page is.
        key = gr.Textbox(visible=False)
        timer = gr.Timer(1.0)
        canvas = make_canvas()
        with gr.Column(elem_id="xs-side"):
            controls = _controls()
        _wire(page, studio, key, timer, canvas, controls)
    return page


def launch_options() -> dict:
    """What `Blocks.launch` needs for this page, besides where it listens."""
    return {
        "css_paths": list(STYLES),
        # a workbench is no narrower: telephones show all of it, smaller
        "head": '<meta name="viewport" content="width=1024">',
        "theme": gr.themes.Base(font=["sans-serif"], font_mono=["monospace"]),
        "footer_links": [],
        "ssr_mode": False,
        "max_file_size": MAX_UPLOAD,
        "show_error": True,
        # GRADIO_SHARE or a hosted notebook would give a page that lets choose any file of this
        # machine as its models a public address
        "share": False,
    }


def _controls() -> dict[str, gr.components.Component]:
    c: dict[str, gr.components.Component] = {}
    with gr.Column(elem_id="xs-scroll"):
        with gr.Column(elem_classes="xs-group"):
            _title("Place")
            with gr.Row(elem_classes="xs-pair"):
                c["variant"] = gr.Radio(
                    [("Add", "add"), ("Modify", "modify")],
                    value="add",
                    label="Variant",
                    show_label=False,
                    container=False,
                    elem_classes="xs-seg",
                    elem_id="xs-variant",
                )
                c["catalog"] = gr.Dropdown(
                    [(entry.title, key) for key, entry in CATALOGS.items()],
                    value="pidray",
                    label="Catalogue",
                    show_label=False,
                    container=False,
                    elem_id="xs-catalog",
                    filterable=False,
                )
            gr.HTML('<div id="xs-boxes"></div>', js_on_load=None, apply_default_css=False)
            with gr.Row(elem_classes="xs-pair"):
                c["propose"] = gr.Button("Propose", elem_id="xs-propose", size="sm")
                gr.Button("Annotations …", elem_id="xs-labels", size="sm")
        with gr.Column(elem_classes="xs-group"):
            _title("Paint")
            with gr.Row(elem_classes="xs-pair xs-seedrow"):
                c["seed"] = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="xs-seed")
                c["dice"] = gr.Button("Random", elem_id="xs-dice", size="sm")
            c["steps"] = _slider("Steps", 1, 100, DEFAULTS.steps, 1)
            c["guidance"] = _slider("Guidance", 1, 15, DEFAULTS.guidance, 0.5)
            with gr.Accordion("Advanced", open=False, elem_classes="xs-acc"):
                c["sampler"] = _choice(
                    "Sampler", [("DDIM", "ddim"), ("DPM++", "dpm++")], DEFAULTS.sampler
                )
                c["frame"] = _choice(
                    "Frame", [("Window", "window"), ("Whole scan", "whole")], DEFAULTS.frame
                )
                c["background"] = _choice(
                    "Background", [("Kept", "keep"), ("Repainted", "repaint")], DEFAULTS.background
                )
                c["occlusion"] = _choice(
                    "Occlusion",
                    [("Latent", "latent"), ("Every step", "every-step"), ("Pixel", "pixel")],
                    DEFAULTS.occlusion,
                )
            c["generate"] = gr.Button("Generate", elem_id="xs-generate", variant="primary")
            c["stop"] = gr.Button("Stop", elem_id="xs-stop", variant="stop")
        with gr.Column(elem_classes="xs-group"):
            _title("Label", "cross-attention refinement")
            c["points"] = _choice(
                "Points", [("Median", "median"), ("Top-k", "topk")], DEFAULTS.points
            )
            c["divisions"] = _slider("Divisions", 0, 4, DEFAULTS.divisions, 1)
            gr.HTML('<div id="xs-findings"></div>', js_on_load=None, apply_default_css=False)
        with gr.Column(elem_classes="xs-group"):
            _title("Occlude", "background occlusion")
            c["occlude"] = gr.Checkbox(
                DEFAULTS.occlude,
                label="Background occlusion",
                container=False,
                elem_id="xs-occlude",
            )
            c["alpha"] = _slider("Alpha", 0, 1, DEFAULTS.alpha, 0.01)
            with gr.Row(elem_classes="xs-pair"):
                c["next_occluder"] = gr.Button("Next occluder", size="sm", elem_id="xs-occluder")
                c["next_placement"] = gr.Button("Next placement", size="sm", elem_id="xs-placement")
    with gr.Column(elem_id="xs-decide"):
        with gr.Row():
            c["accept"] = gr.Button("Accept", elem_id="xs-accept", variant="primary")
            c["reject"] = gr.Button("Reject", elem_id="xs-reject")
            c["skip"] = gr.Button("Skip", elem_id="xs-skip")
        with gr.Row():
            c["undo"] = gr.Button("Undo", elem_id="xs-undo", size="sm")
            c["next"] = gr.Button("Next seed", elem_id="xs-next", size="sm")
        c["then"] = _choice("Then next", THEN, "stay", "then")
    return c


def _title(text: str, note: str = "") -> None:
    small = f"<span>{note}</span>" if note else ""
    gr.HTML(f"<h2>{text}{small}</h2>", js_on_load=None, apply_default_css=False)


def _slider(label: str, low: float, high: float, value: float, step: float) -> gr.Slider:
    return gr.Slider(
        low,
        high,
        value,
        step=step,
        label=label,
        elem_id=f"xs-{label.lower()}",
        elem_classes="xs-slider",
        buttons=[],
    )


def _choice(
    label: str, choices: list[tuple[str, str]], value: str, name: str | None = None
) -> gr.Radio:
    return gr.Radio(
        choices,
        value=value,
        label=label,
        elem_id=f"xs-{name or label.lower()}",
        elem_classes="xs-seg xs-line",
    )


def _wire(
    page: gr.Blocks,
    studio: Studio,
    key: gr.Textbox,
    timer: gr.Timer,
    canvas: gr.HTML,
    c: dict[str, gr.components.Component],
) -> None:
    choosing, placing, painter = Choosing(studio), Placing(studio), Painter(studio)
    deciding = Deciding(studio, painter)
    review = [c[name] for name in REVIEW]
    settings = [c[name] for name in SETTINGS]
    asked = [key, canvas, *settings]

    def regions_after(event: gr.events.Dependency) -> None:
        event.success(placing.find_regions, key, canvas, **AGAIN, **GPU)

    page.load(placing.load, None, [key, canvas, c["catalog"]], **QUIET)
    timer.tick(choosing.tick, None, [canvas, timer], **QUIET)
    canvas.choose(choosing.choose, None, canvas, **FAST)
    regions_after(canvas.exchange(choosing.exchange, key, [canvas, c["catalog"]], **GPU))

    def told(event: gr.events.Dependency, what: str) -> gr.events.Dependency:
        """The canvas hears when what it waits for does not come."""
        event.failure(None, js=_tell("xs-failed", f"'{what}'"), **QUIET)
        return event

    opened = canvas.open(placing.open_upload, [key, c["variant"]], canvas, **FAST)
    chosen = canvas.shelf(placing.open_shelf, [key, c["variant"]], canvas, **FAST)
    for event in (opened, chosen):
        regions_after(told(event, "scan"))
        event.success(None, js=_tell("xs-arrived", "'answer'"), **QUIET)
    regions_after(canvas.annotate(placing.annotate, [key, canvas, c["variant"]], canvas, **FAST))
    canvas.failed(placing.failed, None, None, **FAST)
    often = {**AGAIN, **FAST}
    regions_after(c["catalog"].input(placing.change_catalog, [key, c["catalog"]], canvas, **often))
    c["variant"].input(placing.change_variant, [key, canvas, c["variant"]], canvas, **often)
    proposed = [key, canvas, c["variant"]]
    told(c["propose"].click(placing.propose, proposed, canvas, **AGAIN, **GPU), "box")

    def paint_after(begun: gr.events.Dependency) -> None:
        done = begun.success(painter.generate, key, canvas, **AGAIN, **GPU)
        # The controls may have moved while the item was painted.
        done.success(painter.adjust, [key, *review], canvas, **GPU)

    paint_after(c["generate"].click(painter.begin, asked, canvas, **FAST))
    next_seed = c["next"].click(painter.next_seed, c["seed"], c["seed"], **FAST)
    paint_after(next_seed.success(painter.begin, asked, canvas, **FAST))
    c["stop"].click(painter.stop, key, canvas, **FAST)

    live = {**AGAIN, **GPU}
    for control in review:
        control.input(painter.adjust, [key, *review], canvas, **live)
    c["next_occluder"].click(painter.next_occluder, [key, *review], canvas, **live)
    c["next_placement"].click(painter.next_placement, [key, *review], canvas, **live)

    for decision in ("accept", "reject", "skip"):
        decided = c[decision].click(deciding.decide(decision), [key, *review], canvas, **FAST)
        told(decided, "decision").success(None, c["then"], js=_tell("xs-decided", "then"), **QUIET)
    recalled = [canvas, *settings]
    undone = c["undo"].click(deciding.undo, [key, canvas], recalled, **FAST)
    looked_at = canvas.inspect(deciding.inspect, [key, canvas], recalled, **FAST)
    for event in (undone, looked_at):
        regions_after(told(event, "sample"))
        # not before: Gradio would not hear another click
        event.success(None, js=_tell("xs-arrived", "'sample'"), **QUIET)
    canvas.export(deciding.export, key, canvas, **FAST)

    _remember(page, [c[name] for name in KEPT], "sessionStorage", f"xsyn {' '.join(KEPT)}")
    _remember(page, [c["then"]], "localStorage", "xsyn then")


def _tell(event: str, detail: str) -> str:
    """JavaScript that tells the canvas's scripts; `detail` may name the value of an input."""
    return f"(then) => document.dispatchEvent(new CustomEvent('{event}', {{ detail: {detail} }}))"


def _remember(page: gr.Blocks, controls: list, storage: str, name: str) -> None:
    """What the controls are set to outlives a reload of the page, in the browser's storage."""
    stored = f"JSON.parse({storage}.getItem('{name}'))"
    js = f"(...now) => {{ const all = {stored} || now; return all.length > 1 ? all : all[0]; }}"
    page.load(None, controls, controls, js=js, **QUIET)
    keep = f"(...now) => {{ {storage}.setItem('{name}', JSON.stringify(now)); }}"
    gr.on([control.change for control in controls], None, controls, js=keep, **QUIET)
