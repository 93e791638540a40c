"""The command line as tests call it, and scans for it."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from xsyn_core.cli.commands import app

ROOT = Path(__file__).parents[2]


SIZE = (500, 200)


def put_scan(path: Path, shade: int = 250, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)
    return path


def put_dataset(folder: Path, count: int, labels: list[tuple], names: dict[int, str]) -> Path:
    """`labels` are (image number from 1, category id, bbox)."""
    for i in range(1, count + 1):
        put_scan(folder / "images" / f"{i}.png", 200 + i)
    document = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": SIZE[0], "height": SIZE[1]}
            for i in range(1, count + 1)
        ],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box}
            for i, (image, category, box) in enumerate(labels)
        ],
        "categories": [{"id": i, "name": name} for i, name in names.items()],
    }
    file = folder / "labels.json"
    file.write_text(json.dumps(document))
    return file


def call(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def passes(*arguments: object):
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


def fails(message: str, *arguments: object) -> None:
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "provenance.jsonl").read_text().splitlines()]


INTERRUPTED = """
    import os, signal, sys, types
    sys.path[:0] = {paths!r}
    from made_synthesizer import MadeSynthesizer
    class Pressed(MadeSynthesizer):
        def paint(self, scan, request):
            if request.seed == {at}:
                os.kill(os.getpid(), {number})
            yield from super().paint(scan, request)
    # The real modules would load torch.
    sys.modules["xsyn_core.synthesis"] = types.SimpleNamespace(Synthesizer=Pressed)
    sys.modules["xsyn_core.weights"] = types.SimpleNamespace(load_models=lambda *a: None)
    from xsyn_core.cli.commands import app
    app({arguments!r})
"""


def interrupted(
    scan: Path, out: Path, at: int, number: signal.Signals = signal.SIGINT, into: str = "--out"
) -> subprocess.CompletedProcess:
    """Five samples of which that at `at` is interrupted by a signal."""
    arguments = ["synthesize", str(scan), "--count", "5", "--steps", "2", into, str(out)]
    code = textwrap.dedent(INTERRUPTED).format(
        paths=[str(Path(__file__).parent), str(ROOT)],
        at=at,
        number=int(number),
        arguments=arguments,
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert "Traceback" not in done.stderr and "Stopping" in done.stderr
    return done
