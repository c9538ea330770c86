import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

import tpccma.evidence.table
from tpccma import base_run, evaluate, fine_tune
from tpccma.data import Corpus
from tpccma.data.scenes import CLASSES
from tpccma.evidence.table import scale_free_gap
from tpccma.metrics import modality_gap, scale_free_distribution_gap
from tpccma.profiles import Profile
from tpccma.runs.items import ITEMS, pack_items, unpack_items
from tpccma.runs.records import KEYS, SCHEMA
from tpccma.tasks.captioning import Captioner
from tpccma.tasks.evaluation import TASKS, Embedded, Evaluated, embed, evaluate_whole, gap_bounds
from tpccma.training.run import Run

FEEDS = ("raw", "memory", "centred", "text")
CHEAP = ("gap", "zeroshot", "retrieval", "clustering")


@pytest.fixture(scope="module")
def run(tiny_profile: Profile) -> Run:
    return base_run(tiny_profile)


@pytest.fixture(scope="module")
def whole(run: Run, tiny_corpus: Corpus) -> Evaluated:
    """All tasks on the tiny profile, captioning included."""
    return evaluate_whole(run, tiny_corpus)


@pytest.fixture(scope="module")
def results(whole: Evaluated) -> dict[str, float]:
    return whole.metrics


def test_every_metric_of_the_schema_is_there_and_finite(results: dict[str, float]):
    assert set(SCHEMA) - {*KEYS, "base", "wall_seconds"} <= set(results)
    assert all(isinstance(value, float) and math.isfinite(value) for value in results.values())


def test_remedies_of_captioning_are_scored(results: dict[str, float]):
    assert {"cider", "cider_memory", "cider_centred", "cider_text"} <= set(results)


def test_shares_lie_between_0_and_1(results: dict[str, float]):
    shares = [name for name in results if name.startswith(("zeroshot", "i2t", "t2i", "linear", "modality_mixing"))]
    assert len(shares) > 8
    assert all(0 <= results[name] <= 1 for name in shares)


def test_gap_is_that_of_test_pictures_and_first_captions(results: dict[str, float], run: Run, tiny_corpus: Corpus):
    x = run.encoder.embed_images(tiny_corpus.test.images)
    y = run.encoder.embed_texts([captions[0] for captions in tiny_corpus.test.captions])
    gap = modality_gap(x, y)
    found = [results[f"{name}_gap"] for name in ("raw", "centroid", "distribution")]
    assert found == pytest.approx([gap.raw, gap.centroid, gap.distribution], rel=1e-5)
    assert found[0] ** 2 == pytest.approx(found[1] ** 2 + found[2] ** 2, rel=1e-4)


def test_scale_free_gap_follows_from_what_older_records_hold(
    results: dict[str, float], tiny_profile: Profile, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tpccma.evidence.table, "TEST_PAIRS", {"demo": tiny_profile.data.test_pairs})
    held = {name: results[name] for name in ("distribution_gap", "cone_image", "cone_text")}
    derived = scale_free_gap(pd.DataFrame([{"profile": "demo-scale-20", **held}]))
    assert derived.tolist() == pytest.approx([results["distribution_gap_scale_free"]], abs=1e-6)


def test_accuracy_is_the_mean_of_the_classes_by_their_share(results: dict[str, float], tiny_corpus: Corpus):
    labels = tiny_corpus.test.labels
    shares = torch.bincount(labels, minlength=len(tiny_corpus.classes)) / len(labels)
    by_class = sum(
        share * results[f"zeroshot_top1_{name}"]
        for name, share in zip(tiny_corpus.classes, shares.tolist(), strict=True)
        if share > 0
    )
    assert by_class == pytest.approx(results["zeroshot_top1"])


def test_classes_held_back_are_told_apart(results: dict[str, float], run: Run, tiny_corpus: Corpus):
    shifted = evaluate(run, replace(tiny_corpus, held_back=("ring", "star")), tasks=("zeroshot",))
    ours = torch.isin(tiny_corpus.test.labels, torch.tensor([CLASSES.index("ring"), CLASSES.index("star")]))
    share = ours.double().mean().item()
    whole = share * shifted.pop("zeroshot_top1_unseen") + (1 - share) * shifted.pop("zeroshot_top1_seen")
    assert whole == pytest.approx(results["zeroshot_top1"]) and 0 < share < 1
    assert shifted == {name: results[name] for name in shifted}


def test_evaluation_repeats_exactly(results: dict[str, float], run: Run, tiny_corpus: Corpus):
    again = evaluate(run, tiny_corpus, tasks=CHEAP)
    assert again == {name: results[name] for name in again}


def test_single_task_gives_its_metrics_only(run: Run, tiny_corpus: Corpus):
    assert set(evaluate(run, tiny_corpus, tasks=("retrieval",))) == {
        "i2t_recall_at_1",
        "i2t_recall_at_5",
        "t2i_recall_at_1",
        "t2i_recall_at_5",
    }


