"""How pictures are prepared for a model: as they were when its weights were trained.

A tag of open_clip says how; a file does not, and where it does not follow from anything else either, it is asked for.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from torchvision.transforms import Compose, Normalize, PILToTensor, ToTensor
from torchvision.transforms.functional import to_pil_image

from tpccma.files import file_in
from tpccma.models.encoder import prepare
from tpccma.models.pretrained import config_of
from tpccma.models.weight_files import checksum, is_file_of, read_metadata
from tpccma.profiles import OpenClipModel, Preprocessing

PREPROCESSING = tuple(Preprocessing.model_fields)  # mean, std, interpolation, resize_mode


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
        ValueError: if none of them decides, or open_clip does not know the model.
    """
    size = config_of(architecture.name)["vision_cfg"]["image_size"]
    return open_clip.image_transform(size, is_train=False, **_preprocessing(architecture))


def prepare_by(transform: Callable[[Image.Image], Tensor] | None = None) -> Callable[[Tensor], Tensor]:
    """Prepare pixels for a model that was not trained by this package: by its own transform, or not at all.

    Args:
        transform: of a PIL image, such as the last that ``open_clip.create_model_and_transforms`` returns; None where
            all pictures are prepared already.

    Returns:
        What `tpccma.models.Encoder` takes as ``prepare``: a function of (N, 3, H, W) uint8 pixels or float32 inputs,
        which passes the latter through. Without a transform it refuses pixels with a ValueError.
    """

    def prepare_pixels(images: Tensor) -> Tensor:
        if images.is_floating_point():
            return images
        if transform is None:
            raise ValueError(
                f"the pictures are pixels of type {images.dtype}, and how this model wants them scaled is not known: "
                "say transform=, the last that open_clip.create_model_and_transforms returns, or prepare them with it"
            )
        return torch.stack([transform(to_pil_image(image)) for image in images.cpu()]).to(images.device)

    return prepare_pixels


def split_transform(transform: Callable) -> tuple[Callable[[Image.Image], Tensor], Callable[[Tensor], Tensor]]:
    """Split a transform in two, so that bytes are all that is read and sent to a device: a quarter of the floats.

    Args:
        transform: of a PIL image, as open_clip makes it.

    Returns:
        What makes (3, H, W) uint8 pixels of a PIL image; and what scales (N, 3, H, W) of them where they lie, on a CPU
        to the very values of ``transform``. A transform that does not end as open_clip's do is given back whole, with
        `tpccma.models.prepare`.
    """
    steps = getattr(transform, "transforms", [])
    if not (len(steps) > 1 and isinstance(steps[-2], ToTensor) and isinstance(steps[-1], Normalize)):
        return transform, prepare
    return Compose([*steps[:-2], PILToTensor()]), Scaling(steps[-1].mean, steps[-1].std)


class Scaling:
    """Scale pixels as torchvision's ToTensor and Normalize do, in the same order.

    Args:
        mean: of each of three colours, on a scale from 0 to 1.
        std: likewise.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        # in tensors, since CUDA would multiply by the rounded inverse of a number
        self.values = torch.tensor([[255.0] * 3, mean, std])[..., None, None]

    def __call__(self, images: Tensor) -> Tensor:
        """Scale (N, 3, H, W) uint8 pixels to float32; floats pass through."""
        if images.is_floating_point():
            return images
        self.values = self.values.to(images.device)  # once, then it lies there
        top, mean, std = self.values
        return images.float().div_(top).sub_(mean).div_(std)


def _preprocessing(architecture: OpenClipModel) -> dict:
    said, line = {}, _line(architecture)
    for origin in line:
        own = origin.preprocess.model_dump(exclude_none=True) if origin.preprocess else {}
        said = {**own, **said}
    return {**_of_weights(line, [key for key in PREPROCESSING if key not in said]), **said}


def _line(architecture: OpenClipModel) -> list[OpenClipModel]:
    """List a model, what its weights were made from where this package wrote them, and so on to others' weights."""
    line, files = [architecture], set()
    while (path := _file_of(line[-1])).is_file() and path.resolve() not in files:
        files.add(path.resolve())  # a checkpoint may lie where the one lay that it was made from
        if (origin := _origin(path)) is None:
            break
        line.append(origin)
    return line


def _file_of(model: OpenClipModel) -> Path:
    """Say which file its weights are in, if they are in one: as named, or in a folder."""
    return file_in(model.pretrained) if model.pretrained else Path()


def _origin(path: Path) -> OpenClipModel | None:
    """Read what a checkpoint of this package was made from; None of any other file."""
    try:
        values = json.loads(read_metadata(path).get("architecture", "null"))
    except (ValueError, RecursionError):
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
    config, path = get_pretrained_cfg(name, pretrained or ""), _file_of(line[-1])
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
        if digest and is_file_of(config, digest):
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
        f"{' and '.join(f'model.preprocess.{key}' for key in differing)} in a profile, or --preprocess with "
        f"{' and '.join(differing)}, or name the tag in place of the file"
    )
