"""Weights to start from, by open_clip's tag or as a file, and the guard against its two traps.

OpenAI's weights, and some others, were trained with QuickGELU for an activation. Loaded into a model that computes GELU
they fit, give no warning and lose accuracy. open_clip has two names for such models, ``ViT-B-32`` and
``ViT-B-32-quickgelu``; whoever names the wrong one is told here.

Pictures are to be prepared as they were when the weights were trained. A tag says how; a file does not, and where it
does not follow from anything else either, it is asked for here.
"""

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import open_clip
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from tpccma.models.weight_files import checksum, is_openai_archive, read_metadata
from tpccma.profiles import OpenClipModel, Preprocessing

SUFFIX = "-quickgelu"
PREPROCESSING = tuple(Preprocessing.model_fields)  # mean, std, interpolation, resize_mode


def find_weights(architecture: OpenClipModel) -> Path:
    """Find the weights that a model of open_clip starts from.

    Args:
        architecture: its ``pretrained`` is a file's path, or a tag such as "openai", whose weights open_clip fetches
            once and keeps.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError: if it is neither a file nor a tag of the model, or the weights could not be fetched.
        ValueError: if the weights of the tag need the other activation.
    """
    name, pretrained = architecture.name, architecture.pretrained
    if Path(pretrained).is_file():
        return Path(pretrained)
    config = get_pretrained_cfg(name, pretrained)
    if not config:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise FileNotFoundError(f"no checkpoint at {pretrained}, and no tag of model {name!r}, which has {tags}")
    _check(architecture, config.get("quick_gelu", False), f"weights {pretrained!r}")
    try:
        return Path(download_pretrained(config))
    except Exception as error:  # of the hub, of the network, of the disk
        place = config.get("url") or f"https://huggingface.co/{config['hf_hub']}"
        raise FileNotFoundError(
            f"weights {pretrained!r} of {name!r} could not be fetched ({error}); "
            f"get them from {place} and give the file's path as the profile's model.pretrained"
        ) from error


def image_transform(architecture: OpenClipModel) -> Callable[[Image.Image], Tensor]:
    """Prepare pictures as a model takes them: resized, cropped, and scaled by the mean and deviation of its weights.

    Args:
        architecture: how it is done is decided, setting by setting, by its ``preprocess``; by its ``pretrained`` if
            that is a tag of open_clip; if that is a checkpoint of this package, by what this was made from; by all tags
            of the model where they agree; by the one whose file it is, as the checksum shows. Without weights, and
            for models without tags, it is done as open_clip does by default.

    Returns:
        A function of a PIL image that returns (3, H, W) float32.

    Raises:
        ValueError: if none of them decides.
    """
    size = open_clip.get_model_config(architecture.name)["vision_cfg"]["image_size"]
    return open_clip.image_transform(size, is_train=False, **_preprocessing(architecture))


def _preprocessing(architecture: OpenClipModel) -> dict:
    said, line = {}, _line(architecture)
    for origin in line:
        own = origin.preprocess.model_dump(exclude_none=True) if origin.preprocess else {}
        said = {**own, **said}
    return {**_of_weights(line, [key for key in PREPROCESSING if key not in said]), **said}


def _line(architecture: OpenClipModel) -> list[OpenClipModel]:
    """List a model, what its weights were made from where this package wrote them, and so on to others' weights."""
    line, files = [architecture], set()
    while (path := Path(line[-1].pretrained or "")).is_file() and path.resolve() not in files:
        files.add(path.resolve())  # a checkpoint may lie where the one lay that it was made from
        if (origin := _origin(path)) is None:
            break
        line.append(origin)
    return line


def _origin(path: Path) -> OpenClipModel | None:
    """Read what a checkpoint of this package was made from; None of any other file."""
    try:
        values = json.loads(read_metadata(path).get("architecture", "null"))
    except json.JSONDecodeError:
        return None
    if not isinstance(values, dict) or values.get("kind") != "open_clip":
        return None
    try:
        return OpenClipModel(**values)
    except ValidationError as error:
        raise ValueError(
            f"{path} was made from {values}, which this version of the package does not know: {error}"
        ) from None


def _of_weights(line: list[OpenClipModel], wanted: list[str]) -> dict:
    """Say how the weights at a line's end want pictures prepared; settings that are not wanted are of no account."""
    name, pretrained = line[-1].name, line[-1].pretrained
    config, path = get_pretrained_cfg(name, pretrained or ""), Path(pretrained or "")
    if pretrained is None or (config and not path.is_file()):
        return _settings(config)
    # The tags are those that open_clip lists under this very name. A name with -quickgelu lists those of its twin that
    # need QuickGELU; the twin's others cannot be in the file, which check_activation would refuse. A name without it
    # lists all, and where they differ a file is refused rather than taken for one that needs the name's activation.
    tags = {tag: get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)}
    by_tag = {tag: _settings(config) for tag, config in tags.items()}
    differing = [key for key in wanted if len({settings[key] for settings in by_tag.values()}) > 1]
    if not differing:
        return next(iter(by_tag.values()), _settings({}))
    digest = checksum(path) if path.is_file() else None
    for tag, config in tags.items():
        if digest and _is_of(config, digest):
            return by_tag[tag]
    raise ValueError(_undecided(line, differing, by_tag))


def _settings(config: dict) -> dict:
    """Complete what open_clip says of a tag with its defaults."""
    merged = merge_preprocess_dict(PreprocessCfg(), config)
    return {key: tuple(merged[key]) if isinstance(merged[key], list) else merged[key] for key in PREPROCESSING}


def _undecided(line: list[OpenClipModel], differing: list[str], by_tag: dict[str, dict]) -> str:
    def list_values(key: str) -> str:
        tags: dict = {}
        for tag, settings in by_tag.items():
            tags.setdefault(settings[key], []).append(tag)
        return f"{key} is " + ", or ".join(f"{value} with {', '.join(names)}" for value, names in tags.items())

    return (
        f"{', made from '.join(str(model.pretrained) for model in line)}: it is not known how pictures are to be "
        f"prepared for these weights, and open_clip's tags of model {line[-1].name!r} differ; "
        f"{'; '.join(map(list_values, differing))}. Say "
        f"{' and '.join(f'model.preprocess.{key}' for key in differing)} in the profile, or name the tag in place of "
        "the file"
    )


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
        raise ValueError(
            f"{path} does not say whether it was trained with QuickGELU, as OpenAI's weights were; with the wrong "
            f"activation it would lose accuracy without a warning. Say model.quick_gelu: true or false in the profile, "
            f"and name the model {architecture.name.removesuffix(SUFFIX) + SUFFIX!r} if true"
        )


def other_activation(name: str) -> str:
    """Name the same model with the other activation."""
    return name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else name + SUFFIX


def _check(architecture: OpenClipModel, needed: bool, weights: str) -> None:
    config = open_clip.get_model_config(architecture.name) or {}
    if config.get("quick_gelu", False) != needed:
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
    return next((config.get("quick_gelu", False) for config in offered if _is_of(config, digest)), None)


def _is_of(config: dict, digest: str) -> bool:
    """Say whether open_clip offers a file of this checksum: some addresses hold it, as a folder or after the name."""
    url = PurePosixPath(config.get("url", ""))
    return url.parent.name == digest or url.stem.endswith(f"-{digest[:8]}")
