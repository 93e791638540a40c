"""What scans are encoded into, cached on disk in parts of some scans each.

Several processes share the encoding. A part is there whole or not at all, so that a run which was
stopped goes on with those that are missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from xsyn_core.training import processes
from xsyn_core.training.columns import open_columns, read_table, save_columns

# Scans a part.
PART = 32
# Parts that are open at once: each of their columns holds a file open, of which many systems let a
# process have 1,024.
OPEN = 64


@dataclass(frozen=True)
class Part:
    """Some encoded scans.

    Attributes:
        columns: large arrays by name, opened as memory maps.
        table: small arrays by name, a row for each row of `Parts`.
    """

    columns: Mapping[str, np.ndarray]
    table: Mapping[str, np.ndarray]


def encode(
    indexes: Sequence[int], folder: Path, encoded: Callable[[Sequence[int]], Part | None]
) -> list[Path]:
    """The parts of some scans under `folder`; those that are missing are encoded first, each by one
    of the processes.

    Args:
        indexes: numbers of the scans.
        folder: of the cache.
        encoded: encodes some of the scans; None where there is nothing to keep of them, which is
            tried again next time.
    """
    wanted = {
        folder / f"{number:05d}": indexes[k : k + PART]
        for number, k in enumerate(range(0, len(indexes), PART))
    }
    own = list(wanted)[processes.number() :: processes.count()]
    missing = [place for place in own if not place.is_dir()]
    for place in tqdm(missing, desc="encoding scans", unit="part", disable=not missing):
        part = encoded(wanted[place])
        if part is not None:
            save_columns(place, part.columns, part.table)
    processes.wait()
    return [place for place in wanted if place.is_dir()]


class Parts:
    """Parts of one cache, as N rows.

    Args:
        folders: of the parts, at least one.
        names: of the columns.

    Attributes:
        table: the small arrays, N rows each.
    """

    def __init__(self, folders: Sequence[Path], names: Sequence[str]):
        tables = [read_table(folder) for folder in folders]
        self.table = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
        counts = [len(next(iter(t.values()))) for t in tables]
        self._part = np.repeat(np.arange(len(tables)), counts)
        self._open = lru_cache(OPEN)(lambda part: open_columns(folders[part], names))

    def columns(self, row: int) -> dict[str, np.ndarray]:
        """The columns of the part that holds a row, as memory maps."""
        return self._open(int(self._part[row]))

    def starts(self, lengths: np.ndarray) -> np.ndarray:
        """Where each row begins in its part, if rows have these lengths: int64 (N,)."""
        before = lengths.cumsum(dtype=np.int64) - lengths
        return before - before[np.searchsorted(self._part, self._part)]
