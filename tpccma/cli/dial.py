"""A dial without training: models between a base and an aligned one, from the weights of both."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tpccma.cli.options import (
    Captions,
    DataDir,
    Fresh,
    ImagesDir,
    Jobs,
    Json,
    Method,
    ProfileName,
    ResultsDir,
    RunsDir,
    fail,
    find_profile,
    print_json,
)

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    import pandas as pd

    from tpccma.evidence.budget import Choice
    from tpccma.models import Encoder
    from tpccma.profiles import Profile

Base = Annotated[
    str,
    typer.Argument(
        help="at t = 0: a .safetensors file, a run's folder or, with --model, open_clip's tag, such as openai"
    ),
]
Aligned = Annotated[str, typer.Argument(help="at t = 1: weights that were fine-tuned from BASE, such as runs/demo/...")]
Budget = Annotated[str | None, typer.Option(help='in place of --t: what may be lost, such as "cider_memory -2%"')]
Pictures = Annotated[
    Path | None, typer.Option("--images", help="for batch norm's statistics, a folder such as pictures")
]
OfProfile = Annotated[
    str | None, typer.Option("--profile", help="such as demo: its data measure a front and batch norm's statistics")
]


def dial(
    base: Base,
    aligned: Aligned,
    t: Annotated[float | None, typer.Option(help="from 0, the base, to 1; 0.3 to 0.5 are a start")] = None,
    budget: Budget = None,
    gain: Annotated[
        str, typer.Option(help="measure that a budget is spent on; a gap is to fall, all else to rise")
    ] = "raw_gap",
    out: Annotated[
        Path | None, typer.Option(help="file to write, such as new.safetensors; a budget needs none")
    ] = None,
    model: Annotated[str | None, typer.Option(help="of weights that do not say it, such as ViT-B-32-quickgelu")] = None,
    images: Pictures = None,
    profile: OfProfile = None,
    seed: Annotated[int, typer.Option(help="of the caption decoder; any will do")] = 0,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    as_json: Json = False,
) -> None:
    """Interpolate weights: a model between two without training, at --t or as far as a --budget allows."""
    _check(base, aligned, {"t": t, "budget": budget, "out": out, "model": model, "images": images, "profile": profile})
    found = find_profile(profile, data_dir, images_dir, captions) if profile else None
    paths = _find(base, aligned, found, model)
    ends = _open(paths, (base, aligned), found, model)
    front, choice = _choose(ends, found, budget, gain, seed) if budget else (None, None)
    t = choice.t if choice else t
    if out:
        _write(ends, paths, t, out, found, images)
    _tell(t, out, front, choice, as_json)


def _check(base: str, aligned: str, given: dict) -> None:
    """Refuse options that contradict each other, before any work."""
    from tpccma.checks import check_share
    from tpccma.evidence.budget import read_budget

    if (given["t"] is None) == (given["budget"] is None):
        raise ValueError("say how far to turn the dial: --t 0.3, or --budget 'cider_memory -2%', one of them")
    if given["budget"] is None:
        check_share("--t", given["t"])
    else:
        read_budget(given["budget"])
    if given["budget"] and not given["profile"]:
        raise ValueError("a budget is kept on validation data: name the profile that has them, --profile demo")
    if given["profile"] and (given["model"] or given["images"]):
        raise ValueError("--profile names the model and has pictures: leave --model and --images out")
    if given["budget"] is None and given["out"] is None:
        raise ValueError("say where the model is to go: --out FILE.safetensors")
    _check_out(given["out"], base, aligned)


def _check_out(out: Path | None, base: str, aligned: str) -> None:
    from tpccma.files import file_in

    if out is None:
        return
    if out.suffix != ".safetensors":
        raise ValueError(
            f"{out} is to be a safetensors file, which open_clip knows by its name: --out FILE.safetensors"
        )
    if out.resolve() in [file_in(given).resolve() for given in (base, aligned)]:
        raise ValueError(f"{out} holds one of the two models: say another --out")


def _find(base: str, aligned: str, profile: "Profile | None", model: str | None) -> tuple[Path, Path]:
    from tpccma.runs.dial import check_order, weights_in

    how = (getattr(profile.model, "name", None), profile.download) if profile else (model,)
    paths = weights_in(base, *how), weights_in(aligned, *how)
    check_order(*paths)
    return paths


def _open(
    paths: tuple[Path, Path], given: tuple[str, str], profile: "Profile | None", model: str | None
) -> tuple["Encoder", "Encoder"]:
    from tpccma.runs.dial import open_model
    from tpccma.training.encoders import load_encoder

    if profile:
        ends = load_encoder(profile, paths[0]), load_encoder(profile, paths[1])
    else:
        ends = open_model(given[0], model), open_model(given[1], model)
    ends[0].use_gpu()
    return ends


def _choose(
    ends: tuple["Encoder", "Encoder"], profile: "Profile", budget: str, gain: str, seed: int
) -> tuple["pd.DataFrame", "Choice"]:
    import pandas as pd

    from tpccma.data import load_corpus
    from tpccma.evidence.budget import choose, read_budget, weigh
    from tpccma.runs.dial import measure_front, tasks_for
    from tpccma.runs.rates import validation_of

    limits, corpus = read_budget(budget), validation_of(load_corpus(profile))
    tasks, rows = tasks_for([gain, *(limit.measure for limit in limits)]), []
    for row in measure_front(ends, corpus, tasks, profile.evaluation, seed):
        rows.append(row)
        found = weigh(pd.DataFrame(rows), limits, gain)  # which refuses unknown measures at the first point
    return found, choose(pd.DataFrame(rows), limits, gain)


def _write(
    ends: tuple["Encoder", "Encoder"],
    paths: tuple[Path, Path],
    t: float,
    out: Path,
    profile: "Profile | None",
    images: Path | None,
) -> None:
    from tpccma.data import load_corpus
    from tpccma.models.identity import weights_identity
    from tpccma.models.interpolation import has_statistics, interpolate
    from tpccma.runs.dial import pictures_in, some_of

    pictures = pictures_in(images, ends[0].architecture) if images else None
    if profile:
        pictures = some_of(load_corpus(profile).train.images)
    if pictures is None and 0 < t < 1 and has_statistics(ends[0].model):
        logger.warning(
            "batch norm's statistics are mixed like weights, which costs accuracy; --images or --profile measures them"
        )
    base, aligned = map(weights_identity, paths)
    interpolate(*ends, t, pictures).save(out, mixture={"t": t, "base": base, "aligned": aligned})


def _tell(t: float, out: Path | None, front: "pd.DataFrame | None", choice: "Choice | None", as_json: bool) -> None:
    if as_json:
        points = {} if front is None else {"said": choice.said, "front": front.reset_index().to_dict("records")}
        return print_json({"t": t, "out": out and str(out), **points})
    if front is not None:
        print(front.to_string(float_format="{:.4f}".format), choice.said, sep="\n")
    if out:
        print(out)


def fronts(
    profile: ProfileName = "demo",
    method: Method = "tpc-cma",
    alpha: Annotated[float, typer.Option(help="of the aligned runs; 0.5 is the paper's most")] = 0.5,
    seed: Annotated[
        list[int] | None, typer.Option(help="of base and aligned run, such as 0; may repeat; else 0 to 4")
    ] = None,
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    fresh: Fresh = False,
) -> None:
    """Record the models between base and aligned run of each seed, on test and validation data; it resumes."""
    from tpccma.runs.fronts import record_fronts
    from tpccma.runs.jobs import SEEDS
    from tpccma.runs.records import FRONTS

    found = find_profile(profile, data_dir, images_dir, captions)
    failed = record_fronts(found, seed or SEEDS, jobs, method, alpha, runs_dir, results_dir, fresh)
    if failed:
        fail(f"{len(failed)} fronts failed: {', '.join(failed)}", 1)
    print(results_dir / FRONTS / "results.csv")


def slider(
    profile: ProfileName = "demo",
    method: Method = "tpc-cma",
    alpha: Annotated[float, typer.Option(help="of the aligned run, at t = 1; 0.5 is the paper's most")] = 0.5,
    trained: Annotated[
        list[float] | None, typer.Option(help="alpha of a run to stop at as well, such as 0.2; may repeat")
    ] = None,
    seed: Annotated[int, typer.Option(help="of base and runs, and of the caption decoders; any will do")] = 0,
    data_dir: DataDir = None,
    images_dir: ImagesDir = None,
    captions: Captions = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    fresh: Fresh = False,
) -> None:
    """Record what the slider of the book's first page shows: models between a base and an aligned run."""
    from tpccma.runs.slider import record_slider

    found = find_profile(profile, data_dir, images_dir, captions)
    print(record_slider(found, method, alpha, trained or (), seed, runs_dir, results_dir, fresh))
