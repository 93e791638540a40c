"""What the commands share: errors, remarks, progress."""

import errno
import re
import sys
from collections.abc import Iterable
from typing import Any

import typer
from tqdm import tqdm
from typer.core import TyperGroup

from xsyn_core.curation.coco import ExportReport, counted
from xsyn_core.errors import XsynError

USER_ERROR = 2
INTERRUPTED = 130

FULL = (
    "The disk is full. Make room, then give the same command again: training goes on from what it "
    "saved last."
)
# What errors say that come without the system's number.
WITHOUT_NUMBER = re.compile(
    r"No space left on device|Not enough free space to write|\d+ requested and \d+ written"
)


class Explaining(TyperGroup):
    """Shows what the operator can mend as one message, without a traceback: an `XsynError`, a
    full disk, what else the system refuses, and too little memory."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit with 2 after such an error."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            said = _explained(error)
            if said is None:
                raise
            typer.echo(f"Error: {said}", err=True)
            raise typer.Exit(USER_ERROR) from None


def _explained(error: Exception) -> str | None:
    if isinstance(error, XsynError):
        return str(error)
    if disk_full(error):
        return FULL
    if isinstance(error, MemoryError):
        return "There is too little memory. Close other programs, or give the command less at once."
    # Whoever reads the output may stop early; the command line knows how to end then.
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}{reason}. Check the path, its permissions and the disk, then try again."
    return None


def disk_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error. Libraries have their own ways to say so: torch wraps
    the system's error, safetensors quotes it, NumPy tells how much it could not write."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if WITHOUT_NUMBER.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def remark(lines: Iterable[str]) -> None:
    """Tell the operator something beside the result."""
    for line in lines:
        typer.echo(line, err=True)


def announce(report: ExportReport) -> None:
    """A written dataset: the path of its annotations as the result, the rest as remarks."""
    parts = "" if report.validation is None else f", {report.validation} of them for validation"
    labels = f"{counted(report.annotations, 'annotation')}, {report.painted} of them painted"
    remark([*report.notes, f"Images: {report.images}{parts}; {labels}."])
    typer.echo(report.path / "annotations" / "instances.json")


def bar(total: int, unit: str) -> tqdm:
    """A progress bar on standard error; where that is no terminal but a log, anew every minute."""
    every = 0.1 if sys.stderr.isatty() else 60
    return tqdm(total=total, unit=unit, mininterval=every, delay=every, dynamic_ncols=True)
