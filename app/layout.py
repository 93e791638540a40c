"""Where everything is: one screen, canvas to the left, controls to the right."""

import gradio as gr

from app.canvas import STYLES, make_canvas
from app.handlers import SETTINGS, Handlers
from xsyn_core.categories import CATALOGS
from xsyn_core.sample import Grounding, Request

MAX_UPLOAD = "100mb"
DEFAULTS = Request((Grounding("Knife", (0, 0, 1, 1)),))
GPU = {"concurrency_id": "gpu", "concurrency_limit": 1, "show_progress": "hidden"}
FAST = {"show_progress": "hidden", "queue": True, "concurrency_limit": 8}


def build(handlers: Handlers) -> gr.Blocks:
    """The page."""
    with gr.Blocks(
        title="Xsyn Studio", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
    ) as page:
        key = gr.State(None, time_to_live=4 * 3600, delete_callback=handlers.sessions.drop)
        timer = gr.Timer(1.0)
        canvas = make_canvas()
        with gr.Column(elem_id="xs-side"):
            controls = _controls()
        _wire(page, handlers, key, timer, canvas, controls)
    return page


def launch_options() -> dict:
    """What `Blocks.launch` needs for this page, besides where it listens."""
    return {
        "css_paths": list(STYLES),
        "theme": gr.themes.Base(font=["sans-serif"], font_mono=["monospace"]),
        "footer_links": [],
        "ssr_mode": False,
        "max_file_size": MAX_UPLOAD,
        "show_error": True,
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
                    show_label=False,
                    container=False,
                    elem_classes="xs-seg",
                    elem_id="xs-variant",
                )
                c["catalog"] = gr.Dropdown(
                    [(entry.title, key) for key, entry in CATALOGS.items()],
                    value="pidray",
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
                c["seed"] = gr.Number(
                    0, label="Seed", precision=0, minimum=0, elem_id="xs-seed", elem_classes="xs-in"
                )
                c["dice"] = gr.Button(
                    "Random", elem_id="xs-dice", size="sm", elem_classes="xs-icon"
                )
            c["steps"] = _slider("Steps", 1, 100, DEFAULTS.steps, 1)
            c["guidance"] = _slider("Guidance", 1, 15, DEFAULTS.guidance, 0.5)
            with gr.Accordion("Advanced", open=False, elem_classes="xs-acc"):
                c["sampler"] = _choice(
                    "Sampler", [("DDIM", "ddim"), ("DPM++", "dpm++")], DEFAULTS.sampler
                )
                c["frame"] = _choice(
                    "Frame", [("Window", "window"), ("Whole scan", "whole")], DEFAULTS.frame
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
                DEFAULTS.occlude, label="On", container=False, elem_id="xs-occlude"
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


def _choice(label: str, choices: list[tuple[str, str]], value: str) -> gr.Radio:
    return gr.Radio(
        choices,
        value=value,
        label=label,
        elem_id=f"xs-{label.lower()}",
        elem_classes="xs-seg xs-line",
    )


def _wire(
    page: gr.Blocks,
    handlers: Handlers,
    key: gr.State,
    timer: gr.Timer,
    canvas: gr.HTML,
    c: dict[str, gr.components.Component],
) -> None:
    bom = [c["occlude"], c["alpha"], c["occlusion"]]
    settings = [c[name] for name in SETTINGS]
    asked = [key, canvas, *settings]

    def regions_after(event: gr.events.Dependency) -> None:
        event.success(handlers.find_regions, key, canvas, **GPU)

    page.load(handlers.load, None, [key, canvas], show_progress="hidden")
    timer.tick(handlers.tick, None, [canvas, timer], show_progress="hidden")

    regions_after(canvas.open(handlers.open_upload, [key, c["variant"]], canvas, **FAST))
    regions_after(canvas.shelf(handlers.open_shelf, [key, c["variant"]], canvas, **FAST))
    regions_after(canvas.annotate(handlers.annotate, [key, c["variant"]], canvas, **FAST))
    canvas.failed(handlers.failed, None, None, **FAST)
    regions_after(
        c["catalog"].input(handlers.change_catalog, [key, canvas, c["catalog"]], canvas, **FAST)
    )
    c["variant"].input(handlers.change_variant, [key, c["variant"]], canvas, **FAST)
    c["propose"].click(handlers.propose, [key, canvas], canvas, **GPU)

    begun = c["generate"].click(handlers.begin, asked, canvas, **FAST)
    begun.success(handlers.generate, asked, canvas, **GPU)
    next_seed = c["next"].click(handlers.next_seed, c["seed"], c["seed"], **FAST)
    begun = next_seed.success(handlers.begin, asked, canvas, **FAST)
    begun.success(handlers.generate, asked, canvas, **GPU)
    c["stop"].click(handlers.stop, key, None, **FAST)

    live = {"trigger_mode": "always_last", **GPU}
    for name in ("points", "divisions"):
        c[name].input(handlers.refine, [key, c["points"], c["divisions"], *bom], canvas, **live)
    for name in ("occlude", "alpha", "occlusion"):
        c[name].input(handlers.occlude, [key, *bom], canvas, **live)
    c["next_occluder"].click(handlers.next_occluder, [key, *bom], canvas, **live)
    c["next_placement"].click(handlers.next_placement, [key, *bom], canvas, **live)

    for decision in ("accept", "reject", "skip"):
        c[decision].click(handlers.decide(decision), key, canvas, **FAST)
    c["undo"].click(handlers.undo, key, [canvas, *settings], **FAST)
    canvas.inspect(handlers.inspect, key, [canvas, *settings], **FAST)
    canvas.export(handlers.export, key, canvas, **FAST)
