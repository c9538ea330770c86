"""What the commands share: their options, and how they end and print.

Each command imports what it needs when it is called, so that help needs no torch.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tpccma.profiles import Profile


def at_least_one(count: int | None) -> int | None:
    """Return a count that is 1 or more, or was not given."""
    if count is not None and count < 1:
        raise typer.BadParameter(f"must be 1 or more, got {count}")
    return count


ProfileName = Annotated[str, typer.Option("--profile", help="name of a shipped profile, or path of a .yaml file")]
DataDir = Annotated[Path | None, typer.Option(help="where the data lie (profiles fashion and paper)")]
ImagesDir = Annotated[Path | None, typer.Option(help="folder of pictures (photos; paper: below --data-dir)")]
Captions = Annotated[Path | None, typer.Option(help="file of their captions (photos; paper: below --data-dir)")]
Method = Annotated[str, typer.Option(help="a name in tpccma.methods, or base")]
Seed = Annotated[int, typer.Option(help="of batches and captions")]
OwnBases = Annotated[list[int] | None, typer.Option("--seed", help="whose own base to make in RUNS_DIR; may repeat")]
RunsDir = Annotated[Path, typer.Option(callback=Path.expanduser, help="checkpoints and logs")]
ResultsDir = Annotated[Path, typer.Option(callback=Path.expanduser, help="records")]
Jobs = Annotated[int, typer.Option(callback=at_least_one, help="processes, which share the cores")]
Track = Annotated[str | None, typer.Option(help="also send the log to tensorboard, wandb or another tracker")]
Fresh = Annotated[bool, typer.Option("--fresh", help="make anew what other code has made, instead of using it")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def fail(message: str, status: int) -> None:
    """Say on one line of stderr why the command ends, and end it."""
    typer.echo("; ".join(line.strip() for line in message.splitlines()), err=True)
    raise typer.Exit(status) from None


def find_profile(*given) -> "Profile":
    """Load a profile with the places that options name."""
    from tpccma.runs.places import find_profile

    return find_profile(*given)


def print_json(found: object) -> None:
    """Print a result as JSON."""
    print(json.dumps(found, indent=1))
