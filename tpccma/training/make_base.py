"""Rebuild the base model of the demo profile, which ships with the package: ``make base`` or ``tpccma base``.

About 10 minutes on two CPU cores; killed and run again, it resumes. Writes ``tpccma/assets/demo_base.safetensors`` and,
beside it, ``demo_base.json`` with the recipe's fingerprint, the file's checksum and what `tpccma.evaluate` measures on
it.
"""

import hashlib
import json
from importlib import resources
from pathlib import Path

from tpccma.data import load_corpus
from tpccma.files import write_whole
from tpccma.profiles import load_profile
from tpccma.tasks.evaluation import evaluate
from tpccma.training.encoders import weights_path
from tpccma.training.run import base_recipe, base_run, train_base

CARD_TASKS = ("gap", "zeroshot", "retrieval", "clustering")


def card_path() -> Path:
    """Say where the card of the shipped base model lies."""
    return Path(str(resources.files("tpccma.assets"))) / "demo_base.json"


def make_card() -> dict:
    """Measure the shipped base model.

    Returns:
        ``recipe`` (the training settings), ``base`` (what records call it), ``sha256`` and ``bytes`` of the file,
        and ``metrics``.
    """
    run = base_run("demo")
    content = weights_path(run.profile).read_bytes()
    test_alone = load_corpus(load_profile("demo", data__train_pairs=1, data__val_pairs=1))
    return {
        "recipe": base_recipe(load_profile("demo")).model_dump(
            mode="json", include={"data", "model", "base"}, exclude_none=True
        ),
        "base": run.base,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "metrics": {name: round(value, 6) for name, value in evaluate(run, test_alone, CARD_TASKS).items()},
    }


def make_base() -> None:
    """Train the base model, put it where it ships from, measure it and write its card."""
    profile = base_recipe(load_profile("demo"))
    path = card_path().with_name(profile.model.pretrained)
    train_base(profile).encoder.save(path)
    card = make_card()
    write_whole(card_path(), json.dumps(card, indent=1) + "\n")
    shown = ("raw_gap", "centroid_gap", "linear_separability", "zeroshot_top1", "t2i_recall_at_1", "clustering_ari")
    print(f"{path}: {card['bytes'] / 1e6:.2f} MB")
    print("\n".join(f"{name:22}{card['metrics'][name]:8.3f}" for name in shown))
