from pathlib import Path

import pytest
import yaml

from tpccma.profiles import Profile, load_profile, profile_names

SCALES = {  # profiles that differ in their base
    "scale-20": {"base__init_logit_scale": 20},
    "scale-50": {"base__init_logit_scale": 50},
    "scale-learned": {"base__init_logit_scale": 14.3, "base__learn_logit_scale": True},
}


def named(name: str, profile: Profile) -> Profile:
    return profile.model_copy(update={"name": name})


def test_shipped_profiles_load():
    scales = {f"{parent}-{kind}" for parent in ("demo", "fashion") for kind in SCALES}
    assert set(profile_names()) == {
        "demo",
        "demo-bases",
        "demo-shift",
        "fashion",
        "fashion-masked",
        "paper",
        "photos",
        *scales,
    }
    for name in profile_names():
        assert load_profile(name).name == name


def test_bases_of_seeds_are_for_models_of_open_clip():
    with pytest.raises(ValueError, match=r"fashion: .*bases: 'per-seed' is for models of open_clip"):
        load_profile("fashion", bases="per-seed")
    assert [load_profile("demo-bases").has_own_base(seed) for seed in (0, 1)] == [False, True]
    assert [load_profile(name).has_own_base(1) for name in ("demo", "demo-scale-20", "fashion")] == [False, True, True]


