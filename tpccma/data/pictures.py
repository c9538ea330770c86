"""Pictures that are opened when they are needed: what `tpccma.data.Pairs` takes in place of a tensor of pixels.

Legend: N pictures, (3, H, W) pixels as a model takes them.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset):
    """Pictures read one by one.

    Args:
        read: returns a picture by number, (3, H, W) float32.
        length: N.
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
        """Read all, at most `size` at a time, as the method of a tensor does."""
        rows = [list(part) for part in torch.arange(len(self)).split(size)]
        return iter(DataLoader(self, sampler=rows, batch_size=None, num_workers=self.workers))


class ImageFiles(Pictures):
    """Pictures in files.

    Args:
        paths: N files.
        transform: turns a PIL image into (3, H, W) float32, such as open_clip's for a model.
        workers: processes that read ahead in `split`.
    """

    def __init__(self, paths: Sequence[Path], transform: Callable[[Image.Image], Tensor], workers: int = 0):
        super().__init__(self._read, len(paths), workers)
        self.paths, self.transform = list(paths), transform

    def _read(self, row: int) -> Tensor:
        path = self.paths[row]
        try:
            with Image.open(path) as image:
                return self.transform(image)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} has gone since the list of pictures was made") from None
        except (OSError, UnidentifiedImageError, SyntaxError) as error:
            raise ValueError(f"{path} is no readable picture ({error}); get it again or take it out") from error
