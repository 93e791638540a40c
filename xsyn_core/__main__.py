"""`python -m xsyn_core`: see `xsyn_core.cli`."""

from xsyn_core.cli.commands import app

if __name__ == "__main__":
    app(prog_name="python -m xsyn_core")
