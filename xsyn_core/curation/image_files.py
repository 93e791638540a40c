"""Image files below a folder, and which of them label files mean."""

import os
import unicodedata
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}


def files_below(root: Path) -> list[Path]:
    """All files, sorted; hidden ones and macOS's `._*` companions left out.

    Links to folders are followed, for large datasets often lie elsewhere, but none twice.
    """
    found, visited = [], set()
    for folder, inner, names in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in visited:
            inner.clear()
            continue
        visited.add(place)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


class ImageIndex:
    """Finds image files below a folder by the names that label files use."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self.root = root
        self.images = [f for f in files if f.suffix.lower() in IMAGE_SUFFIXES]
        self._known = {composed(str(file)): file for file in self.images}
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for file in self.images:
            self._by_name.setdefault(composed(file.name), []).append(file)
            self._by_stem.setdefault(composed(file.stem), []).append(file)

    def find(self, name: str, label_file: Path) -> Path | None:
        """The image of a name: by its relative path, else its name, else its stem.

        Names that lie in several folders are told apart by the folders of the listed name, from
        the last one on, then by the label file: `xray_test_hard.json` and
        `test/test_annotation/a.txt` mean the images in `hard/` and in `test/`.
        """
        parts = name_parts(name)
        for base in (self.root, self.root / "images", label_file.parent):
            path = self._known.get(composed(str(base.joinpath(*parts))))
            if path is not None:
                return path
        for found in (self._by_name.get(parts[-1]), self._by_stem.get(Path(parts[-1]).stem)):
            if found and len(found) == 1:
                return found[0]
            if found:
                return self._nearest(found, parts, label_file)
        return None

    def _nearest(self, found: list[Path], parts: Sequence[str], label_file: Path) -> Path | None:
        alike = [_alike(file.relative_to(self.root), parts) for file in found]
        found = [file for file, count in zip(found, alike, strict=True) if count == max(alike)]
        hints = set(label_file.stem.lower().split("_")) | {
            part.lower() for part in label_file.relative_to(self.root).parent.parts
        }
        score = [
            len(hints & {part.lower() for part in file.relative_to(self.root).parent.parts})
            for file in found
        ]
        best = max(score)
        return found[score.index(best)] if score.count(best) == 1 else None


def composed(name: str) -> str:
    """A name as it compares: macOS writes an accent as a character of its own."""
    return unicodedata.normalize("NFC", name)


def _alike(file: Path, parts: Sequence[str]) -> int:
    """How many folders, from the last one on, a file has in common with a listed name."""
    pairs = zip(reversed(file.parent.parts), reversed(parts[:-1]), strict=False)
    return len(list(takewhile(lambda pair: composed(pair[0]) == pair[1], pairs)))


def name_parts(name: str) -> tuple[str, ...]:
    """The parts of a file name as label files write it, without drive, root and `..`."""
    name = composed(name)
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return tuple(p for p in parts if p not in ("/", "..") and not p.endswith(":")) or (name,)
