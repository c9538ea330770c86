"""Write the aligned model of the demo, which ships with the package: ``make aligned`` or ``tpccma aligned``.

It is what fine-tuning the shipped base at alpha 0.5 gives, seed 0, with its largest weights rounded to float16, so that
both files together take at most ``MOST_BYTES``. Writes ``tpccma/assets/demo_aligned.safetensors`` and, beside it,
``demo_aligned.json`` with the run that it is, the file's checksum, and what `tpccma.evaluate` measures on the file and
on the run before rounding.
"""

import hashlib
import json
from pathlib import Path

from tpccma.files import write_whole
from tpccma.methods import ABLATION_ALPHA, FULL
from tpccma.models import Encoder
from tpccma.models.weight_files import read_metadata, read_weights, save_weights
from tpccma.profiles import load_profile
from tpccma.tasks.evaluation import evaluate
from tpccma.training.encoders import load_encoder
from tpccma.training.folder import WEIGHTS
from tpccma.training.make_base import CARD_TASKS, card_path
from tpccma.training.run import fine_tune

PROFILE = "demo-bases"  # whose learning rates were chosen for the method
NAME = "demo_aligned.safetensors"
MOST_BYTES = 12_000_000  # of base and aligned model together
NOTES = 50_000  # bytes of it for names and notes
DIGITS = 3  # to which every measure stays as it was before rounding
FITTED = ("linear_separability",)  # but the accuracy of a classifier that is fitted anew, which any rounding moves


def aligned_path() -> Path:
    """Say where the aligned model lies that ships with the package."""
    return card_path().with_name(NAME)


def round_weights(source: str | Path, target: str | Path, room: int) -> None:
    """Write weights once more, the largest of them in float16, as many as it takes; notes as they are.

    Args:
        source: a safetensors file that this package has written.
        target: of the copy.
        room: bytes that the weights of the copy may take.
    """
    weights = read_weights(source)
    for name, value in sorted(weights.items(), key=lambda item: -item[1].nbytes):
        if sum(each.nbytes for each in weights.values()) <= room:
            break
        if value.is_floating_point():
            weights[name] = value.half()
    save_weights(weights, target, read_metadata(source))


def make_aligned(runs_dir: str | Path = "runs") -> dict:
    """Train the aligned model if it is not there, put it where it ships from, measure it and write its card.

    Returns:
        The card: ``run`` (method, alpha, seed and fingerprint), ``base``, ``sha256``, ``bytes``, ``metrics`` of the
        file and ``rounding``, by how much rounding has moved each.
    """
    run = fine_tune(PROFILE, FULL, ABLATION_ALPHA, 0, runs_dir)
    path = aligned_path()
    before = evaluate(run, tasks=CARD_TASKS)
    base = path.with_name(run.profile.model.pretrained)
    round_weights(run.folder / WEIGHTS, path, MOST_BYTES - NOTES - base.stat().st_size)
    run.encoder = load_encoder(run.profile, path)
    found = evaluate(run, tasks=CARD_TASKS)
    content = path.read_bytes()
    card = {
        "run": {"method": run.method, "alpha": run.alpha, "seed": run.seed, "fingerprint": run.fingerprint},
        "base": run.base,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "metrics": {name: round(value, 6) for name, value in found.items()},
        "rounding": {name: round(abs(value - before[name]), 6) for name, value in found.items()},
    }
    write_whole(path.with_suffix(".json"), json.dumps(card, indent=1) + "\n")
    return card


def check_card(card: dict) -> list[str]:
    """Name the measures that rounding has moved by half a digit of ``DIGITS`` or more."""
    moved = {name: by for name, by in card["rounding"].items() if name not in FITTED}
    return [name for name, by in moved.items() if by >= 0.5 * 10**-DIGITS]


def open_aligned() -> Encoder:
    """Open the aligned model that ships: with it `tpccma.interpolate` gives the whole dial, and nothing is trained.

        >>> third = interpolate(base_run("demo"), open_aligned(), 0.3, corpus.train.images[:1000])

    Returns:
        The demo's base, fine-tuned at alpha 0.5; its card, ``demo_aligned.json``, lies beside the weights.
    """
    return load_encoder(load_profile(PROFILE), aligned_path())
