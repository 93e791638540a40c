"""Where results of `evaluate` are written, and those of `evaluate models` as a table."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xsyn_core.errors import XsynError
from xsyn_core.files import writable


def tried(file: Path) -> Path:
    """A path where a result can be put, tried before what is long; what is there stays.

    Raises:
        XsynError: it is a folder, or cannot be written.
    """
    if file.is_dir():
        raise XsynError(f"{file} is a folder. Give the path of a file.")
    with writable(file, "the results"):
        file.parent.mkdir(parents=True, exist_ok=True)
        known = os.path.lexists(file)
        file.open("ab").close()
        if not known:
            file.unlink()
    return file


def markdown(results: Mapping[str, Mapping[str, Any]]) -> str:
    """One row a number; a part's `spread` (standard deviations by name) goes beside its means, its
    shares `by catalogue` and `by category` (painted, simulated in brackets) come last."""
    lines = ["| what | measure | value |", "|---|---|---|"]
    for part, values in results.items():
        spread = values.get("spread", {})
        for name, value in values.items():
            if isinstance(value, float):
                around = f" ± {spread[name]:.3f}" if name in spread else ""
                lines.append(f"| {part} | {name} | {value:.3f}{around} |")
            elif isinstance(value, int | str):
                lines.append(f"| {part} | {name} | {value} |")
    for part, values in results.items():
        for group in ("by catalogue", "by category"):
            for name, row in values.get(group, {}).items():
                shown = f"{row['painted']:.2f} ({row['simulated']:.2f})"
                lines.append(f"| {part}, {group} | {name} | {shown} |")
    return "\n".join(lines) + "\n"
