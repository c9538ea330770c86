"""Weights to start from, by open_clip's tag or as a file, and the guard against the wrong activation.

OpenAI's weights, and some others, were trained with QuickGELU for an activation. Loaded into a model that computes GELU
they fit, give no warning and lose accuracy. open_clip has two names for such models, ``ViT-B-32`` and
``ViT-B-32-quickgelu``; whoever names the wrong one is told here. How pictures are to be prepared for weights is in
`tpccma.models.transforms`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import huggingface_hub.constants
import open_clip
from open_clip.pretrained import download_pretrained, get_pretrained_cfg

from tpccma.files import LOCAL_DIR, file_in
from tpccma.models.weight_files import check_no_run, checksum, is_file_of, is_openai_archive
from tpccma.profiles import OpenClipModel

SUFFIX = "-quickgelu"


def config_of(name: str) -> dict:
    """Read how open_clip builds a model.

    Raises:
        ValueError: if it knows none of this name; the message names those that are like it.
    """
    if name.startswith(LOCAL_DIR):
        raise ValueError(
            f"{name!r} is a place, not a model: name the model, as its open_clip_config.json does, and give the folder "
            "as its weights, --pretrained or model.pretrained"
        )
    if (config := open_clip.get_model_config(name)) is None:
        alike = get_close_matches(name.replace("/", "-"), open_clip.list_models())
        others = f"perhaps {', '.join(alike)}?" if alike else "open_clip.list_models() names all"
        raise ValueError(f"open_clip knows no model {name!r}: give model.name in the profile as it names it; {others}")
    return config


@contextmanager
def hubs(download: bool) -> Iterator[None]:
    """Let open_clip and what it rests on ask hubs for what is not on this disk, or see to it that they do not."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = before or not download
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before


def find_weights(architecture: OpenClipModel, download: bool = True) -> Path:
    """Find the weights that a model of open_clip starts from.

    Args:
        architecture: its ``pretrained`` is the path of a file or folder, or a tag such as "openai", whose weights
            open_clip fetches once and keeps.
        download: let it fetch them; else what it has kept is taken, and nobody is asked.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError: if it is neither a file nor a tag of the model, or the weights could not be fetched, or were
            not to be.
        ValueError: if the model is unknown, or the weights of the tag need the other activation.
    """
    config_of(architecture.name)
    name, pretrained = architecture.name, architecture.pretrained
    if (file := file_in(pretrained)).is_file():
        return file
    config = get_pretrained_cfg(name, pretrained)
    if not config:
        check_no_run(file)
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name))
        tagged = f", and no tag of model {name!r}, which has {tags}" if tags else ": give a file, or a run's folder"
        raise FileNotFoundError(f"no checkpoint at {pretrained}{tagged}")
    _check(architecture, config.get("quick_gelu", False), f"weights {pretrained!r}")
    place = config.get("url") or f"https://huggingface.co/{config.get('hf_hub')}"
    remedy = f"get them from {place} and give the file's path as the profile's model.pretrained"
    try:
        if not (download or _is_kept_or_asked_of_the_hub(config)):
            raise FileNotFoundError(place)
        with hubs(download):
            return Path(download_pretrained(config))
    except Exception as error:  # of the hub, of the network, of the disk
        if not download:
            remedy = f"let them be fetched (download: true in the profile), or {remedy}"
            raise FileNotFoundError(f"weights {pretrained!r} of {name!r} are not on this disk; {remedy}") from None
        raise FileNotFoundError(
            f"weights {pretrained!r} of {name!r} could not be fetched ({error}); {remedy}"
        ) from error


def _is_kept_or_asked_of_the_hub(config: dict) -> bool:
    """Say whether weights are a file on this disk, or the hub's, which `hubs` closes."""
    kept = (
        Path.home() / ".cache/clip" / Path(config.get("url", "")).name
    )  # where open_clip keeps what has an address only
    return "file" in config or bool(config.get("hf_hub")) or kept.is_file()


def check_activation(architecture: OpenClipModel, path: str | Path) -> None:
    """See to it that a checkpoint which does not name its architecture gets the activation it was trained with.

    What it needs is known of OpenAI's own archives, of files that open_clip offers (by checksum), and where the profile
    says ``model.quick_gelu``.

    Args:
        architecture: the model that is to load it.
        path: the checkpoint.

    Raises:
        ValueError: if it needs the other activation; or if that is not known and open_clip has the model with both; or
            if it is a TorchScript archive and not OpenAI's.
    """
    needed = _known_need(Path(path))
    if needed is None:
        needed = architecture.quick_gelu
    if needed is not None:
        _check(architecture, needed, str(path))
    elif other_activation(architecture.name) in open_clip.list_models():
        named = architecture.name.removesuffix(SUFFIX) + SUFFIX
        raise ValueError(
            f"{path} does not say whether it was trained with QuickGELU, as OpenAI's weights were; with the wrong "
            f"activation it would lose accuracy without a warning. Say --quick-gelu or --gelu, or model.quick_gelu: "
            f"true or false in a profile, and name the model {named!r} if true"
        )


def other_activation(name: str) -> str:
    """Name the same model with the other activation."""
    return name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else name + SUFFIX


def _check(architecture: OpenClipModel, needed: bool, weights: str) -> None:
    if config_of(architecture.name).get("quick_gelu", False) != needed:
        kinds = ("QuickGELU", "GELU") if needed else ("GELU", "QuickGELU")
        raise ValueError(
            f"{weights} was trained with {kinds[0]}, but model {architecture.name!r} computes {kinds[1]} and would "
            f"lose accuracy without a warning; name the model {other_activation(architecture.name)!r}"
        )


def _known_need(path: Path) -> bool | None:
    if is_openai_archive(path):
        return True
    digest = checksum(path)
    offered = (get_pretrained_cfg(name, tag) for name, tag in open_clip.list_pretrained())
    return next((config.get("quick_gelu", False) for config in offered if is_file_of(config, digest)), None)
