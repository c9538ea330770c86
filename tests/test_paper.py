"""Profile "paper" on a tiny world in the formats of its data, made by `tests.paper_world`."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import psutil
import pytest
import torch
import yaml
from safetensors.torch import save_file

import tpccma.cli
from tests.paper_world import CLASSES, FOODS, PAIRS, SHARDS, SMALL, SPLITS, write_world
from tests.test_run import Killed, kill_at
from tpccma import evaluate, fine_tune, load_profile
from tpccma.data import Corpus, load_corpus
from tpccma.methods import METHODS, run_name
from tpccma.profiles import Profile
from tpccma.runs.choices import Trial
from tpccma.runs.rates import try_rate
from tpccma.runs.record import check_base, make_record, record_run
from tpccma.runs.records import record_path, save_record
from tpccma.training.run import base_run

FASHION = Path(__file__).parents[2] / "shared" / "data" / "fashion-product-images"
MODEL = "tpccma-paper-test"
CONFIG = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_world(tmp_path_factory.mktemp("world"))
    (folder / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / f"{MODEL}.json")
    return folder


def write_profile(folder: Path, **changes) -> Path:
    """Write a YAML file that extends "paper" by what makes it small."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({"extends": "paper", **SMALL, **changes}))
    return path


def small_profile(world: Path, **changes) -> Profile:
    """The profile with a small model without weights, in place of ViT-B/32."""
    profile = load_profile(write_profile(world, model={"name": MODEL, "pretrained": None}))
    base = {"base__epochs": 1, "base__batch_size": 4}
    return load_profile(profile, data__data_dir=world, fine_tune__learning_rate=1e-3, **base, **changes)


@pytest.fixture(scope="module")
def corpus(world: Path) -> Corpus:
    return load_corpus(small_profile(world))


# ---- what is read


def test_everything_is_found_and_counted(corpus: Corpus):
    assert corpus.stream.pairs == SHARDS * PAIRS
    assert [len(part) for part in (corpus.train, corpus.val, corpus.test)] == [28, SPLITS["val"], SPLITS["test"]]
    assert len(corpus.labelled.labels) == 2 * CLASSES and corpus.labelled.labels.bincount().tolist() == [2] * CLASSES
    assert corpus.labelled.classes[:2] == ("tench", "goldfish") and len(corpus.labelled.templates) == 7
    assert corpus.small_sets["food101"].classes == ("apple pie", "sushi", "waffles")
    assert corpus.small_sets["food101"].templates == ("a photo of {}, a type of food.",)
    report = corpus.report
    assert (report["shards"], report["missing_shards"], report["pairs"]) == (SHARDS, 0, SHARDS * PAIRS)
    assert report["coco"]["test"] == {"pictures": SPLITS["test"], "absent": 0, "short": 0}
    assert report["small_sets"] == {"food101": 2 * len(FOODS)}
    assert json.loads(json.dumps(report)) == report


def test_classes_to_cluster_are_chosen_by_the_seed(world: Path, corpus: Corpus):
    chosen = corpus.report["clustering_classes"]
    assert len(set(chosen)) == 20 == len(corpus.clustered.classes)
    assert {path.parent.name for path in corpus.clustered.images.paths} == set(chosen)
    names = dict(zip((path.parent.name for path in corpus.labelled.images.paths), corpus.labelled.labels, strict=True))
    for path, label in zip(corpus.clustered.images.paths, corpus.clustered.labels, strict=True):
        assert corpus.clustered.classes[label] == corpus.labelled.classes[names[path.parent.name]]
    again = load_corpus(small_profile(world)).report["clustering_classes"]
    other = load_corpus(small_profile(world, data__clustering_seed=1)).report["clustering_classes"]
    assert again == chosen != other


def test_shipped_profile_asks_for_the_papers_own_setting():
    profile = load_profile("paper")
    assert (profile.model.name, profile.model.pretrained) == ("ViT-B-32-quickgelu", "openai")
    assert (profile.data.imagenet_classes, profile.data.imagenet_prompts, profile.data.clustering_classes) == (
        1000,
        80,
        200,
    )
    assert profile.expected == {"zeroshot_top1": 0.633, "t2i_recall_at_1": 0.304, "i2t_recall_at_1": 0.501}
    with pytest.raises(FileNotFoundError, match=r"data\.data_dir in the profile, or --data-dir"):
        load_corpus(profile)


# ---- bad input


@pytest.fixture
def damaged(world: Path, tmp_path: Path) -> Path:
    """A copy of the world, to be damaged."""
    return Path(shutil.copytree(world, tmp_path / "world"))


