"""Embed a folder of captioned pictures by any model of open_clip, into files that ``tpccma gap`` reads.

Legend: N pictures, D width.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from tpccma.data.captions import read_captions
from tpccma.data.pictures import ImageFiles
from tpccma.files import whole_file
from tpccma.models import Encoder
from tpccma.models.identity import weights_identity
from tpccma.models.transforms import image_transform
from tpccma.models.weight_files import read_note, save_weights, writing
from tpccma.profiles import OpenClipModel, load_profile
from tpccma.training.encoders import load_encoder, weights_path

PART = 10_000  # pictures: at most this much work is lost when an embedding is cut off
OWN = {"tpccma-demo": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}}  # how this package's own model sees pictures


def architecture_of(model: str, pretrained: str, quick_gelu: bool | None = None) -> OpenClipModel:
    """Describe a model of open_clip and its weights, as a profile does."""
    return OpenClipModel(
        kind="open_clip", name=model, pretrained=pretrained, quick_gelu=quick_gelu, preprocess=OWN.get(model)
    )


def open_model(architecture: OpenClipModel) -> tuple[Encoder, Callable[[Image.Image], Tensor], str]:
    """Load a model of open_clip, onto the GPU if there is one.

    Args:
        architecture: from `architecture_of`.

    Returns:
        The model with its tokenizer, how pictures are prepared for it, and what names its weights.

    Raises:
        FileNotFoundError: if the weights are neither a file nor a tag of the model, or cannot be fetched.
        ValueError: if open_clip does not know the model, or the weights do not fit it.
    """
    profile = load_profile("photos", model=architecture.model_dump())
    path = weights_path(profile)
    encoder = load_encoder(profile, path)
    encoder.use_gpu()
    return encoder, image_transform(profile.model), weights_identity(path)


def read_pairs(images_dir: Path, captions: Path | None) -> list[tuple[Path, str | None]]:
    """List the pictures of a folder with the first caption of each.

    Args:
        images_dir: the folder.
        captions: as `tpccma.data.captions.read_captions` takes it; None takes all pictures below the folder, by name.

    Returns:
        N paths with their captions, None without a file of them.

    Raises:
        FileNotFoundError, ValueError: as `read_captions`, and if there is no picture.
    """
    if captions is not None:
        found, _ = read_captions(captions, images_dir, captions_per_image=1)
        return [(path, own[0]) for path, own in zip(found.paths, found.captions, strict=True)]
    known = set(Image.registered_extensions())
    paths = sorted(path for path in images_dir.rglob("*") if path.suffix.lower() in known and path.is_file())
    if not paths:
        raise FileNotFoundError(f"there is no picture in {images_dir}; name the folder that holds them")
    return [(path, None) for path in paths]


def embed_pairs(
    architecture: OpenClipModel, pairs: list[tuple[Path, str | None]], workers: int = 0
) -> tuple[Tensor, Tensor]:
    """Embed pictures and their captions, in memory: images (N, D) and texts (N, D), of length 1."""
    encoder, transform, _ = open_model(architecture)
    found = [_embed(encoder, transform, part, workers) for part in _parts(pairs, 1_000)]
    return tuple(torch.cat([part[name] for part in found]) for name in ("images", "texts"))


def embed_to(
    architecture: OpenClipModel, pairs: list[tuple[Path, str | None]], out: Path, workers: int = 0
) -> tuple[int, int]:
    """Embed pictures and their captions into files; killed and run again, it goes on.

    Args:
        architecture: of the model.
        pairs: from `read_pairs`.
        out: a safetensors file with ``images``, ``texts`` and, in its metadata, ``pairs``; any other name is that of a
            folder, for images.npy, texts.npy and pairs.csv. What is done lies in ``<out>.parts`` until all is.
        workers: processes that read pictures ahead.

    Returns:
        N and D.

    Raises:
        OSError: if the files cannot be written.
        ValueError: if a picture is damaged.
    """
    encoder, transform, weights = open_model(architecture)
    folder, names = out.with_name(f"{out.name}.parts"), []
    for number, part in enumerate(_parts(pairs, PART)):
        names.append(folder / f"{number:06d}.safetensors")
        note = {"made_of": json.dumps({"weights": weights, "pairs": _written(part)})}
        if not (names[-1].is_file() and read_note(names[-1], "made_of") == json.loads(note["made_of"])):
            save_weights(_embed(encoder, transform, part, workers), names[-1], note)
    found = [load_file(name) for name in names]
    whole = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    _write(whole, pairs, out)
    rmtree(folder)
    return tuple(whole["images"].shape)


def _parts(pairs: list, size: int) -> Iterator[list]:
    bar = tqdm(range(0, len(pairs), size), desc="embedding", unit="part", disable=None)
    return (pairs[start : start + size] for start in bar)


def _embed(encoder: Encoder, transform: Callable, part: list, workers: int) -> dict[str, Tensor]:
    paths, captions = zip(*part, strict=True)
    found = {"images": encoder.embed_images(ImageFiles(paths, transform, workers, upright=True))}
    return found | ({"texts": encoder.embed_texts(list(captions))} if captions[0] is not None else {})


def _written(pairs: list) -> list:
    return [[str(path), caption] for path, caption in pairs]


def _write(whole: dict[str, Tensor], pairs: list, out: Path) -> None:
    if out.suffix == ".safetensors":
        return save_weights(whole, out, {"pairs": json.dumps(_written(pairs), ensure_ascii=False)})
    for name, rows in whole.items():
        with whole_file(out / f"{name}.npy") as partial, writing(out), partial.open("wb") as file:
            np.save(file, rows.numpy())
    with whole_file(out / "pairs.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "caption"), *_written(pairs)])
