"""Folders of arrays: they are there whole or not at all, and are opened as memory maps."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from xsyn_core.files import sync_file

# One file of the small ones, which are read into memory.
TABLE = "objects.npz"


def save_columns(
    folder: Path, columns: Mapping[str, np.ndarray], table: Mapping[str, np.ndarray] | None = None
) -> None:
    """Write arrays by name into a new folder, which is there whole or not at all.

    Args:
        folder: to make.
        columns: what `open_columns` opens.
        table: what `read_table` reads, if any.
    """
    temporary = folder.with_name(folder.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, values in columns.items():
        np.save(temporary / f"{name}.npy", values)
    if table is not None:
        np.savez(temporary / TABLE, **table)  # type: ignore[arg-type]
    for file in temporary.iterdir():
        sync_file(file)
    temporary.rename(folder)


def open_columns(folder: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrays of such a folder as memory maps, each of which holds its file open."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}


def read_table(folder: Path) -> dict[str, np.ndarray]:
    """The small arrays of such a folder."""
    with np.load(folder / TABLE) as table:
        return dict(table)
