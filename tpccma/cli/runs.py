"""The commands that make runs, measure them, record them and repeat them."""

from pathlib import Path
from typing import Annotated

import typer

from tpccma.cli.options import (
    Captions,
    DataDir,
    Fresh,
    ImagesDir,
    Jobs,
    Json,
    Method,
    OwnBases,
    ProfileName,
    ResultsDir,
    RunsDir,
    Seed,
    Track,
    at_least_one,
    fail,
    find_profile,
    print_json,
)


def train(
    profile: ProfileName = "demo",
    method: Method = "tpc-cma",
    alpha: Annotated[
        float | None,
        typer.Option(help="from 0, plain CLIP, to 1, such as 0.05; else 0.5 where the method has a dial"),
    ] = None,
    seed: Seed = 0,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    track: Track = None,
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """Fine-tune, evaluate and record one run; killed and run again, it resumes. Says where run and record lie."""
    from tpccma.profiles import load_profile
    from tpccma.runs.jobs import job_of
    from tpccma.runs.record import train_and_record
    from tpccma.runs.records import record_path

    found, job = find_profile(profile, data_dir, images_dir, captions), job_of(method, alpha, seed)
    found = load_profile(found, track=track) if track else found
    done = train_and_record(found, job, runs_dir, results_dir, fresh)
    if done is None:
        return  # one process prints
    folder, record = done
    if as_json:
        return print_json(record)
    print(folder, record_path(found.name, job.method, job.alpha, job.seed, results_dir), sep="\n")


def evaluate(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="weights of the profile's model, or a run's folder, such as runs/demo/...; none takes its base"
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="a shipped profile, such as demo, or the path of a .yaml file; else the run's, if it ships"),
    ] = None,
    tasks: Annotated[
        str, typer.Option(help="such as gap,retrieval; all: gap,zeroshot,retrieval,clustering,captioning")
    ] = "",
    seed: Annotated[int, typer.Option(help="of the caption decoder and, of several, the base; any will do")] = 0,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    runs_dir: RunsDir = Path("runs"),
    as_json: Json = False,
) -> None:
    """Measure a model on a profile's test data; nothing is recorded, and nothing trained but a base that is missing."""
    from tpccma.runs.places import profile_of
    from tpccma.runs.record import measure

    profile = profile or (profile_of(checkpoint) if checkpoint else "demo")
    found = find_profile(profile, data_dir, images_dir, captions)
    chosen = [task.strip() for task in tasks.split(",")] if tasks else None
    measures = measure(found, checkpoint, chosen, seed, runs_dir)
    if as_json:
        return print_json(measures)
    width = max(map(len, measures), default=0)
    print("\n".join(f"{name:{width}} {value:10.4f}" for name, value in measures.items()))


def base(seed: OwnBases = None, jobs: Jobs = 1, runs_dir: RunsDir = Path("runs")) -> None:
    """Train the demo's base model anew and put it where it ships from, with a card; or those of seeds of demo-bases."""
    from tpccma.runs.shared import make_seed_bases
    from tpccma.training.make_base import make_base

    found, failed = make_seed_bases(set(seed), jobs, runs_dir) if seed else (make_base(), [])
    if failed:
        fail(f"{len(failed)} bases failed: {', '.join(failed)}", 1)
    if found:
        print("\n".join(f"{name} {folder}" for name, folder in found.items()))


def aligned(runs_dir: RunsDir = Path("runs")) -> None:
    """Train the demo's aligned model anew, seed 0 at alpha 0.5, and put it where it ships from, with a card."""
    from tpccma.training.make_aligned import check_card, make_aligned

    card = make_aligned(runs_dir)
    if moved := check_card(card):
        fail(f"float16 moves {', '.join(moved)} by more than half of the third digit", 1)
    print_json(card)


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

    found = find_profile(profile, data_dir, images_dir, captions)
    failed = record_missing(found, jobs, runs_dir, results_dir, fresh=fresh)
    if failed:
        fail(f"{len(failed)} runs failed: {', '.join(failed)}", 1)
    print(results_dir / "results.csv")


def rates(
    profile: ProfileName = "demo",
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    method: Annotated[
        list[str] | None, typer.Option(help="such as clip, may repeat; else all that are trained")
    ] = None,
    floor: Annotated[
        bool, typer.Option("--floor", help="try weights of tpc-cma-floor's floor instead of rates")
    ] = False,
) -> None:
    """Try learning rates of trained methods on validation data, and print the best as JSON; run again, it goes on."""
    from tpccma.runs.choices import chosen_rates
    from tpccma.runs.floor_weights import search_weights
    from tpccma.runs.rates import search_rates

    found = find_profile(profile, data_dir, images_dir, captions)
    if floor:
        return print_json(search_weights(found, jobs, runs_dir, results_dir))
    print_json(chosen_rates(search_rates(found, jobs, runs_dir, results_dir, method or ())).to_dict("index"))


def verify(
    count: Annotated[
        int,
        typer.Argument(callback=at_least_one, help="recorded runs to repeat from scratch; 3 take minutes on the demo"),
    ] = 1,
    profile: ProfileName = "demo",
    seed: Annotated[int, typer.Option(help="of the choice of the runs; another one repeats others")] = 0,
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    results_dir: ResultsDir = Path("results"),
    as_json: Json = False,
) -> None:
    """Repeat recorded runs, drawn at random, and compare every measure; exit status 1 where one differs."""
    from tpccma.runs.verify import verify_some

    found = find_profile(profile, data_dir, images_dir, captions)
    repeats = []
    for repeat in verify_some(found, count, seed, jobs, results_dir):
        repeats.append(repeat)
        if not as_json:
            print(repeat, flush=True)
    if as_json:
        print_json([repeat.as_dict() for repeat in repeats])
    if not all(repeat.ok for repeat in repeats):
        raise typer.Exit(1)
