"""The reader of shards, one process, against a bare loop that decodes and transforms the same pictures.

python benchmarks/pipeline.py --pictures 1000 --buffer 500
"""

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import open_clip
import psutil
import torch
import typer
from PIL import Image

from tpccma.data.shards import PairStream
from tpccma.evidence.speed import read_benchmark, write_record
from tpccma.models.transforms import split_transform
from tpccma.runs.benchmark import FOLDER, against, in_turn, save_benchmark

SIDE, SHARDS, BATCH = 256, 2, 50
PEER, READER = "bare loop", "shard reader"


def draw(number: int) -> bytes:
    """Draw a picture whose JPEG is about as large as a photograph's."""
    coarse = np.random.default_rng(number).integers(0, 255, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()


def write_shard(path: Path, pictures: list[bytes]) -> None:
    """Write a shard as img2dataset does."""
    with tarfile.open(path, "w") as tar:
        for number, picture in enumerate(pictures):
            for kind, content in (("jpg", picture), ("txt", f"picture {number}".encode()), ("json", b"{}")):
                entry = tarfile.TarInfo(f"{path.stem}{number:04d}.{kind}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    path.with_name(f"{path.stem}_stats.json").write_text(json.dumps({"successes": len(pictures)}))


def read_bare(pictures: list[bytes], transform: Callable) -> None:
    """Decode and transform, and make batches, of floats."""
    for start in range(0, len(pictures), BATCH):
        torch.stack([transform(Image.open(io.BytesIO(one)).convert("RGB")) for one in pictures[start : start + BATCH]])


class Reader:
    """The reader of this package in the midst of its stream, its buffer filled.

    Args:
        paths: shards.
        transform: of a picture, as open_clip makes it.
        buffer: pairs among which the next one is drawn.
    """

    def __init__(self, paths: list[Path], transform: Callable, buffer: int):
        read, self.scale = split_transform(transform)
        tokenizer = open_clip.get_tokenizer("ViT-B-32")
        before = psutil.Process().memory_info().rss
        self.batches = PairStream(paths, read, tokenizer, buffer=buffer).batches(BATCH)
        next(self.batches)
        self.bytes_held = max(0, psutil.Process().memory_info().rss - before)

    def read(self, pictures: int, scaled: bool = False) -> None:
        """Take as many pictures: as bytes, in which they travel to a GPU, or `scaled` to floats as well."""
        for images, _ in islice(self.batches, pictures // BATCH):
            if scaled:
                self.scale(images)


def measure(pictures: int, buffer: int, rounds: int, folder: Path) -> list[dict]:
    """Compare both on as many pictures a round."""
    drawn = [draw(number) for number in range(pictures)]
    paths = [folder / f"{shard:05d}.tar" for shard in range(SHARDS)]
    for shard, path in enumerate(paths):
        write_shard(path, drawn[shard::SHARDS])
    transform = open_clip.image_transform(224, is_train=False)
    read_bare(drawn[:BATCH], transform)
    reader = Reader(paths, transform, buffer)
    calls = {
        PEER: lambda: read_bare(drawn, transform),
        READER: lambda: reader.read(pictures),
        f"{READER}, scaled": lambda: reader.read(pictures, scaled=True),
    }
    rows = [{"buffer": buffer, **row} for row in against(in_turn(calls, rounds), PEER)]
    for row in rows:
        row["samples_per_second"] = pictures / row.get("cpu_seconds", row["seconds"])
    rows[1]["bytes_held"] = reader.bytes_held
    return rows


def main(pictures: int = 1_000, buffer: int = 500, rounds: int = 3, out: Path = FOLDER) -> None:
    """Measure, print and record."""
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(pictures, buffer, rounds, Path(folder))
    print(write_record(read_benchmark(save_benchmark("pipeline", {"pipeline": rows}, out))))


if __name__ == "__main__":
    typer.run(main)
