"""Real models: what is measured of their embeddings, against numpy and by hand; the records, their tables and figures.

With REAL_MODELS_DIR naming the folder of the published arrays, the recorded numbers are measured again.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from typer.testing import CliRunner

from tpccma.cli import app
from tpccma.evidence import real_models as tables
from tpccma.figures.real_models import plot_centring, plot_shape
from tpccma.runs import real_models
from tpccma.runs.real_models import PUBLISHED, measure_pairs, measure_real, resampled_cones
from tpccma.runs.real_records import RECALLS, STATES, load_real, real_path, save_real
from tpccma.runs.records import record_paths

RESULTS = Path(__file__).parents[1] / "results"


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def some_pairs(n: int = 40, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that share a part, with an offset between the modalities."""
    shared, first, second = np.random.default_rng(0).standard_normal((3, n, width))
    return shared + 0.5 * first + 1, shared + 0.5 * second - 1


def by_numpy(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The measures of rows of length 1, as their definitions say."""
    n, mu_x, mu_y = len(x), x.mean(0), y.mean(0)
    paired = np.square(x - mu_x - (y - mu_y)).sum(1).mean()
    width = np.square(x - mu_x).sum(1).mean() + np.square(y - mu_y).sum(1).mean()
    found = {
        "raw_gap": np.sqrt(np.square(x - y).sum(1).mean()),
        "centroid_gap": np.linalg.norm(mu_x - mu_y),
        "distribution_gap": np.sqrt(paired),
        "distribution_gap_scale_free": np.sqrt(paired / width),
    }
    for side, rows in (("image", x), ("text", y)):
        found[f"cone_{side}"] = (rows @ rows.T)[~np.eye(n, dtype=bool)].mean()
        shares = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
        shares = shares / shares.sum()
        found[f"effective_rank_{side}"] = np.exp(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    for way, scores in (("i2t", x @ y.T), ("t2i", y @ x.T)):
        better = (scores > np.diag(scores)[:, None]).sum(1)
        found |= {f"{way}_recall_at_{k}": (better < k).mean() for k in (1, 5)}
    return found


def test_measures_are_those_of_twenty_lines_of_numpy():
    x, y = some_pairs()
    found = measure_pairs(x, y, n_resamples=20)
    centred = [unit(unit(rows) - unit(rows).mean(0)) for rows in (x, y)]
    for state, rows in (("raw", (unit(x), unit(y))), ("centred", centred)):
        expected = by_numpy(*rows)
        for name in found[state].keys() & expected.keys():
            assert found[state][name].value == pytest.approx(expected[name], abs=1e-6), (state, name)
        assert STATES[state] == found[state].keys()
        assert STATES[state] - expected.keys() == {"linear_separability"}
    assert all(low <= value <= high for own in found.values() for value, low, high in own.values())


def test_a_change_is_the_difference_and_its_interval_is_narrower_than_those_of_both():
    found = measure_pairs(*some_pairs(100, 4), n_resamples=200)
    assert found["change"].keys() == set(RECALLS)
    for name, change in found["change"].items():
        before, after = found["raw"][name], found["centred"][name]
        assert change.value == pytest.approx(after.value - before.value, abs=2e-6)
        assert change.high - change.low < before.high - before.low + after.high - after.low


def test_four_pairs_by_hand():
    # Pictures at 0, 90, 180 and 270 degrees, each text where its picture is, in a plane one higher: all centred.
    plane = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=float)
    x, y = (np.hstack([plane, np.full((4, 1), height)]) for height in (1.0, -1.0))
    found = measure_pairs(x, y, n_resamples=10)
    raw = {name: each.value for name, each in found["raw"].items()}
    # Of length 1 the rows are (plane, ±1) / √2: pairs are √2 apart, all of it offset of the means.
    assert raw["raw_gap"] == raw["centroid_gap"] == pytest.approx(2**0.5, abs=1e-6)
    assert raw["distribution_gap"] == raw["distribution_gap_scale_free"] == pytest.approx(0, abs=1e-6)
    # Cosines with the three others: 1/2, 0, 1/2. Two directions, equally wide.
    assert raw["cone_image"] == raw["cone_text"] == pytest.approx(1 / 3, abs=1e-6)
    assert raw["effective_rank_image"] == pytest.approx(2, abs=1e-6)
    assert [raw[name] for name in RECALLS] == [1, 1, 1, 1]
    assert found["centred"]["raw_gap"].value == pytest.approx(0, abs=1e-6)


def test_texts_that_are_one_share_their_places():
    x, y = np.eye(8)[:, :8], np.eye(8)
    y[1] = y[0]  # pictures 0 and 1 find one of two equal texts; picture 1's own text scores 0 and ties with six others
    found = measure_pairs(x, y, n_resamples=10)["raw"]
    assert found["i2t_recall_at_1"].value == pytest.approx((1 / 2 + 1 / 8 + 6) / 8, abs=1e-6)


def test_no_row_is_paired_with_itself_in_a_resample():
    rows = torch.from_numpy(unit(some_pairs(5, 3)[0]))
    draw = [0, 0, 3, 4, 4]
    cosines = [float(rows[i] @ rows[j]) for i in draw for j in draw if i != j]
    counts = torch.tensor([[2.0, 0, 0, 1, 2]], dtype=torch.float64)
    assert resampled_cones(rows, counts).item() == pytest.approx(np.mean(cosines), abs=1e-12)


# ---- records


def test_the_recorded_models_are_the_published_arrays():
    records = {real_path(r.model, r.trained).name: r for r in load_real(RESULTS)}
    published = {real_path(each.model, each.trained).name: each for each in PUBLISHED}
    assert records.keys() == published.keys()
    for name, each in published.items():
        record = records[name]
        assert record.source.sha256 == each.sha256 and record.source.file.endswith(f"/{each.file}")
        raw = record.raw
        assert raw["raw_gap"].value ** 2 == pytest.approx(
            raw["centroid_gap"].value ** 2 + raw["distribution_gap"].value ** 2, abs=1e-5
        )


def test_they_are_no_records_of_runs():
    assert [path for path in record_paths(RESULTS) if path.parent.name == "real"] == []


def test_a_record_is_read_as_it_was_written(tmp_path: Path):
    record = load_real(RESULTS)[0]
    assert save_real(record, tmp_path) == real_path(record.model, record.trained, tmp_path)
    assert load_real(tmp_path) == [record]


def test_the_recorded_models_are_written_to_the_same_bytes(tmp_path: Path):
    stored = sorted((RESULTS / "real").glob("*.json"))
    written = [save_real(record, tmp_path) for record in load_real(RESULTS)]
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in stored] and len(stored) == 8


BAD = [
    ({"pairs": 1}, "pairs: "),
    ({"pairs": "500"}, "pairs: "),
    ({"width": None}, "width: "),
    ({"raw": {}}, "raw: .*lacks"),
    ({"change": {"i2t_recall_at_1": [0.0, 0.0, 0.0]}}, "change: .*i2t_recall_at_5"),
    ({"embeddings": [[1.0]]}, "embeddings: Extra"),
    ({"distinct": [1]}, r"distinct\.1: "),
]


@pytest.mark.parametrize("change, named", BAD)
def test_what_is_no_record_is_refused_by_file_and_key(change: dict, named: str, tmp_path: Path):
    path = save_real(load_real(RESULTS)[0], tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=f"{path.name} is not a record of a real model .{named}"):
        load_real(tmp_path)


@pytest.mark.parametrize("bad", [[0.5, 0.6, 0.4], [0.5, 0.4], [0.5, 0.4, float("nan")], "0.5"])
def test_a_measure_is_a_value_and_an_interval(bad: object, tmp_path: Path):
    path = save_real(load_real(RESULTS)[0], tmp_path)
    values = json.loads(path.read_text())
    values["raw"]["raw_gap"] = bad
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"raw\.raw_gap"):
        load_real(tmp_path)


def test_a_renamed_record_and_an_empty_folder_are_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="run `tpccma real`"):
        load_real(tmp_path)
    path = save_real(load_real(RESULTS)[0], tmp_path)
    path.rename(path.with_name("mine.json"))
    with pytest.raises(ValueError, match=r"mine\.json was copied or renamed"):
        load_real(tmp_path)


# ---- from the folder


def refused(folder: Path, named: str) -> None:
    """See that the command says in one line what to mend, and exits with 2."""
    result = CliRunner().invoke(app, ["real", "--data-dir", str(folder), "--results-dir", str(folder)])
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and named in result.stderr


def test_what_is_missing_or_another_file_is_named(tmp_path: Path):
    refused(tmp_path, f"there is no file {tmp_path / 'features_clip.npy'}: fetch it")
    np.save(tmp_path / "features_clip.npy", np.ones((2, 4, 3), dtype=np.float32))
    refused(tmp_path, "features_clip.npy has the checksum")


def test_the_command_writes_a_record_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pairs = np.stack(some_pairs(8, 3)).astype(np.float32)
    np.save(tmp_path / "features_clip.npy", pairs)
    digest = real_models.hashlib.sha256((tmp_path / "features_clip.npy").read_bytes()).hexdigest()
    monkeypatch.setattr(real_models, "PUBLISHED", (real_models.Published("clip", True, digest),))
    results = tmp_path / "results"
    done = CliRunner().invoke(app, ["real", "--data-dir", str(tmp_path), "--results-dir", str(results)])
    (record,) = load_real(results)
    assert (done.exit_code, done.stdout) == (0, f"{real_path('clip', True, results)}\n")
    assert (record.pairs, record.width, record.distinct, record.source.sha256) == (8, 3, (8, 8), digest)
    assert record.raw == measure_pairs(*pairs)["raw"]


@pytest.mark.skipif("REAL_MODELS_DIR" not in os.environ, reason="REAL_MODELS_DIR names no folder of published arrays")
def test_recorded_numbers_are_measured_again():
    again = measure_real(os.environ["REAL_MODELS_DIR"])
    assert tables.differences(load_real(RESULTS), again)["largest difference"].max() <= 1e-3


# ---- tables and figures


def test_tables_name_models_and_measures_for_a_reader():
    records = load_real(RESULTS)
    table = tables.estimates(records)
    assert list(table.label.unique()[:3]) == ["CLIP", "CLIP, untrained", "ConVIRT"]
    found = tables.value(table, "CLIP", "raw_gap")
    cell = f"{found.ours:.2f} [{found.low:.2f}, {found.high:.2f}]"
    assert tables.written(table, ["raw_gap"]).loc["CLIP", "raw gap"] == cell
    change = tables.value(table, "VideoCLIP", "t2i_recall_at_1", "change")
    cell = f"{100 * change.ours:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    assert tables.written(table, RECALLS, "change").loc["VideoCLIP", "from text, @1"] == cell
    assert len(tables.sources(records)) == 8
    assert (tables.differences(records, records) == 0).all(axis=None)
    row = tables.gap_splits(table).loc["CLIP"]
    assert (row.raw_gap, row.raw_gap_low, row.raw_gap_high) == found[:3]


def test_what_no_record_holds_is_named():
    table = tables.estimates(load_real(RESULTS))
    with pytest.raises(ValueError, match="the state 'change' has no raw_gap"):
        tables.written(table, ["raw_gap"], "change")
    with pytest.raises(ValueError, match="there is no raw raw_gap of 'GPT'"):
        tables.value(table, "GPT", "raw_gap")


def test_figures_have_a_row_a_model():
    table = tables.estimates(load_real(RESULTS))
    for figure, panels in ((plot_shape(table), 2), (plot_centring(table), 4)):
        assert len(figure.axes) == panels
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(table.label.unique())
        plt.close(figure)
