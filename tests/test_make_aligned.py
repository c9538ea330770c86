"""The aligned model that ships: rounded, and otherwise the run that it is."""

import hashlib
import json
from pathlib import Path

import torch

from tpccma.models.weight_files import read_metadata, read_weights, save_weights
from tpccma.training.make_aligned import MOST_BYTES, aligned_path, check_card, round_weights

ROOT = Path(__file__).parents[1]
GAPS = ("raw_gap", "centroid_gap", "distribution_gap", "zeroshot_top1", "clustering_ari")


def test_weights_are_rounded_and_their_notes_kept(tmp_path: Path):
    weights = {"weight": torch.tensor([1.0, 1 + 2**-12, 3.0]), "bias": torch.tensor([1 + 2**-12])}
    weights["steps"] = torch.tensor([70_000])
    source, target = tmp_path / "run.safetensors", tmp_path / "ships.safetensors"
    save_weights(weights, source, {"format": "pt", "architecture": '{"kind": "heads"}'})
    round_weights(source, target, room=18)
    found = read_weights(target)
    assert found["weight"].dtype == torch.float16 and found["weight"].tolist() == [1.0, 1.0, 3.0]
    assert found["bias"].item() == 1 + 2**-12  # there is room for it
    assert found["steps"].dtype == torch.int64 and found["steps"].item() == 70_000
    assert read_metadata(target) == read_metadata(source)


def test_measures_that_rounding_moves_are_named():
    moved = {"raw_gap": 0.0004, "clustering_ari": 0.0006, "linear_separability": 0.002, "cka_distance": 0.0005}
    assert check_card({"rounding": moved}) == ["clustering_ari", "cka_distance"]


def test_what_ships_is_what_its_card_says_and_fits():
    path = aligned_path()
    card, content = json.loads(path.with_suffix(".json").read_text()), path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == card["sha256"] and len(content) == card["bytes"]
    assert check_card(card) == []
    shipped = [each.stat().st_size for each in path.parent.glob("*.safetensors")]
    assert len(shipped) == 2 and sum(shipped) <= MOST_BYTES
    record = json.loads((ROOT / "results" / "demo-bases" / "tpc-cma-a0.5-s0.json").read_text())
    assert card["base"] == record["base"]
    assert all(abs(card["metrics"][name] - record["metrics"][name]) < 1e-3 for name in GAPS)
