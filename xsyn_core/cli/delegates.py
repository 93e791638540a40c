"""`train` and `evaluate`: each command is the `main` of a module, imported when it is called."""

import importlib
import inspect
import re

import typer

EMBEDDED = "--embedded"
_PLAIN = {"allow_extra_args": True, "ignore_unknown_options": True}

train = typer.Typer(
    no_args_is_help=True,
    help="Fine-tune models on scans of your own, or train the embedded ones on simulated scans.",
)
evaluate = typer.Typer(no_args_is_help=True, help="Measure the models and the method.")


def _delegate(
    group: typer.Typer, name: str, module: str, text: str, embedded: str | None = None
) -> None:
    """Hand a command on to `module`, or to the module `embedded` where --embedded is said."""

    # No help option here: --help goes on to the module's own command with the other arguments.
    @group.command(name, help=text, add_help_option=False, context_settings=_PLAIN)
    def run(context: typer.Context) -> None:
        chosen, arguments = module, list(context.args)
        if embedded is not None and EMBEDDED in arguments:
            arguments.remove(EMBEDDED)
            chosen = embedded
        main = importlib.import_module(chosen).main
        told = re.split("\n\n(?:Args|Raises):\n", inspect.getdoc(main) or text)[0]
        inner = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        inner.command(name, help=told)(main)
        command = typer.main.get_command(inner)
        code = command(arguments, prog_name=context.command_path, standalone_mode=False)
        # Without standalone mode the exit code, such as that of Ctrl-C, is only returned.
        if isinstance(code, int) and code:
            raise typer.Exit(code)


_delegate(
    train,
    "autoencoder",
    "xsyn_core.training.autoencoder",
    "The autoencoder of the embedded diffusion model, on simulated scans.",
)
_delegate(
    train,
    "denoiser",
    "xsyn_core.training.finetuning",
    "A grounded diffusion model on --data; with --embedded, the small one on simulated scans.",
    embedded="xsyn_core.training.denoiser",
)
_delegate(
    train,
    "segmenter",
    "xsyn_core.training.finetuning_segmenter",
    "SAM's mask decoder on --data; with --embedded, the small Sam on simulated scans.",
    embedded="xsyn_core.training.segmenter",
)
_delegate(
    train, "classifier", "xsyn_core.evaluation.classifier", "The judge that measures painted items."
)
_delegate(evaluate, "models", "xsyn_core.evaluation.models", "Quality of the models, with sheets.")
_delegate(evaluate, "speed", "xsyn_core.evaluation.speed", "How long the page's steps take.")
_delegate(
    evaluate, "simulator", "xsyn_core.evaluation.simulator", "Simulated scans beside real ones."
)
_delegate(
    evaluate,
    "finetuned",
    "xsyn_core.evaluation.finetuned",
    "What fine-tuning on --data has changed, on scans it did not see.",
)
_delegate(
    evaluate,
    "detection",
    "xsyn_core.evaluation.detection",
    "Whether painted samples help a detector, on real scans.",
)
