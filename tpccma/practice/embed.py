"""Embed captioned pictures by any model of open_clip, part by part, into files that ``tpccma gap`` reads.

Legend: N pictures, D width.
"""

import csv
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

import numpy as np
import torch
import yaml
from numpy.lib.format import open_memmap
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from tpccma.data.captions import read_captions
from tpccma.data.pictures import DamagedPicture, ImageFiles, Pictures, SomeDamaged
from tpccma.files import whole_file
from tpccma.models import Encoder
from tpccma.models.identity import weights_identity
from tpccma.models.transforms import image_transform
from tpccma.models.weight_files import read_note, save_weights, writing
from tpccma.profiles import OpenClipModel, load_profile
from tpccma.training.encoders import load_encoder, weights_path

logger = logging.getLogger(__name__)

Named = tuple[str, str | None]  # what a picture is called, and its caption
UNREADABLE = "unreadable_image"  # what was left out for being damaged, as readers of shards count it
PREPROCESS = "{mean: [.48, .46, .41], std: [.27, .26, .28], interpolation: bicubic, resize_mode: shortest}"
PART = 1_000  # pictures: at most this much work is lost when an embedding is cut off


class Opened(NamedTuple):
    """Pairs that are about to be embedded.

    Args:
        pictures: n of them.
        pairs: what they are called, and their captions, None for all where there are none.
        left_out: how many were left out, by reason.
        readable: (n,) bool, false at pictures that turned out damaged, once all were read; None where that is an error.
    """

    pictures: Pictures
    pairs: list[Named]
    left_out: dict[str, int] = {}  # noqa: RUF012
    readable: Tensor | None = None


class Part(NamedTuple):
    """Pairs that are embedded at a time: what is lost at most when an embedding is cut off.

    Args:
        made_of: tells them from others, as JSON can hold it.
        open: opens them, given how pictures are prepared and the number of processes that read ahead.
    """

    made_of: list
    open: Callable[[Callable[[Image.Image], Tensor], int], Opened]


class EmbeddedFiles(NamedTuple):
    """What was embedded: N pairs of width D, and how many were left out, by reason."""

    pairs: int
    width: int
    left_out: dict[str, int]


def architecture_of(
    model: str, pretrained: str, quick_gelu: bool | None = None, preprocess: str | None = None
) -> OpenClipModel:
    """Describe a model of open_clip and its weights, as a profile does.

    Args:
        model: its name.
        pretrained: a file, a folder, or open_clip's tag.
        quick_gelu: of weights in a file that does not say it.
        preprocess: the values of a `~tpccma.profiles.Preprocessing` as YAML, such as ``{interpolation: bilinear}``.

    Raises:
        ValueError: if they are no such values.
    """
    try:
        said = yaml.safe_load(preprocess) if preprocess else None
        return OpenClipModel(
            kind="open_clip", name=model, pretrained=pretrained, quick_gelu=quick_gelu, preprocess=said
        )
    except (yaml.YAMLError, ValidationError) as error:
        wrong = error.errors() if isinstance(error, ValidationError) else []
        said = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in wrong)
        told = said and f" ({said})"
        raise ValueError(f"--preprocess {preprocess!r} is not understood{told}: write some of {PREPROCESS}") from None


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


def read_pairs(images_dir: Path, captions: Path | None, skip_missing: bool = False) -> list[tuple[Path, str | None]]:
    """List the pictures of a folder with the first caption of each.

    Args:
        images_dir: the folder.
        captions: as `tpccma.data.captions.read_captions` takes it; None takes all pictures below the folder, by name.
        skip_missing: likewise; how many were left out is logged.

    Returns:
        N paths with their captions, None without a file of them.

    Raises:
        FileNotFoundError, ValueError: as `~tpccma.data.captions.read_captions`, and if there is no picture.
    """
    if captions is not None:
        found, report = read_captions(captions, images_dir, captions_per_image=1, skip_missing=skip_missing)
        if report.absent or report.short:
            logger.warning("%s: %s", captions, report)
        return [(path, own[0]) for path, own in zip(found.paths, found.captions, strict=True)]
    known = set(Image.registered_extensions())
    paths = sorted(path for path in images_dir.rglob("*") if path.suffix.lower() in known and path.is_file())
    if not paths:
        raise FileNotFoundError(f"there is no picture in {images_dir}; name the folder that holds them")
    return [(path, None) for path in paths]


def parts_of_folder(pairs: list[tuple[Path, str | None]], skip_damaged: bool, size: int = PART) -> list[Part]:
    """Divide pairs from `read_pairs` into parts of at most so many; a damaged picture is an error, or is left out."""
    named = [(str(path), caption) for path, caption in pairs]
    return [Part(own := named[i : i + size], partial(_open, own, skip_damaged)) for i in range(0, len(named), size)]


def _open(pairs: list[Named], skip_damaged: bool, transform: Callable[[Image.Image], Tensor], workers: int) -> Opened:
    pictures = ImageFiles([Path(name) for name, _ in pairs], transform, workers, upright=True)
    if not skip_damaged:
        return Opened(pictures, pairs)
    pictures = SomeDamaged(pictures.open_one, transform, len(pairs), workers)
    return Opened(pictures, pairs, readable=pictures.readable)