def test_empty_mapping_clears_what_is_extended(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: paper\nexpected: {}\nlearning_rates: {clip: 0.1}\n")
    profile = load_profile(path)
    assert load_profile("paper").expected and not profile.expected
    assert profile.learning_rates == {"clip": 0.1}


def test_demo_is_the_default():
    assert load_profile() == load_profile("demo")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("demoo", r" \(perhaps demo\): give one of"),
        ("", ": give one of"),
        ("missing.yaml", ": there is no such file; give"),
        ("configs/demo", ": give one of"),
    ],
)
def test_unknown_profile_is_named_with_the_known_ones(name: str, told: str):
    with pytest.raises(ValueError, match=f"unknown profile '{name}'{told} {', '.join(profile_names())}, or"):
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
        ({"curriculum__rho": 2}, "curriculum.rho: Extra inputs"),
        ({"curriculum__anchor": 0.7}, "curriculum: .*anchor=0.7"),
        ({"curriculum__deadline": 1.0}, "curriculum: .*deadline=1.0"),
        ({"curriculum__slow_rate": 0.0}, "curriculum: .*slow_rate.*0.0"),
        ({"curriculum__patience": 0.0}, "curriculum: .*patience=0.0"),
        ({"curriculum__min_anchor": 1.1}, "curriculum.min_anchor: .* got 1.1"),
        ({"curriculum__gradient_aware": "mostly"}, "curriculum.gradient_aware: .* got 'mostly'"),
        ({"curriculum__shape": "square"}, "curriculum.shape: .* got 'square'"),
        ({"base__init_logit_scale": 0}, "base.init_logit_scale: .* got 0"),
        ({"learning_rates": {"clip": 0}}, "learning_rates.clip: .* got 0"),
        ({"learning_rates": {"clipp": 1e-3}}, "learning_rates: .*unknown method 'clipp'"),
        ({"evaluation__kmeans_restarts": 0}, "evaluation.kmeans_restarts: .* got 0"),
        ({"evaluation__decoder__width": 130}, "evaluation.decoder: .*130"),
        ({"expected_within": -1}, "expected_within: .* got -1"),
        ({"data__train_pairs": 0}, "data.demo.train_pairs: .* got 0"),
        ({"data__kind": "coco"}, "data: .*coco"),
        ({"fine_tune__epoch": 3}, "fine_tune.epoch: Extra inputs"),
        ({"finetune__epochs": 3}, "finetune: Extra inputs"),
        ({"bases": "two"}, "bases: .* got 'two'"),
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


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        *(("fashion", setting) for setting in ("data_dir", "cache_dir")),
        *(("photos", setting) for setting in ("images_dir", "captions", "cache_dir")),
        *(("paper", f"{part}_dir") for part in ("data", "images", "imagenet", "zeroshot")),
        *(("paper", setting) for setting in ("captions", "shards")),
    ],
)
def test_tilde_is_the_users_folder(name: str, setting: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/reader")
    profile = load_profile(name, **{f"data__{setting}": "~/some/{place}"})
    assert str(getattr(profile.data, setting)) == "/home/reader/some/{place}"
    assert load_profile(profile) == profile
    for same in ("some/~", "~nobody-of-this-name/x"):
        assert str(getattr(load_profile(name, **{f"data__{setting}": same}).data, setting)) == same


def test_weights_may_lie_in_the_users_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/reader")
    assert load_profile("photos", model__pretrained="~/clip.pt").model.pretrained == "/home/reader/clip.pt"
    for same in ("openai", None):
        assert load_profile("photos", model__pretrained=same).model.pretrained == same


def test_yaml_file_that_lacks_a_part_is_named(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: data: Field required"):
        load_profile(path)


def test_extended_profile_replaces_what_the_file_says_and_keeps_the_rest(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\nname: mine\nfine_tune:\n  epochs: 70\nevaluation:\n  decoder:\n    steps: 90\n")
    expected = load_profile("demo", fine_tune__epochs=70, evaluation__decoder__steps=90)
    assert load_profile(path) == named("mine", expected)
    assert load_profile(path).evaluation.decoder.width == load_profile("demo").evaluation.decoder.width == 128


def test_extended_profile_may_extend_another(tmp_path: Path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("extends: fashion\nname: first\nbase:\n  init_logit_scale: 20\n  epochs: 7\n")
    second.write_text(f"extends: {first}\nname: second\nbase:\n  epochs: 8\n")
    expected = load_profile("fashion", base__init_logit_scale=20, base__epochs=8)
    assert load_profile(second) == named("second", expected)


def test_null_replaces_a_value(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\nmodel:\n  pretrained: null\n")
    assert load_profile(path) == load_profile("demo", model__pretrained=None) != load_profile("demo")


@pytest.mark.parametrize("parent", ["nowhere", "nowhere.yaml"])
def test_unknown_parent_is_named(tmp_path: Path, parent: str):
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {parent}\nname: mine\n")
    with pytest.raises(ValueError, match=f"unknown profile '{parent}'.*demo, "):
        load_profile(path)


def test_bad_value_of_an_extended_profile_is_named(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\nname: mine\nbase:\n  epoch: 7\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: base\.epoch: Extra inputs"):
        load_profile(path)


def test_part_of_another_kind_replaces_the_whole(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\nname: mine\ndata:\n  kind: photos\n  test_items: 7\n")
    profile = load_profile(path)
    assert (profile.data.kind, profile.data.test_items, profile.data.val_items) == ("photos", 7, 1_000)
    assert profile.model == load_profile("demo").model.for_pictures()


def test_profile_in_the_book_is_valid(tmp_path: Path):
    text = (Path(__file__).parents[1] / "book/api/data.md").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.split("```yaml\n")[1].split("```")[0])
    profile = load_profile(path)
    assert profile.data.captions == Path("flickr8k/captions.txt")
    assert profile.model == load_profile("photos").model


@pytest.mark.parametrize("text", ["", "5", "[1, 2]", "demo"])
def test_file_that_is_no_profile_is_named(tmp_path: Path, text: str):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"mine\.yaml"):
        load_profile(path)


# Its records of the first reading there are of the first round.
FIRST_ROUND = {"learning_rates__tpc-cma-paired": 0.0001}


@pytest.mark.parametrize("kind", SCALES)
@pytest.mark.parametrize("parent, without_weights", [("demo", {"model__pretrained": None}), ("fashion", FIRST_ROUND)])
def test_scale_profiles_differ_from_their_parent_in_the_base_alone(parent: str, without_weights: dict, kind: str):
    name = f"{parent}-{kind}"
    assert load_profile(name) == named(name, load_profile(parent, **without_weights, **SCALES[kind]))
    assert load_profile(parent).base.learn_logit_scale is False  # so a start of 20 or 50 is where it stays


def test_masked_profile_differs_from_its_parent_in_the_titles_alone():
    expected = named("fashion-masked", load_profile("fashion", data__mask_titles=True, **FIRST_ROUND))
    assert load_profile("fashion-masked") == expected


def test_profiles_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        load_profile("demo").fine_tune.epochs = 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: mine\n", "data: Field required; .*; give what is required, or let the file say .* extends: demo$"),
        ("name: mine\ndata: {images_dir: a}\n", r"data\.kind: Field required; "),
        ("extends: demo\nfine_tune: {learnin_rate: 1}\n", "got 1; perhaps learning_rate is meant$"),
        ("extends: demo\nxyzzy: 1\n", "xyzzy: Extra inputs are not permitted, got 1$"),
    ],
)
def test_what_is_meant_is_guessed(tmp_path: Path, text: str, said: str):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        load_profile(tmp_path / "mine.yaml")
