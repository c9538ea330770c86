"""The gap of anybody's embeddings: by hand, against the bootstrap over pairs, and of more pairs than are held."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import tpccma.practice.gap
from tpccma.cli import app
from tpccma.metrics import describe_gap, modality_gap
from tpccma.metrics.divergences import centre
from tpccma.practice.arrays import open_rows
from tpccma.practice.gap import describe, lines
from tpccma.tasks.retrieval import retrieval_recall


def pairs_of(count: int, width: int = 8, apart: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pairs of length 1 whose texts are shifted."""
    draw = np.random.default_rng(seed)
    shared = draw.standard_normal((count, width))
    clouds = [shared + draw.standard_normal((count, width)) + shift for shift in (0, apart)]
    return tuple(rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in clouds)


def test_parts_and_centring_by_hand():
    """Images (1, 0), (0, 1); texts their opposites. Means (1/2, 1/2) and (-1/2, -1/2) are 2**.5 apart; pairs are 2.

    Centred images (1, -1) / 2**.5 and (-1, 1) / 2**.5, centred texts the opposites again: each finds the other's.
    """
    images = np.eye(2)
    found = describe(images, -images)
    assert [found[name] for name in ("raw", "centroid", "distribution")] == pytest.approx([2, 2**0.5, 2**0.5])
    assert found["centroid_share"] == pytest.approx(0.5)
    assert [found["centred"][name] for name in ("raw", "centroid", "distribution")] == pytest.approx([2, 0, 2])
    assert set(found["recall"]["before"].values()) == set(found["recall"]["after"].values()) == {0.0}


def test_larger_part_is_named_and_centring_takes_it_away():
    x, y = pairs_of(400, apart=3.0)
    found = describe(x, y)
    assert found["dominates"] == "centroid" and found["centroid_share"] > 0.5
    spheres = [centre(torch.from_numpy(rows), renormalise=True) for rows in (x, y)]
    assert [found["centred"][name] for name in ("raw", "centroid", "distribution")] == pytest.approx(
        list(modality_gap(*spheres))
    )
    rows = {"before": [torch.from_numpy(rows) for rows in (x, y)], "after": spheres}
    assert found["recall"] == {
        name: pytest.approx(retrieval_recall(one, other[:, None], ks=(1,))) for name, (one, other) in rows.items()
    }
    assert f"the centroid gap dominates: {found['centroid_share']:.0%} of the raw gap squared" in lines(found)


@given(st.integers(4, 40), st.floats(0, 3), st.booleans())
def test_few_pairs_have_the_intervals_of_the_bootstrap_over_pairs(count: int, apart: float, normalize: bool):
    x, y = pairs_of(count, apart=apart, seed=count)
    found = describe(x * (3 if normalize else 1), y, normalize, 50)
    expected = describe_gap(x, y, n_resamples=50)
    assert all(found[name] == pytest.approx(value, abs=1e-7) for name, value in expected.items())


def test_groups_bound_as_pairs_do(monkeypatch: pytest.MonkeyPatch):
    x, y = pairs_of(4000)
    of_pairs = describe(x, y)
    monkeypatch.setattr(tpccma.practice.gap, "GROUPS", 500)
    of_groups = describe(x, y)
    for name in ("raw", "centroid", "distribution", "scale_free"):
        assert of_groups[name] == pytest.approx(of_pairs[name])
        widths = [np.ptp(found[f"{name}_interval"]) for found in (of_groups, of_pairs)]
        assert widths[0] / widths[1] == pytest.approx(
            1, abs=0.15
        )  # 500 groups know a deviation to 3 %, twice 1000 draws
        assert of_groups[f"{name}_interval"][0] < of_pairs[name] < of_groups[f"{name}_interval"][1]


def test_recall_is_left_out_above_its_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tpccma.practice.gap, "RECALL_PAIRS", 9)
    assert describe(*pairs_of(9), resamples=5)["recall"] and describe(*pairs_of(10), resamples=5)["recall"] is None


def test_what_has_collapsed_is_not_centred():
    x, y = pairs_of(20)
    found = describe(np.repeat(x[:1], 20, 0), y, resamples=5)
    assert found["centred"] is None and "centring leaves nothing" in "\n".join(lines(found))
    with pytest.raises(ValueError, match="have collapsed"):
        describe(np.repeat(x[:1], 20, 0), np.repeat(y[:1], 20, 0), resamples=5)


