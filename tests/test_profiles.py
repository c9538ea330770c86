from pathlib import Path

import pytest
import yaml

from tpccma.profiles import Profile, load_profile, profile_names


def test_shipped_profiles_load():
    assert {"demo", "fashion"} <= set(profile_names())
    for name in profile_names():
        assert load_profile(name).name == name


def test_demo_is_the_default():
    assert load_profile() == load_profile("demo")


@pytest.mark.parametrize("name", ["demoo", "", "missing.yaml", "configs/demo"])
def test_unknown_profile_is_named_with_the_known_ones(name: str):
    with pytest.raises(ValueError, match=f"unknown profile '{name}'.*demo, fashion"):
        load_profile(name)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"fine_tune__epochs": 0}, "fine_tune.epochs: .* got 0"),
        ({"fine_tune__batch_size": 1}, "fine_tune.batch_size: .* got 1"),
        ({"fine_tune__learning_rate": float("nan")}, "fine_tune.learning_rate: .* got nan"),
        ({"fine_tune__learning_rate": "fast"}, "fine_tune.learning_rate: .* got 'fast'"),
        ({"fine_tune__weight_decay": -0.1}, "fine_tune.weight_decay: .* got -0.1"),
        ({"fine_tune__precision": "fp8"}, "fine_tune.precision: .* got 'fp8'"),
        ({"loss__geometry_weight": -1}, "loss.geometry_weight: .* got -1"),
        ({"loss__false_negative_rate": 1.0}, "loss.false_negative_rate: .* got 1.0"),
        ({"curriculum__rho": 0}, "curriculum.rho: .* got 0"),
        ({"curriculum__anchor": 0.7}, "curriculum: .*anchor=0.7"),
        ({"curriculum__deadline": 1.0}, "curriculum: .*deadline=1.0"),
        ({"curriculum__slow_rate": 0.0}, "curriculum: .*slow_rate.*0.0"),
        ({"evaluation__kmeans_restarts": 0}, "evaluation.kmeans_restarts: .* got 0"),
        ({"evaluation__decoder__width": 130}, "evaluation.decoder: .*130"),
        ({"data__train_pairs": 0}, "data.demo.train_pairs: .* got 0"),
        ({"data__kind": "coco"}, "data: .*coco"),
        ({"fine_tune__epoch": 3}, "fine_tune.epoch: Extra inputs"),
        ({"finetune__epochs": 3}, "finetune: Extra inputs"),
        ({"name__short": "d"}, "name.short is unknown"),
    ],
)
def test_bad_value_is_named(change: dict, named: str):
    with pytest.raises(ValueError, match=named):
        load_profile("demo", **change)


def test_changes_by_dotted_name_change_that_value_only():
    first = load_profile("demo")
    changed = load_profile("demo", fine_tune__epochs=70, evaluation__decoder__steps=90)
    assert (changed.fine_tune.epochs, changed.evaluation.decoder.steps) == (70, 90)
    back = {"fine_tune__epochs": first.fine_tune.epochs, "evaluation__decoder__steps": first.evaluation.decoder.steps}
    assert load_profile(changed, **back) == first


def test_changing_a_profile_leaves_the_first_alone():
    profile = load_profile("demo")
    assert load_profile(profile, loss__hardness=3.0).loss.hardness == 3.0
    assert profile.loss.hardness == load_profile("demo").loss.hardness != 3.0


def test_yaml_file_of_ones_own(tmp_path: Path):
    values = load_profile("demo").model_dump(mode="json") | {"name": "mine"}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    assert load_profile(path) == load_profile(str(path)) == Profile(**values)
    assert load_profile(path, data__seed=4).data.seed == 4


def test_yaml_file_that_lacks_a_part_is_named(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: data: Field required"):
        load_profile(path)


def test_profiles_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        load_profile("demo").fine_tune.epochs = 3
