"""The floor under the variance within a modality: by hand, beside the loss it is added to; the choice of its weight."""

from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tpccma import fine_tune, load_profile
from tpccma.data import Corpus
from tpccma.loss import CMALoss
from tpccma.methods import FLOOR
from tpccma.methods.variance_floor import VarianceFloorLoss, variance
from tpccma.profiles import Profile
from tpccma.runs import floor_weights
from tpccma.runs.floor_weights import WEIGHTS, chosen_weight, search_weights, try_weight
from tpccma.training.maps import base_variances, training_embeddings

SCALE = torch.tensor(10.0)
# means (.5, .5) and (1, 0): variances 1 - .5 = .5 and 1 - 1 = 0
IMAGES, TEXTS = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])


def pairs(seed: int = 0, count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(F.normalize(torch.randn(count, 5, generator=generator) + 1, dim=1).requires_grad_() for _ in range(2))


def test_variance_by_hand():
    assert variance(IMAGES).item() == pytest.approx(0.5) and variance(TEXTS).item() == pytest.approx(0.0)


def test_shortfall_by_hand():
    # .7 - .5 = .2 of images and .3 - 0 = .3 of texts: .04 + .09
    assert VarianceFloorLoss(floor_weight=1.0, floors=(0.7, 0.3)).shortfall(IMAGES, TEXTS).item() == pytest.approx(0.13)
    # images vary more than their floor: that costs nothing
    assert VarianceFloorLoss(floor_weight=1.0, floors=(0.4, 0.3)).shortfall(IMAGES, TEXTS).item() == pytest.approx(0.09)


def test_term_is_weighed_by_alpha_and_weight():
    losses = VarianceFloorLoss(0.5, floor_weight=4.0, floors=(0.7, 0.3))(IMAGES, TEXTS, SCALE, output_dict=True)
    plain = CMALoss(0.5)(IMAGES, TEXTS, SCALE, output_dict=True)
    assert losses.pop("floor_loss").item() == pytest.approx(0.5 * 4 * 0.13)
    assert losses == plain


@pytest.mark.parametrize("changes", [{"alpha": 0.0}, {"floor_weight": 0.0}])
def test_without_alpha_or_weight_it_is_the_loss_itself(changes: dict):
    loss = VarianceFloorLoss(**({"alpha": 0.5, "floor_weight": 4.0, "floors": (1.0, 1.0)} | changes))
    x, y = pairs()
    assert loss(x, y, SCALE).item() == CMALoss(loss.alpha)(x, y, SCALE).item()


@given(st.floats(0.05, 1.0), st.floats(0.0, 100.0), st.integers(0, 50))
def test_read_equals_forward_in_value_and_gradient(alpha: float, weight: float, seed: int):
    loss = VarianceFloorLoss(alpha, floor_weight=weight, floors=(0.9, 0.2))
    found = []
    for compute in (lambda x, y: loss(x, y, SCALE, output_dict=True), lambda x, y: loss.read(x, y, SCALE).terms(alpha)):
        x, y = pairs(seed)
        terms = compute(x, y)
        sum(terms.values()).backward()
        found.append(({name: term.item() for name, term in terms.items()}, x.grad, y.grad))
    assert found[0][0].keys() == found[1][0].keys()
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4, abs=1e-5)
    for one, two in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_numbers_are_those_of_the_pass_and_the_shortfall():
    x, y = pairs()
    loss = VarianceFloorLoss(0.5, floor_weight=2.0, floors=(0.9, 0.9))
    read = loss.read(x, y, SCALE)
    *others, last = read.numbers().tolist()
    assert others == pytest.approx(CMALoss(0.5).read(x, y, SCALE).numbers().tolist())
    assert last == pytest.approx(loss.shortfall(x, y).item()) and last > 0
    assert read.shares(0.5)["floor_loss"] == 1.0 and len(others) + 1 == 3 + len(loss.term_names)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"floors": (1.5, 0.2)}, "the image floor must be a number, from 0 to 1, got 1.5"),
        ({"floor_weight": -1.0}, "floor_weight"),
    ],
)
def test_impossible_settings_are_named(changes: dict, said: str):
    with pytest.raises(ValueError, match=said):
        VarianceFloorLoss(**({"floor_weight": 1.0} | changes))


# ---- training


