"""How good the embedded models are, on simulated scans never trained on and on real ones.

python -m xsyn_core evaluate models --report DIR
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from xsyn_core import refinement
from xsyn_core.attention import AttentionMaps
from xsyn_core.boxes import area, clip, iou, of_mask, outward
from xsyn_core.categories import CATALOGS, phrase
from xsyn_core.compositing import put_back
from xsyn_core.concealment import to_pixels
from xsyn_core.errors import XsynError
from xsyn_core.evaluation import classifier
from xsyn_core.evaluation.held_out import Case, case
from xsyn_core.frames import Frame
from xsyn_core.inpainting import Condition, Diffusion, denoise
from xsyn_core.regions import idle_regions
from xsyn_core.sample import Grounding, Request
from xsyn_core.scan import read_scan
from xsyn_core.segmentation import Segmenter
from xsyn_core.simulation.looks import expose, random_look
from xsyn_core.simulation.rendering import attenuation, silhouette
from xsyn_core.simulation.scene import random_scene
from xsyn_core.simulation.visibility import VISIBLE, edge_contrast
from xsyn_core.synthesis import Synthesizer
from xsyn_core.weights import Models, load_models

NAMES = CATALOGS["pidray"].names
JUDGE = Path(__file__).parents[2] / "assets" / "evaluation" / "classifier.safetensors"
SETTINGS: tuple[tuple[str, int, str], ...] = (
    ("n = 0", 0, "median"),
    ("n = 1", 1, "median"),
    ("n = 2", 2, "median"),
    ("n = 3", 3, "median"),
    ("n = 4", 4, "median"),
    ("top-1", 1, "topk"),
    ("top-15", 4, "topk"),
)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 images, dB."""
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b.astype(float)).mean()))


