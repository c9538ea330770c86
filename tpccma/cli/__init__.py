"""The command `tpccma`, also as ``python -m tpccma`` and, on many GPUs, ``accelerate launch -m tpccma train ...``.

Results go to stdout, progress and errors to stderr. Exit status: 0 done, 1 where runs failed or differ, 2 for what the
user can mend, said in one line, 130 and 143 after Ctrl-C and SIGTERM. What took long and was stopped goes on when the
same command is given again, see ``RESUMED``. Some commands::

    tpccma gap IMAGES.npy TEXTS.npy          # the gap of paired embeddings
    tpccma train --profile demo --alpha 0.5  # fine-tune, evaluate, record
    tpccma evaluate CHECKPOINT --json        # measure, record nothing
    tpccma dial BASE ALIGNED --t 0.3 --out NEW.safetensors  # mix two models
    tpccma --help                            # all commands
    tpccma train --help                      # all options of one

Each command imports what it needs, so that help and claims need no torch.
"""

import logging
import shlex
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import wraps
from importlib.metadata import version
from typing import Annotated

import typer

from tpccma.cli.book import claims, plan
from tpccma.cli.dial import dial, fronts, slider
from tpccma.cli.options import fail
from tpccma.cli.practice import embed, export, gap, report
from tpccma.cli.real import real
from tpccma.cli.runs import aligned, base, evaluate, rates, sweep, train, verify
from tpccma.training.interruption import Terminated, terminable

COMMANDS = (
    gap,
    embed,
    train,
    evaluate,
    dial,
    export,
    report,
    base,
    aligned,
    sweep,
    fronts,
    slider,
    rates,
    verify,
    real,
    plan,
    claims,
)  # as --help lists them
RESUMED = (embed, train, base, aligned, sweep, fronts, slider, rates)  # which keep what they have done

app = typer.Typer(
    name="tpccma",
    help="Measure CLIP's modality gap, close it with one dial, and see what that buys and costs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def said_in_a_line(function: Callable) -> Callable:
    """Wrap a command: what the user can mend is said in a line and exits with 2, what failed or was stopped too."""
    then = "; the same command goes on from here" if function in RESUMED else ""

    @wraps(function)
    def call(**given):
        try:
            with terminable():
                return function(**given)
        except BrokenPipeError:
            raise
        except (ValueError, ImportError, OSError) as error:
            fail(f"error: {error}", 2)
        except (FloatingPointError, BrokenProcessPool) as error:
            fail(f"failed: {error}", 1)
        except Terminated:
            fail(f"terminated{then}", 143)
        except KeyboardInterrupt:
            fail(f"interrupted{then}", 130)

    return call


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("tpccma"))
        raise typer.Exit


@app.callback()
def _whole(
    wanted: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="print it and end")
    ] = False,
) -> None:
    pass


for each in COMMANDS:
    app.command(name=each.__name__)(said_in_a_line(each))


def main() -> None:
    """Run the command with the arguments of this process; this package's warnings are lines without a logger's name."""
    ours = logging.getLogger("tpccma")
    ours.addHandler(logging.StreamHandler())
    ours.propagate = False  # others' loggers have handlers of their own
    app()


def load_ipython_extension(shell) -> None:
    """Let a notebook give commands as a shell does: ``%load_ext tpccma.cli``, then ``%tpccma gap --help``.

    Args:
        shell: IPython's, which calls this.

    Raises:
        RuntimeError: of a command that ends with another status than 0; what it said stands above.
    """

    def tpccma(line: str) -> None:
        if status := app(shlex.split(line), standalone_mode=False):
            raise RuntimeError(f"tpccma ended with status {status}, and said why above")

    shell.register_magic_function(tpccma)
