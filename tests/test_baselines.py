from pathlib import Path

import pandas as pd
import pytest
import torch

from tpccma import load_profile
from tpccma.baselines import MeanCentering, mean_centering
from tpccma.data import Corpus, Pairs
from tpccma.train import Run

TEXTS = {"up": (0.0, 1.0), "right": (1.0, 0.0), "unused": (-1.0, 0.0)}


class Fixed:
    """An encoder that gives pictures as they are and texts by a table."""

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([TEXTS[text] for text in texts])


@pytest.fixture
def run() -> Run:
    folder = Path("runs/demo/base-a0-s2-0123abcd")
    return Run(load_profile("demo"), "base", 0.0, 2, folder, Fixed(), pd.DataFrame(), "0123abcd")


@pytest.fixture
def corpus() -> Corpus:
    train = Pairs(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), [["up", "unused"], ["right", "unused"]], torch.zeros(2))
    test = Pairs(torch.tensor([[0.6, 0.8]]), [["up", "right"]], torch.zeros(1))
    return Corpus(train, test, test, ("thing",), ("a {}.",))


def test_centring_by_hand():
    encoder = MeanCentering(Fixed(), torch.tensor([0.2, 0.8]), torch.tensor([0.25, 0.0]))
    # (0.6, 0.8) - (0.2, 0.8) = (0.4, 0), of length 1: (1, 0)
    torch.testing.assert_close(encoder.embed_images(torch.tensor([[0.6, 0.8]])), torch.tensor([[1.0, 0.0]]))
    # (1, 0) - (0.25, 0) = (0.75, 0): (1, 0); (-1, 0) - (0.25, 0) = (-1.25, 0): (-1, 0)
    texts = encoder.embed_texts(["right", "unused"])
    torch.testing.assert_close(texts, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))


def test_means_are_those_of_train_pictures_and_first_captions(run: Run, corpus: Corpus):
    centred = mean_centering(run, corpus).encoder
    torch.testing.assert_close(centred.image_mean, torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(centred.text_mean, torch.tensor([0.5, 0.5]))
    # test picture (0.6, 0.8) - (0.5, 0.5) = (0.1, 0.3), of length sqrt(0.1)
    expected = torch.tensor([[0.1, 0.3]]) / 0.1**0.5
    torch.testing.assert_close(centred.embed_images(corpus.test.images), expected)


def test_modality_means_coincide_once_the_offset_is_all_there_is():
    x = torch.nn.functional.normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    shift = torch.tensor([3.0] + [0.0] * 7)
    encoder = MeanCentering(Fixed(), x.mean(0) + shift, x.mean(0))
    plain = MeanCentering(Fixed(), x.mean(0), x.mean(0))
    torch.testing.assert_close(encoder.embed_images(x + shift), plain.embed_images(x), atol=1e-5, rtol=1e-4)


def test_run_is_a_run_of_its_own_method(run: Run, corpus: Corpus):
    centred = mean_centering(run, corpus)
    assert (centred.method, centred.alpha, centred.seed, centred.name) == (
        "mean-centering",
        0.0,
        2,
        "mean-centering-a0-s2",
    )
    assert centred.folder == Path("runs/demo/mean-centering-a0-s2-0123abcd")
    assert centred.encoder.encoder is run.encoder
    assert (run.method, run.folder.name) == ("base", "base-a0-s2-0123abcd")
