"""What the commands share: errors, remarks, progress, Ctrl-C."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from tqdm import tqdm
from typer.core import TyperGroup

from xsyn_core.curation.coco import ExportReport
from xsyn_core.errors import XsynError

USER_ERROR = 2
INTERRUPTED = 130


class Explaining(TyperGroup):
    """Shows an `XsynError` as one message, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit with 2 after an `XsynError`."""
        try:
            return super().invoke(ctx)
        except XsynError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(USER_ERROR) from None


def remark(lines: Iterable[str]) -> None:
    """Tell the operator something beside the result."""
    for line in lines:
        typer.echo(line, err=True)


def announce(report: ExportReport) -> None:
    """A written dataset: the path of its annotations as the result, the rest as remarks."""
    parts = "" if report.validation is None else f", {report.validation} of them for validation"
    labels = f"{report.annotations} annotations, {report.painted} of them painted"
    remark([*report.notes, f"Images: {report.images}{parts}; {labels}."])
    typer.echo(report.path / "annotations" / "instances.json")


def bar(total: int, unit: str) -> tqdm:
    """A progress bar on standard error, where that is a terminal."""
    return tqdm(total=total, unit=unit, file=sys.stderr, disable=None, dynamic_ncols=True)


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Let a long command stop in order: the function given tells whether Ctrl-C was pressed.

    A second Ctrl-C interrupts at once.
    """
    pressed = False

    def note(number: int, frame: Any) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, previous)
        typer.echo("Stopping: what is finished will be written. Ctrl-C again drops it.", err=True)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, previous)
