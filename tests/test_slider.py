"""The slider of the first page: its record, and the HTML that is made of it."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

import tpccma.runs.slider
from tests.sliders import PNG, record_of, stop_of
from tpccma import load_profile
from tpccma.cli import app
from tpccma.data import Corpus
from tpccma.figures.slider import (
    describe,
    describe_making,
    dots,
    frame_of,
    names_class,
    slider_html,
    triangles,
    write_measure,
    write_revision,
)
from tpccma.profiles import Profile
from tpccma.runs.plane import gap_plane
from tpccma.runs.slider import choose_pictures, in_order, record_slider
from tpccma.runs.slider_records import (
    MEASURES,
    Picture,
    SliderRecord,
    load_slider,
    pack_cloud,
    save_slider,
    slider_path,
    unpack_cloud,
)
from tpccma.tasks.evaluation import Evaluated, embed
from tpccma.training.encoders import build_encoder
from tpccma.training.run import Run

ROOT = Path(__file__).parents[1]
MOST = 400_000  # bytes of the slider in all
# Two pairs: pictures at (0, 0) and (0.2, 0), their texts 0.4 above; aligned, all texts lie on their pictures.
APART = pack_cloud(np.array([[0, 0], [0.2, 0]]), np.array([[0, 0.4], [0.2, 0.4]]))
TOGETHER = pack_cloud(np.array([[0, 0.2], [0.2, 0.2]]), np.array([[0, 0.2], [0.2, 0.2]]))


@pytest.fixture
def record() -> SliderRecord:
    pictures = Picture(number=4, shows="arrow", png=PNG), Picture(number=0, shows="star", png=PNG)
    return record_of(
        stop_of(0.8, ("a moon.", "stars </script>."), APART, t=0.0),
        stop_of(0.4, ("an arrow.", "a moon."), TOGETHER, alpha=0.05),
        stop_of(0.2, ("an arrow.", "a star."), TOGETHER, t=1.0),
        pictures=pictures,
    )


def test_clouds_are_packed_to_a_thousandth():
    places = unpack_cloud(pack_cloud(np.array([[0.1234, -1.0]]), np.array([[0.0006, 2.5]])))
    assert places.tolist() == [[[123, -1000]], [[1, 2500]]]
    for wrong in ("", "AAAA"):
        with pytest.raises(ValueError, match="bytes is none: 8 a pair"):
            unpack_cloud(wrong)


def test_plane_has_the_gap_upwards_and_the_widest_spread_of_the_rest_across():
    spread = np.array([[0.0, 3, 1], [0, -3, 1], [0, 3, -1], [0, -3, -1]])  # widest along the second axis
    aside = np.array([1.0, 0, 0])
    right, up = gap_plane(spread + aside, spread - aside).T
    assert up == pytest.approx([-1, 0, 0]) and np.abs(right) == pytest.approx([0, 1, 0])


def test_trained_models_stand_where_the_raw_gap_is_theirs():
    between = [stop_of(gap, t=t) for t, gap in ((0.0, 0.8), (0.5, 0.5), (1.0, 0.2))]
    trained = [
        stop_of(gap, alpha=alpha) for alpha, gap in ((0.1, 0.6), (0.2, 0.5), (0.05, 0.7), (0.8, 0.1), (0.0, 0.9))
    ]
    found = in_order([*between, *trained])
    assert [stop.metrics["raw_gap"] for stop in found] == [0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.2, 0.1]
    assert [stop.t for stop in found] == [None, 0, None, None, 0.5, None, 1, None]


def test_pictures_are_the_first_of_each_class(tiny_corpus: Corpus, tmp_path: Path):
    chosen = choose_pictures(tiny_corpus)
    labels = [tiny_corpus.classes[label] for label in tiny_corpus.test.labels]
    assert [picture.shows for picture in chosen] == [name for name in tiny_corpus.classes if name in labels][:10]
    assert all(picture.number == labels.index(picture.shows) for picture in chosen)
    (tmp_path / "picture.png").write_bytes(base64.b64decode(chosen[1].png))
    pixels = np.asarray(Image.open(tmp_path / "picture.png"))
    assert np.array_equal(pixels, tiny_corpus.test.images[chosen[1].number].permute(1, 2, 0))


def test_features_have_no_pictures_to_show(tiny_corpus: Corpus):
    with pytest.raises(ValueError, match="these data have none: --profile demo"):
        choose_pictures(Corpus(tiny_corpus.train, tiny_corpus.val, tiny_corpus.test))


def run_of(profile: Profile, method: str, alpha: float, seed: int, *rest: object) -> Run:
    """Stand for a training: alpha decides the weights."""
    encoder = build_encoder(load_profile("demo"), seed=int(100 * alpha))
    code = {"training": "a", "evaluation": "b"}
    return Run(profile, method, alpha, seed, Path("nowhere"), encoder, pd.DataFrame(), f"of {alpha}", "", code, "base")


def test_slider_is_recorded_from_base_to_aligned(
    tiny_profile: Profile, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    seen = []

    def measured(encoder, corpus, settings, seed):
        seen.append((encoder, seed))
        gap = {"raw_gap": [0.8, 0.2, 0.41237][len(seen) - 1]}
        said = [f"caption {number} of model {len(seen)}" for number in range(len(corpus.test))]
        return Evaluated(dict.fromkeys(MEASURES, 0.5) | gap, {}, {"raw": said, "memory": []})

    monkeypatch.setattr(tpccma.runs.slider, "fine_tune", run_of)
    monkeypatch.setattr(tpccma.runs.slider, "base_run", lambda profile, seed, _: run_of(profile, "base", 0, seed))
    monkeypatch.setattr(tpccma.runs.slider, "corpus_of", lambda profile: tiny_corpus)
    monkeypatch.setattr(tpccma.runs.slider, "evaluate_whole", measured)
    monkeypatch.setattr(tpccma.runs.slider, "STEPS", (0.0, 1.0))
    monkeypatch.setattr(tpccma.runs.slider, "PAIRS", 50)
    path = record_slider(tiny_profile, "tpc-cma", 0.5, (0.05, 0.5), 3, results_dir=tmp_path / "results")
    assert path == slider_path("demo", tmp_path / "results")
    assert capsys.readouterr().err.splitlines() == ["slider, t 0", "slider, t 1", "slider, alpha 0.05"]
    record = load_slider("demo", tmp_path / "results")
    assert [(stop.t, stop.alpha) for stop in record.stops] == [(0, None), (None, 0.05), (1, None)]
    assert [stop.metrics["raw_gap"] for stop in record.stops] == [0.8, 0.4124, 0.2]
    number = record.pictures[1].number
    assert [stop.captions[1] for stop in record.stops] == [f"caption {number} of model {i}" for i in (1, 3, 2)]
    assert (record.seed, record.fingerprint, record.base, record.pairs) == (3, "of 0.5", "base", 64)
    assert [seed for _, seed in seen] == [3, 3, 3]
    # The plane is the base's: its means lie straight above each other, and the aligned model is drawn in it.
    tests = [embed(encoder, tiny_corpus.test) for encoder, _ in seen[:2]]
    parts = [[part.numpy() for part in (test.images, test.first_captions)] for test in tests]
    plane = gap_plane(*parts[0])
    for stop, own in zip(record.ends, parts, strict=True):
        expected = np.stack([part[:50] @ plane for part in own])
        assert unpack_cloud(stop.cloud) / 1000 == pytest.approx(expected, abs=6e-4)


def test_command_names_the_record(monkeypatch: pytest.MonkeyPatch):
    given = []
    monkeypatch.setattr(tpccma.runs.slider, "record_slider", lambda *each: given.append(each) or Path("there.json"))
    words = "slider --profile demo --alpha 0.3 --trained 0.05 --trained 0.1 --seed 2 --runs-dir there --fresh"
    result = CliRunner().invoke(app, words.split(), catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (0, "there.json\n")
    ((profile, *rest),) = given
    assert profile.name == "demo" and rest == ["tpc-cma", 0.3, [0.05, 0.1], 2, Path("there"), Path("results"), True]


@pytest.mark.parametrize(("method", "alpha", "trained"), [("clipp", 0.5, ()), ("tpc-cma", 2.0, ()), ("base", 0.5, ())])
def test_impossible_runs_are_refused_before_any_work(method: str, alpha: float, trained: tuple):
    with pytest.raises(ValueError, match=r"clipp|alpha"):
        record_slider(load_profile("demo"), method, alpha, trained)


def test_record_is_kept_and_read(record: SliderRecord, tmp_path: Path):
    assert save_slider(record, tmp_path) == tmp_path / "slider" / "demo.json"
    assert load_slider("demo", tmp_path) == record
    with pytest.raises(FileNotFoundError, match="run `tpccma slider --profile fashion`"):
        load_slider("fashion", tmp_path)
    (tmp_path / "slider" / "fashion.json").write_text(slider_path("demo", tmp_path).read_text())
    with pytest.raises(ValueError, match=r"fashion\.json is of profile 'demo'"):
        load_slider("fashion", tmp_path)
    slider_path("demo", tmp_path).write_text("{}")
    with pytest.raises(ValueError, match=r"demo\.json is not a record of a slider \(profile: Field required\)"):
        load_slider("demo", tmp_path)


@pytest.mark.parametrize(
    ("stops", "said"),
    [
        ([{"t": 0.0}, {"t": 0.5}], "rise from 0 to 1"),
        ([{"t": 1.0}, {"t": 0.0}], "rise from 0 to 1"),
        ([{"t": 0.0}, {"t": 1.0, "captions": ("more",)}], "of different number"),
        ([{"t": 0.0, "captions": ("a",)}, {"t": 1.0, "captions": ("b",)}], "not one a picture"),
    ],
)
def test_records_that_could_not_be_shown_are_refused(stops: list[dict], said: str):
    with pytest.raises(ValidationError, match=said):
        record_of(*(stop_of(0.5, **each) for each in stops))


@pytest.mark.parametrize("named", [{}, {"t": 0.5, "alpha": 0.5}])
def test_a_stop_has_t_or_alpha(named: dict):
    with pytest.raises(ValidationError, match="t or alpha, one of them"):
        stop_of(0.5, **named)


def test_paths_by_hand():
    assert dots([(3, -4), (5, 6)]) == "M3 4h0M5 -6h0"
    assert triangles([(10, 20)], 2) == "M8 -18h4l-2 -4z"  # from its left foot; up is less in an SVG


def test_frame_holds_all_clouds_with_a_margin(record: SliderRecord):
    assert frame_of(record) == (-40, -440, 280, 480)  # 0 to 200 across, 0 to 400 up, which an SVG counts down


def test_without_a_script_two_clouds_and_two_columns_stand(record: SliderRecord):
    page = BeautifulSoup(slider_html(record), "html.parser")
    before, after = page.select(".gap-slider-panel")
    assert before.p.text == "Before: t = 0, the base" and after.p.text == "After: t = 1, trained with alpha 0.5"
    assert before.svg["role"] == "img" and before.svg["viewbox"] == "-40 -440 280 480"
    assert before.svg["aria-label"].endswith("their means 0.40 apart in this plane")
    drawn = {
        path["class"][-1] if len(path["class"]) == 1 else "mean " + path["class"][1]: path["d"]
        for path in before.svg("path")
    }
    assert drawn["images"] == "M0 0h0M200 0h0" and drawn["mean images"] == "M100 0h0"
    assert drawn["pairs"] == "M0 0L0 -400M200 0L200 -400"
    assert drawn["grid"] == "M0 -440v480M200 -440v480M-40 -400h280M-40 -200h280M-40 0h280"
    rows = {
        row.th.text: [cell.text for cell in row("td") if "hidden" not in cell.attrs] for row in page.select("tbody tr")
    }
    assert rows["Raw gap"] == ["0.800", "0.200"] and rows["Zero-shot, top 1"] == ["50.0 %", "50.0 %"]
    assert len(rows) == len(MEASURES)
    assert [part["class"] for part in page.select("figure > [hidden]")] == [
        ["gap-slider-controls"],
        ["gap-slider-captions"],
    ]


def test_script_is_given_all_stops_in_order(record: SliderRecord):
    html = slider_html(record)
    assert html.count("</script>") == 1  # a caption cannot end it
    page = BeautifulSoup(html, "html.parser")
    stops = json.loads(page.script.string)["stops"]
    assert [stop["name"] for stop in stops] == [
        "t = 0, the base",
        "trained with alpha 0.05",
        "t = 1, trained with alpha 0.5",
    ]
    assert [stop["right"] for stop in stops] == [[False, False], [True, False], [True, True]]
    assert stops[0]["captions"] == ["a moon.", "stars </script>."] and stops[0]["cloud"] == APART
    assert [stop["values"][0] for stop in stops] == ["0.800", "0.400", "0.200"]
    titles = [row.th.text for row in page.select("tbody tr")]
    assert stops[0]["values"][titles.index("Zero-shot, top 1")] == "50.0 %"
    assert (page.input["min"], page.input["max"], page.input["value"]) == ("0", "2", "0")
    assert page.label["for"] == page.input["id"]
    marks = [(mark["style"], mark.text) for mark in page.select(".gap-slider-marks i")]
    assert marks == [("left:50%;justify-content:center", "0.05")]
    assert [mark.text for mark in page.select(".gap-slider-ticks i")] == ["base", "aligned"]
    assert [img["alt"] for img in page("img")] == ["arrow", "star"]


def test_caption_says_which_run_and_which_code(record: SliderRecord):
    assert "tpc-cma, alpha 0.5, seed 0 of the profile demo" in describe(record)
    made = describe_making(record)
    assert "trained with alpha 0.05" in made and made.endswith("Recorded by code 0123456789ab on a processor.")
    assert "the share of its weights in those between, and not alpha" in describe(record) and "course goes" in made
    assert "larger alpha" not in describe(record)  # 0.05 leaves more than 0.5
    smaller = record_of(stop_of(0.8, t=0.0), stop_of(0.1, alpha=0.05), stop_of(0.2, t=1.0))
    assert describe(smaller).endswith("Of single runs a larger alpha need not leave a smaller gap.")
    assert "Diamonds" not in describe_making(record_of(stop_of(0.8, t=0.0), stop_of(0.2, t=1.0)))
    assert write_revision("0123456789abcdef-dirty") == "0123456789ab, changed"
    assert write_revision(None) == "of no known commit"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("raw_gap", 0.86949, "0.869"), ("cider_text", 4.276, "4.28"), ("zeroshot_top1", 0.9501, "95.0 %")],
)
def test_measures_are_written(name: str, value: float, said: str):
    assert write_measure(name, value) == said


@pytest.mark.parametrize(("caption", "named"), [("a red star.", True), ("a starfish.", False), ("a circle.", False)])
def test_a_class_is_named_by_a_word(caption: str, named: bool):
    assert names_class(caption, Picture(number=0, shows="star", png=PNG)) is named


def test_the_slider_stays_small_with_every_alpha_of_the_sweep():
    rng = np.random.default_rng(0)
    cloud = pack_cloud(*rng.uniform(-1, 1, (2, 300, 2)))
    captions = ("there is a small orange hourglass in the bottom right on a striped brown ground.",) * 10
    pictures = tuple(Picture(number=i, shows="star", png=rng.bytes(3_300).hex()[:4_400]) for i in range(10))
    places = [*({"t": tenth / 10} for tenth in range(11)), *({"alpha": alpha / 10} for alpha in range(9))]
    record = record_of(*(stop_of(0.5, captions, cloud, **place) for place in places), pictures=pictures)
    assert len(slider_html(record).encode()) + _beside() < MOST


def test_the_recorded_slider_is_written_to_the_same_bytes(tmp_path: Path):
    written = save_slider(load_slider("demo-bases", ROOT / "results"), tmp_path)
    assert written.read_bytes() == slider_path("demo-bases", ROOT / "results").read_bytes()


def test_what_made_a_record_is_asked_for_and_read_last(record: SliderRecord):
    assert list(SliderRecord.model_fields)[-3:] == ["versions", "hardware", "git_revision"]
    values = record.model_dump()
    del values["hardware"]
    with pytest.raises(ValidationError, match=r"hardware\n  Field required"):
        SliderRecord.model_validate(values)
    with pytest.raises(ValidationError, match=r"made\n  Extra inputs"):
        SliderRecord.model_validate(record.model_dump() | {"made": "here"})


def test_the_recorded_slider_is_small_and_asks_for_nothing():
    path = slider_path("demo-bases", ROOT / "results")
    if not path.is_file():
        pytest.skip("no slider is recorded: run `tpccma slider --profile demo-bases`")
    html = slider_html(load_slider("demo-bases", ROOT / "results"))
    assert len(html.encode()) + _beside() < MOST
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', html) == []


def _beside() -> int:
    return sum((ROOT / "book" / "_static" / name).stat().st_size for name in ("slider.js", "slider.css"))