def test_unknown_task_is_named_before_any_work(tiny_profile: Profile):
    broken = Run(tiny_profile, "base", 0.0, 0, Path(), None, pd.DataFrame(), "")
    with pytest.raises(ValueError, match=f"unknown task 'segmentation': give some of {', '.join(TASKS)}"):
        evaluate(broken, tasks=("gap", "segmentation"))


def test_post_processed_run_is_evaluated_like_any_other(
    tiny_profile: Profile, tiny_corpus: Corpus, results: dict[str, float], tmp_path: Path
):
    run = fine_tune(tiny_profile, "mean-centering", 0, 0, tmp_path, tiny_corpus)
    centred = evaluate(run, tiny_corpus, tasks=CHEAP)
    assert set(centred) <= set(results)
    assert centred["centroid_gap"] < 0.5 * results["centroid_gap"]  # claim C8


def test_embed_keeps_each_pictures_captions_together(run: Run, tiny_corpus: Corpus):
    test = embed(run.encoder, tiny_corpus.test)
    assert (test.images.shape, test.captions.shape) == ((64, 128), (64, 5, 128))
    alone = run.encoder.embed_texts([tiny_corpus.test.captions[7][3]])
    torch.testing.assert_close(test.captions[7, 3], alone[0], atol=1e-5, rtol=1e-4)
    assert torch.equal(test.first_captions, test.captions[:, 0])


def test_bounds_enclose_the_gap():
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(40, 5, generator=generator), dim=1)
    y = torch.nn.functional.normalize(x + 0.3 + 0.1 * torch.randn(40, 5, generator=generator), dim=1)
    bounds, gap = gap_bounds(Embedded(x, y[:, None]), resamples=200), modality_gap(x, y)
    measured = {f"{name}_gap": getattr(gap, name) for name in ("raw", "centroid", "distribution")}
    measured["distribution_gap_scale_free"] = scale_free_distribution_gap(x, y)
    for name, value in measured.items():
        low, high = bounds.pop(f"{name}_low"), bounds.pop(f"{name}_high")
        assert low < high and low - 0.05 < value < high + 0.05
        assert low < value < high or name != "raw_gap"
    assert not bounds


def test_decoder_is_fed_in_three_ways():
    memory = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    captioner = Captioner(None, memory, image_mean=torch.tensor([0.6, 0.8]), text_mean=torch.tensor([1.0, 0.0]))
    feeds = captioner.feeds(torch.tensor([[0.6, 0.8]]))
    assert list(feeds) == ["raw", "memory", "centred"]
    assert feeds["raw"].tolist() == [pytest.approx([0.6, 0.8])]
    # memory: weights e^(100 * 0.8) : e^(100 * 0.6), as good as (0, 1) alone
    assert feeds["memory"].tolist() == [pytest.approx([0.0, 1.0], abs=1e-6)]
    # centred: (0.6, 0.8) - (0.6, 0.8) + (1, 0)
    assert feeds["centred"].tolist() == [pytest.approx([1.0, 0.0])]


def test_outcomes_of_the_pictures_make_up_the_measures(
    tiny_corpus: Corpus, whole: Evaluated, results: dict[str, float]
):
    items = unpack_items(pack_items(whole.items))
    assert items.keys() == ITEMS.keys() and {len(values) for values in items.values()} == {64}
    means = {
        "zeroshot_top1": "zeroshot_correct",
        "i2t_recall_at_1": "i2t_hit",
        "t2i_recall_at_1": "t2i_hits",
        **{name: name for name in ITEMS if name.startswith("cider")},
    }
    for measure, item in means.items():
        assert items[item].mean(dtype="float64") == pytest.approx(results[measure], rel=5e-4, abs=1e-6)
    clusters = np.concatenate([items["cluster_image"], items["cluster_text"]])
    ari = adjusted_rand_score(np.tile(items["class"], 2), clusters)
    assert ari == pytest.approx(results["clustering_ari"], abs=1e-9)
    for label, name in enumerate(tiny_corpus.classes):
        own = items["zeroshot_correct"][items["class"] == label]
        assert own.size == 0 or own.mean() == pytest.approx(results[f"zeroshot_top1_{name}"])
    assert {feed: len(captions) for feed, captions in whole.said.items()} == dict.fromkeys(FEEDS, 64)


def test_outcomes_are_of_the_test_pictures_alone(run: Run, tiny_corpus: Corpus):
    others = replace(tiny_corpus.classified, images=tiny_corpus.test.images.clone())
    elsewhere = replace(tiny_corpus, labelled=others)
    found = evaluate_whole(run, elsewhere, tasks=CHEAP)
    assert found.items.keys() == {"i2t_hit", "t2i_hits"}
    assert "zeroshot_top1" in found.metrics and "clustering_ari" in found.metrics
