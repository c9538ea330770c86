"""The paper's own data: Conceptual Captions to fine-tune on, COCO, ImageNet and five small sets to evaluate on.

All lie in one folder, each in the layout in which it is handed out, see the chapter "Running it at full size".
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from tpccma.data.classes import choose_classes, imagenet_folders, leave_out_damaged, small_set
from tpccma.data.corpus import Corpus, Labelled
from tpccma.data.photos import karpathy_splits
from tpccma.data.shard_files import find_shards
from tpccma.data.shards import PairSource
from tpccma.models.transforms import image_transform

if TYPE_CHECKING:
    from tpccma.profiles import OpenClipModel, PaperData


def load_paper(data: "PaperData", architecture: "OpenClipModel") -> Corpus:
    """Find all data of the paper's setting; pictures are opened when they are needed.

    As in open_clip's own evaluations, the EXIF orientation of pictures turns none of them.

    Args:
        data: where they lie.
        architecture: the model, which decides how a picture is prepared.

    Returns:
        A `~tpccma.data.Corpus`: fine-tuning streams Conceptual Captions; retrieval, captions and gap are those of COCO
        in Karpathy's split; classification and clustering are ImageNet's; the report says what was found, left out and
        chosen.

    Raises:
        FileNotFoundError: if data are missing; the message says which, and where they are to be had.
        ValueError: if data are damaged or do not have the classes that the profile says.
    """
    root, transform = data.data_dir, image_transform(architecture)
    source = _stream(data, transform)
    files = root / data.captions, root / data.images_dir
    settings = data.captions_per_image, data.skip_missing, data.workers, data.cache_dir
    coco, coco_report = karpathy_splits(*files, transform, *settings)
    small, unreadable = _of_classes(data, transform)
    imagenet = small.pop("imagenet")
    clustered = choose_classes(imagenet, data.clustering_classes, data.clustering_seed)
    report = {
        "shards": len(source.shards.paths),
        "missing_shards": source.missing_shards,
        "pairs": source.pairs,
        "coco": coco_report,
        "imagenet_pictures": len(imagenet.labels),
        "imagenet_classes": len(imagenet.classes),
        "clustering_seed": data.clustering_seed,
        "clustering_classes": sorted({path.parent.name for path in clustered.images.paths}),
        "small_sets": {name: len(found.labels) for name, found in small.items()},
        **({"unreadable": unreadable} if unreadable else {}),
    }
    return Corpus(**coco, stream=source, labelled=imagenet, clustered=clustered, small_sets=small, report=report)


def _of_classes(
    data: "PaperData", transform: Callable[[Image.Image], Tensor]
) -> tuple[dict[str, Labelled], dict[str, int]]:
    """Find ImageNet and the small sets; where damaged pictures may be skipped, leave them out and count them."""
    root = data.data_dir
    settings = data.imagenet_classes, data.imagenet_prompts, data.workers
    found = {"imagenet": imagenet_folders(root / data.imagenet_dir, transform, *settings)} | {
        name: small_set(name, root / data.zeroshot_dir, transform, data.workers, data.download)
        for name in data.zeroshot_sets
    }
    if not data.skip_missing:
        return found, {}
    kept = {name: leave_out_damaged(pictures, data.cache_dir) for name, pictures in found.items()}
    return {name: pictures for name, (pictures, _) in kept.items()}, {name: count for name, (_, count) in kept.items()}


def _stream(data: "PaperData", transform: Callable[[Image.Image], Tensor]) -> PairSource:
    """Find the shards of Conceptual Captions."""
    pattern = str(data.data_dir / data.shards)
    shards = find_shards(pattern, data.skip_missing)
    pairs = data.pairs or shards.pairs
    if pairs is None:
        raise ValueError(
            f"how many pairs {pattern} holds is not known, since img2dataset's _stats.json are missing beside some "
            "shards; say data.pairs in the profile"
        )
    return PairSource(shards, transform, pairs, data.workers, data.buffer, data.skip_bad)