def to_tensor(images: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 (H, W, 3) images to float32 (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_images(tensor: torch.Tensor) -> np.ndarray:
    """The inverse of `to_tensor`."""
    return ((tensor.permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255).byte().numpy()


def keep_masks(cases: Sequence[Case], cells: int, cell: int) -> torch.Tensor:
    """Inpainting masks (B, 1, cells, cells): 0 in the cells that a grounding box touches."""
    masks = torch.ones(len(cases), 1, cells, cells)
    for mask, one in zip(masks, cases, strict=True):
        x1, y1, x2, y2 = (v / cell for v in one.grounding)
        mask[0, int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = 0
    return masks


def conditions(cases: Sequence[Case], side: int) -> list[Condition]:
    """What to paint: every case's own category into its grounding box."""
    return [
        Condition(
            phrase(c.category),
            (phrase(c.category),),
            (tuple(v / side for v in c.grounding),),  # type: ignore[arg-type]
        )
        for c in cases
    ]


def autoencoder(model: Diffusion, cases: Sequence[Case]) -> tuple[dict, np.ndarray]:
    """PSNR of the round trip of held-out windows, and a sheet (above: in, below: out)."""
    images = [c.image for c in cases]
    back = np.concatenate(
        [
            to_images(model.decode(model.encode(to_tensor(images[k : k + 32]))))
            for k in range(0, len(images), 32)
        ]
    )
    values = [psnr(a, b) for a, b in zip(images, back, strict=True)]
    rows = [np.hstack(x) for k in range(0, 24, 12) for x in (images[k : k + 12], back[k : k + 12])]  # type: ignore[arg-type]
    return {"psnr": float(np.mean(values)), "windows": len(values)}, np.vstack(rows)


def paint(
    model: Diffusion, cases: Sequence[Case], steps: int, guidance: float, batch: int = 12
) -> list[np.ndarray]:
    """Every case's category painted into its benign window at its grounding box."""
    side, done = model.side, []
    frame = Frame((0, 0, side, side), (side, side))
    for k in tqdm(range(0, len(cases), batch), desc="painting"):
        some = cases[k : k + batch]
        masks = keep_masks(some, side // model.factor, model.factor)
        *_, last = denoise(
            model,
            to_tensor([c.benign for c in some]),
            masks,
            conditions(some, side),
            steps=steps,
            guidance=guidance,
            sampler="ddim",
            generator=torch.Generator().manual_seed(k),
        )
        for decoded, mask, one in zip(model.decode(last.latents), masks, some, strict=True):
            image = one.benign.copy()
            repainted = mask[0].numpy() == 0
            repainted = repainted.repeat(model.factor, 0).repeat(model.factor, 1)
            put_back(image, frame, to_pixels(decoded), repainted, [one.grounding], "keep")
            done.append(image)
    return done


def painted_items(
    judge: classifier.Classifier, cases: Sequence[Case], painted: Sequence[np.ndarray]
) -> dict:
    """How often the judge reads the right category, of simulated and of painted items."""
    truth = np.array([NAMES.index(c.category) for c in cases])

    def read(images: Sequence[np.ndarray]) -> np.ndarray:
        return classifier.predict(
            judge,
            np.stack(
                [
                    classifier.crop(i, np.array(c.grounding), margin=0.0)
                    for i, c in zip(images, cases, strict=True)
                ]
            ),
        )

    simulated, ours = read([c.image for c in cases]), read(painted)
    untouched = [
        np.abs(p.astype(float) - c.benign.astype(float)).mean() < 3
        for p, c in zip(painted, cases, strict=True)
    ]
    return {
        "items": len(cases),
        "simulated right": float((simulated == truth).mean()),
        "painted right": float((ours == truth).mean()),
        "nothing painted": float(np.mean(untouched)),
        "by category": {
            name: {
                "simulated": float((simulated == truth)[truth == k].mean()),
                "painted": float((ours == truth)[truth == k].mean()),
            }
            for k, name in enumerate(NAMES)
        },
    }


def sheet_by_category(
    cases: Sequence[Case], painted: Sequence[np.ndarray], columns: int = 8
) -> np.ndarray:
    """A row a category: painted windows beside the real (simulated) ones."""
    rows = []
    for name in NAMES:
        own = [k for k, c in enumerate(cases) if c.category == name][:columns]
        rows.append(np.hstack([painted[k] for k in own] + [cases[k].image for k in own[:3]]))
    return np.vstack(rows)


def segmenter(model: Segmenter, count: int) -> dict:
    """Mean IoU from a box and from one point, and recall of "everything", on whole scans.

    Prompts ask for every object over 0.5 % of the scan, "everything" is to find the visible ones
    (see `simulation.visibility`).
    """
    from_box, from_point, found, sought = [], [], 0, 0
    side = 256
    for index in tqdm(range(count), desc="segmenting"):
        rng = np.random.default_rng((2_000_000, index))
        scene = random_scene(rng, categories=[str(rng.choice(NAMES))])
        everything_there = [*scene.prohibited, *scene.contents]
        basis = attenuation([*scene.bag.parts, *everything_there], scene.view, (side, side), rng)
        image = expose(
            basis, random_look(rng), rng, mm_per_px=(scene.view[2] - scene.view[0]) / side
        )
        masks = [silhouette(p, scene.view, (side, side)) for p in everything_there]
        masks = [m for m in masks if m.mean() >= 0.005]
        visible = edge_contrast(image, masks) >= VISIBLE
        embedding = model.embed(image)
        segments = model.everything(image)
        for mask, seen in zip(masks, visible, strict=True):
            box = of_mask(mask)
            assert box is not None
            guess = model.segment(embedding, box=box).mask
            from_box.append((guess & mask).sum() / (guess | mask).sum())
            depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            guess = model.segment(
                embedding, points=np.array([[x - 0.5, y - 0.5]]), labels=np.array([1])
            ).mask
            from_point.append((guess & mask).sum() / (guess | mask).sum())
            if seen:
                sought += 1
                found += any((s.mask & mask).sum() / (s.mask | mask).sum() > 0.5 for s in segments)
    return {
        "objects": len(from_box),
        "visible objects": sought,
        "IoU from a box": float(np.mean(from_box)),
        "IoU from a point": float(np.mean(from_point)),
        "everything finds": found / max(sought, 1),
    }


def labels(
    model: Diffusion, sam: Segmenter, cases: Sequence[Case], steps: int, guidance: float
) -> dict:
    """Tables VII and VIII on items of known place: noised half way, denoised with their attention
    captured, then refined from the loose box. Mean IoU of the label with the truth."""
    scores: dict[str, list[float]] = {name: [] for name, *_ in SETTINGS}
    scores["grounding box"] = []
    side, cells = model.side, model.side // model.factor
    for k in tqdm(range(0, len(cases), 12), desc="labelling"):
        some = cases[k : k + 12]
        asked = conditions(some, side)
        columns = [model.columns(c.prompt, [(0, len(c.prompt))]) for c in asked]
        maps = AttentionMaps(columns, (cells, cells))
        *_, last = denoise(
            model,
            to_tensor([c.image for c in some]),
            keep_masks(some, cells, model.factor),
            asked,
            steps=steps,
            guidance=guidance,
            sampler="ddim",
            generator=torch.Generator().manual_seed(k),
            maps=maps,
            skip=steps // 2,
        )
        del last
        for row, one in enumerate(some):
            attention = maps.maps(row, (side, side))[0]
            embedding = sam.embed(one.image)
            scores["grounding box"].append(iou(one.grounding, one.box))
            for name, divisions, strategy in SETTINGS:
                result = refinement.refine(
                    sam,
                    one.image,
                    np.maximum(attention, 0),
                    one.grounding,
                    divisions,
                    strategy,  # type: ignore[arg-type]
                    embedding=embedding,
                )
                scores[name].append(iou(result.box, one.box))
    return {"items": len(cases), **{name: float(np.mean(v)) for name, v in scores.items()}}


def real_scans(sam: Segmenter, folder: Path) -> dict:
    """Idle regions on the benign scans of a COCO folder (`images/`, `annotations.json`)."""
    listed = json.loads((folder / "annotations.json").read_text())["images"]
    counts = {}
    for entry in listed:
        if entry["file_name"].startswith("benign"):
            scan = read_scan(folder / "images" / entry["file_name"])
            found = idle_regions(sam.everything(scan.pixels), [], scan.size)
            counts[entry["file_name"]] = len(found)
    values = list(counts.values())
    return {
        "scans": len(values),
        "with idle regions": float(np.mean([v > 0 for v in values])),
        "with five or more": float(np.mean([v >= 5 for v in values])),
        "by scan": counts,
    }


def real_sheet(
    models: Models, folder: Path, steps: int, guidance: float, limit: int = 24
) -> np.ndarray:
    """Benign real scans with two items each in idle regions: windows before and after, cut at
    native resolution and shown 256 pixels wide, four pairs a row."""
    synthesizer = Synthesizer(models)
    listed = json.loads((folder / "annotations.json").read_text())["images"]
    names = [e["file_name"] for e in listed if e["file_name"].startswith("benign")][:limit]
    tiles = []
    for number, name in enumerate(tqdm(names, desc="painting real scans")):
        scan = read_scan(folder / "images" / name)
        try:
            places = [synthesizer.propose(scan, "pidray", 2 * number + k) for k in range(2)]
        except XsynError:
            continue
        for k, place in enumerate(places):
            category = NAMES[(2 * number + k) % len(NAMES)]
            request = Request(
                groundings=(Grounding(category, place.box),),
                steps=steps,
                guidance=guidance,
                seed=number,
                occlude=False,
            )
            sample = synthesizer.synthesize(scan, request)
            x1, y1, x2, y2 = place.box
            reach = 0.9 * max(x2 - x1, y2 - y1)
            cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
            view = outward(clip((cx - reach, cy - reach, cx + reach, cy + reach), scan.size))
            pair = [
                cv2.resize(pixels[view[1] : view[3], view[0] : view[2]], (256, 256))
                for pixels in (scan.pixels, sample.image)
            ]
            cv2.putText(pair[0], category, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (200, 0, 0), 1)
            tiles.append(np.hstack(pair))
    while len(tiles) % 4:
        tiles.append(np.full((256, 512, 3), 255, np.uint8))
    return np.vstack([np.hstack(tiles[k : k + 4]) for k in range(0, len(tiles), 4)])


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


def markdown(results: dict[str, dict]) -> str:
    """The results as one table."""
    lines = ["| what | measure | value |", "|---|---|---|"]
    for part, values in results.items():
        for name, value in values.items():
            if isinstance(value, float):
                lines.append(f"| {part} | {name} | {value:.3f} |")
            elif isinstance(value, int | str):
                lines.append(f"| {part} | {name} | {value} |")
    for name, row in results.get("painted", {}).get("by category", {}).items():
        lines.append(f"| category | {name} | {row['painted']:.2f} ({row['simulated']:.2f}) |")
    return "\n".join(lines) + "\n"
