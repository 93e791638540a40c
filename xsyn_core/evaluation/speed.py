"""How long the page's steps take, and where the time goes.

python -m xsyn_core evaluate speed

What is compared is measured side by side in one run, turn by turn, after a warm-up: machines differ
and their load drifts, ratios hold. On CUDA there are rows for peak memory and steps a second, too.
"""

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from statistics import median
from typing import Annotated
from unittest.mock import patch

import numpy as np
import torch
import typer
from segment_anything import SamAutomaticMaskGenerator

from xsyn_core import segmentation
from xsyn_core.attention import AttentionMaps
from xsyn_core.categories import phrase
from xsyn_core.concealment import to_tensor
from xsyn_core.diffusion import Condition
from xsyn_core.errors import XsynError
from xsyn_core.evaluation.report import tried
from xsyn_core.frames import window_around
from xsyn_core.inpainting import Step, denoise
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import Scan, make_scan, read_scan
from xsyn_core.segmentation import Segmenter
from xsyn_core.simulation.dataset import simulate_scan
from xsyn_core.synthesis import Synthesizer
from xsyn_core.weights import Models, load_models

ROOT = Path(__file__).parents[2]
SIZE = (600, 800)
# Masks at least this alike (IoU) are the same region.
SAME = 0.95
ALPHAS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: its name.
        value: in `unit`.
        unit: s, ms, %, x, GB (1e9 bytes) or /s.
        note: what else to know.
    """

    what: str
    value: float
    unit: str
    note: str = ""

    def __str__(self) -> str:
        digits = 0 if self.unit == "ms" else 1 if self.unit == "%" else 2
        return f"{self.what:<48} {self.value:9.{digits}f} {self.unit:<2}  {self.note}".rstrip()


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock seconds of one call, the accelerator's work included."""
    _wait()
    start = time.perf_counter()
    action()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()


