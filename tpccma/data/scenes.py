"""The demo world: scenes of one shape on a ground, rendered and described on the spot.

A scene is a choice of class, colour, size, place, ground colour and ground pattern. Its picture adds what a description
leaves out (exact position, rotation, shade, noise); each of its captions names the class and a random part of the rest.
A scene belongs to the split that the checksum of its attributes falls in and a caption to the split of its own
checksum, so train, val and test share no scene and no text.

    >>> corpus = load_demo()
    >>> corpus.train.images.shape
    torch.Size([24000, 3, 32, 32])
"""

import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from tpccma.data.corpus import Corpus, Pairs
from tpccma.data.shapes import SHAPES

CLASSES = tuple(SHAPES)
COLOURS = {
    "red": (0.90, 0.13, 0.13),
    "orange": (0.98, 0.55, 0.08),
    "yellow": (0.96, 0.90, 0.15),
    "green": (0.15, 0.70, 0.20),
    "cyan": (0.15, 0.80, 0.85),
    "blue": (0.15, 0.30, 0.92),
    "purple": (0.55, 0.15, 0.75),
    "pink": (0.98, 0.55, 0.75),
}
GROUNDS = {
    "black": (0.08, 0.08, 0.08),
    "grey": (0.45, 0.45, 0.45),
    "white": (0.95, 0.95, 0.95),
    "brown": (0.42, 0.26, 0.13),
}
PATTERNS = ("plain", "striped", "dotted")
SIZES = {"small": 7.5, "large": 11.0}  # radius in pixels of a 32 x 32 image
PLACES = {"centre": (0, 0), "top left": (-1, -1), "top right": (1, -1), "bottom left": (-1, 1), "bottom right": (1, 1)}
TEMPLATES = (
    "a {}.",
    "a picture of a {}.",
    "an image of a {}.",
    "there is a {}.",
    "this is a {}.",
    "we see a {}.",
    "a {} on a ground.",
)
IMAGE_SIZE = 32


class Scene(NamedTuple):
    """What a caption may say of a picture."""

    shape: str
    colour: str
    size: str
    place: str
    ground: str
    pattern: str


def split_of(text: str) -> str:
    """Name the split that a text belongs to, by its checksum: 80 % train, 10 % val, 10 % test.

    Args:
        text: a caption, or the attributes of a scene joined by spaces.

    Returns:
        "train", "val" or "test".
    """
    bucket = zlib.crc32(text.encode()) % 10
    return {8: "val", 9: "test"}.get(bucket, "train")


@lru_cache
def _scenes_of(split: str) -> tuple[Scene, ...]:
    every = (
        Scene(shape, colour, size, place, ground, pattern)
        for shape in CLASSES
        for colour in COLOURS
        for size in SIZES
        for place in PLACES
        for ground in GROUNDS
        for pattern in PATTERNS
    )
    return tuple(scene for scene in every if split_of(" ".join(scene)) == split)


def describe(scene: Scene, rng: np.random.Generator) -> str:
    """Say one caption of a scene: its class and a random part of its other attributes.

    Args:
        scene: what there is to say.
        rng: source of the choices.

    Returns:
        A lower-case sentence with a full stop, such as "a small red star in the top left on a striped grey ground."
    """
    says_size, says_colour, says_place, says_ground, says_pattern = rng.random(5) < (0.5, 0.75, 0.5, 0.5, 0.5)
    noun = " ".join(
        word for word, said in ((scene.size, says_size), (scene.colour, says_colour), (scene.shape, True)) if said
    )
    article = "an" if noun[0] in "aeiou" else "a"
    opening = ("{} {}", "{} {}", "there is {} {}", "we see {} {}", "a picture of {} {}")[rng.integers(5)].format(
        article, noun
    )
    where = f" {'in' if rng.random() < 0.5 else 'at'} the {scene.place}" if says_place else ""
    ground_words = [word for word, said in ((scene.pattern, says_pattern), (scene.ground, says_ground)) if said]
    ground = f" on a {' '.join(ground_words)} ground" if ground_words else ""
    return opening + where + ground + "."