def embed_pairs(
    architecture: OpenClipModel, pairs: list[tuple[Path, str | None]], workers: int = 0, skip_damaged: bool = False
) -> tuple[Tensor, Tensor]:
    """Embed pictures and their captions, in memory: images (N, D) and texts (N, D), of length 1."""
    encoder, transform, _ = open_model(architecture)
    parts = _shown(parts_of_folder(pairs, skip_damaged, 1_000))
    found, told = zip(*(_embed(encoder, part.open(transform, workers)) for part in parts), strict=True)
    if damaged := sum(part["left_out"].get(UNREADABLE, 0) for part in told):
        logger.warning("left out: %d of %d pictures, which cannot be read", damaged, len(pairs))
    return tuple(torch.cat([part[name] for part in found]) for name in ("images", "texts"))


def embed_to(architecture: OpenClipModel, parts: list[Part], out: Path, workers: int = 0) -> EmbeddedFiles:
    """Embed pictures and their captions into files; killed and run again, it goes on.

    Args:
        architecture: of the model.
        parts: from `parts_of_folder`, or `tpccma.practice.shards.parts_of_shards`.
        out: a safetensors file with ``images``, ``texts`` and, in its metadata, ``pairs``; any other name is that of a
            folder, for images.npy, texts.npy and pairs.csv. What is done lies in ``<out>.parts`` until all is.
        workers: processes that read pictures ahead.

    Returns:
        How many pairs, of which width, and what was left out.

    Raises:
        OSError: if the files cannot be written.
        ValueError: if a picture is damaged and those are not left out, or no pair is left.
    """
    encoder, transform, weights = open_model(architecture)
    folder, found = out.with_name(f"{out.name}.parts"), {}
    for number, part in enumerate(_shown(parts)):
        path, made_of = folder / f"{number:06d}.safetensors", json.dumps({"weights": weights, "part": part.made_of})
        if not (path.is_file() and read_note(path, "made_of") == json.loads(made_of)):
            rows, told = _embed(encoder, part.open(transform, workers))
            save_weights(rows, path, {"made_of": made_of, "found": json.dumps(told)})
        found[path] = read_note(path, "found")
    left_out = sum((Counter(told["left_out"]) for told in found.values()), Counter())
    pairs = [pair for told in found.values() for pair in told["pairs"]]
    if not pairs:
        raise ValueError(f"{parts[0].made_of[0]} and so on hold no usable pair, {dict(left_out)}; look what they are")
    write = _write_file if out.suffix == ".safetensors" else _write_folder
    width = write([path for path, told in found.items() if told["pairs"]], pairs, out)
    rmtree(folder)
    return EmbeddedFiles(len(pairs), width, dict(left_out))


def _shown(parts: list[Part]) -> Iterable[Part]:
    return tqdm(parts, desc="embedding", unit="part", disable=None)


def _embed(encoder: Encoder, part: Opened) -> tuple[dict[str, Tensor], dict]:
    """Embed a part: its rows by name, and what they belong to; of a picture that turned out damaged there is none."""
    captions = [caption for _, caption in part.pairs if caption is not None]
    rows = {"images": _embed_images(encoder, part.pictures)} if part.pairs else {}
    rows |= {"texts": encoder.embed_texts(captions)} if captions else {}
    kept = torch.ones(len(part.pairs), dtype=torch.bool) if part.readable is None else part.readable
    pairs = [pair for pair, readable in zip(part.pairs, kept.tolist(), strict=True) if readable]
    left_out = Counter(part.left_out) + Counter({UNREADABLE: len(part.pairs) - len(pairs)})
    return {name: own[kept] for name, own in rows.items()}, {"pairs": pairs, "left_out": left_out}


def _embed_images(encoder: Encoder, pictures: Pictures) -> Tensor:
    try:
        return encoder.embed_images(pictures)
    except DamagedPicture as error:
        raise DamagedPicture(f"{error}, or leave such pictures out: --skip-missing") from None


def _write_file(paths: list[Path], pairs: list, out: Path) -> int:
    """Put the rows of parts into one file; return their width."""
    found = [load_file(path) for path in paths]
    whole = {name: torch.cat([part[name] for part in found]) for name in found[0]}
    save_weights(whole, out, {"pairs": json.dumps(pairs, ensure_ascii=False)})
    return whole["images"].shape[1]


def _write_folder(paths: list[Path], pairs: list, out: Path) -> int:
    """Put the rows of parts into a folder, a part in memory at a time; return their width."""
    widths = {name: rows.shape[1] for name, rows in load_file(paths[0]).items()}
    for name, width in widths.items():
        with whole_file(out / f"{name}.npy") as unfinished, writing(out):
            rows, start = open_memmap(unfinished, "w+", np.float32, (len(pairs), width)), 0
            for path in paths:
                own = load_file(path)[name].numpy()
                rows[start : start + len(own)] = own
                start += len(own)
            rows.flush()
    with whole_file(out / "pairs.csv") as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "caption"), *pairs])
    return widths["images"]
