"""Paths as people write them."""

from pathlib import Path

from xsyn_core.errors import XsynError


def expanded(path: str | Path) -> Path:
    """A path whose `~` or `~name` is the home folder that it stands for.

    Raises:
        XsynError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise XsynError(
            f"There is no folder {path}: the home folder that it begins with is not known. "
            "Write the path in full."
        ) from None
