"""The commands by name."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from xsyn_core import boxes, catalogs
from xsyn_core.categories import PIDRAY
from xsyn_core.cli import delegates, plan
from xsyn_core.cli.synthesize import synthesize
from xsyn_core.cli.terminal import Explaining, announce, bar, remark
from xsyn_core.curation import coco
from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError

app = typer.Typer(
    cls=Explaining,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Paint prohibited items into X-ray baggage scans, with labels, into COCO datasets.",
    epilog="`COMMAND --help` explains each command with examples.",
)
app.command()(synthesize)
app.add_typer(delegates.train, name="train")
app.add_typer(delegates.evaluate, name="evaluate")


@app.command()
def regions(
    scan: Annotated[Path, typer.Argument(help="An image.")],
    annotations: Annotated[
        Path | None,
        typer.Option(help="Known items: COCO .json, VOC .xml, YOLO or OPIXray .txt."),
    ] = None,
    catalog: Annotated[str, typer.Option(help=catalogs.WHICH)] = PIDRAY.key,
    sam: Annotated[str, typer.Option(help="embedded, or a file of SAM weights.")] = "embedded",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
) -> None:
    """Print the idle regions of a scan (Eq. 3) as a JSON list, largest first.

    Each has its `box` (x1, y1, x2, y2), the box's `area` in square pixels, the `candidates`, which
    are the categories of that area group (Table I) and shape, and the `mask_area`.

        python -m xsyn_core regions bag.png | jq '.[0].box'
    """
    scans = plan.open_scans(scan, annotations, catalogs.named(catalog))
    if len(scans) != 1:
        raise XsynError(f"{scan} is a dataset of {len(scans)} scans: give one image.")
    own, source = scans.catalog, scans[0]
    remark(scans.notes)
    # Imported here: it takes seconds, and --help and mistakes should not wait for it.
    from xsyn_core.regions import idle_regions
    from xsyn_core.weights import load_segmenter

    segments = load_segmenter(sam, device).everything(source.pixels)
    known = [annotation.box for annotation in source.annotations]
    idle = idle_regions(segments, known, source.size, min_area_ratio=own.min_area_ratio)
    found = [
        {
            "box": [float(v) for v in region.box],
            "area": float(boxes.area(region.box)),
            "candidates": list(own.fitting(region.box, source.size)),
            "mask_area": int(region.area),
        }
        for region in idle
    ]
    typer.echo(json.dumps(found, indent=1))


@app.command()
def export(
    workspace: Annotated[Path, typer.Argument(help="Folder of a workspace.")],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the dataset: new, empty, or an earlier export, which is replaced as a "
            "whole."
        ),
    ],
    catalog: Annotated[
        str | None,
        typer.Option(help=f"{catalogs.WHICH} Left out: that of most samples."),
    ] = None,
    val: Annotated[
        float,
        typer.Option(help="Share of the source scans for instances_val.json, 0 for no split."),
    ] = 0.0,
) -> None:
    """Write the accepted samples of a workspace as a COCO dataset.

    The same workspace gives the same bytes. With `--val`, samples of one scan never lie on both
    sides. The path of the annotations goes to standard output.

        python -m xsyn_core export my-workspace --out dataset --val 0.2
    """
    with Workspace(workspace, create=False) as opened:
        chosen = plan.exported(opened, catalog)
        with bar(opened.counts()["accept"], "sample") as progress:
            report = coco.export(
                opened, out, chosen, val, lambda done, _: progress.update(done - progress.n)
            )
    announce(report)


@app.command()
def simulate(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the dataset: new, empty, or an earlier result of this command, which "
            "is replaced as a whole."
        ),
    ],
    count: Annotated[int, typer.Option(help="How many scans.")] = 100,
    seed: Annotated[int, typer.Option(help="Another seed, other scans.")] = 0,
    look: Annotated[
        str | None, typer.Option(help="Colours of the scanner. Left out: all kinds.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes at work at once.")] = 1,
    size: Annotated[str, typer.Option(metavar="WIDTHxHEIGHT", help="In pixels.")] = "256x256",
) -> None:
    """Simulate dual-energy X-ray scans of baggage, with labels, as a COCO dataset.

    The same count, seed, look and size give the same bytes, whatever the number of workers. The
    path of the annotations goes to standard output.

        python -m xsyn_core simulate --count 1000 --seed 0 --workers 8 --out simulated
    """
    sides = re.fullmatch(r"(\d+)x(\d+)", size)
    if sides is None:
        raise XsynError(f"{size!r} is no size: write --size WIDTHxHEIGHT, such as 640x480.")
    # Imported here: --help should not wait for it.
    from xsyn_core.simulation import dataset

    with bar(count, "scan") as progress:
        path = dataset.simulate(
            count=count,
            seed=seed,
            out=out,
            look=look,
            workers=workers,
            size=(int(sides[2]), int(sides[1])),
            progress=lambda done, _: progress.update(done - progress.n),
        )
    typer.echo(path)
