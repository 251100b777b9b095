"""The command `edge-ad`: verbs are imported when called, so that `--help` answers at once."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import click

from edge_ad.errors import EdgeAdError
from edge_ad.extras import mend_of_missing
from edge_ad.version import __version__

# verb -> one line of help, in the order of the work; the verb `a-b` is `command` in edge_ad/commands/a_b.py
VERBS: dict[str, str] = {
    "demo": "The whole way on drawn products: draw, train, export, evaluate, report.",
    "demo-data": "Draw the demo data set: product categories, defects and exact masks.",
    "pretrain": "Train the nano base model from drawn pictures.",
    "train": "Adapt a base model to a few good photographs of each product.",
    "distill": "Make a run's denoiser need fewer steps.",
    "synthesize": "Learn a defect from a few image-mask pairs, generate more, score them.",
    "heads": "Train a segmenter and a classifier of defects on pairs, put them into a bundle.",
    "export": "Fuse a training run and write it as a bundle of ONNX graphs.",
    "calibrate": "Set a bundle's thresholds, with what they promise, and its drift limits.",
    "engines": "Build TensorRT engines for a bundle, on any machine, without PyTorch.",
    "verify": "Run a bundle's graphs again on the arrays stored with it and compare.",
    "bundle": "Look into a bundle, pack it into one file, unpack it.",
    "inspect": "Decide on images with a bundle: verdict, score, defect map.",
    "evaluate": "Measure a bundle on a labelled data set.",
    "report": "Write the HTML page of an evaluation again.",
    "serve": "Run an inspection station: web page, HTTP interface, records.",
    "records": "Use what a station has recorded: write it as a data set.",
    "profile": "Say what a bundle costs here: FLOPs, bytes and milliseconds a stage.",
    "doctor": "Say what this machine can build and run, and what to mend.",
}


def module_of(verb: str) -> str:
    """The module that holds a verb's click command."""
    return f"edge_ad.commands.{verb.replace('-', '_')}"


class LazyGroup(click.Group):
    """A click group whose commands are imported when they are called, never to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs this installation holds, in the order of the work."""
        return [verb for verb in VERBS if find_spec(module_of(verb)) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb's command; None when there is no such verb."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(module_of(cmd_name)).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs with the lines of `VERBS`: click's own way would import every command."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb]) for verb in self.list_commands(ctx)])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Every verb has its own --help. "edge-ad doctor" says what this machine can do.',
)
@click.version_option(__version__, prog_name="edge-ad", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error (anywhere on the line).")
def cli(debug: bool) -> None:
    """From a handful of good photographs to a running visual inspection station."""


def describe(error: Exception) -> tuple[str, int]:
    """One sentence for an error that reached the top, and the exit code."""
    if isinstance(error, EdgeAdError):
        return str(error), error.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name and (mend := mend_of_missing(error.name)):
        return mend, 1
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}", 1
    message = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {message} (run with --debug for the traceback)", 1


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code: 0, 1 an error, 2 wrong usage, 130 interrupted."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        result: Any = cli.main(args=arguments, prog_name="edge-ad", standalone_mode=False)
    except click.ClickException as error:  # wrong usage: click's own words name the option
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("edge-ad: interrupted", err=True)
        return 130
    except BrokenPipeError:  # `edge-ad … | head`: nobody reads on; what is left must not be flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        sentence, code = describe(error)
        click.echo(f"edge-ad: {sentence}", err=True)
        return code
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
