"""The course of a run: rows of a CSV file, and TensorBoard's events where that is installed."""

import csv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from xsyn_core.training import processes


class Scalars:
    """Writes named numbers by step, in the first process alone. Use it as a context.

    Args:
        folder: of the run; gets TensorBoard's files too.
        name: of the CSV file: `step,name=value,...` a row.
        anew: begin the file anew, instead of carrying it on.
    """

    def __init__(self, folder: Path, name: str, anew: bool):
        self._file, self._board = None, None
        self._group = Path(name).stem
        if processes.first():
            self._last = -1 if anew else _last(folder / name)
            self._file = open(folder / name, "w" if anew else "a", newline="")  # noqa: SIM115
            self._rows = csv.writer(self._file)
            self._board = _board(folder)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append a row, but for a step that the file has: one that is done again after a stop."""
        if self._file is None or step <= self._last:
            return
        self._last = step
        self._rows.writerow([step, *(f"{name}={v:.5f}" for name, v in values.items())])
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{self._group}/{name}", value, step)

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _last(file: Path) -> int:
    """The last step of the rows, -1 where there is none."""
    rows = file.read_text(errors="replace").splitlines() if file.exists() else []
    # a machine that went down may have left half a row
    steps = (row.partition(",")[0] for row in rows)
    return max((int(step) for step in steps if step.isdecimal()), default=-1)


def _board(folder: Path):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # the package tensorboard is an option, not a requirement
        return None
    return SummaryWriter(folder)
