"""A tiny world in the formats of the paper's data: shards, COCO in Karpathy's split, ImageNet's folders, Food-101."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from timm.data import ImageNetInfo

SHARDS, PAIRS = 3, 8  # and pairs a shard
SPLITS = {"train": 24, "restval": 4, "val": 4, "test": 12}
CLASSES = 200
FOODS = ("apple_pie", "sushi", "waffles")
# Of a profile that extends "paper", so that it ends on two cores.
SMALL = {
    "data": {
        "shards": "cc3m/{00000..00002}.tar",
        "buffer": 4,
        "imagenet_classes": CLASSES,
        "imagenet_prompts": 7,
        "clustering_classes": 20,
        "zeroshot_sets": ["food101"],
        "workers": 0,
    },
    "fine_tune": {"batch_size": 4, "checkpoint_steps": 2, "precision": "no", "epochs": 1, "warmup": 0},
    "expected": {},
    "evaluation": {
        "kmeans_restarts": 1,
        "bootstrap_resamples": 20,
        "decoder": {
            "width": 32,
            "layers": 1,
            "heads": 2,
            "learning_rate": 0.003,
            "steps": 20,
            "warmup_steps": 2,
            "batch_size": 8,
        },
    },
}


def picture(number: int, kind: str = "JPEG") -> bytes:
    """Draw noise of 40 by 32 pixels around a colour that the number decides."""
    draws = np.random.default_rng(number)
    pixels = draws.integers(0, 255, 3) + draws.integers(-60, 60, (32, 40, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, kind)
    return file.getvalue()


def write_picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(number))


def write_shard(path: Path, shard: int) -> None:
    """Write a shard as img2dataset does; its last pair has a damaged picture, and is none of the successes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for i in range(PAIRS + 1):
            number = 100 * shard + i
            content = picture(number)[: 60 if i == PAIRS else None]
            parts = {"jpg": content, "txt": f"thing number {number}".encode(), "json": b"{}"}
            for name, part in parts.items():
                entry = tarfile.TarInfo(f"{shard:05d}{i:04d}.{name}")
                entry.size = len(part)
                tar.addfile(entry, io.BytesIO(part))
    path.with_name(f"{path.stem}_stats.json").write_text(json.dumps({"count": PAIRS + 1, "successes": PAIRS}))


def write_coco(folder: Path) -> None:
    """Write Karpathy's json and its pictures, five captions each."""
    images = []
    for split, count in SPLITS.items():
        place = "train2014" if split == "train" else "val2014"
        for _ in range(count):
            number = len(images)
            name = f"COCO_{place}_{number:012d}.jpg"
            write_picture(folder / place / name, 1000 + number)
            said = [f"a person looks at thing {number}, view {k}" for k in range(5)]
            images.append(
                {"filepath": place, "filename": name, "split": split, "sentences": [{"raw": text} for text in said]}
            )
    (folder / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))


def write_food(folder: Path) -> None:
    """Write Food-101's pictures and list of test pictures, of three dishes."""
    listed = {name: [f"{name}/{i}" for i in range(2)] for name in FOODS}
    for names in listed.values():
        for number, name in enumerate(names):
            write_picture(folder / "images" / f"{name}.jpg", 5000 + number)
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    (folder / "meta" / "test.json").write_text(json.dumps(listed))


def write_world(folder: Path) -> Path:
    """Write everything that profile "paper" reads, some hundred pictures."""
    for shard in range(SHARDS):
        write_shard(folder / "cc3m" / f"{shard:05d}.tar", shard)
    write_coco(folder / "coco")
    for place, number in enumerate(ImageNetInfo().label_names()[:CLASSES]):
        for i in range(2):
            path = folder / "imagenet" / "val" / number / f"ILSVRC2012_val_{2 * place + i:08d}.JPEG"
            write_picture(path, 2000 + 2 * place + i)
    write_food(folder / "zeroshot" / "food-101")
    return folder
