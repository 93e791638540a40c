"""The page's command line, and all that stands behind the page."""

import argparse
import errno
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.engine import EMBEDDED, Choice, Engine
from app.studio import Studio, make_studio
from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError

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
        help="address to listen on; 127.0.0.1 is this machine alone (default: %(default)s)",
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


def check_port(host: str, port: int) -> None:
    """Check that a server can listen there.

    Raises:
        XsynError: another program does, or the host has no such address or port.
    """
    try:
        # of several addresses that of IPv4, which is less than that of IPv6
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
        family, kind, _, _, (name, _, *rest) = min(found)
        with socket.socket(family, kind) as probe:
            # As the server will: not to be kept off by connections of one that ended.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((name, port, *rest))
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise XsynError(
                f"Port {port} is in use; give another --port, or leave it out so that a free one "
                "is taken."
            ) from None
        reason = getattr(error, "strerror", None) or error
        raise XsynError(
            f"Nothing can listen on {host}, port {port} ({reason}); give another --host or --port."
        ) from None


def open_studio(chosen: argparse.Namespace) -> Studio:
    """A studio over the chosen workspace, with models that are not loaded yet.

    Raises:
        XsynError: the port or the workspace cannot be used.
    """
    if chosen.port is not None:
        check_port(chosen.host, chosen.port)

    def load(models: Choice) -> "Synthesizer":
        # Torch takes seconds to import; the page is up before.
        from xsyn_core.synthesis import Synthesizer
        from xsyn_core.weights import load_models

        return Synthesizer(load_models(models.diffusion, models.sam, chosen.device, chosen.compile))

    engine = Engine(load, Choice(chosen.diffusion, chosen.sam), fixed=chosen.host not in LOOPBACK)
    return make_studio(engine, Workspace(chosen.workspace), EXAMPLES)
