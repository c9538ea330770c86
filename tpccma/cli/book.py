"""The commands of the book: what a sweep takes, and what its records say of the claims."""

from pathlib import Path
from typing import Annotated

import typer

from tpccma.cli.options import (
    Captions,
    DataDir,
    ImagesDir,
    Json,
    ProfileName,
    ResultsDir,
    at_least_one,
    find_profile,
    print_json,
)


def plan(
    profile: ProfileName = "paper",
    pairs: Annotated[
        int | None, typer.Option(help="in an epoch, such as 2905954; of demo and paper they are counted")
    ] = None,
    samples_per_second: Annotated[
        float | None, typer.Option(help="of all GPUs, such as 4000: see a run's steps.csv")
    ] = None,
    gpus: Annotated[int, typer.Option(callback=at_least_one, help="processes, one a GPU, such as 8")] = 1,
    batch_size: Annotated[list[int] | None, typer.Option(help="whose memory to say, such as 4096; may repeat")] = None,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    commands: Annotated[Path | None, typer.Option(help="file for the sweep's commands, such as sweep.sh")] = None,
    as_json: Json = False,
) -> None:
    """Say what a profile's runs take, and print the commands of its sweep; nothing is trained."""
    from tpccma.files import write_whole
    from tpccma.runs.plan import plan as figures_of
    from tpccma.runs.plan import sweep_commands

    found = find_profile(profile, data_dir, images_dir, captions)
    table = figures_of(found, pairs, samples_per_second, gpus, tuple(batch_size or ()))
    lines = sweep_commands(profile, gpus)
    if commands:
        write_whole(commands, "\n".join(lines) + "\n")
    if as_json:
        return print_json({"figures": table.reset_index().to_dict("records"), "commands": lines})
    for row in table.itertuples():
        print(f"{row.Index:36}{row.value:>40}   {row.source}")
    print(f"\nThe sweep, in order: {commands}" if commands else "\n".join(["\nThe sweep, in order:", *lines]))


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
