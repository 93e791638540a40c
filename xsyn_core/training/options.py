"""What the commands that train the embedded models are asked, said once."""

from pathlib import Path
from typing import Annotated

import typer

from xsyn_core.errors import XsynError

Out = Annotated[Path, typer.Option(help="Weights to write, at every save.")]
Data = Annotated[Path, typer.Option(help="Simulated scans; what is missing is rendered first.")]
Run = Annotated[Path, typer.Option(help="Folder of checkpoint and losses; it is resumed from.")]
Base = Annotated[Path | None, typer.Option(help="Weights to go on from. Left out: from nothing.")]
Steps = Annotated[int, typer.Option(min=1, help="In all, counted from the first run.")]
Batch = Annotated[int, typer.Option(min=1, help="Rows a step, in each process.")]
Rate = Annotated[float, typer.Option(help="Learning rate, after warm-up and before its decay.")]
ShardCount = Annotated[int, typer.Option(min=1, help="Shards of 80 scenes to learn from.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random, scans included.")]
Workers = Annotated[
    int, typer.Option(min=1, help="Processes that render, and draw batches for a GPU.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]


def check_apart(base: Path | None, out: Path) -> None:
    """A run that is resumed needs the weights it began from as they were.

    Raises:
        XsynError: OUT would overwrite BASE.
    """
    if base is not None and base.resolve() == out.resolve():
        raise XsynError(
            f"{base} is to be learnt from and overwritten: a resumed run would begin from other "
            "weights. Name another place with --out."
        )