def test_npy_is_mapped_and_other_files_are_read(tmp_path: Path):
    rows = pairs_of(5)[0]
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "other.npy", rows.astype(">f4"))
    np.savez(tmp_path / "rows.npz", rows=rows)
    assert isinstance(open_rows(tmp_path / "rows.npy"), np.memmap)
    for name in ("rows.npy", "rows.npz", "rows.npz:rows", "other.npy"):
        assert np.asarray(open_rows(f"{tmp_path}/{name}")) == pytest.approx(rows, abs=1e-6)
    with pytest.raises(ValueError, match=r"rows\.csv: embeddings are read from files named .*\.parquet"):
        open_rows(tmp_path / "rows.csv")


def test_parquet_is_read_by_column(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet, rows, path = pytest.importorskip("pyarrow.parquet"), pairs_of(5)[0], tmp_path / "pairs.parquet"
    parquet.write_table(pyarrow.table({"images": list(rows), "names": list("abcde")}), path)
    assert open_rows(f"{path}:images") == pytest.approx(rows)
    with pytest.raises(ValueError, match=r"has the columns images, names; name one of them as .*:COLUMN"):
        open_rows(path)
    with pytest.raises(ValueError, match=r"column 'names' of .* holds no embeddings"):
        open_rows(f"{path}:names")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="pip install pyarrow"):
        open_rows(tmp_path / "pairs.parquet:images")


def run(*arguments: str | Path):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_command_draws_and_refuses_half_a_model(tmp_path: Path):
    for name, rows in zip(("x", "y"), pairs_of(30), strict=True):
        np.save(tmp_path / f"{name}.npy", rows)
    files = tmp_path / "x.npy", tmp_path / "y.npy"
    shown = run("gap", *files, "--plot", tmp_path / "gap.svg", "--json", "--resamples", "20")
    assert shown.exit_code == 0 and json.loads(shown.stdout)["pairs"] == 30
    assert "<svg" in (tmp_path / "gap.svg").read_text()
    lacks = "; --captions and --images and --pretrained lack"
    for arguments, told in (
        (files[:1], f"; you gave {files[0]}"),
        (("--model", "ViT-B-32"), lacks),
        ((*files, "--model", "ViT-B-32"), f"; you gave {files[0]}"),
        ((), ""),
    ):
        refused = run("gap", *arguments)
        assert refused.stderr.endswith(f"--captions CAPTIONS{told}\n")
        assert (
            refused.exit_code == 2
            and "give two files of embeddings, IMAGES TEXTS, what `embed` wrote, or all of" in refused.stderr
        )


def test_what_is_refused_names_the_files_and_the_remedy(tmp_path: Path):
    x, y = pairs_of(30)
    for name, rows in {"x": x, "longer": 2 * y, "fewer": y[1:]}.items():
        np.save(tmp_path / f"{name}.npy", rows)
    wanted = {"longer": "--normalize of `tpccma gap`", "fewer": "pass pairs"}
    for name, remedy in wanted.items():
        refused = run("gap", tmp_path / "x.npy", tmp_path / f"{name}.npy")
        assert refused.exit_code == 2 and remedy in refused.stderr
        assert f"x is {tmp_path / 'x.npy'}, y is {tmp_path / name}.npy" in refused.stderr


MILLION = """
import resource, sys
from pathlib import Path
import torch
from tpccma.practice.arrays import open_rows
from tpccma.practice.gap import describe
rows = [open_rows(place) for place in sys.argv[1:]]
describe(*(own[:20000] for own in rows), resamples=100)  # what is loaded once is loaded
held = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line)
resource.setrlimit(resource.RLIMIT_DATA, (held * 1024 + 200 * 2**20,) * 2)
print(describe(*rows, resamples=100)["pairs"])
"""


@pytest.mark.deep
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_million_pairs_are_never_held(tmp_path: Path):
    """Two files of 256 MB, in 200 MB of memory for all."""
    for name in ("x", "y"):
        rows = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float32, (1_000_000, 64))
        for start in range(0, len(rows), 50_000):
            drawn = np.random.default_rng(start).standard_normal((50_000, 64), dtype=np.float32) + (name == "x")
            rows[start : start + 50_000] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        rows.flush()
    places = [str(tmp_path / f"{name}.npy") for name in ("x", "y")]
    done = subprocess.run([sys.executable, "-c", MILLION, *places], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1000000\n"), done.stderr


@pytest.mark.parametrize("turned", [b"(", b"'", b"{", b"#"])
def test_a_header_that_no_parser_takes_is_refused_by_the_name_of_the_file(tmp_path: Path, turned: bytes):
    path = tmp_path / "rows.npy"
    np.save(path, np.eye(3, dtype="f4"))
    content = path.read_bytes()
    place = content.index(b"}")  # the end of the header's dictionary
    path.write_bytes(content[:place] + turned + content[place + 1 :])
    with pytest.raises(ValueError, match=r"rows\.npy"):
        open_rows(path)