def test_floors_are_the_base_models_variances(tiny_profile: Profile, tiny_corpus: Corpus):
    from tpccma import base_run

    encoder = base_run(tiny_profile).encoder
    images, texts = training_embeddings(encoder, tiny_corpus, 0)
    expected = [1 - rows.mean(0).square().sum().item() for rows in (images, texts)]
    assert base_variances(encoder, tiny_corpus, 0) == pytest.approx(expected)


def test_pairs_are_spread_over_the_split(tiny_profile: Profile, tiny_corpus: Corpus):
    from tpccma import base_run

    encoder = base_run(tiny_profile).encoder
    images, texts = training_embeddings(encoder, tiny_corpus, 0)
    few, said = training_embeddings(encoder, tiny_corpus, 0, 4)  # of 256: 0, 85, 170, 255
    torch.testing.assert_close(few, images[[0, 85, 170, 255]], rtol=0, atol=1e-5)
    torch.testing.assert_close(said, texts[[0, 85, 170, 255]], rtol=0, atol=1e-5)


def test_floor_keeps_variance_that_alignment_would_take(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    kept = []
    for weight in (0.0, 1000.0):
        profile = load_profile(tiny_profile, floor__weight=weight)
        run = fine_tune(profile, FLOOR, 1.0, 0, tmp_path, tiny_corpus)
        kept.append(sum(base_variances(run.encoder, tiny_corpus, 0)))
    assert run.steps.floor_loss.max() > 0
    assert kept[1] > kept[0]


def test_weight_that_is_not_chosen_is_asked_for(tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path):
    with pytest.raises(ValueError, match=r"'demo' has no floor\.weight: `tpccma rates --floor --profile demo`"):
        fine_tune(load_profile(tiny_profile, floor__weight=None), FLOOR, 0.5, 0, tmp_path, tiny_corpus)


# ---- the choice


def test_weight_is_tried_and_scored_on_validation_data(tiny_profile: Profile, tmp_path: Path, monkeypatch):
    seen: list[tuple] = []
    monkeypatch.setattr(
        floor_weights, "fine_tune", lambda profile, *key: seen.append((profile.floor.weight, *key[:3])) or "run"
    )
    monkeypatch.setattr(floor_weights, "score", lambda run, corpus: {"score": 0.5})
    row = try_weight(tiny_profile, 100.0, 2, tmp_path)
    assert seen == [(100.0, FLOOR, 0.5, 2)]
    assert [row[key] for key in ("profile", "method", "weight", "seed", "score", "diverged")] == [
        *("demo", FLOOR, 100.0, 2, 0.5, 0)
    ]

    def diverge(*given):
        raise FloatingPointError

    monkeypatch.setattr(floor_weights, "fine_tune", diverge)
    row = try_weight(tiny_profile, 1000.0, 0, tmp_path)
    assert (row["score"], row["zeroshot_top1"], row["diverged"]) == (0.0, 0.0, 1)


def test_search_tries_what_is_missing_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_threads):
    tried: list[tuple] = []

    def row(profile: Profile, weight: float, seed: int, runs_dir: Path) -> dict:
        tried.append((weight, seed))
        if len(tried) == 3:
            raise ValueError("broken")
        return {"profile": "demo", "method": FLOOR, "weight": weight, "seed": seed, "score": 1 / weight, "diverged": 0}

    monkeypatch.setattr(floor_weights, "try_weight", row)
    with pytest.raises(ValueError, match="broken"):
        search_weights(load_profile("demo"), 1, tmp_path, tmp_path)
    assert sorted(tried) == sorted((weight, seed) for weight in WEIGHTS for seed in range(3))
    assert len(pd.read_csv(tmp_path / "floor_weights.csv")) == 11
    assert search_weights(load_profile("demo"), 1, tmp_path, tmp_path) == {"weight": 1.0, "score": 1.0}
    assert len(tried) == 13 and tried[-1] == tried[2]


def test_weight_of_the_largest_mean_is_chosen_of_equal_ones_the_smallest():
    trials = pd.DataFrame({"weight": [1.0, 1.0, 10.0, 10.0, 100.0], "score": [0.2, 0.4, 0.5, 0.5, 0.5]})
    assert chosen_weight(trials) == {"weight": 10.0, "score": 0.5}
