"""Xsyn Studio, the page: `python app.py --host H --port P --workspace DIR`."""

import os
import signal
import sys
from contextlib import closing

# Read when Gradio is imported: it tells no other host anything.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from app.layout import build, launch_options
from app.serving import open_studio, options
from xsyn_core.errors import XsynError

if __name__ == "__main__":
    # What the system asks to end deletes its temporary files, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))

chosen = options(sys.argv[1:] if __name__ == "__main__" else [])
try:
    studio = open_studio(chosen)
except XsynError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
demo = build(studio)

if __name__ == "__main__":
    studio.engine.start()
    with closing(demo):
        demo.launch(server_name=chosen.host, server_port=chosen.port, **launch_options())