def test_missing_shard_is_refused_or_left_out(damaged: Path):
    (damaged / "cc3m" / "00001.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 shards .*00001\.tar; fetch them"):
        load_corpus(small_profile(damaged))
    report = load_corpus(small_profile(damaged, data__skip_missing=True, data__cache_dir=damaged / "cache")).report
    assert (report["missing_shards"], report["pairs"]) == (1, 2 * PAIRS)


def test_unknown_number_of_pairs_is_asked_for(damaged: Path):
    (damaged / "cc3m" / "00001_stats.json").unlink()
    with pytest.raises(ValueError, match=r"_stats\.json are missing .* data\.pairs"):
        load_corpus(small_profile(damaged))
    assert load_corpus(small_profile(damaged, data__pairs=20)).stream.pairs == 20


def test_split_that_names_absent_pictures_is_refused_or_counted(damaged: Path):
    next((damaged / "coco" / "val2014").glob("*31.jpg")).unlink()
    with pytest.raises(FileNotFoundError, match=r"names 1 of 4 pictures .*000031\.jpg"):
        load_corpus(small_profile(damaged))
    report = load_corpus(small_profile(damaged, data__skip_missing=True, data__cache_dir=damaged / "cache")).report
    assert report["coco"]["val"] == {"pictures": 4, "absent": 1, "short": 0, "unreadable": 0}


def test_damaged_picture_of_coco_is_named_or_left_out(damaged: Path, tmp_path: Path):
    path = next((damaged / "coco" / "val2014").glob("*31.jpg"))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=rf"{path} is no readable picture"):
        load_corpus(small_profile(damaged)).val.images[range(4)]
    skipping = small_profile(damaged, data__skip_missing=True, data__cache_dir=tmp_path / "cache")
    corpus = load_corpus(skipping)
    assert corpus.report["coco"]["val"] == {"pictures": 4, "absent": 0, "short": 0, "unreadable": 1}
    assert len(corpus.val.images[range(3)]) == len(corpus.val) == 3


def test_damaged_pictures_of_known_classes_are_named_or_left_out(damaged: Path, tmp_path: Path):
    folders = sorted((damaged / "imagenet" / "val").iterdir())
    paths = [min(folders[7].iterdir()), damaged / "zeroshot" / "food-101" / "images" / FOODS[1] / "0.jpg"]
    for path in paths:
        path.write_bytes(path.read_bytes()[:60])
    corpus = load_corpus(small_profile(damaged))
    assert "unreadable" not in corpus.report
    for pictures, path in zip((corpus.labelled, corpus.small_sets["food101"]), paths, strict=True):
        with pytest.raises(ValueError, match=rf"{path} is no readable picture"):
            list(pictures.images.split(100))
    corpus = load_corpus(small_profile(damaged, data__skip_missing=True, data__cache_dir=tmp_path / "cache"))
    assert corpus.report["unreadable"] == {"imagenet": 1, "food101": 1}
    assert corpus.report["imagenet_pictures"] == 2 * CLASSES - 1 == len(corpus.labelled.images)
    assert corpus.labelled.labels.bincount()[6:9].tolist() == [2, 1, 2]
    assert corpus.report["small_sets"] == {"food101": 2 * len(FOODS) - 1}
    assert not set(paths) & {*corpus.labelled.images.paths, *corpus.clustered.images.paths}
    for path in folders[7].iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"imagenet/val: no picture of class '.+' can be read; get them again"):
        load_corpus(small_profile(damaged, data__skip_missing=True, data__cache_dir=tmp_path / "cache"))


def test_wrong_class_count_is_refused(damaged: Path):
    folders = sorted((damaged / "imagenet" / "val").iterdir())
    with pytest.raises(ValueError, match=r"has 200 folders, but the profile says 1000 classes$"):
        load_corpus(small_profile(damaged, data__imagenet_classes=1000))
    folders[3].rename(folders[3].with_name("a_fish"))
    with pytest.raises(ValueError, match="folder a_fish is none of ImageNet's 1000 classes"):
        load_corpus(small_profile(damaged))
    shutil.rmtree(folders[3].with_name("a_fish"))
    folders[3].mkdir()
    with pytest.raises(ValueError, match=f"1 folders hold no picture, such as {folders[3].name}"):
        load_corpus(small_profile(damaged))


def test_pictures_that_are_not_sorted_into_folders_are_noticed(damaged: Path):
    root = damaged / "imagenet" / "val"
    for folder in list(root.iterdir()):
        for path in folder.iterdir():
            path.rename(root / path.name)
        folder.rmdir()
    with pytest.raises(ValueError, match=r"has 0 folders.*sort the 400 pictures that lie there into folders"):
        load_corpus(small_profile(damaged))


