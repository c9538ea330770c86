"""Files of profiles: what cannot be read for certain is refused in a sentence that names file and line."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tpccma import load_profile
from tpccma.cli import app
from tpccma.profiles import profile_names
from tpccma.profiles.files import DEEPEST, MOST_BYTES, MOST_VALUES
from tpccma.runs.jobs import planned_jobs
from tpccma.runs.places import find_profile
from tpccma.runs.plan import sweep_commands

RATES = "learning_rates of its own for .*tpc-cma; give them too"
MINE = b"extends: demo\nname: mine\n"
LAUGHS = b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c, *%c, *%c]\n" % (c, c, *[c - 1] * 4) for c in range(98, 113))
BAD = {
    "a section twice": (MINE + b"base: {epochs: 1}\nbase: {epochs: 2}\n", "line 4: 'base' is given twice"),
    "a key twice": (MINE + b"base:\n  epochs: 1\n  'epochs': 2\n", "line 5: 'epochs' is given twice"),
    "a key twice in a list": (MINE + b"data: [{kind: demo, kind: photos}]\n", "line 3: 'kind' is given twice"),
    "two merges": (MINE + b"base: &b {}\nloss: {<<: *b, <<: *b}\n", "line 4: '<<' is given twice"),
    "tab": (MINE + b"base:\n\tepochs: 1\n", "line 4: .*indent by spaces"),
    "latin-1": (MINE + b"# caf\xe9\n", "line 3: the file is not UTF-8"),
    "utf-16": ("extends: demo\n".encode("utf-16"), "line 1: the file is not UTF-8"),
    "bell": (MINE + b"# \x07\n", r"line 3: the character '\\x07' has no place"),
    "python": (b"name: !!python/object/apply:os.getcwd []\n", "line 1: .*python/object/apply"),
    "own tag": (MINE + b"base: !mine {}\n", "line 3: .*'!mine'"),
    "bool": (MINE + b"data: !!bool perhaps\n", "line 3: 'perhaps' is no bool"),
    "timestamp": (MINE + b"data: !!timestamp now\n", "line 3: 'now' is no timestamp"),
    "month": (MINE + b"data: 2026-13-01\n", "line 3: '2026-13-01' is no timestamp"),
    "digits": (MINE + b"data: " + b"9" * 5_000, "line 3: '999.* is no int"),
    "list as key": (MINE + b"[a]: 1\n", "line 3: .*unhashable"),
    "unknown alias": (MINE + b"base: *there\n", "line 3: .*'there'"),
    "two profiles": (MINE + b"---\nname: other\n", "line 3: expected a single document .*another document"),
    "unclosed": (MINE + b"base: {epochs: 1\n", "line 4: "),
    "bomb": (LAUGHS, f"line 7: there are more than {MOST_VALUES} values"),
    "bomb by merging": (LAUGHS.replace(b"[", b"{<<: [").replace(b"]", b"]}"), "line 7: there are more than"),
    "bomb within itself": (b"a: &a {b: [*a, *a]}\n", "line 1: an alias stands inside what it names"),
    "deep": (b"a: " + b"[" * 50_000, f"line 1: there are more than {DEEPEST} parts"),
    "large": (b"#" * (MOST_BYTES + 1), f"more than {MOST_BYTES} bytes"),
    "number as key": (MINE + b"5: 3\n", "5: Keys should be strings"),
    "extends nothing": (b"extends:\nname: mine\n", "extends must be the name or the path of one profile, got None"),
    "extends two": (b"extends: [demo, fashion]\n", "extends must be .*one profile, got .'demo', 'fashion'"),
    "extends itself": (b"extends: mine.yaml\n", r"it extends itself \(mine.yaml -> mine.yaml\)"),
    "infinite": (MINE + b"base: {learning_rate: 1e999}\n", "base.learning_rate: .*finite"),
}


@pytest.mark.parametrize(("data", "named"), BAD.values(), ids=BAD)
def test_file_is_refused_by_file_and_line_at_every_door(data: bytes, named: str, tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(data)
    above = tmp_path / "above.yaml"
    above.write_text(f"extends: {path}\n")
    for read in (load_profile, find_profile):
        with pytest.raises(ValueError, match=rf"^profile \S*mine\.yaml(, |: ).*{named}|^profile .*{named}") as refused:
            read(path)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
    if "line" in named:
        with pytest.raises(ValueError, match=rf"mine\.yaml, {named}"):
            load_profile(above)
    said = CliRunner().invoke(app, ["plan", "--profile", str(path)])
    assert said.exit_code == 2 and said.stderr.startswith("error: profile ") and said.stderr.count("\n") == 1


def test_circle_of_two_is_told_from_a_chain(tmp_path: Path):
    for name, parent in (("a", "b"), ("b", "c"), ("c", "b")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {parent}.yaml\n")
    with pytest.raises(ValueError, match=r"it extends itself \(b\.yaml -> c\.yaml -> b\.yaml\)"):
        load_profile(tmp_path / "a.yaml")


def test_values_that_an_alias_shares_are_changed_one_by_one(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\nname: mine\nbase: &one {epochs: 5}\nfine_tune: *one\n")
    profile = load_profile(path, fine_tune__epochs=7)
    assert (profile.base.epochs, profile.fine_tune.epochs) == (5, 7)


def test_merged_values_may_be_overridden(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "extends: demo\nname: mine\nbase: &one {epochs: 5, batch_size: 64}\nfine_tune: {<<: *one, epochs: 7}\n"
    )
    profile = load_profile(path)
    assert (profile.fine_tune.epochs, profile.fine_tune.batch_size, profile.base.epochs) == (7, 64, 5)


@pytest.mark.parametrize("start", ["\ufeff", "---\n", "# é\r\n"])
def test_marks_of_other_editors_are_no_fault(start: str, tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_bytes((start + "extends: demo\nname: mine\n").encode())
    assert load_profile(path) == load_profile("demo", name="mine")


def test_extended_file_is_sought_beside_the_one_that_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    there, here = tmp_path / "there", tmp_path / "here"
    for folder, epochs in ((there, 5), (here, 6)):
        folder.mkdir()
        (folder / "first.yaml").write_text(f"extends: demo\nname: first\nbase: {{epochs: {epochs}}}\n")
    (there / "second.yaml").write_text("extends: first.yaml\nname: second\n")
    monkeypatch.chdir(here)
    assert load_profile("../there/second.yaml").base.epochs == 5
    (there / "first.yaml").unlink()
    assert load_profile(there / "second.yaml").base.epochs == 6  # below where the command is called
    (here / "first.yaml").unlink()
    with pytest.raises(
        ValueError, match=r"unknown profile 'first\.yaml', which .*second\.yaml extends: there is no such file"
    ):
        load_profile(there / "second.yaml")


def test_tilde_of_a_profiles_path_is_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_bytes(MINE)
    (tmp_path / "second.yaml").write_text("extends: ~/mine.yaml\nname: second\n")
    assert load_profile("~/mine.yaml").name == load_profile(Path("~/mine.yaml")).name == "mine"
    assert load_profile("~/second.yaml").name == "second"
    said = CliRunner().invoke(app, ["claims", "--results-dir", "~/results"])
    assert said.exit_code == 2 and f"no {tmp_path}{os.sep}results" in said.stderr


@pytest.mark.parametrize("name", ["../configs/demo", "./demo", "/tmp/demo", "demo.yaml/", "a\0b"])
def test_path_without_its_ending_is_no_shipped_profile(name: str):
    with pytest.raises(ValueError, match="unknown profile "):
        load_profile(name)


# ---- names


UNFIT = ["", ".", "..", "...", "a/b", "../x", "a\\b", "a\nb", "a\x1bb", " a", "a ", "\u2028", "\ud800", "a" * 101]


@pytest.mark.parametrize("name", [*UNFIT, "benchmarks", "cache", "migrations", "trials"])
def test_name_that_is_unfit_for_a_folder_is_refused(name: str, tmp_path: Path):
    with pytest.raises(ValueError, match=r"profile demo: name: .*it names folders"):
        load_profile("demo", name=name)
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\nname: " + '"{}"'.format(name.encode("unicode_escape").decode()) + "\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: name: .*it names folders"):
        load_profile(path)


@pytest.mark.parametrize("name", ["mine", "demo-mine", "v1.2", ".hidden", "été", "two words", "NA", "a" * 100])
def test_other_names_are_fit(name: str):
    assert load_profile("demo", name=name).name == load_profile(name=name).name == name


@pytest.mark.parametrize("name", [None, 7, ["a"], {"a": 1}])
def test_name_that_is_no_text_is_refused(name):
    with pytest.raises(ValueError, match="profile demo: name: Input should be a valid string"):
        load_profile("demo", name=name)


def test_only_what_ships_is_a_variant():
    assert planned_jobs("my-photos") == planned_jobs("demo-mine") == planned_jobs("mine") == planned_jobs("fashion")
    shipped = [name for name in profile_names() if "-" in name]
    alike = [name for name in shipped if name != "demo-bases"]
    assert len(alike) == 8 and all(len(planned_jobs(name)) == 35 for name in alike)  # 5 seeds of 7 settings


def test_commands_quote_a_path():
    assert sweep_commands("my files/a.yaml")[0] == "tpccma train --profile 'my files/a.yaml' --method base"


def test_half_a_character_is_refused(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text('extends: demo\nname: mine\nmodel:\n  name: "\\ud800"\n')
    with pytest.raises(ValueError, match=r"profile .*mine.yaml holds half a character, which no file can hold"):
        load_profile(path)


def test_rate_that_would_not_count_is_refused(tmp_path: Path):
    """What is extended has rates of methods, which stand above a rate for all."""
    path = tmp_path / "mine.yaml"
    path.write_bytes(MINE + b"fine_tune: {learning_rate: 0.0001}\n")
    for load in (lambda: load_profile(path), lambda: load_profile("demo", fine_tune__learning_rate=0.0001)):
        with pytest.raises(ValueError, match=RATES):
            load()
    path.write_bytes(path.read_bytes() + b"learning_rates: {}\n")
    assert load_profile(path).training_of("tpc-cma").learning_rate == 0.0001
    plain = load_profile("demo", fine_tune__learning_rate=0.0001, learning_rates={"clip": 0.5})
    assert [plain.training_of(name).learning_rate for name in ("tpc-cma", "clip")] == [0.0001, 0.5]
