"""Fine-tune a CLIP with one dial, alpha.

    >>> run = fine_tune("demo", alpha=0.5, seed=0)   # 1 to 2 minutes on two cores
    >>> run.encoder.embed_texts(["a red star."]).shape
    torch.Size([1, 128])

Running the same call again loads what is finished and resumes what is not: Ctrl-C or SIGTERM lets the step end and
leaves a checkpoint. What other code has made is told of, and made anew with ``fresh=True``. One process or many
(``accelerate launch``) run the same code. From a shell, with evaluation and record::

    tpccma train --profile demo --alpha 0.5 --seed 0
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from tpccma.curriculum import check_alpha
from tpccma.data import Corpus, load_corpus
from tpccma.data.content import content_of_corpus, content_of_files
from tpccma.methods import METHODS, Method, check_method, run_name
from tpccma.models import Encoder, read_weights
from tpccma.models.forms import load_into
from tpccma.models.identity import weights_identity
from tpccma.profiles import Profile, Training, load_profile
from tpccma.training.checkpoint import LOG, remove_checkpoints
from tpccma.training.encoders import build_encoder, load_encoder, weights_path
from tpccma.training.folder import WEIGHTS, abandoned, alone_in, clear, code_of, is_finished, note_code, settle
from tpccma.training.identity import evaluation_code, fingerprint, joined, training_code
from tpccma.training.interruption import are_to_stop, signals_held
from tpccma.training.loop import Trainer, warn_of_batch_norm
from tpccma.training.maps import add_maps
from tpccma.training.traces import traced
from tpccma.training.tracking import check_tracker, tracking


@dataclass
class Run:
    """A finished training.

    Args:
        profile: what it was made from.
        method: its name in `tpccma.methods`, or "base".
        alpha: the alpha_target of a method with a dial, else 0.
        seed: of batches, captions and initial weights.
        folder: where its files lie: ``model.safetensors``, ``steps.csv`` and ``record.json``; of "base" the record
            only.
        encoder: the trained model.
        steps: one row a step: phase, alpha, losses, gradients, learning rate, samples a second; empty for "base".
        fingerprint: checksum of all settings that decide the training.
        content: names the data, see `tpccma.data.content`; "" where the settings do.
        base: names the weights that it started from, see `tpccma.models.identity`; of "base" its own.
        code: names what it rests on: ``training``, the code that has made it, its base included, "unknown" if that was
            not noted and "" of a base that was not trained here; ``evaluation``, the code that would measure it now.
    """

    profile: Profile
    method: str
    alpha: float
    seed: int
    folder: Path
    encoder: Encoder
    steps: pd.DataFrame
    fingerprint: str
    content: str = ""
    code: dict[str, str] = field(default_factory=dict)
    base: str = ""

    @property
    def wall_seconds(self) -> float:
        """Seconds of the training steps, data loading and interruptions excepted; 0 for "base"."""
        return float(self.steps["seconds"].sum()) if len(self.steps) else 0.0

    @property
    def samples_per_second(self) -> float:
        """Median over the steps; 0 for "base"."""
        return float(self.steps["samples_per_second"].median()) if len(self.steps) else 0.0

    @property
    def name(self) -> str:
        """What its files are named, ``<method>-a<alpha>-s<seed>``."""
        return run_name(self.method, self.alpha, self.seed)


class Diverged(FloatingPointError):
    """A training whose loss is no number any more.

    Args:
        message: says at which step.
        run: as far as it came.
    """

    def __init__(self, message: str, run: Run | None = None):
        super().__init__(message)
        self.run = run


def fine_tune(
    profile: str | Path | Profile = "demo",
    method: str = "tpc-cma",
    alpha: float = 0.5,
    seed: int = 0,
    runs_dir: str | Path = "runs",
    corpus: Corpus | None = None,
    fresh: bool = False,
) -> Run:
    """Fine-tune a profile's base model, or post-process it, by any of `tpccma.methods`.

    A method whose curriculum goes by the steps of another run loads that run, or trains it first.

    A progress bar with loss, alpha and samples/s is shown on a terminal; ``steps.csv`` in the run's folder grows as the
    run does.

    Args:
        profile: a name, the path of a YAML file, or a `~tpccma.profiles.Profile`.
        method: "tpc-cma", "clip" for continued plain CLIP, or another name in `tpccma.methods`.
        alpha: alpha_target of tpc-cma and its ablations, 0 to 1; the others take 0 only.
        seed: of batch order and choice of captions, >= 0.
        runs_dir: checkpoints and logs go to ``<runs_dir>/<profile>/<method>-a<alpha>-s<seed>-<fingerprint>/``, with
            ``-<content>`` behind it where the data lie in files.
        corpus: the profile's data, where the caller has it loaded already.
        fresh: make anew what other code has made, its base included; the old folder is kept as ``<folder>.old-<code>``.

    Returns:
        The `~tpccma.training.run.Run`, trained or loaded.

    Raises:
        ValueError: for an unknown profile, method or tracker, or an alpha or seed out of range, before any work; or if
            the run that the curriculum goes by has diverged.
        ImportError: if the tracker's package is not installed.
        Diverged: if the training does; that is a FloatingPointError.
    """
    profile = load_profile(profile)
    alpha, seed = check_alpha(alpha), check_seed(seed)
    how = check_method(method, alpha)
    check_tracker(profile.track)
    base = base_run(profile, seed, runs_dir, corpus, fresh)
    code = joined(training_code(), base.code["training"])
    given, folder = (runs_dir, corpus, fresh), Path(runs_dir) / profile.name
    how, code = traced(how, code, (method, alpha, seed), folder, lambda *key: fine_tune(profile, *key, *given))
    run = _new_run(profile, (method, alpha, seed), base.encoder, runs_dir, base.content, code)
    run.base = base.base
    if how.maps:
        add_maps(run.encoder, how, corpus or load_corpus(profile), seed)
    if how.trained:
        settings = load_profile(profile, **how.changes)
        try:
            run.steps = _train(run, settings, profile.training_of(method), corpus, how, fresh)
        except FloatingPointError as error:
            run.steps = pd.read_csv(run.folder / LOG) if (run.folder / LOG).is_file() else run.steps
            raise Diverged(str(error), run) from None
    else:
        _keep(run, fresh)
    return run


def _new_run(
    profile: Profile,
    key: tuple[str, float, int],
    encoder: Encoder,
    runs_dir: str | Path,
    content: str,
    code: str,
    from_scratch: bool = False,
) -> Run:
    """Name a run by all that decides it; nothing is trained or loaded yet."""
    mark = fingerprint(profile, *key, from_scratch)
    folder = Path(runs_dir) / profile.name / "-".join(filter(None, (run_name(*key), mark, content)))
    rests_on = {"training": code, "evaluation": evaluation_code()}
    return Run(profile, *key, folder, encoder, pd.DataFrame(), mark, content, rests_on)


def _content(profile: Profile, corpus: Corpus | None) -> str:
    return content_of_files(profile.data) if corpus is None else content_of_corpus(corpus)


def _keep(run: Run, fresh: bool) -> None:
    """Save a model that was not trained; it is made anew with every call, whatever lies there."""
    with alone_in(run.folder) as processes:
        if processes.is_main_process:
            if fresh:
                settle(run.folder, run.code["training"], fresh)
            note_code(run.folder, run.code["training"])
            run.encoder.save(run.folder / WEIGHTS)
        processes.wait_for_everyone()


def base_run(
    profile: str | Path | Profile = "demo",
    seed: int = 0,
    runs_dir: str | Path = "runs",
    corpus: Corpus | None = None,
    fresh: bool = False,
) -> Run:
    """Load a profile's base model as a run of method "base", or train it where it is missing.

    Heads have a base for each seed, and so have profiles whose ``bases`` are "per-seed"; their seed 0 has the one that
    is loaded. Args as in `tpccma.fine_tune`. Returns the `Run`; without steps where the weights were there before.
    """
    profile, seed = load_profile(profile), check_seed(seed)
    if profile.model.kind == "heads":
        return train_base(profile, seed, runs_dir, corpus, fresh)
    content, code = _content(profile, corpus), ""
    if profile.has_own_base(seed):
        trained = train_base(base_recipe(profile), seed if profile.bases == "per-seed" else 0, runs_dir, fresh=fresh)
        encoder, code, base = trained.encoder, trained.code["training"], trained.base
    else:
        path = weights_path(profile)
        encoder, base = load_encoder(profile, path), weights_identity(path)
    run = _new_run(profile, ("base", 0.0, seed), encoder, runs_dir, content, code)
    run.base = base
    return run


def base_recipe(profile: Profile) -> Profile:
    """Return a profile as its base model is trained: the demo's has base_pairs of the whole world to learn from.

    Profiles that have a base a seed share them, in the folder ``bases`` beside their own.
    """
    changes = {"bases": "one", "name": "bases"} if profile.bases == "per-seed" else {}
    if profile.data.kind == "demo":
        changes |= {"data__train_pairs": profile.data.base_pairs, "data__held_back": (), "data__exchanged": 0.0}
    return load_profile(profile, **changes)


def train_base(
    profile: Profile, seed: int = 0, runs_dir: str | Path = "runs", corpus: Corpus | None = None, fresh: bool = False
) -> Run:
    """Train a profile's base model from scratch with plain CLIP, by the recipe in the profile's ``base`` part.

    Args:
        profile: what to train.
        seed: of initial weights, batch order and choice of captions.
        runs_dir: where the work is done.
        corpus: the profile's data, where the caller has it loaded already.
        fresh: make it anew if other code has made it.

    Returns:
        The `Run`, trained or loaded.
    """
    encoder, content = build_encoder(profile, seed), _content(profile, corpus)
    run = _new_run(profile, ("base", 0.0, seed), encoder, runs_dir, content, training_code(), from_scratch=True)
    run.steps = _train(run, profile, profile.base, corpus, fresh=fresh)
    run.base = weights_identity(run.folder / WEIGHTS)
    return run


def check_seed(seed: int) -> int:
    """Return a seed if it is a whole number from 0 to 2**31 - 1.

    Raises:
        ValueError: naming the value otherwise.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise ValueError(f"seed must be a whole number from 0 to {2**31 - 1}, got {seed!r}")
    return seed


