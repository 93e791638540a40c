"""The results as a table."""


def markdown(results: dict[str, dict]) -> str:
    """The results as one table."""
    lines = ["| what | measure | value |", "|---|---|---|"]
    for part, values in results.items():
        for name, value in values.items():
            if isinstance(value, float):
                lines.append(f"| {part} | {name} | {value:.3f} |")
            elif isinstance(value, int | str):
                lines.append(f"| {part} | {name} | {value} |")
    for name, row in results.get("painted", {}).get("by category", {}).items():
        lines.append(f"| category | {name} | {row['painted']:.2f} ({row['simulated']:.2f}) |")
    return "\n".join(lines) + "\n"