def _captions(scene: Scene, split: str, count: int, rng: np.random.Generator) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        caption = describe(scene, rng)
        if split_of(caption) == split and caption not in found:
            found.append(caption)
    return found


def _table(names: list[str], values: dict) -> np.ndarray:
    return np.array([values[name] for name in names], dtype=np.float32)


def _grounds(scenes: list[Scene], grid: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Paint the grounds: (N, 3, H, W) in 0..1."""
    count = len(scenes)
    x, y = grid
    phase, slant = rng.uniform(0, 6, (2, count, 1, 1)).astype(np.float32)
    stripes = ((x + np.where(slant < 3, y, -y) + phase) % 6 < 3).astype(np.float32)
    dots = (((x + phase) % 6 < 3) & ((y + slant) % 6 < 3)).astype(np.float32)
    pattern = np.array([PATTERNS.index(scene.pattern) for scene in scenes])[:, None, None]
    mark = np.where(pattern == 1, stripes, np.where(pattern == 2, dots, 0.0)).astype(np.float32)
    base = _table([scene.ground for scene in scenes], GROUNDS)
    ink = base + np.where(base.mean(1, keepdims=True) < 0.5, 0.22, -0.22)
    return base[:, :, None, None] * (1 - mark[:, None]) + ink.astype(np.float32)[:, :, None, None] * mark[:, None]


def _coverage(scenes: list[Scene], grid: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """How much of each pixel the shape covers: (N, H, W) in 0..1."""
    count = len(scenes)
    radius = _table([scene.size for scene in scenes], SIZES) * rng.uniform(0.92, 1.08, count).astype(np.float32)
    reach = (IMAGE_SIZE / 2 - radius)[:, None]
    centre = _table([scene.place for scene in scenes], PLACES) * 0.85 * reach + rng.uniform(-1.2, 1.2, (count, 2))
    angle = rng.uniform(-0.25, 0.25, (count, 1, 1)).astype(np.float32)
    middle = (IMAGE_SIZE - 1) / 2
    x, y = (axis[None] - middle - centre[:, i, None, None].astype(np.float32) for i, axis in enumerate(grid))
    scale = radius[:, None, None]
    u = (np.cos(angle) * x + np.sin(angle) * y) / scale
    v = (np.cos(angle) * y - np.sin(angle) * x) / scale
    distance = np.empty_like(u)
    shapes = np.array([scene.shape for scene in scenes])
    for name, function in SHAPES.items():
        chosen = shapes == name
        distance[chosen] = function(u[chosen], v[chosen])
    return np.clip(0.5 - distance * scale, 0, 1)


def render(scenes: list[Scene], rng: np.random.Generator, chunk: int = 1000) -> torch.Tensor:
    """Render scenes, each with its own position, rotation, shade and noise.

    Args:
        scenes: N scenes.
        rng: source of what a scene leaves open.
        chunk: scenes rendered at a time.

    Returns:
        (N, 3, 32, 32) uint8 pixels.
    """
    axis = np.arange(IMAGE_SIZE, dtype=np.float32)
    grid = (axis[None, :].repeat(IMAGE_SIZE, 0), axis[:, None].repeat(IMAGE_SIZE, 1))
    pictures = []
    for start in range(0, len(scenes), chunk):
        part = scenes[start : start + chunk]
        cover = _coverage(part, grid, rng)[:, None]
        colour = _table([scene.colour for scene in part], COLOURS)[:, :, None, None]
        picture = _grounds(part, grid, rng) * (1 - cover) + colour * cover
        picture *= rng.uniform(0.85, 1.1, (len(part), 1, 1, 1)).astype(np.float32)
        picture += 0.03 * rng.standard_normal(picture.shape, dtype=np.float32)
        pictures.append(torch.from_numpy((np.clip(picture, 0, 1) * 255).astype(np.uint8)))
    return torch.cat(pictures)


def exchange_captions(texts: list[list[str]], share: float, rng: np.random.Generator) -> list[list[str]]:
    """Take a share of the captions from other pictures, as captions of the web are that go with another one.

    Args:
        texts: N lists of K captions.
        share: of the N * K captions, 0 to 1; rounded to whole captions.
        rng: source of the choices.

    Returns:
        N lists of K captions; each that was exchanged is one of another picture, in words that were none of its own.

    Raises:
        ValueError: if there are too few captions to do so.
    """
    width = len(texts[0])
    taken = rng.choice(len(texts) * width, round(share * len(texts) * width), replace=False)
    if len(taken) and len({caption for own in texts for caption in own}) <= width:
        raise ValueError(f"{len(texts)} pictures have no other captions to exchange; ask for more pictures")
    said = [list(own) for own in texts]
    for picture, place in zip(*divmod(taken, width), strict=True):
        said[picture][place] = _caption_of_another(texts, texts[picture], rng)
    return said


def _caption_of_another(texts: list[list[str]], own: list[str], rng: np.random.Generator) -> str:
    while True:
        caption = texts[rng.integers(len(texts))][rng.integers(len(own))]
        if caption not in own:
            return caption


def make_pairs(
    split: str,
    count: int,
    captions: int = 5,
    seed: int = 0,
    held_back: tuple[str, ...] = (),
    exchanged: float = 0.0,
) -> Pairs:
    """Draw one split of the demo world.

    Args:
        split: "train", "val" or "test".
        count: number of pictures.
        captions: captions for each picture, all different.
        seed: of every random choice.
        held_back: classes of which there is no picture.
        exchanged: share of the captions that are taken from other pictures, see `exchange_captions`.

    Returns:
        The `~tpccma.data.Pairs`, equal bit by bit for equal arguments.

    Raises:
        ValueError: if there is no such split or class, or no class is left.
    """
    if split not in ("train", "val", "test"):
        raise ValueError(f"split must be 'train', 'val' or 'test', got {split!r}")
    rng = np.random.default_rng([seed, zlib.crc32(split.encode())])
    check_held_back(held_back)
    pool = [scene for scene in _scenes_of(split) if scene.shape not in held_back]
    scenes = [pool[i] for i in rng.integers(len(pool), size=count)]
    texts = [_captions(scene, split, captions, rng) for scene in scenes]
    labels = torch.tensor([CLASSES.index(scene.shape) for scene in scenes])
    other = np.random.default_rng([seed, zlib.crc32(split.encode()), 1])  # leaves pictures and captions as they are
    return Pairs(render(scenes, rng), exchange_captions(texts, exchanged, other), labels)


def check_held_back(names: tuple[str, ...]) -> None:
    """See to it that classes can be held back.

    Raises:
        ValueError: if there is no such class, or none is left; the message lists them.
    """
    if unknown := [name for name in names if name not in CLASSES]:
        raise ValueError(f"data.held_back: unknown class {unknown[0]!r}; give some of {', '.join(CLASSES)}")
    if set(names) == set(CLASSES):
        raise ValueError("data.held_back names every class: leave one or more to learn from")


def vocabulary() -> list[str]:
    """List every word that a caption or prompt of the demo world can hold, sorted."""
    words = " ".join([*CLASSES, *COLOURS, *GROUNDS, *PATTERNS, *SIZES, *PLACES, *TEMPLATES])
    words += " a an there is we see picture of in at the on ground ."
    return sorted(set(words.replace("{}", " ").replace(".", " . ").split()))


def load_demo(data=None) -> Corpus:
    """Draw the whole demo world, about 4 s on one core.

    Args:
        data: a `tpccma.profiles.DemoData` with the sizes of the splits; the shipped profile's where None.

    Returns:
        Its `~tpccma.data.Corpus`: 12 classes, five captions a picture. Of a narrower world, only train and val are:
        validation is drawn like training, since whoever chooses a setting has no other data.
    """
    from tpccma.profiles import DemoData

    data = data or DemoData()
    narrow = {"held_back": data.held_back, "exchanged": data.exchanged}
    given = {"train": narrow, "val": narrow, "test": {}}
    splits = {name: make_pairs(name, getattr(data, f"{name}_pairs"), seed=data.seed, **given[name]) for name in given}
    report = {name: value for name, value in data.identity().items() if name in narrow}
    return Corpus(**splits, classes=CLASSES, templates=TEMPLATES, held_back=data.held_back, report=report)
