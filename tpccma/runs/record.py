"""Make runs, measure them, and put together all there is to say of each."""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

from tpccma.curriculum import check_alpha
from tpccma.data import Corpus, load_corpus
from tpccma.data.content import content_of_files
from tpccma.files import file_in, write_whole
from tpccma.methods import METHODS, check_method
from tpccma.profiles import Profile
from tpccma.runs.base_check import check_base
from tpccma.runs.items import pack_items
from tpccma.runs.jobs import BASE, Job
from tpccma.runs.provenance import git_revision, hardware, versions
from tpccma.runs.records import check_free, read_kept, save_record
from tpccma.runs.room import check_room
from tpccma.runs.shared import corpus_of
from tpccma.runs.stability import stability
from tpccma.tasks.captioning import caption_pictures
from tpccma.tasks.evaluation import embed, evaluate, evaluate_whole
from tpccma.training.encoders import load_encoder
from tpccma.training.folder import UNKNOWN, this_process
from tpccma.training.run import Diverged, Run, base_run, check_seed, fine_tune

CAPTIONS = "captions.json"  # in a run's folder: what was said of the test pictures

logger = logging.getLogger(__name__)


def train_and_record(
    profile: Profile,
    job: Job,
    runs_dir: str | Path = "runs",
    results_dir: str | Path = "results",
    fresh: bool = False,
) -> tuple[Path, dict] | None:
    """Fine-tune, evaluate and record one run, in one process or as one of many that train together.

    Args:
        profile: what to run; where it expects something of its base, that is measured first, see ``check_base``.
        job: which run of it.
        runs_dir: checkpoints and logs.
        results_dir: where its record goes.
        fresh: make anew what other code has made.

    Returns:
        The run's folder and its record; None in all processes but the first, which alone evaluates.

    Raises:
        ValueError: for an impossible job, before any work; or see ``check_base``, `~tpccma.runs.room.check_room` and
            `~tpccma.runs.records.check_free`.
        FileNotFoundError: if the data are not there, or the base has not been measured.
    """
    check_job(job)
    check_room(profile, results_dir)
    check_free(profile, (job.method, job.alpha, job.seed), content_of_files(profile.data), results_dir)
    if job.method != BASE:
        check_base(profile, results_dir)
    run = train(profile, job, runs_dir, fresh=fresh)
    if not this_process().is_main_process:
        return None
    record = record_run(run, results_dir=results_dir, fresh=fresh)
    if job.method == BASE:
        check_base(profile, results_dir)
    return run.folder, record


def check_job(job: Job) -> None:
    """See to it that there can be such a run.

    Raises:
        ValueError: naming its method, alpha or seed otherwise.
    """
    check_alpha(job.alpha)
    check_seed(job.seed)
    if job.method == BASE and job.alpha:
        raise ValueError(f"the base model is not trained here and takes no alpha, got alpha={job.alpha:g}")
    if job.method not in (BASE, *METHODS):
        raise ValueError(f"unknown method {job.method!r}: give one of {', '.join((BASE, *METHODS))}")
    if job.method != BASE:
        check_method(job.method, job.alpha)


def run_job(
    profile: Profile,
    job: Job,
    runs_dir: str | Path = "runs",
    results_dir: str | Path = "results",
    fresh: bool = False,
) -> dict:
    """Train, evaluate and record one job in this process; several of one profile load its data once.

    One that diverges is recorded too, see `record_diverged`. Args and returns as `train_and_record`.
    """
    check_room(profile, results_dir)
    corpus = corpus_of(profile)
    try:
        run = train(profile, job, runs_dir, corpus, fresh)
    except Diverged as error:
        logger.warning("%s", error)
        return record_diverged(error.run, results_dir, fresh)
    return record_run(run, corpus, results_dir, fresh)


def train(profile: Profile, job: Job, runs_dir: str | Path, corpus: Corpus | None = None, fresh: bool = False) -> Run:
    """Make the run of a job, or load what an earlier call has made."""
    git_revision()  # asked now, and remembered: of the code that is loaded, whatever is committed while it runs
    if job.method == BASE:
        return base_run(profile, job.seed, runs_dir, corpus, fresh)
    return fine_tune(profile, job.method, job.alpha, job.seed, runs_dir, corpus, fresh)


def record_run(
    run: Run, corpus: Corpus | None = None, results_dir: str | Path = "results", fresh: bool = False
) -> dict:
    """Evaluate a run, or load what an earlier call has measured, and see to it that there is a published record.

    The record goes to ``record.json`` in the run's folder, and to ``<results_dir>`` where no run of the same
    fingerprint is recorded yet.

    Args:
        run: a finished run.
        corpus: the profile's data, where the caller has it loaded already.
        results_dir: where the published records lie.
        fresh: measure anew, and replace the published record, where other code has made them; else that is told of.

    Returns:
        The record, see `make_record`; ``data`` in it says what was read, left out and chosen, where that is not fixed,
        and ``items`` what was found of each test picture, see `tpccma.runs.items.unpack_items`.

    Raises:
        ValueError: see `~tpccma.runs.room.check_room` and `~tpccma.runs.records.check_free`.
    """
    check_room(run.profile, results_dir)
    check_free(run.profile, (run.method, run.alpha, run.seed), run.content, results_dir)
    record = _measured(run, fresh) or _measure(run, corpus)
    save_record(record, results_dir, replace_other_code=fresh)
    return record


def record_diverged(run: Run, results_dir: str | Path = "results", fresh: bool = False) -> dict:
    """Record a run that came to no end: it has no measures but those of its log, and ``diverged``, which is 1.

    Args and returns as `record_run`.
    """
    check_free(run.profile, (run.method, run.alpha, run.seed), run.content, results_dir)
    record = make_record(run, stability(run) | {"diverged": 1.0}) | {"evaluation": _evaluation(run)}
    save_record(record, results_dir, replace_other_code=fresh)
    return record


