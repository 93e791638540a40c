"""How good the embedded models are, on simulated scans never trained on and on real ones.

python -m xsyn_core evaluate models --report DIR
"""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from xsyn_core.boxes import area
from xsyn_core.categories import CATALOGS
from xsyn_core.evaluation import classifier
from xsyn_core.evaluation.autoencoding import autoencoder
from xsyn_core.evaluation.held_out import case
from xsyn_core.evaluation.labelling import labels
from xsyn_core.evaluation.painting import paint, painted_items
from xsyn_core.evaluation.report import markdown
from xsyn_core.evaluation.segmenting import real_scans, segmenter
from xsyn_core.evaluation.sheets import real_sheet, sheet_by_category
from xsyn_core.weights import load_models

NAMES = CATALOGS["pidray"].names
JUDGE = Path(__file__).parents[2] / "assets" / "evaluation" / "classifier.safetensors"


def main(
    report: Path = Path("runs/report"),
    diffusion: str = "embedded",
    sam: str = "embedded",
    items: int = 240,
    steps: int = 50,
    guidance: float = 7.5,
    scans: Path | None = None,
    only: str = "",
) -> None:
    """Measure the models; writes REPORT/models.json, models.md and the sheets.

    Args:
        report: folder for the results.
        diffusion, sam: as for `synthesize`.
        items: how many items are painted and labelled.
        steps, guidance: of denoising.
        scans: a folder of real scans with `annotations.json`, to look for idle regions in.
        only: comma-separated names of the parts to run; all when empty.
    """
    models = load_models(diffusion, sam)
    model, report = models.diffusion, Path(report)
    report.mkdir(parents=True, exist_ok=True)
    cases = [
        case(NAMES[k % len(NAMES)], k // len(NAMES), model.side)
        for k in tqdm(range(items), desc="simulating")
    ]
    cases.sort(key=lambda c: NAMES.index(c.category))
    results: dict[str, dict] = {}

    def write_sheet(name: str, sheet: np.ndarray) -> None:
        cv2.imwrite(str(report / f"{name}.png"), sheet[..., ::-1])

    def run_autoencoder() -> dict:
        result, sheet = autoencoder(model, cases)
        write_sheet("autoencoder", sheet)
        return result

    def run_painted() -> dict:
        painted = paint(model, cases, steps, guidance)
        write_sheet("painted", sheet_by_category(cases, painted))
        return painted_items(classifier.load(JUDGE), cases, painted)

    parts: dict[str, Callable[[], dict]] = {
        "autoencoder": run_autoencoder,
        "painted": run_painted,
        "segmenter": lambda: segmenter(models.segmenter, max(1, items // 6)),
        "labels": lambda: labels(model, models.segmenter, cases, steps, guidance),
    }
    if scans is not None:
        folder = scans

        def run_real() -> dict:
            write_sheet("real", real_sheet(models, folder, steps, guidance))
            return real_scans(models.segmenter, folder)

        parts["real scans"] = run_real
    wanted = [name.strip() for name in only.split(",") if name.strip()] or list(parts)
    for name in wanted:
        results[name] = parts[name]()
        print(json.dumps({name: results[name]}, indent=1), flush=True)
    results["settings"] = {
        "weights": models.fingerprint,
        "steps": steps,
        "guidance": guidance,
        "mean box area": float(np.mean([area(c.box) for c in cases])),
    }
    (report / "models.json").write_text(json.dumps(results, indent=1) + "\n")
    (report / "models.md").write_text(markdown(results))
