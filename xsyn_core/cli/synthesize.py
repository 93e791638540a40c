"""`synthesize`: scans in, samples out, as a COCO dataset or into a workspace."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from tqdm import tqdm

from xsyn_core import catalogs
from xsyn_core.cli import plan
from xsyn_core.cli.batch import LAST_SEED, Batch, signs
from xsyn_core.cli.terminal import INTERRUPTED, announce, bar, remark
from xsyn_core.curation.coco import counted, write_dataset
from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError
from xsyn_core.sample import Request, Sample
from xsyn_core.stopping import stoppable

if TYPE_CHECKING:
    from xsyn_core.synthesis import Synthesizer

    _Load = Callable[[], Synthesizer]

_DEFAULTS = Request(())
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
        Path | None,
        typer.Option(
            help="Folder of the dataset, unless --workspace is given: new, empty, or an earlier "
            "one of ours, which is replaced as a whole; if stopped early, the new part goes into a "
            "folder beside it."
        ),
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option(
            help="Instead of a dataset: the workspace where the samples wait, without a decision, "
            "for the page. Those that it has are not made again."
        ),
    ] = None,
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
        int, typer.Option(min=0, max=LAST_SEED, help="Of the start noise.", rich_help_panel=_HOW)
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
            min=0, max=LAST_SEED, help="Seed of its random placement.", rich_help_panel=_HIDE
        ),
    ] = _DEFAULTS.placement,
    val: Annotated[
        float,
        typer.Option(help="Share of the source scans for the dataset's instances_val.json."),
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
    """Paint prohibited items into scans and write a COCO dataset, or leave them to be decided on.

    The path of the annotations, or of the workspace, goes to standard output. The same scan,
    options, weights and seed give the same bytes on the same machine.

    A knife in a box, hidden a little:

        python -m xsyn_core synthesize bag.png --category Knife --box 120,80,260,170
        --seed 0 --alpha 0.3 --out dataset

    A thousand samples from a dataset, items and places chosen by Xsyn-A:

        python -m xsyn_core synthesize pidray/annotations/xray_train.json --count 1000 --out dataset

    Known items painted anew (Xsyn-M):

        python -m xsyn_core synthesize bag.png --variant modify --annotations bag.xml --out dataset

    A thousand samples overnight, of which those that convince are accepted in the morning:

        python -m xsyn_core synthesize dataset/ --count 1000 --workspace work
        python app.py --workspace work
        python -m xsyn_core export work --out accepted
    """
    places = [plan.parse_box(text) for text in box or ()]
    if (out is None) == (workspace is None):
        raise XsynError("Give either --out, for a dataset, or --workspace, to decide in the page.")
    if val and workspace is not None:
        raise XsynError(
            "--val is of datasets: give it to `export` when the samples are decided on."
        )
    own = catalogs.asked(catalog, diffusion)
    scans = plan.open_scans(scan, annotations, own)
    names = plan.check_options(category or (), places, variant, scans.catalog)
    settings = Request(
        groundings=(),
        variant=variant,
        catalog=scans.catalog,
        seed=seed,
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
        placement=placement,
    )
    batch = Batch(scans, names, places, settings, count or len(scans))

    def load() -> "Synthesizer":
        # Imported and loaded here: both take seconds, and mistakes should show before.
        from xsyn_core.synthesis import Synthesizer
        from xsyn_core.weights import load_models

        return Synthesizer(load_models(diffusion, sam, device, compiled))

    if out is not None:
        stopped = _into_dataset(batch, load, out, val)
    else:
        assert workspace is not None
        stopped = _into_workspace(batch, load, workspace)
    if stopped:
        raise typer.Exit(INTERRUPTED)


def _into_dataset(batch: Batch, load: "_Load", out: Path, val: float) -> bool:
    """Write the samples as a dataset; whether that was stopped early."""
    report = None
    with _working(batch, "what is finished will be written.") as (progress, stopped):

        def samples() -> Iterator[Sample]:
            yield from batch.samples(load(), progress, stopped)

        try:
            report = write_dataset(samples(), out, batch.scans.catalog, val, stopped)
        except XsynError as error:
            remark(batch.notes)
            if not stopped():
                raise
            remark([str(error)])
    if report is not None:
        remark(batch.notes)
        announce(report)
    return stopped()


def _into_workspace(batch: Batch, load: "_Load", folder: Path) -> bool:
    """Store the samples that a workspace lacks, undecided; whether that was stopped early."""
    added = 0
    with (
        Workspace(folder) as workspace,
        _working(batch, "what is finished is in the workspace.") as (progress, stopped),
    ):
        synthesizer, there = load(), signs(workspace)
        try:
            for sample in batch.samples(synthesizer, progress, stopped, there):
                workspace.add(sample)
                added += 1
        finally:
            progress.close()
            remark([*batch.notes, f"Stored without a decision: {counted(added, 'sample')}."])
    place = shlex.quote(str(workspace.path))
    remark([f"To decide on what is stored: python app.py --workspace {place}"])
    typer.echo(workspace.path)
    return stopped()


@contextmanager
def _working(batch: Batch, promise: str) -> Iterator[tuple[tqdm, Callable[[], bool]]]:
    """A progress bar, and whether to stop; see `stoppable`."""
    with (
        stoppable(promise) as stopped,
        bar(batch.total * batch.settings.steps, "step") as progress,
    ):
        yield progress, stopped
