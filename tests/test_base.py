"""The base model that ships with the package is what its card says and behaves like CLIP."""

import hashlib
import json

import pytest

from tpccma import load_profile
from tpccma.models.identity import weights_identity
from tpccma.training.encoders import weights_path
from tpccma.training.make_base import base_recipe, card_path, make_card

DEMO = load_profile("demo")


@pytest.fixture(scope="module")
def card() -> dict:
    return json.loads(card_path().read_text())


@pytest.fixture(scope="module")
def measured() -> dict:
    """The card as it is measured here and now."""
    return make_card()


def test_card_is_that_of_the_shipped_file(card: dict):
    content = weights_path(DEMO).read_bytes()
    assert card["sha256"] == hashlib.sha256(content).hexdigest()
    assert card["base"] == weights_identity(weights_path(DEMO))
    assert card["bytes"] == len(content) <= 8_000_000


def test_recipe_is_the_profiles(card: dict, measured: dict):
    # where this fails the profile has changed since: run `make base`, or take the change back
    parts = base_recipe(load_profile("demo")).model_dump(
        mode="json", include={"data", "model", "base"}, exclude_none=True
    )
    assert card["recipe"] == measured["recipe"] == parts


def test_metrics_are_measured_again(card: dict, measured: dict):
    assert set(card["metrics"]) == set(measured["metrics"])
    for name, value in card["metrics"].items():
        assert measured["metrics"][name] == pytest.approx(value, abs=0.005, rel=0.005), name


@pytest.mark.parametrize(
    "metric, least", [("linear_separability", 0.99), ("centroid_gap", 0.60), ("zeroshot_top1", 0.80)]
)
def test_base_behaves_like_clip(measured: dict, metric: str, least: float):
    assert measured["metrics"][metric] >= least
