"""`synthesize`: scans in, a COCO dataset out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from xsyn_core import catalogs
from xsyn_core.cli import plan
from xsyn_core.cli.terminal import INTERRUPTED, announce, bar, remark
from xsyn_core.curation.coco import write_dataset
from xsyn_core.curation.formats import Problems
from xsyn_core.errors import XsynError
from xsyn_core.sample import Request, Sample
from xsyn_core.stopping import stoppable

_DEFAULTS = Request(())
_LAST_SEED = 2**31 - 1
_WHAT, _HOW, _HIDE, _MODELS = "What to paint", "How to paint it", "How to hide it", "Models"


def synthesize(
    scan: Annotated[
        Path,
        typer.Argument(
            help="An image, a dataset (its folder or its COCO .json file), or a folder of images "
            "alone, which are scans without annotations."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the dataset: new, empty, or an earlier one of ours, which is replaced "
            "as a whole; if stopped early, the new part goes into a folder beside it."
        ),
    ],
    category: Annotated[
        list[str] | None,
        typer.Option(
            help="What to paint. Repeat it for several items. Left out: by area group (Table I).",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="x1,y1,x2,y2",
            help="Where, in pixels of the scan, one for each category in the same order. "
            "Left out: idle regions are picked.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    variant: Annotated[
        Literal["add", "modify"],
        typer.Option(
            help="add (Xsyn-A) keeps all annotated items, modify (Xsyn-M) repaints them.",
            rich_help_panel=_WHAT,
        ),
    ] = "add",
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Known items of the scan: COCO .json, VOC .xml, YOLO or OPIXray .txt.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many samples in all; their seeds count up. Left out: one a scan.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    catalog: Annotated[
        str | None,
        typer.Option(
            help=f"{catalogs.WHICH} Left out: that of --diffusion, else the one that fits a "
            "dataset, else pidray.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=_LAST_SEED, help="Of the start noise.", rich_help_panel=_HOW)
    ] = _DEFAULTS.seed,
    steps: Annotated[
        int, typer.Option(min=1, max=1000, help="Denoising steps.", rich_help_panel=_HOW)
    ] = _DEFAULTS.steps,
    guidance: Annotated[
        float, typer.Option(help="Scale of classifier-free guidance.", rich_help_panel=_HOW)
    ] = _DEFAULTS.guidance,
    sampler: Annotated[
        Literal["ddim", "dpm++"],
        typer.Option(help="dpm++ needs fewer steps.", rich_help_panel=_HOW),
    ] = _DEFAULTS.sampler,
    frame: Annotated[
        Literal["window", "whole"],
        typer.Option(
            help="window: a square around each box; whole: the scan fitted to the model.",
            rich_help_panel=_HOW,
        ),
    ] = _DEFAULTS.frame,
    background: Annotated[
        Literal["keep", "repaint"],
        typer.Option(
            help="keep: the item lies over the scan as it is; repaint: the whole box is new.",
            rich_help_panel=_HOW,
        ),
    ] = _DEFAULTS.background,
    points: Annotated[
        Literal["median", "topk"],
        typer.Option(help="How the points for SAM are chosen.", rich_help_panel=_HOW),
    ] = _DEFAULTS.points,
    divisions: Annotated[
        int,
        typer.Option(
            help="n of median point sampling, 0 to 8; 0 prompts SAM with the box alone.",
            rich_help_panel=_HOW,
        ),
    ] = _DEFAULTS.divisions,
    occlude: Annotated[
        bool,
        typer.Option(
            "--occlude/--no-occlude",
            help="Whether the item is hidden behind clutter (BOM).",
            rich_help_panel=_HIDE,
        ),
    ] = _DEFAULTS.occlude,
    alpha: Annotated[
        float, typer.Option(help="Degree of occlusion, 0 to 1.", rich_help_panel=_HIDE)
    ] = _DEFAULTS.alpha,
    occlusion: Annotated[
        Literal["latent", "every-step", "pixel"],
        typer.Option(help="latent is the method, the others its rivals.", rich_help_panel=_HIDE),
    ] = _DEFAULTS.occlusion,
    occluder: Annotated[
        int, typer.Option(min=0, help="Which of the occluders.", rich_help_panel=_HIDE)
    ] = _DEFAULTS.occluder,
    placement: Annotated[
        int,
        typer.Option(
            min=0, max=_LAST_SEED, help="Seed of its random placement.", rich_help_panel=_HIDE
        ),
    ] = _DEFAULTS.placement,
    val: Annotated[
        float,
        typer.Option(help="Share of the source scans for instances_val.json, 0 for no split."),
    ] = 0.0,
    diffusion: Annotated[
        str,
        typer.Option(
            help="embedded, a diffusers folder, an original GLIGEN file, or a hub id.",
            rich_help_panel=_MODELS,
        ),
    ] = "embedded",
    sam: Annotated[
        str, typer.Option(help="embedded, or a file of SAM weights.", rich_help_panel=_MODELS)
    ] = "embedded",
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=_MODELS)
    ] = "auto",
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Run the denoiser through torch.compile: its first steps take minutes, the "
            "others less time.",
            rich_help_panel=_MODELS,
        ),
    ] = False,
) -> None:
    """Paint prohibited items into scans and write a COCO dataset.

    The path of its annotations goes to standard output. The same scan, options, weights and seed
    give the same bytes on the same machine.

    A knife in a box, hidden a little:

        python -m xsyn_core synthesize bag.png --category Knife --box 120,80,260,170
        --seed 0 --alpha 0.3 --out dataset

    A thousand samples from a dataset, items and places chosen by Xsyn-A:

        python -m xsyn_core synthesize pidray/annotations/xray_train.json --count 1000 --out dataset

    Known items painted anew (Xsyn-M):

        python -m xsyn_core synthesize bag.png --variant modify --annotations bag.xml --out dataset
    """
    places = [plan.parse_box(text) for text in box or ()]
    own = catalogs.asked(catalog, diffusion)
    scans = plan.open_scans(scan, annotations, own)
    names = plan.check_options(category or (), places, variant, scans.catalog)
    total = count or len(scans)
    failures = Problems()

    def samples() -> Iterator[Sample]:
        # Imported and loaded here: both take seconds, and mistakes should show before.
        from xsyn_core.synthesis import Synthesizer
        from xsyn_core.weights import load_models

        synthesizer = Synthesizer(load_models(diffusion, sam, device, compiled))
        for number in range(total):
            # Samples of a scan follow each other, so that its segments are found once.
            index = number * len(scans) // total
            try:
                source = scans[index]
                own_seed = (seed + number) % (_LAST_SEED + 1)
                request = Request(
                    groundings=plan.groundings(
                        synthesizer, source, scans.catalog, variant, names, places, own_seed
                    ),
                    variant=variant,
                    catalog=scans.catalog,
                    seed=own_seed,
                    steps=steps,
                    guidance=guidance,
                    sampler=sampler,
                    frame=frame,
                    background=background,
                    points=points,
                    divisions=divisions,
                    occlude=occlude,
                    alpha=alpha,
                    occlusion=occlusion,
                    occluder=occluder,
                    placement=(placement + number) % (_LAST_SEED + 1),
                )
                painting = None
                for step in synthesizer.paint(source, request):
                    # how many steps a scan takes depends on its boxes
                    done = number * steps + steps * step.step // step.steps
                    progress.update(done - progress.n)
                    if stopped():
                        return
                    painting = step.result
                assert painting is not None
                refined = synthesizer.refine(painting)
                sample = synthesizer.occlude(
                    refined, alpha, occluder, request.placement, occlusion, occlude
                )
            except XsynError as error:
                if total == 1:
                    raise
                failures.add(
                    f"Samples that could not be made, left out. {error}", scans.name(index)
                )
                progress.update((number + 1) * steps - progress.n)
                continue
            yield sample

    report = None
    with (
        stoppable("what is finished will be written.") as stopped,
        bar(total * steps, "step") as progress,
    ):
        try:
            report = write_dataset(samples(), out, scans.catalog, val, stopped)
        except XsynError as error:
            remark([*scans.notes, *failures.notes])
            if not stopped():
                raise
            remark([str(error)])
    if report is not None:
        remark([*scans.notes, *failures.notes])
        announce(report)
    if stopped():
        raise typer.Exit(INTERRUPTED)
