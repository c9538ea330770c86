"""A two-tower model with its tokenizer: built, saved, and embedding raw pictures and texts.

Checkpoints are safetensors whose metadata name the architecture and carry the tokenizer, so one file is the whole
model; those of open_clip models also load with ``open_clip.create_model(name, pretrained=PATH)``.

Legend: N inputs, D embedding width, F feature width.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Protocol

import open_clip
import torch
from torch import Tensor, nn

from tpccma.models.pretrained import config_of
from tpccma.models.towers import Heads, ShortTextCLIP, shorten
from tpccma.models.weight_files import save_weights
from tpccma.models.words import WordTokenizer
from tpccma.profiles import HeadsModel, OpenClipModel

open_clip.add_model_config(resources.files("tpccma.configs") / "tpccma-demo.json")


def prepare(images: Tensor) -> Tensor:
    """Scale (N, 3, H, W) uint8 pixels to float32 in -1..1; float features pass through."""
    if images.is_floating_point():
        return images
    # channels last convolves 1.4 times as fast on a CPU
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def as_it_is(value):
    """Return what is given. A function by name, which worker processes can be sent."""
    return value


class InParts(Protocol):
    """Inputs that are had in parts: a tensor, or pictures that are read when they are needed."""

    def split(self, size: int) -> Iterable[Tensor]:
        """Give all inputs, at most ``size`` at a time."""


class Encoder:
    """A model with its tokenizer: raw pictures and texts in, embeddings out.

    Args:
        model: an open_clip model or `tpccma.models.towers.Heads`.
        tokenizer: turns a list of N texts into the tensor that ``model.encode_text`` takes.
        architecture: what the model was made from; None where that is not known, and then it cannot be saved.
        prepare: makes of a batch of pixels or features what ``model.encode_image`` takes. The default is right for
            pixels where the model was trained on pixels so scaled, as this package trains it, and for whatever is
            prepared already; `tpccma.models.transforms.prepare_by` makes one for other models.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable,
        architecture: OpenClipModel | HeadsModel | None = None,
        prepare: Callable[[Tensor], Tensor] = prepare,
    ):
        self.model, self.tokenizer, self.architecture, self.prepare = model, tokenizer, architecture, prepare

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.model.logit_scale.device

    @property
    def shorten(self) -> Callable[[Tensor], Tensor]:
        """What cuts (N, L) tokens on the host after the longest text, if the text tower does not look beyond."""
        short = any(isinstance(module, ShortTextCLIP) for module in self.model.modules())
        return shorten if short else as_it_is

    def use_gpu(self) -> None:
        """Move the model to this process's GPU, if there is one."""
        if torch.cuda.is_available():
            self.model.to(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")

    def embed_images(self, images: InParts, batch_size: int = 200) -> Tensor:
        """Embed pictures in evaluation mode.

        Args:
            images: (N, 3, H, W) uint8 pixels, (N, F) float32 features, or `tpccma.data.pictures.Pictures`.
            batch_size: inputs embedded at a time.

        Returns:
            (N, D) float32 rows of unit length, on the CPU.
        """
        encode = self.model.encode_image
        return self._embed(lambda part: encode(self.prepare(part), normalize=True), images.split(batch_size))

    def embed_texts(self, texts: list[str], batch_size: int = 1000) -> Tensor:
        """Embed texts in evaluation mode, each once: equal texts have equal embeddings, to the last digit.

        Args:
            texts: N texts.
            batch_size: inputs embedded at a time.

        Returns:
            (N, D) float32 rows of unit length, on the CPU.
        """
        row = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        parts = map(self.shorten, self.tokenizer(list(row)).split(batch_size))
        embedded = self._embed(lambda part: self.model.encode_text(part, normalize=True), parts)
        return embedded[[row[text] for text in texts]]

    def embed_batch(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Embed a batch that is prepared already, as `tpccma.data.shards.PairStream` gives it; results as above."""
        device = self.device
        with evaluating(self.model):
            x = self.model.encode_image(images.to(device), normalize=True)
            y = self.model.encode_text(self.shorten(tokens).to(device), normalize=True)
        return x.float().cpu(), y.float().cpu()

    def _embed(self, encode: Callable, parts: Iterable[Tensor]) -> Tensor:
        with evaluating(self.model):
            return torch.cat([encode(part.to(self.device)).float().cpu() for part in parts])

    def save(self, path: str | Path, **notes: dict) -> None:
        """Write weights, architecture, tokenizer and notes to one safetensors file, in whole or not at all.

        Raises:
            ValueError: if it is not known what the model was made from.
            OSError: if it cannot be written, as on a full disk.
        """
        if self.architecture is None:
            raise ValueError(f"{path} is not written: say what the model was made from, Encoder(..., architecture=)")
        metadata = {name: json.dumps(note) for name, note in notes.items()}
        metadata |= {"format": "pt", "architecture": self.architecture.model_dump_json()}
        if isinstance(self.tokenizer, WordTokenizer):
            metadata["tokenizer"] = json.dumps(
                {"words": self.tokenizer.words, "context_length": self.tokenizer.context_length}
            )
        save_weights(self.model.state_dict(), path, metadata)


@contextmanager
def evaluating(model: nn.Module):
    """Switch a model to evaluation mode without gradients, and back to the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        model.train(was_training)


def build_network(architecture: OpenClipModel | HeadsModel) -> nn.Module:
    """Build the network that an architecture names, with random weights; a ValueError says that none has this name."""
    if architecture.kind == "heads":
        return Heads(**architecture.model_dump(exclude={"kind"}))
    config_of(architecture.name)
    with _quiet():
        return ShortTextCLIP.adopt(open_clip.create_model(architecture.name))


@contextmanager
def _quiet():
    """Keep open_clip from warning that the weights are random: they are loaded afterwards, or meant to be."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def open_tokenizer(name: str) -> Callable:
    """Make the tokenizer that open_clip has for a model; SigLIP's and some others are fetched once.

    Raises:
        FileNotFoundError: if it cannot be made; the message says why.
    """
    try:
        return open_clip.get_tokenizer(name)
    except Exception as error:  # of the hub, of the network, of a package that is not installed
        raise FileNotFoundError(
            f"the tokenizer of model {name!r} could not be made ({error}); some are fetched once from the "
            "network, where the profile says download: true, and some need packages more: "
            "`pip install transformers sentencepiece aiohttp requests`"
        ) from error
