"""Fine-tune a grounded inpainting model, embedded or full-size, on scans of one's own.

As in Section V-A: text-grounded generation first, then inpainting. Generation is inpainting with
everything repainted: its mask and masked image are zero, so that one UNet goes through both.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import torch
import typer
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image

from xsyn_core import catalogs, grounding
from xsyn_core.attitudes import Attitudes
from xsyn_core.categories import CATALOGS
from xsyn_core.concealment import to_pixels
from xsyn_core.curation.readers import read_dataset
from xsyn_core.diffusion import Condition, Diffusion
from xsyn_core.errors import XsynError
from xsyn_core.files import refuse_mount
from xsyn_core.inpainting import denoise
from xsyn_core.sample import FrameMode
from xsyn_core.training import objective, options, processes
from xsyn_core.training.architectures import save_diffusion
from xsyn_core.training.finetuning_data import (
    claim,
    held_out,
    learnt_catalog,
    remark,
    select,
    sources,
)
from xsyn_core.training.finetuning_frames import MIRRORS, Batch, Frames, cache_frames
from xsyn_core.training.finetuning_recipe import (
    STAGES,
    Recipe,
    choose_trainable,
    learn_words,
)
from xsyn_core.training.loop import Plan, pick_device, steps_done, train
from xsyn_core.training.objective import Denoiser
from xsyn_core.training.scalars import Scalars
from xsyn_core.weight_sources import EMBEDDED, PARTS, diffusion_source
from xsyn_core.weights import load_models

# So many held-out frames are judged; enough for a steady mean.
JUDGED = 256
SHEET_STEPS = 20
SHEET_GUIDANCE = 4.0


class _Run:
    """What both stages of a run share."""

    def __init__(self, base: Diffusion, frames: Frames, aside: frozenset[str], batch: int):
        self.base = base
        self.frames = frames
        self.batch = batch
        outside = np.isin(frames.sources, sorted(aside))
        self.groups = frames.groups(np.flatnonzero(~outside))
        self.shares = np.array([len(g) for g in self.groups]) / (~outside).sum()
        judged = np.flatnonzero(outside & (frames.mirrors == 0))
        self.judged = np.sort(np.random.default_rng(0).permutation(judged)[:JUDGED])

    def draw(self, rng: np.random.Generator) -> Batch:
        """A training batch: frames of one size."""
        group = self.groups[rng.choice(len(self.groups), p=self.shares)]
        rows = rng.choice(group, self.batch, replace=len(group) < self.batch)
        return self.frames.batch(np.sort(rows))

    @torch.no_grad()
    def held_out_loss(self, model: Denoiser, recipe: Recipe) -> float:
        """The loss on the held-out frames, always with the same noise and nothing dropped."""
        rng, total = np.random.default_rng(1), 0.0
        for group in self.frames.groups(self.judged):
            for k in range(0, len(group), self.batch):
                rows = group[k : k + self.batch]
                nothing = np.zeros(len(rows), bool)
                batch = self.frames.batch(rows)
                total += recipe.loss(model, batch, rng, nothing).item() * len(rows)
        return total / len(self.judged)

    def sheet(self, model: Denoiser, recipe: Recipe, count: int, file: Path) -> None:
        """Held-out frames (training ones where there are none), decoded, beside what the model
        paints in their place."""
        rows = self.judged if len(self.judged) else self.groups[0]
        group = max(self.frames.groups(rows), key=len)[:count]
        batch = self.frames.batch(group)
        diffusion = replace(self.base, unet=model.unet, text_encoder=model.text_encoder)
        images = diffusion.decode(batch.clean)
        conditions, used = [], recipe.used(batch)
        for r in range(len(group)):
            names = [recipe.names[k] for k in batch.categories[r, used[r]].tolist()]
            places = tuple(tuple(b) for b in batch.boxes[r, used[r]].tolist())
            conditions.append(
                Condition(grounding.prompt(names), grounding.phrases(names), places)  # type: ignore[arg-type]
            )
        *_, last = denoise(
            diffusion,
            images,
            recipe.kept(batch),
            conditions,
            steps=SHEET_STEPS,
            guidance=SHEET_GUIDANCE,
            sampler="dpm++",
            generator=torch.Generator().manual_seed(0),
        )
        columns = []
        for before, after, condition in zip(
            images, diffusion.decode(last.latents), conditions, strict=True
        ):
            boxed, painted = (np.rint(to_pixels(v)).astype(np.uint8) for v in (before, after))
            height, width = boxed.shape[:2]
            for x1, y1, x2, y2 in condition.boxes:
                corners = (round(x1 * width), round(y1 * height))
                opposite = (round(x2 * width) - 1, round(y2 * height) - 1)
                cv2.rectangle(boxed, corners, opposite, (220, 30, 30), 1)
            columns.append(np.vstack([boxed, painted]))
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.hstack(columns)).save(file)


def main(
    data: Annotated[
        Path | None,
        typer.Option(help="Dataset: COCO, PIDray, OPIXray, HiXray, YOLO or VOC; folder or .json."),
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            help="Model to start from: embedded, a diffusers folder, an original GLIGEN file, or "
            "a hub id."
        ),
    ] = EMBEDDED,
    run: Annotated[
        Path, typer.Option(help="Folder of latents, checkpoints, losses and sheets.")
    ] = Path("runs/finetuned-denoiser"),
    out: Annotated[
        Path | None, typer.Option(help="Diffusers folder to write. Left out: RUN/model.")
    ] = None,
    generation_steps: Annotated[
        int, typer.Option(min=0, help="Of text-grounded generation.")
    ] = 180_000,
    inpainting_steps: Annotated[int, typer.Option(min=0, help="Of inpainting.")] = 50_000,
    batch: Annotated[int, typer.Option(min=1, help="Frames a step, on each GPU.")] = 8,
    rate: options.Rate = 5e-5,
    trainable: Annotated[
        Literal["grounding", "all"],
        typer.Option(
            help="grounding: fusers and position net, for inpainting also the first convolution; "
            "all: UNet and text encoder."
        ),
    ] = "grounding",
    frame: Annotated[
        FrameMode, typer.Option(help="window: squares around the boxes; whole: the whole scan.")
    ] = "window",
    category: Annotated[
        list[str] | None, typer.Option(help="Learn this one; repeatable. Left out: all.")
    ] = None,
    catalog: Annotated[
        str | None, typer.Option(help=f"{catalogs.WHICH} Left out: the one that fits.")
    ] = None,
    min_area: Annotated[
        float | None,
        typer.Option(help="Least share of the image for a box. Left out: the catalogue's."),
    ] = None,
    mirrors: Annotated[
        int, typer.Option(min=1, max=MIRRORS, help="Mirror images of each scan, 1 for none.")
    ] = 2,
    held_out_share: Annotated[
        float, typer.Option("--held-out", help="Share of the scans that the loss is checked on.")
    ] = 0.1,
    ema: Annotated[
        float, typer.Option(min=0, max=0.99999, help="Decay of averaged weights, 0 for none.")
    ] = 0.0,
    min_snr: Annotated[
        float, typer.Option(min=0, help="Gamma of min-SNR weighting (5 is usual), 0 for none.")
    ] = 0.0,
    checkpointing: Annotated[
        bool, typer.Option(help="Recompute activations: less memory, a third slower.")
    ] = False,
    sheet: Annotated[int, typer.Option(min=0, help="Samples painted at every save.")] = 4,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds between saves.")] = 900.0,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    device: options.Device = "auto",
) -> None:
    """Fine-tune a grounded diffusion model on scans of your own (Section V-A).

    The defaults are the paper's: 180,000 steps of generation, 50,000 of inpainting. A run that was
    stopped goes on when called again. The folder it writes is what `--diffusion` of the page takes.
    With --embedded this command trains the embedded model on simulated scans instead.

        python -m xsyn_core train denoiser --data pidray/annotations/xray_train.json
        --base masterful/gligen-1-4-inpainting-text-box

    The embedded model, on a CPU, in less than an hour:

        python -m xsyn_core train denoiser --data DATASET --trainable all --rate 3e-4 --batch 16
        --generation-steps 0 --inpainting-steps 1600 --ema 0.99 --min-snr 5

    On several GPUs: `accelerate launch -m xsyn_core train denoiser ...`.
    """
    if data is None:
        raise XsynError(
            "Give the dataset to learn from: --data FOLDER, or a COCO .json file. "
            "To train the embedded model on simulated scans, say --embedded."
        )
    if not generation_steps + inpainting_steps:
        raise XsynError("There is nothing to do: both stages have 0 steps.")
    dataset = read_dataset(data, catalogs.asked(catalog, base))
    remark(*dataset.notes)
    selection = select(dataset, category or (), min_area)
    held_out(map(str, selection.objects), held_out_share, seed)
    learnt = learnt_catalog(selection)
    if learnt.key not in CATALOGS:
        remark(f"The model is to paint categories of its own: {', '.join(learnt.names)}.")
    target = _target(out or run / "model", base)
    where = pick_device(device)
    diffusion = load_models(base, device=str(where), staying=True).diffusion
    settings = {
        "data": str(data), "objects": selection.digest, "base": base, "frame": frame,
        "mirrors": mirrors, "held-out": held_out_share, "batch": batch, "rate": rate,
        "trainable": trainable, "ema": ema, "min-snr": min_snr, "seed": seed,
        "processes": processes.count(),
        # of the cached frames; a run that does not say so is an old one, whose are greyed
        "masked": None if diffusion.greyed else "z_0",
    }  # fmt: skip
    if processes.first():
        claim(run, settings)
    asked = generation_steps, inpainting_steps
    begun = [steps_done(run / stage) for stage in STAGES]
    if begun[1] and generation_steps != begun[0]:
        raise XsynError(
            f"Inpainting has begun in {run}, so that generation, of which there are {begun[0]} "
            f"steps, is over. Go on with --generation-steps {begun[0]}, or choose another "
            "folder with --run."
        )
    if trainable == "all":
        learn_words(diffusion.tokenizer, diffusion.text_encoder, list(selection.names))
    frames = cache_frames(selection, sources(data), run / "frames", frame, mirrors, diffusion, seed)
    aside = held_out(frames.sources, held_out_share, seed)
    shared = _Run(diffusion, frames, aside, batch)
    model = Denoiser(diffusion.unet.float(), diffusion.text_encoder.float())
    if where.type == "cpu":  # the backward of fused attention is slow there
        model.unet.set_attn_processor(AttnProcessor())
    if checkpointing:
        model.unet.enable_gradient_checkpointing()
    scheduler = DDIMScheduler.from_config(diffusion.scheduler)

    # Scans do not tell how items lie, so the learnt ones are asked for without it from now on.
    known = diffusion.attitudes.known.items()
    attitudes = Attitudes({name: some for name, some in known if name not in selection.names})

    def export(average: Denoiser) -> None:
        save_diffusion(
            target,
            average.unet,
            diffusion.vae,
            average.text_encoder,
            diffusion.tokenizer,
            scheduler,
            attitudes,
            learnt,
        )

    for stage, steps, done in zip(STAGES, asked, begun, strict=True):
        # the checkpoint of inpainting holds all that generation has learnt
        if not (steps or done) or (stage == "generation" and begun[1]):
            continue
        recipe = Recipe(
            stage,
            selection.names,
            diffusion.tokenizer,
            scheduler.alphas_cumprod,
            scheduler.config.prediction_type,
            min_snr,
        )
        choose_trainable(model, trainable, stage)
        plan = Plan(
            steps=steps,
            rate=rate,
            warmup=min(1000, steps // 20),
            ema=ema,
            seed=seed,
            save_every=save_every,
        )
        model = _train_stage(model, recipe, plan, shared, run / stage, sheet, export)
    if processes.first():
        typer.echo(target)


def _train_stage(
    model: Denoiser,
    recipe: Recipe,
    plan: Plan,
    shared: _Run,
    folder: Path,
    sheet: int,
    export: Callable[[Denoiser], None],
) -> Denoiser:
    """Train one stage; gives the model that the next one starts from."""

    def draw(k: int, rng: np.random.Generator) -> tuple[Batch, np.random.Generator]:
        return shared.draw(rng), rng

    def step(k: int, drawn: tuple[Batch, np.random.Generator]) -> dict[str, torch.Tensor]:
        batch, rng = drawn
        dropped = objective.drops(len(batch.clean), rng)
        return {"loss": recipe.loss(model, batch, rng, dropped)}

    def judge(average: Denoiser, done: int) -> None:
        if len(shared.judged):
            loss = shared.held_out_loss(average, recipe)
            remark(f"{recipe.stage}, step {done}: held-out loss {loss:.5f}")
            log.write(done, {"loss": loss})

    def on_save(average: Denoiser, done: int) -> None:
        judge(average, done)
        export(average)
        if sheet:
            shared.sheet(average, recipe, sheet, folder / f"sheet-{done:06d}.png")

    folder.mkdir(parents=True, exist_ok=True)
    begun = steps_done(folder) > 0
    with Scalars(folder, "held_out.csv", anew=not begun) as log:
        if processes.first() and not begun:
            judge(model, 0)
        return train(model, draw, step, plan, folder, on_save)  # type: ignore[arg-type, return-value]


def _target(folder: Path, base: str) -> Path:
    """The folder to write, checked.

    Raises:
        XsynError: it is the base, a mount point, holds anything but an earlier model, or cannot
            be written.
    """
    refuse_mount(folder)
    if folder.exists():
        known = {*PARTS, "model_index.json", catalogs.FILE}
        if not folder.is_dir() or any(f.name not in known for f in folder.iterdir()):
            raise XsynError(
                f"{folder} holds other things than a model. Choose a new folder with --out."
            )
    return options.writable_file(folder, diffusion_source(base))
