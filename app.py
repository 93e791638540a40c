"""Xsyn Studio, the page: `python app.py --host H --port P --workspace DIR`."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# Before Gradio is imported: nothing is fetched from, or told to, another host by itself.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from app.engine import Engine
from app.exporting import Exports
from app.handlers import Handlers
from app.layout import build, launch_options
from app.records import Records
from app.session import Sessions
from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError

if TYPE_CHECKING:
    from xsyn_core.synthesis import Synthesizer

ASSETS = Path(__file__).resolve().parent / "assets"


def data_folder() -> Path:
    """The user's data folder, by the custom of the system."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="app.py", description="Xsyn Studio: paint prohibited items into X-ray baggage scans."
    )
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, help="default: the first free port from 7860")
    parser.add_argument(
        "--workspace",
        type=Path,
        default=data_folder() / "xsyn-studio",
        help="folder of samples and decisions (default: %(default)s)",
    )
    parser.add_argument(
        "--diffusion", default="embedded", help="embedded, a diffusers folder, or a hub id"
    )
    parser.add_argument("--sam", default="embedded", help="embedded, or a file of SAM weights")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    return parser.parse_args(arguments)


def make_handlers(chosen: argparse.Namespace) -> Handlers:
    """All that stands behind the page.

    Raises:
        XsynError: the workspace cannot be used.
    """

    def load() -> "Synthesizer":
        # Torch takes seconds to import; the page is up before.
        from xsyn_core.synthesis import Synthesizer
        from xsyn_core.weights import load_models

        return Synthesizer(load_models(chosen.diffusion, chosen.sam, chosen.device))

    name = "embedded models" if chosen.diffusion == "embedded" else Path(chosen.diffusion).name
    workspace = Workspace(chosen.workspace)
    return Handlers(
        Engine(load, name),
        Records(workspace),
        Sessions(),
        Exports(workspace),
        ASSETS / "examples",
    )


chosen = options(sys.argv[1:] if __name__ == "__main__" else [])
try:
    handlers = make_handlers(chosen)
except XsynError as error:
    sys.exit(str(error))
demo = build(handlers)

if __name__ == "__main__":
    handlers.engine.start()
    demo.launch(server_name=chosen.host, server_port=chosen.port, **launch_options())
