"""What records hold of each test picture, resampled, against the same computed picture by picture."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from tpccma.evidence.claims import claims_table
from tpccma.evidence.intervals import PICTURES, SEEDS
from tpccma.evidence.outcomes import RESAMPLES, adjusted_rand, holds, picture_draws, resampled, same_pictures
from tpccma.evidence.table import load_results
from tpccma.runs.items import pack_items
from tpccma.runs.jobs import DIAL, SCENES

ROOT = Path(__file__).parents[1]


@pytest.fixture
def items() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    classes = rng.integers(3, size=30)
    moved = np.where(rng.random(30) < 0.3, rng.integers(3, size=30), classes)
    return {"class": classes, "cluster_image": moved, "cluster_text": classes, "cider": rng.random(30)}


def test_draws_are_of_all_pictures_and_always_the_same():
    draws = picture_draws(30)
    assert draws.shape == (RESAMPLES, 30)
    assert (draws.sum(1) == 30).all()
    picture_draws.cache_clear()
    assert np.array_equal(picture_draws(30), draws)


def test_resampled_means_and_ari_are_those_of_the_pictures_drawn(items: dict):
    for place in (0, 7):
        drawn = np.repeat(np.arange(30), picture_draws(30)[place].astype(int))
        assert resampled(items, "cider")[place] == pytest.approx(items["cider"][drawn].mean(), rel=1e-5)
        clusters = np.concatenate([items[name][drawn] for name in ("cluster_image", "cluster_text")])
        expected = adjusted_rand_score(np.tile(items["class"][drawn], 2), clusters)
        assert resampled(items, "clustering_ari")[place] == pytest.approx(expected)


def test_adjusted_rand_by_hand():
    # four points, classes a a b b: clusters the same, all in one, and crossed; of the crossed one no pair agrees, of
    # 2 + 2 pairs 2 * 2 / 6 by chance: (0 - 2 / 3) / (2 - 2 / 3) = -0.5
    tables = np.array([[[2, 0], [0, 2]], [[2, 0], [2, 0]], [[1, 1], [1, 1]]])
    assert adjusted_rand(tables) == pytest.approx([1, 0, -0.5])
    assert adjusted_rand(np.array([[[3.0]]])) == [1]


def test_what_is_held(items: dict):
    assert holds(items, "cider") and holds(items, "clustering_ari")
    assert not holds(items, "zeroshot_top1") and not holds(items, "raw_gap") and not holds(None, "cider")


def test_pictures_are_the_same_if_number_and_classes_are(items: dict):
    assert same_pictures([items, items | {"cider": items["cider"] / 2}])
    assert not same_pictures([items, items | {"class": items["class"][::-1]}])
    assert not same_pictures([{"cider": np.zeros(3)}, {"cider": np.zeros(4)}])


def test_claims_count_pictures_where_records_hold_them(tmp_path: Path):
    rng = np.random.default_rng(2)
    for name, share in (("base-a0", 0.9), (f"{DIAL}-a0.05", 0.8)):
        for seed in range(3):
            record = json.loads((ROOT / "results" / SCENES / f"{name}-s{seed}.json").read_text())
            items = {"class": np.arange(500) % 4, "zeroshot_correct": rng.random(500) < share}
            record["metrics"]["zeroshot_top1"] = round(float(items["zeroshot_correct"].mean()), 6)
            path = tmp_path / SCENES / f"{name}-s{seed}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(record | {"items": pack_items(items)}))
    table = claims_table(load_results(tmp_path), (SCENES,))
    (drop,) = table[(table.claim == "C2") & table.primary & (table.against == "base")].itertuples()
    assert drop.over == PICTURES and drop.low < drop.ours < drop.high
    (gap,) = table[(table.claim == "C1") & table.primary & (table.against == "base")].itertuples()
    assert gap.over == SEEDS