def _train(
    run: Run,
    profile: Profile,
    training: Training,
    corpus: Corpus | None,
    method: Method = METHODS["clip"],
    fresh: bool = False,
) -> pd.DataFrame:
    """Train a run's encoder in place, or load what an earlier call has finished; return the log of its steps."""
    folder, code = run.folder, run.code["training"]
    outdated = fresh and code_of(folder) != code
    if is_finished(folder) and not outdated and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        settle(folder, code)
    else:
        with alone_in(folder) as processes:
            if processes.is_main_process:
                settle(folder, code, fresh)
            processes.wait_for_everyone()
            if not is_finished(folder):
                with abandoned(folder):
                    given = training, run.alpha, run.seed, folder, corpus or load_corpus(profile), method
                    trainer = Trainer(run.encoder, profile, *given)
                _finish(trainer, run)
    clear(folder)
    run.code["training"] = code_of(folder)
    return _load_finished(run)


def _finish(trainer: Trainer, run: Run) -> None:
    """Train to the end, and put the weights in the place of the checkpoint."""
    processes = trainer.accelerator
    warn_of_batch_norm(run.encoder.model, processes)
    with signals_held(processes.num_processes > 1) as trainer.caught, tracking(trainer, run):
        trainer.run()
        if processes.is_main_process and not trainer.stopped:
            run.encoder.save(run.folder / WEIGHTS)
            remove_checkpoints(run.folder)
        processes.wait_for_everyone()
        are_to_stop(trainer.caught, processes)  # a signal since the last step ends all of them too


def _load_finished(run: Run) -> pd.DataFrame:
    """Load the weights that lie in a run's folder; return the log of its steps."""
    try:
        load_into(run.encoder.model, read_weights(run.folder / WEIGHTS), run.folder / WEIGHTS)
        return pd.read_csv(run.folder / LOG)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{run.folder} is damaged: {error}; remove it and run again") from None
