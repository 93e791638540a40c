"""What the commands that train the embedded models are asked, said once."""

from pathlib import Path
from typing import Annotated

import typer

from xsyn_core.errors import XsynError
from xsyn_core.files import expanded, writable


def _checked_rate(rate: float) -> float:
    if not 0 < rate < 1:
        raise XsynError(f"The learning rate is {rate:g}; give --rate above 0 and below 1.")
    return rate


Out = Annotated[Path, typer.Option(help="Weights to write, at every save.")]
Data = Annotated[Path, typer.Option(help="Simulated scans; what is missing is rendered first.")]
Run = Annotated[Path, typer.Option(help="Folder of checkpoint and losses; it is resumed from.")]
Base = Annotated[Path | None, typer.Option(help="Weights to go on from. Left out: from nothing.")]
Steps = Annotated[int, typer.Option(min=1, help="In all, counted from the first run.")]
Batch = Annotated[int, typer.Option(min=1, help="Rows a step, in each process.")]
Rate = Annotated[
    float,
    typer.Option(callback=_checked_rate, help="Learning rate, after warm-up and before its decay."),
]
ShardCount = Annotated[int, typer.Option(min=1, help="Shards of 80 scenes to learn from.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random, scans included.")]
Workers = Annotated[
    int, typer.Option(min=1, help="Processes that render, and draw batches for a GPU.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]


def writable_file(path: Path, *bases: str | Path | None) -> Path:
    """A path where weights can be put, tried.

    Raises:
        XsynError: it is that of weights that are learnt from, which a resumed run needs as they
            were; or its parent folder cannot be written.
    """
    if any(base and expanded(base).resolve() == path.resolve() for base in bases):
        raise XsynError(
            f"{path} is the base itself, which a resumed run begins from. Choose another place "
            "with --out."
        )
    with writable(path.parent, "the weights"):
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.parent / f".{path.name}.xsyn-probe"
        probe.touch()
        # another process of the same run may have been faster
        probe.unlink(missing_ok=True)
    return path
