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


ProfileName = Annotated[
    str, typer.Option("--profile", help="a shipped profile, such as demo, or the path of a .yaml file")
]
DataDir = Annotated[Path | None, typer.Option(help="where the data lie, such as ~/fashion (profiles fashion, paper)")]
ImagesDir = Annotated[
    Path | None, typer.Option(help="folder of pictures, such as Images (photos; paper: below --data-dir)")
]
Captions = Annotated[Path | None, typer.Option(help="file of their captions, such as captions.csv (as --images-dir)")]
Method = Annotated[str, typer.Option(help="such as tpc-cma, clip to see what fine-tuning does alone, or base")]
Seed = Annotated[int, typer.Option(help="of batches and captions; 5 seeds or more tell methods apart")]
OwnBases = Annotated[
    list[int] | None, typer.Option("--seed", help="whose base to make in RUNS_DIR, such as 1; may repeat")
]
RunsDir = Annotated[
    Path, typer.Option(callback=Path.expanduser, help="for checkpoints and logs; another one starts anew")
]
ResultsDir = Annotated[
    Path,
    typer.Option(
        callback=Path.expanduser, help="for records; one of your own keeps them apart from the published ones"
    ),
]
Jobs = Annotated[
    int, typer.Option(callback=at_least_one, help="processes that share the cores; as many as cores are fastest")
]
Track = Annotated[str | None, typer.Option(help="send the log to a tracker too, such as tensorboard or wandb")]
Fresh = Annotated[bool, typer.Option("--fresh", help="make anew what other code has made; else it is used")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]


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