def test_more_classes_to_cluster_than_there_are(world: Path):
    with pytest.raises(ValueError, match="clustering_classes is 201, but there are 200 classes"):
        load_corpus(small_profile(world, data__clustering_classes=201))


def test_missing_folders_say_where_the_data_are_to_be_had(damaged: Path):
    shutil.rmtree(damaged / "zeroshot")
    with pytest.raises(FileNotFoundError, match=r"food-101 does not exist; let torchvision fetch it \(data\.download"):
        load_corpus(small_profile(damaged))
    shutil.rmtree(damaged / "imagenet")
    with pytest.raises(FileNotFoundError, match=r"imagenet/val does not exist; ImageNet is at https://image-net\.org"):
        load_corpus(small_profile(damaged))


# ---- the base model is checked first


def test_training_waits_for_a_base_that_does_what_is_expected(world: Path, corpus: Corpus, tmp_path: Path):
    profile = small_profile(world, expected={"i2t_recall_at_1": 0.5}, expected_within=0.01)
    run = base_run(small_profile(world), runs_dir=tmp_path / "runs", corpus=corpus)
    with pytest.raises(FileNotFoundError, match=r"measure the base model first, .*--profile paper --method base"):
        check_base(profile, tmp_path)
    save_record(make_record(run, {"i2t_recall_at_1": 0.492}), tmp_path)
    assert check_base(profile, tmp_path).ok.all()
    record_path("paper", "base", 0.0, 0, tmp_path).unlink()
    save_record(make_record(run, {"i2t_recall_at_1": 0.48}), tmp_path)
    with pytest.raises(ValueError, match=r"off by more than 0\.01 \(i2t_recall_at_1 0\.480, expected 0\.500\)"):
        check_base(profile, tmp_path)
    with pytest.raises(ValueError, match=r"zeroshot_top1 nan, expected 0\.600"):  # not measured
        check_base(load_profile(profile, expected={"zeroshot_top1": 0.6}), tmp_path)
    assert check_base(load_profile(profile, expected={}), tmp_path).empty


# ---- methods that look at training data without training


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.trained])
def test_post_processing_takes_its_means_from_the_stream(method: str, world: Path, corpus: Corpus, tmp_path: Path):
    run = fine_tune(small_profile(world), method, 0.0, 0, tmp_path, corpus)
    base = base_run(small_profile(world), 0, tmp_path, corpus)
    assert evaluate(run, corpus, ("gap",))["centroid_gap"] != evaluate(base, corpus, ("gap",))["centroid_gap"]


def test_learning_rate_is_chosen_without_the_test_pictures(world: Path, tmp_path: Path):
    row = try_rate(small_profile(world), Trial("clip", 1e-3, 0, 1), tmp_path)
    assert row["zeroshot_top1"] is None and row["clustering_ari"] is None  # validation data have no classes
    assert row["score"] == row["recall_at_1"] > 0


# ---- real photographs in COCO's layout


@pytest.mark.skipif(not FASHION.is_dir(), reason="the real photographs that are lent for trying out are not there")
def test_real_photographs_in_cocos_layout(world: Path, tmp_path: Path):
    titles = pd.read_csv(FASHION / "styles.csv", on_bad_lines="skip").set_index("id").productDisplayName
    files = sorted((FASHION / "images").glob("*.jpg"))[:120]
    images = [
        {
            "filename": path.name,
            "split": "test" if i < 30 else "val" if i < 40 else "train",
            "sentences": [{"raw": f"{titles[int(path.stem)]}, photograph {k}"} for k in range(5)],
        }
        for i, path in enumerate(files)
    ]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images}))
    places = {"data__captions": tmp_path / "dataset_coco.json", "data__images_dir": FASHION / "images"}
    profile = small_profile(world, **places)
    real = load_corpus(profile)
    assert [len(part) for part in (real.train, real.val, real.test)] == [80, 10, 30]
    run = fine_tune(profile, alpha=0.5, runs_dir=tmp_path / "runs", corpus=real)
    metrics = record_run(run, real, tmp_path / "results")["metrics"]
    assert {"raw_gap", "zeroshot_top1", "t2i_recall_at_1", "clustering_ari", "cider"} <= set(metrics)


# ---- from end to end


@pytest.fixture(scope="module")
def vit(world: Path) -> Path:
    """A profile of ViT-B-32-quickgelu with random weights in a file; half a gigabyte, removed afterwards."""
    path = world / "vit.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = open_clip.create_model("ViT-B-32-quickgelu").state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    model = {"name": "ViT-B-32-quickgelu", "pretrained": str(path), "quick_gelu": True}
    yield write_profile(world, model=model)
    path.unlink()


