"""Pictures that are opened when they are needed: what `tpccma.data.Pairs` takes in place of a tensor of pixels.

`open_picture` is the one place where the package opens a picture: whatever is wrong with one has one error.

Legend: N pictures, (3, H, W) pixels as a model takes them.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

MAX_PIXELS = 89_478_485  # above it Pillow warns of a bomb: a few bytes that would fill 358 MB of each reading process
MAX_RATIO = 1_000  # long to short side: with the short side resized to 224, such a picture has 50 million pixels
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what sets a picture upright, by its EXIF orientation


class DamagedPicture(ValueError):
    """A picture cannot be read, whatever the reason; the message names it.

    Of one that a process met which reads ahead, torch gives a traceback as the message: its last line counts.
    """

    def __init__(self, message: str):
        super().__init__(message.strip().rpartition(f"{type(self).__name__}: ")[2])


def open_picture(source: Path | bytes | BinaryIO, name: str | Path | None = None, upright: bool = False) -> Image.Image:
    """Open a picture as 8-bit RGB.

    An RGB or grey picture of 8 bits comes out as by ``Image.open(source).convert("RGB")``, and so do CMYK and palettes.
    What is transparent is laid over white, since the colours of transparent pixels are arbitrary. Grey of more than 8
    bits is scaled, not clipped: 16 bits by 65535; 32 bits and floats by the narrowest of 1 (floats only), 255 and 65535
    that no value exceeds, or, where a value is negative or larger, from the least to the largest value. Of an animation
    the first picture counts.

    Args:
        source: a file, its content, or an open file.
        name: what errors call the picture; None takes the path.
        upright: turn the picture as its EXIF orientation says (Pillow does so with TIFF in any case). EXIF that cannot
            be read turns nothing.

    Returns:
        The picture, decoded.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedPicture: if it cannot be read, is a PostScript program, has more than ``MAX_PIXELS`` pixels, or is
            more than ``MAX_RATIO`` times as long as wide; sizes are looked at before anything is decoded.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # what is read in spite of a warning is no damage
            return _decode(io.BytesIO(source) if isinstance(source, bytes) else source, upright)
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow raises what its parsers happen to raise, from IndexError to MemoryError
        name = name or (source if isinstance(source, str | Path) else "a picture")
        raise DamagedPicture(
            f"{name} is no readable picture ({reason_of(error)}); get it again or take it out"
        ) from error


def reason_of(error: BaseException) -> str:
    """Put in a few words why something could not be read."""
    if isinstance(error, UnidentifiedImageError):
        return "its content is of no format that Pillow knows"
    text = next((part for part in error.args if isinstance(part, str) and part), type(error).__name__)
    return re.sub(" at 0x[0-9a-f]+", "", text)  # an address in memory tells nobody anything


def _decode(source: Path | BinaryIO, upright: bool) -> Image.Image:
    with Image.open(source) as image:
        _check(image)
        image.load()
        pixels = _to_rgb(image)
        turn = _turn(image) if upright else None  # only now: EXIF may stand behind the pixels
        return pixels if turn is None else pixels.transpose(turn)


def _check(image: Image.Image) -> None:
    """Refuse what would be costly or unsafe to decode."""
    width, height = image.size
    if image.format == "EPS":
        raise ValueError("it is PostScript, a program that Ghostscript would run")
    if width * height > MAX_PIXELS:
        raise ValueError(f"it has {width} x {height} pixels, more than {MAX_PIXELS}; shrink it")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ValueError(f"it has {width} x {height} pixels, a side more than {MAX_RATIO} times the other; crop it")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _scale(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _scale(image: Image.Image) -> Image.Image:
    """Scale grey of 16 or 32 bits or of floats to 8 bits."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some of its values are infinite or no numbers")
    black, white = _range(image.mode, values.min(), values.max())
    values -= black
    values *= 255 / ((white - black) or 1)
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def _range(mode: str, least: float, largest: float) -> tuple[float, float]:
    """Say which values are black and white."""
    if mode.startswith("I;16"):
        return 0, 65535
    tops = (255, 65535) if mode == "I" else (1, 255, 65535)  # Pillow gives 16-bit PGM in mode I
    top = next((top for top in tops if largest <= top), None)
    return (least, largest) if least < 0 or top is None else (0, top)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # the picture itself is whole
        return None


class Pictures(Dataset):
    """Pictures read one by one.

    Args:
        read: returns a picture by number, (3, H, W) float32.
        length: how many, N.
        workers: processes that read ahead in `split`.
    """

    def __init__(self, read: Callable[[int], Tensor], length: int, workers: int = 0):
        self.read, self.length, self.workers = read, length, workers

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, rows: Tensor | Sequence[int]) -> Tensor:
        """Read pictures by number: (n, 3, H, W)."""
        return torch.stack([self.read(int(row)) for row in rows])

    def split(self, size: int) -> Iterator[Tensor]:
        """Read all, at most ``size`` at a time, as the method of a tensor does."""
        rows = [list(part) for part in torch.arange(len(self)).split(size)]
        return iter(DataLoader(self, sampler=rows, batch_size=None, num_workers=self.workers))


class SomeDamaged(Pictures):
    """Pictures of which some may be damaged: there is a black one in their place, and ``readable`` says so once read.

    Args:
        open_one: opens a picture by number.
        transform: turns a PIL image, 8-bit RGB, into (3, H, W) float32.
        length: how many, N.
        workers: processes that read ahead in ``split``.
    """

    def __init__(
        self,
        open_one: Callable[[int], Image.Image],
        transform: Callable[[Image.Image], Tensor],
        length: int,
        workers: int = 0,
    ):
        super().__init__(self._read, length, workers)
        self.open_one, self.transform = open_one, transform
        self.readable = torch.ones(length, dtype=torch.bool).share_memory_()  # which workers write to

    def _read(self, row: int) -> Tensor:
        try:
            picture = self.open_one(row)
        except DamagedPicture:
            self.readable[row] = False
            picture = Image.new("RGB", (64, 64))
        return self.transform(picture)


class ImageFiles(Pictures):
    """Pictures in files; a damaged one is a `DamagedPicture` when it is read.

    Args:
        paths: N files.
        transform: turns a PIL image, 8-bit RGB, into (3, H, W) float32, such as open_clip's for a model.
        workers: processes that read ahead in ``split``.
        upright: turn pictures as their EXIF orientation says, see `open_picture`; open_clip does not.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        transform: Callable[[Image.Image], Tensor],
        workers: int = 0,
        upright: bool = False,
    ):
        super().__init__(self._read, len(paths), workers)
        self.paths, self.transform, self.upright = list(paths), transform, upright

    def open_one(self, row: int) -> Image.Image:
        """Open a picture by number."""
        path = self.paths[row]
        try:
            return open_picture(path, upright=self.upright)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} has gone since the list of pictures was made") from None

    def _read(self, row: int) -> Tensor:
        return self.transform(self.open_one(row))
