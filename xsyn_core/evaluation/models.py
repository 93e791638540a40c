"""How good the embedded models are, on simulated scans never trained on and on real ones.

python -m xsyn_core evaluate models --report DIR
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from tqdm import tqdm

from xsyn_core.errors import XsynError
from xsyn_core.evaluation import classifier, painting, sheets
from xsyn_core.evaluation.autoencoding import autoencoder, autoencoder_real
from xsyn_core.evaluation.finishing import finishing
from xsyn_core.evaluation.held_out import Case, case
from xsyn_core.evaluation.labelling import Labelled, grounding, labelled, labels
from xsyn_core.evaluation.painting import Painted
from xsyn_core.evaluation.real import RealScans, read_real_scans
from xsyn_core.evaluation.report import markdown, tried
from xsyn_core.evaluation.segmenting import idle_real, segmenter, segmenter_real
from xsyn_core.files import writable
from xsyn_core.synthesis import Synthesizer
from xsyn_core.training.data import NAMES
from xsyn_core.weights import load_models

JUDGE = Path(__file__).parents[2] / "assets" / "evaluation" / "classifier.safetensors"
PARTS = (
    "judge",
    "categories",
    "realism",
    "variety",
    "finishing",
    "grounding",
    "autoencoder",
    "segmenter",
    "labels",
)
REAL_PARTS = ("real autoencoder", "real segmenter", "real idle regions", "real painted")


def held_out(items: int, side: int, skip: int = 0, buried: bool = False) -> list[Case]:
    """Cases of all categories in turn, sorted by category; `skip` cases of each are left out."""
    some = [
        case(NAMES[k % len(NAMES)], skip + k // len(NAMES), side, buried=buried)
        for k in tqdm(range(items), desc="simulating")
    ]
    return sorted(some, key=lambda c: NAMES.index(c.category))


def main(
    report: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/report"),
    diffusion: Annotated[
        str, typer.Option(help="embedded, a diffusers folder or file, or a hub id.")
    ] = "embedded",
    sam: Annotated[str, typer.Option(help="embedded, or a file of SAM weights.")] = "embedded",
    items: Annotated[
        int, typer.Option(help="Painted and labelled, of all 25 categories in turn.")
    ] = 250,
    steps: Annotated[int, typer.Option(min=1, help="Of denoising.")] = 50,
    guidance: painting.Guidance = 7.5,
    scans: Annotated[
        Path | None,
        typer.Option(help="Real scans to measure on as well: annotations.json and masks/."),
    ] = None,
    only: Annotated[str, typer.Option(help="Parts to run, by commas. Left out: all.")] = "",
) -> None:
    """Measure the models; writes REPORT/models.json and models.md, anew after every part, and the
    sheets.

    Raises:
        XsynError: no such weights, scans, masks or part, the judge was not trained, or the report
            cannot be written.
    """
    wanted = _wanted(only, scans is not None)
    if items < 2:
        raise XsynError("Distances between items need at least two: give --items 2 or more.")
    real = read_real_scans(Path(scans)) if scans is not None else None
    report = Path(report)
    # Painting takes long: what is missing is to be said before.
    tried(report / "models.json")
    if real is not None and "real segmenter" in wanted:
        for _ in real.masked():
            pass
    judged = {"judge", "categories", "realism", "variety", "finishing"} & set(wanted)
    judge = classifier.load(JUDGE) if judged else None
    models = load_models(diffusion, sam)
    model = models.diffusion

    @cache
    def clear() -> list[Case]:
        return held_out(items, model.side)

    @cache
    def buried() -> list[Case]:
        return held_out(items, model.side, buried=True)

    def write_sheet(name: str, sheet: np.ndarray) -> None:
        done, data = cv2.imencode(".png", sheet[..., ::-1])
        assert done
        with writable(report, "the sheets"):
            (report / f"{name}.png").write_bytes(data.tobytes())

    @cache
    def painted() -> list[Painted]:
        return painting.paint(model, clear(), steps, guidance)

    def run_judge() -> dict:
        assert judge is not None
        right = painting.read_right(judge, [c.image for c in clear()], clear())
        return {"simulated right": float(right.mean()), "items": items}

    def run_categories() -> dict:
        assert judge is not None
        write_sheet("painted", sheets.by_category(painted()))
        return painting.categories(judge, painted())

    def run_realism() -> dict:
        assert judge is not None
        others = held_out(items, model.side, skip=-(-items // len(NAMES)))
        return painting.realism(judge, painted(), others)

    def run_variety() -> dict:
        assert judge is not None
        requests = [case(name, 0, model.side, buried=False) for name in NAMES[:items]]
        result, sheet = painting.variety(judge, model, requests, steps, guidance)
        write_sheet("seeds", sheet)
        return result

    def run_finishing() -> dict:
        assert judge is not None
        cases = held_out(items, 2 * model.side)
        result, sheet = finishing(judge, Synthesizer(models), cases, steps, guidance)
        if sheet is not None:
            write_sheet("finished", sheet)
        return result

    def run_grounding() -> dict:
        found: list[Labelled] = labelled(models.segmenter, painted())
        write_sheet("boxes", sheets.hand_check(found))
        return grounding(found)

    def run_autoencoder() -> dict:
        result, sheet = autoencoder(model, buried())
        write_sheet("autoencoder", sheet)
        return result

    def run_painted_real(real: RealScans) -> dict:
        write_sheet("real", sheets.on_real_scans(models, real, steps, guidance))
        return {"sheet": "real.png"}

    parts: dict[str, Callable[[], dict]] = {
        "judge": run_judge,
        "categories": run_categories,
        "realism": run_realism,
        "variety": run_variety,
        "finishing": run_finishing,
        "grounding": run_grounding,
        "autoencoder": run_autoencoder,
        "segmenter": lambda: segmenter(models.segmenter, max(1, items // 6)),
        "labels": lambda: labels(model, models.segmenter, buried(), steps, guidance),
    }
    if real is not None:
        parts |= {
            "real autoencoder": lambda: autoencoder_real(model, real),
            "real segmenter": lambda: segmenter_real(models.segmenter, real),
            "real idle regions": lambda: idle_real(models.segmenter, real),
            "real painted": lambda: run_painted_real(real),
        }
    settings = {"weights": models.fingerprint, "steps": steps, "guidance": guidance}
    results: dict[str, dict] = {}
    for name in wanted:
        results[name] = parts[name]()
        print(json.dumps({name: results[name]}, indent=1), flush=True)
        told = {**results, "settings": settings}
        with writable(report, "the report"):
            (report / "models.json").write_text(json.dumps(told, indent=1) + "\n")
            (report / "models.md").write_text(markdown(told))


def _wanted(only: str, with_scans: bool) -> list[str]:
    """The parts to run, in their order.

    Raises:
        XsynError: there is no such part, or it needs real scans.
    """
    possible = [*PARTS, *REAL_PARTS] if with_scans else [*PARTS]
    asked = [name.strip() for name in only.split(",") if name.strip()]
    for name in asked:
        if name in REAL_PARTS and not with_scans:
            raise XsynError(f"{name!r} needs a folder of real scans: give --scans FOLDER.")
        if name not in possible:
            raise XsynError(f"There is no part {name!r}. Choose from: {', '.join(possible)}.")
    return [name for name in possible if name in asked or not asked]
