"""Xsyn Studio, the page: `python app.py --host H --port P --workspace DIR`."""

import os
import sys

# Read when Gradio is imported: it tells no other host anything.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from app.layout import build, launch_options
from app.serving import open_studio, options
from xsyn_core.errors import XsynError

chosen = options(sys.argv[1:] if __name__ == "__main__" else [])
try:
    studio = open_studio(chosen)
except XsynError as error:
    sys.exit(str(error))
demo = build(studio)

if __name__ == "__main__":
    studio.engine.start()
    demo.launch(server_name=chosen.host, server_port=chosen.port, **launch_options())
