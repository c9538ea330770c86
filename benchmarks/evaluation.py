"""What the parts of an evaluation take, of the demo's base model on the demo's data.

There is no peer to set it against: the seconds are the machine's. python benchmarks/evaluation.py
"""

from collections.abc import Callable
from pathlib import Path

import typer

from tpccma import load_profile
from tpccma.data import Corpus, load_corpus
from tpccma.evidence.speed import read_benchmark, write_record
from tpccma.metrics import measure_all
from tpccma.models import Encoder
from tpccma.profiles import Evaluation, Profile
from tpccma.runs.benchmark import FOLDER, against, in_turn, save_benchmark
from tpccma.tasks.captioning import Captioner, caption_scores
from tpccma.tasks.decoder import caption_memory, train_decoder
from tpccma.tasks.evaluation import classify_all, cluster, embed, gap_bounds
from tpccma.tasks.retrieval import retrieval_recall
from tpccma.training.encoders import load_encoder, weights_path

BASE = "the demo's base model"


def parts_of(profile: Profile, encoder: Encoder, corpus: Corpus) -> dict[str, Callable[[], object]]:
    """Name the parts, in the order in which an evaluation takes them; later ones build on earlier ones."""
    settings, had = profile.evaluation, {}

    def keep(name: str, make: Callable[[], object]) -> Callable[[], None]:
        return lambda: had.update({name: make()})

    return {
        "test pictures and captions embedded": keep("test", lambda: embed(encoder, corpus.test)),
        "gap and geometry": lambda: measure_all(had["test"].images, had["test"].first_captions),
        "intervals of the gap": lambda: gap_bounds(had["test"], settings.bootstrap_resamples),
        "zero-shot accuracy": lambda: classify_all(encoder, corpus, had["test"]),
        "retrieval": lambda: retrieval_recall(had["test"].images, had["test"].captions),
        "clustering": lambda: cluster(encoder, corpus, had["test"], settings),
        **captioning(settings, encoder, corpus, had, keep),
    }


def captioning(
    settings: Evaluation, encoder: Encoder, corpus: Corpus, had: dict, keep: Callable
) -> dict[str, Callable[[], object]]:
    """Name the parts of captioning, likewise."""
    texts = [captions[i % len(captions)] for i, captions in enumerate(corpus.train.captions)]

    def train() -> object:
        return train_decoder(had["texts"].to(encoder.device), texts, settings.decoder, 0, progress=False)

    def say() -> dict[str, list[str]]:
        memory = caption_memory(had["texts"], settings.decoder.memory_size)
        captioner = Captioner(had["decoder"], memory, had["pictures"].mean(0), had["texts"].mean(0))
        feeds = captioner.feeds(had["test"].images) | {"text": had["test"].first_captions}
        return {name: captioner.decoder.generate(features) for name, features in feeds.items()}

    return {
        "training captions embedded": keep("texts", lambda: encoder.embed_texts(texts)),
        "training pictures embedded": keep("pictures", lambda: encoder.embed_images(corpus.train.images)),
        "caption decoder trained": keep("decoder", train),
        "test pictures captioned in all ways": keep("said", say),
        "captions scored": lambda: caption_scores(corpus.test.captions, had["said"]),
    }


def measure(profile: Profile) -> list[dict]:
    """Time all parts of an evaluation once, and what comes before it."""
    had = {}
    before = {"data made": lambda: had.update(corpus=load_corpus(profile))}
    turns = in_turn(before, 1)
    encoder = load_encoder(profile, weights_path(profile))
    encoder.use_gpu()
    turns |= in_turn(parts_of(profile, encoder, had["corpus"]), 1)
    rows = [{"part": row.pop("what"), "what": BASE, **row} for row in against(turns, "data made")]
    return [{key: value for key, value in row.items() if key != "ratio"} for row in rows]


def main(out: Path = FOLDER) -> None:
    """Measure, print and record."""
    rows = measure(load_profile("demo"))
    print(write_record(read_benchmark(save_benchmark("evaluation", {"evaluation": rows}, out))))


if __name__ == "__main__":
    typer.run(main)
