"""The page's command line, and all that stands behind the page."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.engine import EMBEDDED, Choice, Engine
from app.studio import Studio, make_studio
from xsyn_core.curation.workspace import Workspace

if TYPE_CHECKING:
    from xsyn_core.synthesis import Synthesizer

LOOPBACK = ("127.0.0.1", "::1", "localhost")
EXAMPLES = Path(__file__).resolve().parents[1] / "assets" / "examples"


def data_folder() -> Path:
    """The user's data folder, by the custom of the system."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line: host, port, workspace, diffusion, sam, device, compile."""
    parser = argparse.ArgumentParser(
        prog="app.py", description="Xsyn Studio: paint prohibited items into X-ray baggage scans."
    )
    parser.add_argument(
        "--host",
        default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        help="address to listen on (default: %(default)s, this machine alone)",
    )
    parser.add_argument("--port", type=int, help="default: the first free port from 7860")
    parser.add_argument(
        "--workspace",
        type=Path,
        default=data_folder() / "xsyn-studio",
        help="folder of samples and decisions (default: %(default)s)",
    )
    parser.add_argument(
        "--diffusion",
        default=EMBEDDED,
        help="embedded, a diffusers folder, an original GLIGEN file, or a hub id "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--sam",
        default=EMBEDDED,
        help="embedded, or a file of SAM weights (default: %(default)s)",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, mps, ... (default: %(default)s)"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="run the denoiser through torch.compile: its first steps take minutes, the others "
        "less time",
    )
    return parser.parse_args(arguments)


def open_studio(chosen: argparse.Namespace) -> Studio:
    """A studio over the chosen workspace, with models that are not loaded yet.

    Raises:
        XsynError: the workspace cannot be used.
    """

    def load(models: Choice) -> "Synthesizer":
        # Torch takes seconds to import; the page is up before.
        from xsyn_core.synthesis import Synthesizer
        from xsyn_core.weights import load_models

        return Synthesizer(load_models(models.diffusion, models.sam, chosen.device, chosen.compile))

    engine = Engine(load, Choice(chosen.diffusion, chosen.sam), fixed=chosen.host not in LOOPBACK)
    return make_studio(engine, Workspace(chosen.workspace), EXAMPLES)
