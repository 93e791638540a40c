"""The results of `evaluate models` as a table."""

from collections.abc import Mapping
from typing import Any


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
