"""The encoder that a profile names: its towers, with the tokenizer that goes with its data."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import torch

from tpccma.data.features import TextFeatures
from tpccma.data.scenes import vocabulary
from tpccma.models.encoder import Encoder, build_network, open_tokenizer
from tpccma.models.forms import load_into
from tpccma.models.pretrained import check_activation, config_of, find_weights, hubs
from tpccma.models.weight_files import check_exists, read_note, read_weights
from tpccma.models.words import WordTokenizer
from tpccma.profiles import Profile


def build_encoder(profile: Profile, seed: int = 0) -> Encoder:
    """Build the untrained model of a profile.

    Args:
        profile: names the architecture.
        seed: of the initial weights; the global random state is left alone.

    Returns:
        An `~tpccma.models.Encoder` with random weights.
    """
    with torch.random.fork_rng(), hubs(profile.download):
        torch.manual_seed(seed)
        network = build_network(profile.model)
    return Encoder(network, make_tokenizer(profile), profile.model)


def make_tokenizer(profile: Profile) -> Callable:
    """Make what turns texts into what the text tower of a profile takes: tokens, or of heads frozen features."""
    if profile.data.kind == "demo":
        return WordTokenizer(vocabulary(), config_of(profile.model.name)["text_cfg"]["context_length"])
    if profile.model.kind == "open_clip":
        with hubs(profile.download):
            return open_tokenizer(profile.model.name)
    return TextFeatures(profile.data.cache_dir)


def load_encoder(profile: Profile, path: str | Path) -> Encoder:
    """Load a checkpoint into the model of a profile.

    Args:
        profile: names the architecture.
        path: a safetensors file, or a pickle of plain tensors.

    Returns:
        The `~tpccma.models.Encoder`, in training mode as built.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file was made by another architecture, needs another activation, does not fit, or is a pickle
            that carries code.
    """
    made_by, tokenizer = (read_note(path, name) for name in ("architecture", "tokenizer"))
    if made_by and _shape(made_by) != _shape(profile.model.model_dump()):
        raise ValueError(
            f"{path} holds weights of {_called(made_by)}, and {_called(profile.model.model_dump())} is asked for: name "
            "the former as the model, or give other weights"
        )
    _check_preparation(profile, path, made_by)
    if not made_by and profile.model.kind == "open_clip":
        check_exists(path)
        check_activation(profile.model, path)
    encoder = build_encoder(profile)
    if tokenizer:
        encoder.tokenizer = _make_word_tokenizer(path, tokenizer)
    load_into(encoder.model, read_weights(path), path, f"of profile {profile.name!r}")
    return encoder


def _check_preparation(profile: Profile, path: str | Path, made_by: dict) -> None:
    """See to it that pictures are prepared as for the training of the weights, where both are stated."""
    asked, noted = getattr(profile.model, "preprocess", None), made_by.get("preprocess")
    if asked and noted and (asked := json.loads(asked.model_dump_json())) != noted:
        raise ValueError(
            f"{path} was trained on pictures prepared by {json.dumps(noted)}, but profile {profile.name!r} prepares "
            f"them by {json.dumps(asked)}: state the former as model.preprocess"
        )


def _make_word_tokenizer(path: str | Path, settings: dict) -> WordTokenizer:
    try:
        return WordTokenizer(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds a tokenizer that is damaged ({error}); get the file again") from None


def _called(architecture: dict) -> str:
    """Name a model by what decides the shapes of its weights."""
    shape = _shape(architecture)
    return f"model {shape['name']!r}" if "name" in shape else json.dumps(shape)


def _shape(architecture: dict) -> dict:
    return {key: value for key, value in architecture.items() if key not in ("pretrained", "quick_gelu", "preprocess")}


def weights_path(profile: Profile) -> Path:
    """Say where the weights lie that an open_clip profile starts from; the demo's ship with the package.

    Raises:
        FileNotFoundError: if they are not there, see `tpccma.models.pretrained.find_weights`.
        ValueError: if they need another activation than the model's.
    """
    shipped = Path(str(resources.files("tpccma.assets"))) / profile.model.pretrained
    if profile.data.kind == "demo" and shipped.is_file():
        return shipped
    return find_weights(profile.model, profile.download)