def side_by_side(actions: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each action: one warm-up, then `repeats` turns of all of them."""
    for action in actions:
        action()
    turns = [[seconds(action) for action in actions] for _ in range(repeats)]
    return [median(column) for column in zip(*turns, strict=True)]


def matched(theirs: Sequence[np.ndarray], ours: Sequence[np.ndarray]) -> float:
    """The share of masks bool (H, W) that have one of `ours` at IoU >= SAME; 1 without any."""
    sizes = np.array([np.count_nonzero(mask) for mask in ours])

    def found(mask: np.ndarray) -> bool:
        size = np.count_nonzero(mask)
        # The IoU of two masks is never above the ratio of their sizes.
        alike = np.flatnonzero(np.minimum(sizes, size) >= SAME * np.maximum(sizes, size))
        return any((ours[k] & mask).sum() >= SAME * (ours[k] | mask).sum() for k in alike)  # type: ignore[call-overload]

    return float(np.mean([found(mask) for mask in theirs])) if len(theirs) else 1.0


def regions_rows(segmenter: Segmenter, scan: Scan, repeats: int) -> list[Row]:
    """All segments of a new scan, against `SamAutomaticMaskGenerator` at the same settings."""
    own = {k: v.default for k, v in signature(Segmenter.everything).parameters.items()}
    stock = SamAutomaticMaskGenerator(
        segmenter.sam,
        points_per_side=own["points_per_side"],
        pred_iou_thresh=segmenter.thresholds[0],
        stability_score_thresh=segmenter.thresholds[1],
        box_nms_thresh=own["nms_thresh"],
    )

    def generate() -> list[dict]:
        with segmenter.residence.at_work(segmenter.sam.image_encoder):
            return stock.generate(scan.pixels)

    theirs = [found["segmentation"] for found in generate()]
    ours = [found.mask for found in segmenter.everything(scan.pixels)]
    fast, slow = side_by_side([lambda: segmenter.everything(scan.pixels), generate], repeats)
    grid = f"{own['points_per_side']} x {own['points_per_side']} points"
    return [
        Row("regions of a new scan", fast, "s", f"{grid}, {len(ours)} found"),
        Row("the same, stock generator", slow, "s", f"same weights, {len(theirs)} found"),
        Row("stock generator / ours", slow / fast, "x"),
        Row(
            "stock regions that ours matches",
            100 * matched(theirs, ours),
            "%",
            f"mask IoU >= {SAME}",
        ),
    ]


def capture_rows(
    models: Models, scan: Scan, grounding: Grounding, steps: int, repeats: int
) -> list[Row]:
    """What capturing attention adds to the denoising loop: two loops of `steps` steps, at least 2,
    that step in turn, `repeats` times.

    On CUDA the steps a second of both, too.
    """
    model = models.diffusion
    frame = window_around(grounding.box, scan.size, model.side)
    cells = model.side // model.factor
    x1, y1, x2, y2 = frame.cells(grounding.box, model.factor)
    masks = torch.ones(1, 1, cells, cells)
    masks[0, 0, y1:y2, x1:x2] = 0
    text = phrase(grounding.category)
    columns = [model.columns(text, [(0, len(text))])]

    def loop(maps: AttentionMaps | None, count: int):
        return denoise(
            model,
            to_tensor(frame.cut(scan.pixels))[None],
            masks,
            [Condition(text, (text,), (frame.unit(grounding.box),))],
            steps=count,
            guidance=7.5,
            sampler="ddim",
            generator=torch.Generator().manual_seed(0),
            maps=maps,
        )

    def maps() -> AttentionMaps:
        return AttentionMaps(columns, (cells, cells))

    for warm_up in (loop(None, 1), loop(maps(), 1)):
        list(warm_up)
    pairs: list[tuple[float, float]] = []
    for _ in range(repeats):
        loops = loop(None, steps), loop(maps(), steps)
        for number in range(steps):
            # Who goes first changes: the second finds warmer caches.
            order = (0, 1) if number % 2 else (1, 0)
            spent = {which: seconds(lambda one=loops[which]: _next(one)) for which in order}  # type: ignore[misc]
            if number:  # the first step also encodes
                pairs.append((spent[0], spent[1]))
    without, captured = (median(times) for times in zip(*pairs, strict=True))
    note = f"{1000 * captured:.1f} ms a step against {1000 * without:.1f}"
    # What else the machine does drifts from step to step: a pair is measured under the same load.
    added = 100 * (median(c / w for w, c in pairs) - 1)
    rows = [Row("attention capture, on top of the loop", added, "%", note)]
    if model.device.type == "cuda":
        size = f"{model.side} x {model.side} pixels, with guidance"
        rows += [
            Row("steps a second, attention captured", 1 / captured, "/s", size),
            Row("steps a second, not captured", 1 / without, "/s", size),
        ]
    return rows


def memory_rows(models: Models, scan: Scan, request: Request) -> list[Row]:
    """Peak memory of one item, as torch allocates it; none where the device is not CUDA."""
    device = models.diffusion.device
    if device.type != "cuda":
        return []
    sam = models.segmenter.sam
    lying = sum(p.numel() * p.element_size() for p in sam.parameters() if p.device.type == "cuda")
    actions: tuple[Callable[[], object], ...] = (
        lambda: list(Synthesizer(models).paint(scan, request)),
        lambda: Synthesizer(models).synthesize(scan, request),
    )
    peaks = []
    for action in actions:
        torch.cuda.reset_peak_memory_stats(device)
        action()
        peaks.append(torch.cuda.max_memory_allocated(device))
    painting, whole = peaks
    size = f"{models.diffusion.side} x {models.diffusion.side} pixels"
    return [
        Row("peak memory, painting", (painting - lying) / 1e9, "GB", f"{size}, without SAM"),
        Row("peak memory, SAM included", whole / 1e9, "GB", "painting, refining, hiding"),
    ]


def _next(loop) -> Step:
    return next(loop)


def item_rows(synthesizer: Synthesizer, scan: Scan, request: Request, repeats: int) -> list[Row]:
    """Painting, refining and hiding one item."""

    def paint():
        *_, last = synthesizer.paint(scan, request)
        return last.result

    painting = synthesizer.refine(paint())
    side = painting.windows[0].frame.size
    painted, refined = side_by_side(
        # A refinement that is asked for again finds its image encoded: the first one counts.
        [paint, lambda: Synthesizer(synthesizer.models).refine(painting)],
        repeats,
    )
    synthesizer.occlude(painting, ALPHAS[0])
    moves = [
        seconds(lambda alpha=alpha: synthesizer.occlude(painting, alpha))  # type: ignore[misc]
        for alpha in ALPHAS * repeats
    ]
    occluders = len(synthesizer.occluders(painting))
    note = f"{occluders} occluders" if occluders else "no occluder in this scan: nothing was hidden"
    return [
        Row(f"an item of {request.steps} steps", painted, "s", f"window of {side[1]} x {side[0]}"),
        Row("its refined label (CAR)", refined, "s", "encoder included"),
        Row("alpha moved to new picture", 1000 * median(moves), "ms", note),
    ]


@contextmanager
def another_thread() -> Iterator[None]:
    """Meanwhile another thread lives that has computed with torch, and does nothing any more."""
    computed, over = threading.Event(), threading.Event()

    def live() -> None:
        torch.zeros(1 << 20).add(1)
        computed.set()
        over.wait()

    thread = threading.Thread(target=live)
    thread.start()
    computed.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


def threads_row(synthesizer: Synthesizer, scan: Scan, request: Request, repeats: int) -> Row:
    """Why the page computes in one thread alone."""

    def paint() -> None:
        for _ in synthesizer.paint(scan, request):
            pass

    def beside() -> None:
        with another_thread():
            paint()

    alone, together = side_by_side([paint, beside], repeats)
    note = "over the same item without; on a CPU"
    return Row("an item beside an idle thread that computed", together / alone, "x", note)


def shares(synthesizer: Synthesizer, scan: Scan, request: Request) -> dict[str, float]:
    """Shares of the time from a new scan to a finished sample, by part, "rest" last."""
    models = synthesizer.models
    segmenter, diffusion = models.segmenter, models.diffusion
    compiled = diffusion.compiled
    watched: dict[str, list[tuple[object, str]]] = {
        "UNet": [(compiled, "run") if compiled else (diffusion.unet, "forward")],
        "encode": [(diffusion.vae, "encode")],
        "decode": [(diffusion.vae, "decode")],
        "text": [(diffusion.text_encoder, "forward")],
        "SAM encoder": [(segmenter.sam.image_encoder, "forward")],
        "SAM decoder": [(segmenter.decoder, "attend")],
        "upsampling": [(segmenter.decoder, "masks"), (segmentation, "at_full_size")],
    }
    spent = dict.fromkeys(watched, 0.0)

    def timed(name: str, original: Callable) -> Callable:
        def run(*arguments, **options):
            _wait()
            start = time.perf_counter()
            result = original(*arguments, **options)
            _wait()
            spent[name] += time.perf_counter() - start
            return result

        return run

    fresh = Synthesizer(models)
    with ExitStack() as stack:
        for name, places in watched.items():
            for owner, attribute in places:
                replacement = timed(name, getattr(owner, attribute))
                stack.enter_context(patch.object(owner, attribute, replacement))
        total = seconds(lambda: fresh.synthesize(scan, request))
    found = {name: value / total for name, value in spent.items()}
    return {**found, "rest": 1 - sum(found.values())}


def page_up(command: Callable[[int, Path], Sequence[str]], limit: float = 300) -> float:
    """Seconds from the start of a process until it serves a page on loopback.

    Args:
        command: from a free port and an empty folder.
        limit: seconds to wait.

    Raises:
        XsynError: it ended, or did not answer in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Loopback must not go through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            command(port, Path(folder)),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while time.perf_counter() - start < limit and process.poll() is None:
                try:
                    with opener.open(f"http://127.0.0.1:{port}/", timeout=limit) as answer:
                        if answer.status == 200:
                            return time.perf_counter() - start
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.05)
        finally:
            process.terminate()
            process.wait()
    raise XsynError(
        f"The page did not come up within {limit:g} seconds. Run `python app.py` to see why."
    )