def training(world: Path, profile: Path, folder: Path) -> list[str]:
    """What the command is given."""
    places = {"--data-dir": world, "--runs-dir": folder / "runs", "--results-dir": folder / "results"}
    given = [str(part) for pair in places.items() for part in pair]
    return ["train", "--profile", str(profile), "--alpha", "0.5", *given]


def command(world: Path, profile: Path, folder: Path, *launcher: str) -> list[str]:
    return [*launcher, "-m", "tpccma", *training(world, profile, folder)]


def check_run(folder: Path, architecture: str = "ViT-B-32-quickgelu") -> None:
    """See that all steps were taken once, and that all four evaluations and the counts are in the record."""
    name = run_name("tpc-cma", 0.5, 0)
    (run,) = (folder / "runs" / "paper").glob(f"{name}-*")
    steps = pd.read_csv(run / "steps.csv")
    assert steps.step.tolist() == list(range(6)) and steps.alpha.iloc[-1] == 0.5
    assert np.isfinite(steps.loss).all()
    record = json.loads((folder / "results" / "paper" / f"{name}.json").read_text())
    tasks = {"raw_gap", "zeroshot_top1", "zeroshot_food101_top1", "t2i_recall_at_1", "clustering_ari", "cider_memory"}
    assert tasks <= set(record["metrics"])
    assert not any(name.startswith("zeroshot_top1_") for name in record["metrics"])  # 200 classes are not listed
    assert record["data"]["used"] >= 24 and record["data"]["unreadable_image"] > 0
    assert record["data"]["clustering_seed"] == 0 and len(record["data"]["clustering_classes"]) == 20
    model = open_clip.create_model(architecture, pretrained=str(run / "model.safetensors"))
    assert model.visual.transformer.resblocks[0].mlp.gelu.__class__.__name__ == "QuickGELU"


ON_CPU = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}  # launched by --cpu there would be one process


def train_kill_resume(command: list[str], folder: Path, count: int = 1, **changes: str) -> str:
    """Start a training, kill all its processes after the first checkpoint, run it again; return what that printed."""
    settings = os.environ | changes
    with (folder / "log").open("w") as log:
        started = psutil.Popen(command, stdout=log, stderr=log, env=settings)
        while not list(folder.glob("runs/paper/*/checkpoint/step.json")):
            assert started.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        processes = [started, *started.children(recursive=True)]  # torch gives each a session of its own
        for process in processes:
            process.kill()
        gone, alive = psutil.wait_procs(processes, timeout=60)
    assert len(gone) > 0 and not alive
    assert len(list(folder.glob("runs/paper/*/checkpoint/read-*.json"))) == count  # one of each process
    assert not list(folder.glob("runs/paper/*/model.safetensors"))
    done = subprocess.run(command, capture_output=True, text=True, env=settings)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.deep
def test_train_kill_resume_and_evaluate_on_one_process(world: Path, vit: Path, tmp_path: Path):
    train_kill_resume(command(world, vit, tmp_path, sys.executable), tmp_path)
    check_run(tmp_path)
    shutil.rmtree(tmp_path / "runs")


REGISTER = """
import sys

if "tpccma" in sys.orig_argv:  # a process that trains, or the one that launches it
    import open_clip

    open_clip.add_model_config({!r})
"""


@pytest.fixture
def small(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile of the small architecture, which processes know that are started here."""
    path = tmp_path / "base.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = open_clip.create_model(MODEL).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    (tmp_path / "sitecustomize.py").write_text(REGISTER.format(str(world / f"{MODEL}.json")))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return write_profile(tmp_path, model={"name": MODEL, "pretrained": str(path), "quick_gelu": True})


def test_train_kill_resume_and_evaluate_in_this_process(world: Path, small: Path, tmp_path: Path, capsys):
    given = training(world, small, tmp_path)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(3, patch)  # the checkpoint stands at 2
        tpccma.cli.app(given)
    assert list(tmp_path.glob("runs/paper/*/checkpoint/read-0.json"))
    assert not list(tmp_path.glob("runs/paper/*/model.safetensors"))
    tpccma.cli.app(given, standalone_mode=False)
    assert capsys.readouterr().out.count("tpc-cma-a0.5-s0.json") == 1
    check_run(tmp_path, MODEL)


@pytest.mark.deep
def test_train_kill_resume_and_evaluate_on_two_processes(world: Path, small: Path, tmp_path: Path):
    launcher = [str(Path(sys.executable).with_name("accelerate")), "launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    shown = train_kill_resume(command(world, small, tmp_path, *launcher), tmp_path, 2, **ON_CPU)
    assert shown.count("tpc-cma-a0.5-s0.json") == 1
    check_run(tmp_path, MODEL)
