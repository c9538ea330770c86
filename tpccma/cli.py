"""The command `tpccma`, also as ``python -m tpccma`` and, on many GPUs, ``accelerate launch -m tpccma train ...``.

Results go to stdout, progress and errors to stderr. Exit status: 0 done, 1 where runs failed or differ, 2 for what the
user can mend, said in one line, 130 and 143 after Ctrl-C and SIGTERM, whereupon the same command goes on::

    tpccma gap IMAGES.npy TEXTS.npy          # the modality gap of paired embeddings, one row a pair
    tpccma train --profile demo --alpha 0.5  # fine-tune, evaluate, record
    tpccma evaluate CHECKPOINT --json        # measure a model, nothing is recorded
    tpccma --help                            # all commands; tpccma COMMAND --help all options of one

Each command imports what it needs, so that help and claims need no torch.
"""

import json
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tpccma.training.interruption import Terminated, terminable

if TYPE_CHECKING:
    from tpccma.profiles import Profile

app = typer.Typer(
    name="tpccma",
    help="Measure CLIP's modality gap, close it with one dial, and see what that buys and costs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
Fresh = Annotated[bool, typer.Option("--fresh", help="make anew what other code has made, instead of using it")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def command(function: Callable) -> Callable:
    """Register a command; what the user can mend is said in a line and exits with 2, what failed or was stopped too."""

    @wraps(function)
    def said_in_a_line(**given):
        try:
            with terminable():
                return function(**given)
        except BrokenPipeError:
            raise
        except (ValueError, ImportError, OSError) as error:
            _fail(f"error: {error}", 2)
        except (FloatingPointError, BrokenProcessPool) as error:
            _fail(f"failed: {error}", 1)
        except Terminated:
            _fail("terminated; the same command goes on from here", 143)
        except KeyboardInterrupt:
            _fail("interrupted; the same command goes on from here", 130)

    return app.command(name=function.__name__)(said_in_a_line)


def _fail(message: str, status: int) -> None:
    typer.echo("; ".join(line.strip() for line in message.splitlines()), err=True)
    raise typer.Exit(status) from None


def _find_profile(*given) -> "Profile":
    from tpccma.runs.places import find_profile

    return find_profile(*given)


def _print(found: object) -> None:
    print(json.dumps(found, indent=1))


@command
def gap(
    images: Annotated[str, typer.Argument(help="image embeddings: npy, npz, pt or safetensors; FILE:NAME of several")],
    texts: Annotated[str, typer.Argument(help="text embeddings of the same pairs, row by row")],
    normalize: Annotated[bool, typer.Option("--normalize", help="scale rows to length 1, not refuse others")] = False,
    resamples: Annotated[int, typer.Option(callback=at_least_one, help="of the bootstrap over pairs")] = 1000,
    as_json: Json = False,
) -> None:
    """Measure the modality gap of paired embeddings, with 95 % intervals over the pairs."""
    from tpccma.data.embeddings import read_embeddings
    from tpccma.metrics import describe_gap

    found = describe_gap(read_embeddings(images), read_embeddings(texts), normalize, resamples)
    if as_json:
        return _print(found)
    print(f"{found['pairs']} pairs of width {found['width']}")
    for name in ("raw", "centroid", "distribution", "scale_free"):
        low, high = found[f"{name}_interval"]
        print(f"{name.replace('_', '-'):13}{found[name]:8.4f}   [{low:.4f}, {high:.4f}]")


@command
def train(
    profile: ProfileName = "demo",
    method: Method = "tpc-cma",
    alpha: Annotated[float | None, typer.Option(help="0 (plain CLIP) to 1; 0.5 where the method has the dial")] = None,
    seed: Seed = 0,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """Fine-tune, evaluate and record one run; killed and run again, it resumes."""
    from tpccma.runs.jobs import job_of
    from tpccma.runs.record import train_and_record
    from tpccma.runs.records import record_path

    found, job = _find_profile(profile, data_dir, images_dir, captions), job_of(method, alpha, seed)
    record = train_and_record(found, job, runs_dir, results_dir, fresh)
    if record is None:
        return  # one process prints
    if as_json:
        _print(record)
    else:
        print(record_path(found.name, job.method, job.alpha, job.seed, results_dir))


@command
def evaluate(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="weights of the profile's model; none takes its base")
    ] = None,
    profile: ProfileName = "demo",
    tasks: Annotated[str, typer.Option(help="some of gap,zeroshot,retrieval,clustering,captioning")] = "",
    seed: Annotated[int, typer.Option(help="of the caption decoder and, where a profile has several, the base")] = 0,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    runs_dir: RunsDir = Path("runs"),
    as_json: Json = False,
) -> None:
    """Measure a model on a profile's test data; nothing is recorded, and nothing trained but a base that is missing."""
    from tpccma.runs.record import measure

    found = _find_profile(profile, data_dir, images_dir, captions)
    chosen = [task.strip() for task in tasks.split(",")] if tasks else None
    measures = measure(found, checkpoint, chosen, seed, runs_dir)
    if as_json:
        return _print(measures)
    width = max(map(len, measures), default=0)
    print("\n".join(f"{name:{width}} {value:10.4f}" for name, value in measures.items()))


@command
def base(seed: OwnBases = None, jobs: Jobs = 1, runs_dir: RunsDir = Path("runs")) -> None:
    """Train the demo's base model anew and put it where it ships from, with a card; or those of seeds of demo-bases."""
    from tpccma.runs.shared import make_seed_bases
    from tpccma.training.make_base import make_base

    found, failed = make_seed_bases(set(seed), jobs, runs_dir) if seed else (make_base(), [])
    if failed:
        _fail(f"{len(failed)} bases failed: {', '.join(failed)}", 1)
    if found:
        print("\n".join(f"{name} {folder}" for name, folder in found.items()))


@command
def sweep(
    profile: ProfileName = "demo",
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    fresh: Fresh = False,
) -> None:
    """Record every run of a profile that is missing; killed and run again, it goes on."""
    from tpccma.runs.sweep import sweep as record_missing

    found = _find_profile(profile, data_dir, images_dir, captions)
    failed = record_missing(found, jobs, runs_dir, results_dir, fresh=fresh)
    if failed:
        _fail(f"{len(failed)} runs failed: {', '.join(failed)}", 1)
    print(results_dir / "results.csv")


@command
def rates(
    profile: ProfileName = "demo",
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    method: Annotated[list[str] | None, typer.Option(help="one that is trained, may repeat; else all")] = None,
    floor: Annotated[bool, typer.Option("--floor", help="try weights of tpc-cma-floor's floor instead")] = False,
) -> None:
    """Try learning rates of trained methods on validation data, and print the best as JSON; run again, it goes on."""
    from tpccma.runs.choices import chosen_rates
    from tpccma.runs.floor_weights import search_weights
    from tpccma.runs.rates import search_rates

    found = _find_profile(profile, data_dir, images_dir, captions)
    if floor:
        return _print(search_weights(found, jobs, runs_dir, results_dir))
    _print(chosen_rates(search_rates(found, jobs, runs_dir, results_dir, method or ())).to_dict("index"))


@command
def verify(
    count: Annotated[int, typer.Argument(callback=at_least_one, help="recorded runs to repeat from scratch")] = 1,
    profile: ProfileName = "demo",
    seed: Annotated[int, typer.Option(help="of the choice of the runs")] = 0,
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    results_dir: ResultsDir = Path("results"),
    as_json: Json = False,
) -> None:
    """Repeat recorded runs, drawn at random, and compare every measure; exit status 1 where one differs."""
    from tpccma.runs.verify import verify_some

    found = _find_profile(profile, data_dir, images_dir, captions)
    repeats = []
    for repeat in verify_some(found, count, seed, jobs, results_dir):
        repeats.append(repeat)
        if not as_json:
            print(repeat, flush=True)
    if as_json:
        _print([repeat.as_dict() for repeat in repeats])
    if not all(repeat.ok for repeat in repeats):
        raise typer.Exit(1)


@command
def plan(
    profile: ProfileName = "paper",
    pairs: Annotated[int | None, typer.Option(help="training pairs in an epoch, where they cannot be counted")] = None,
    samples_per_second: Annotated[float | None, typer.Option(help="of all GPUs, from a first run's steps.csv")] = None,
    gpus: Annotated[int, typer.Option(callback=at_least_one, help="processes, one a GPU")] = 1,
    batch_size: Annotated[list[int] | None, typer.Option(help="for which to say the memory; may be repeated")] = None,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    commands: Annotated[Path | None, typer.Option(help="file to write the sweep's commands to")] = None,
    as_json: Json = False,
) -> None:
    """Say what a profile's runs take, and print the commands of its sweep; nothing is trained."""
    from tpccma.files import write_whole
    from tpccma.runs.plan import plan as figures_of
    from tpccma.runs.plan import sweep_commands

    found = _find_profile(profile, data_dir, images_dir, captions)
    table = figures_of(found, pairs, samples_per_second, gpus, tuple(batch_size or ()))
    lines = sweep_commands(profile, gpus)
    if commands:
        write_whole(commands, "\n".join(lines) + "\n")
    if as_json:
        return _print({"figures": table.reset_index().to_dict("records"), "commands": lines})
    for row in table.itertuples():
        print(f"{row.Index:36}{row.value:>40}   {row.source}")
    print(f"\nThe sweep, in order: {commands}" if commands else "\n".join(["\nThe sweep, in order:", *lines]))


@command
def claims(
    readme: Annotated[bool, typer.Option("--readme", help="write README.md's table and figure instead")] = False,
    results_dir: ResultsDir = Path("results"),
    as_json: Json = False,
) -> None:
    """Set the paper's claims against the records."""
    from tpccma.evidence.claims import both_readings
    from tpccma.evidence.readme import plain_text
    from tpccma.evidence.table import load_results

    table = both_readings(load_results(results_dir))
    if readme:
        from tpccma.figures.claims import write_readme

        write_readme(table)
    elif as_json:
        print(table.to_json(orient="records", indent=1, force_ascii=False))
    else:
        print(plain_text(table))


def main() -> None:
    """Run the command with the arguments of this process."""
    app()