def page_row(diffusion: str, sam: str, repeats: int) -> Row:
    """`python app.py` until its page is served; the median of fresh processes."""

    def command(port: int, folder: Path) -> list[str]:
        own = ["--port", str(port), "--workspace", str(folder / "workspace")]
        return [sys.executable, "app.py", *own, "--diffusion", diffusion, "--sam", sam]

    times = [page_up(command) for _ in range(1 + repeats)]
    note = f"first start {times[0]:.1f} s"
    return Row("start of the process to page up", median(times[1:]), "s", note)


def main(
    scan: Annotated[
        Path | None, typer.Option(help="An image. Left out: a simulated scan of 800 x 600.")
    ] = None,
    diffusion: Annotated[
        str, typer.Option(help="embedded, a diffusers folder or file, or a hub id.")
    ] = "embedded",
    sam: Annotated[str, typer.Option(help="embedded, or a file of SAM weights.")] = "embedded",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    steps: Annotated[int, typer.Option(min=1, help="Of denoising.")] = 50,
    repeats: Annotated[int, typer.Option(help="Turns of every comparison, after a warm-up.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated scan.")] = 0,
    out: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="As for `synthesize`: the UNet through torch.compile.")
    ] = False,
) -> None:
    """Measure how long the page's steps take, side by side with what they replace.

    Raises:
        XsynError: no such weights or scan, fewer than one repeat, or OUT cannot be written.
    """
    if repeats < 1:
        raise XsynError("Measuring needs at least one repeat.")
    if out is not None:
        tried(out)
    models = load_models(diffusion, sam, device, compiled)
    if scan is None:
        pixels = simulate_scan(np.random.default_rng(seed), SIZE, "opixray").pixels
        source = make_scan(pixels, "simulated.png")
    else:
        source = read_scan(scan)
    height, width = source.size
    # An item of a fifth of the scan, in its middle.
    box = (0.4 * width, 0.4 * height, 0.6 * width, 0.6 * height)
    grounding = Grounding("Gun", box)
    request = Request((grounding,), steps=steps)
    synthesizer = Synthesizer(models)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(models.diffusion.device),
        "arithmetic": str(models.diffusion.autocast).removeprefix("torch."),
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{source.name}, {width} x {height} pixels; median of {repeats}", flush=True)
    rows: list[Row] = []
    parts: tuple[Callable[[], list[Row]], ...] = (
        lambda: regions_rows(models.segmenter, source, repeats),
        lambda: item_rows(synthesizer, source, request, repeats),
        lambda: [threads_row(synthesizer, source, request, repeats)],
        lambda: capture_rows(models, source, grounding, max(2, steps), repeats),
        lambda: memory_rows(models, source, request),
        lambda: [page_row(diffusion, sam, repeats)],
    )
    for part in parts:
        for row in part():
            rows.append(row)
            print(row, flush=True)
    spent = shares(synthesizer, source, request)
    print(f"Of a new scan's way to its first sample: {_percentages(spent)}")
    if out is not None:
        content = {
            "machine": machine,
            "weights": models.fingerprint,
            "scan": {"name": source.name, "height": height, "width": width},
            "repeats": repeats,
            "rows": [asdict(row) for row in rows],
            "shares": spent,
        }
        out.write_text(json.dumps(content, indent=1) + "\n")


def _percentages(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.0%}" for name, value in found.items())