def _measured(run: Run, fresh: bool) -> dict | None:
    """Load what was measured of a run before, with the evaluation that the profile asks for; None where there is none.

    What other code has measured is told of, once if that was not noted; where it is to be `fresh`, it counts as none.
    """
    path = run.folder / "record.json"
    if not path.is_file():
        return None
    record = read_kept(path, (run.profile.name, run.method, run.alpha, run.seed), run.fingerprint)
    found = record.get("code", {})
    if record.get("evaluation") != _evaluation(run) or (fresh and found != run.code):
        return None
    if found != run.code and found.get("evaluation") != UNKNOWN:
        logger.warning(
            "%s was made by other code (%s, now %s) and is used as it is; fresh=True, or --fresh, measures anew",
            *(path, found or "not noted", run.code),
        )
    if run.code and not found:
        record["code"] = run.code | {"evaluation": UNKNOWN}
        write_whole(path, json.dumps(record, indent=1) + "\n")
    return record


def _measure(run: Run, corpus: Corpus | None) -> dict:
    """Evaluate a run and keep its record in its folder."""
    scale = run.encoder.model.logit_scale.exp().item()
    corpus = corpus or load_corpus(run.profile)
    found = evaluate_whole(run, corpus)
    metrics = found.metrics | {"logit_scale": scale} | stability(run)
    record = make_record(run, metrics) | {"evaluation": _evaluation(run)}
    write_whole(run.folder / CAPTIONS, json.dumps(found.said, indent=1) + "\n")
    if read := corpus.report | _streamed(run):
        record["data"] = read
    if found.items:
        record["items"] = pack_items(found.items)
    write_whole(run.folder / "record.json", json.dumps(record, indent=1) + "\n")
    return record


def captions_of(run: Run, corpus: Corpus | None = None) -> dict[str, list[str]]:
    """Return the captions of the test pictures by which a run was measured.

    Args:
        run: a finished run.
        corpus: the profile's data, where the caller has it loaded already; a decoder is trained on it where the
            captions were not kept.

    Returns:
        One caption a picture for each way to feed the decoder: raw, memory, centred, text.

    Raises:
        ValueError: if what was kept is damaged; the message names the file.
    """
    path = run.folder / CAPTIONS
    if not path.is_file():
        corpus, settings = corpus or load_corpus(run.profile), run.profile.evaluation
        said = caption_pictures(run.encoder, corpus, embed(run.encoder, corpus.test), settings, run.seed)
        write_whole(path, json.dumps(said, indent=1) + "\n")
    return _read_json(path)


def _read_json(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_text()))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}); remove it and run again") from None


def measure(
    profile: Profile,
    checkpoint: Path | None = None,
    tasks: Sequence[str] | None = None,
    seed: int = 0,
    runs_dir: str | Path = "runs",
) -> dict[str, float]:
    """Measure a model on a profile's test data, without a record.

    Args:
        profile: its data, architecture and evaluation.
        checkpoint: weights of that architecture, or a run's folder; None takes the base model, trained if missing.
        tasks: some of `tpccma.tasks.evaluation.TASKS`; None is all that the data are good for.
        seed: of the caption decoder and, where a profile has several bases, the base.
        runs_dir: where the base is.

    Returns:
        The measures, see `tpccma.evaluate`.
    """
    encoder = load_encoder(profile, file_in(checkpoint)) if checkpoint else base_run(profile, seed, runs_dir).encoder
    encoder.use_gpu()
    return evaluate(encoder, load_corpus(profile), tasks, settings=profile.evaluation, seed=seed)


def _evaluation(run: Run) -> dict:
    return run.profile.model_dump(mode="json")["evaluation"]


def make_record(run: Run, metrics: dict[str, float]) -> dict:
    """Put together all there is to say of a run.

    Args:
        run: a finished run.
        metrics: what `tpccma.evaluate` returned.

    Returns:
        A dictionary that JSON can hold: the keys of the run, its fingerprint, the content of its data where they lie in
        files, the weights that it started from, how it was trained (None if it was not), digests of the code that
        trained and evaluated it, versions, git revision, hardware, wall seconds and samples a second of its training,
        and the metrics.

    Raises:
        ValueError: if a metric is not finite; the message names it.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(f"{run.name}: metric {name} is {value!r}; the run is not recorded")
    return {
        "profile": run.profile.name,
        "method": run.method,
        "alpha": run.alpha,
        "seed": run.seed,
        "fingerprint": run.fingerprint,
        **({"content": run.content} if run.content else {}),
        **({"base": run.base} if run.base else {}),
        "training": _training(run),
        **({"code": run.code} if run.code else {}),
        "versions": versions(),
        "git_revision": git_revision(),
        "hardware": hardware(),
        "wall_seconds": round(run.wall_seconds, 1),
        "samples_per_second": round(run.samples_per_second, 1),
        "metrics": {name: round(float(value), 6) for name, value in metrics.items()},
    }


def _streamed(run: Run) -> dict:
    """Say what a training has read from its stream, if it had one."""
    path = run.folder / "data.json"
    return _read_json(path) if path.is_file() else {}


def _training(run: Run) -> dict | None:
    how = METHODS.get(run.method)
    if not (how and how.trained):
        return None
    settings = run.profile.training_of(run.method).model_dump(mode="json", exclude_none=True)
    if how.loss and "sentences" in how.loss.inputs:
        settings["sentence_embeddings"] = "MiniLM" if run.profile.model.kind == "heads" else "frozen base text encoder"
    return settings
