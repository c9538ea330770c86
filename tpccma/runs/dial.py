"""The dial on two sets of weights: opened, interpolated, and measured on the way from the one to the other."""

import json
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from tpccma.data import Corpus
from tpccma.data.pictures import ImageFiles, Pictures
from tpccma.files import file_in
from tpccma.models import Encoder, InParts, build_network
from tpccma.models.forms import load_into
from tpccma.models.identity import weights_identity
from tpccma.models.interpolation import interpolate
from tpccma.models.pretrained import check_activation, config_of, find_weights
from tpccma.models.transforms import image_transform
from tpccma.models.weight_files import read_note, read_weights
from tpccma.models.words import WordTokenizer
from tpccma.profiles import Evaluation, HeadsModel, OpenClipModel
from tpccma.tasks.evaluation import evaluate

STEPS = tuple(tenth / 10 for tenth in range(11))
PICTURES = 5_000  # whose statistics of batch norm are taken
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Which task finds a measure, by how the measure's name begins; the others belong to the gap.
TASK_OF = {
    "zeroshot": "zeroshot",
    "i2t_": "retrieval",
    "t2i_": "retrieval",
    "clustering": "clustering",
    **dict.fromkeys(("cider", "bleu", "meteor", "rouge"), "captioning"),
}


def weights_in(given: str | Path, name: str | None = None, download: bool = True) -> Path:
    """Say where the weights lie that a user names.

    Args:
        given: a file, the folder of a run or an export, or, of a model with a name, open_clip's tag, such as "openai".
        name: of the model, as open_clip names it.
        download: let a tag's weights be fetched, once.

    Raises:
        FileNotFoundError: if it is none of these, or the weights of the tag could not be fetched.
        ValueError: if open_clip does not know the model, or the weights of the tag need the other activation.
    """
    file = file_in(given)
    if file.is_file():
        return file
    if name is None:
        remedy = "give a file of weights, the folder of a run that was trained, or open_clip's tag with --model"
        raise FileNotFoundError(f"no checkpoint at {file}: {remedy}")
    return find_weights(OpenClipModel(kind="open_clip", name=name, pretrained=str(given)), download)


def check_order(base: Path, aligned: Path) -> None:
    """Refuse a base that was fine-tuned from what is called aligned, where a run's record beside it says so."""
    try:
        made_from = json.loads(base.with_name("record.json").read_text()).get("base")
    except (OSError, ValueError, AttributeError):  # no run's, or none that says it
        return
    if made_from == weights_identity(aligned):
        raise ValueError(f"{base} was fine-tuned from {aligned}: name them the other way round, BASE first")


def open_model(given: str | Path, name: str | None = None) -> Encoder:
    """Open weights without a profile.

    Args:
        given: a file, a run's folder or open_clip's tag, see `weights_in`.
        name: of the model, as open_clip names it; None takes what the file says, as those of this package do.

    Returns:
        An `~tpccma.models.Encoder`, which embeds texts only if the file brings its words.

    Raises:
        FileNotFoundError: if there are no such weights, see `weights_in`.
        ValueError: if the model is not known or another than the file says, the weights need the other activation, or
            they do not fit.
    """
    path = weights_in(given, name)
    made_by, words = (read_note(path, note) for note in ("architecture", "tokenizer"))
    architecture = _said_by(path, made_by, name) if made_by else _named(given, path, name)
    network = build_network(architecture)
    load_into(network, read_weights(path), path, f"{getattr(architecture, 'name', 'of heads')!r}")
    return Encoder(network, _tokenizer(path, words) if words else None, architecture)


def _named(given: str | Path, path: Path, name: str | None) -> OpenClipModel:
    if name is None:
        raise ValueError(f"{path} does not say which model its weights are of: name it, --model ViT-B-32")
    quick = config_of(name).get("quick_gelu", False)  # where the file does not say, the name counts
    pretrained = str(path if path == file_in(given) else given)  # a tag says more than where its file is kept
    architecture = OpenClipModel(kind="open_clip", name=name, pretrained=pretrained, quick_gelu=quick)
    check_activation(architecture, path)
    return architecture


def _said_by(path: Path, made_by: dict, name: str | None) -> OpenClipModel | HeadsModel:
    if name not in (None, made_by.get("name")):
        own = made_by.get("name", "heads on frozen features")
        raise ValueError(f"{path} holds the weights of {own}, not of {name}: leave --model out")
    try:
        return TypeAdapter(OpenClipModel | HeadsModel).validate_python(made_by)
    except ValidationError:
        raise ValueError(f"{path} was made from {made_by}, which this version of the package does not know") from None


def _tokenizer(path: Path, words: dict) -> WordTokenizer:
    try:
        return WordTokenizer(**words)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds a tokenizer that is damaged ({error}); get the file again") from None


def pictures_in(folder: str | Path, architecture: OpenClipModel | HeadsModel) -> ImageFiles:
    """Find pictures for the statistics of batch norm: at most ``PICTURES`` of a folder and below, drawn at random.

    Args:
        folder: where they lie.
        architecture: the model, which decides how a picture is prepared.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no picture, or it is not known how the model takes them.
    """
    if architecture.kind == "heads":
        raise ValueError("heads take features and have no batch norm: leave --images out")
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}, which --images names")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not paths:
        raise ValueError(f"{folder} holds no picture: name a folder of {', '.join(ENDINGS)}")
    random.Random(0).shuffle(paths)  # a folder may be sorted by class, and batches are to be alike
    return ImageFiles(paths[:PICTURES], image_transform(architecture.for_pictures()), upright=True)


def some_of(images: InParts, most: int = PICTURES) -> InParts:
    """Take the first pictures of a split; those that are read when needed stay so."""
    if isinstance(images, Tensor):
        return images[:most]
    return Pictures(images.read, min(most, len(images)), images.workers)


def tasks_for(measures: Iterable[str]) -> tuple[str, ...]:
    """Name the tasks of `tpccma.evaluate` that find some measures, the gap always among them."""
    found = [next((task for start, task in TASK_OF.items() if name.startswith(start)), "gap") for name in measures]
    return tuple(dict.fromkeys(["gap", *found]))


def measure_front(
    ends: tuple[Encoder, Encoder], corpus: Corpus, tasks: Sequence[str], settings: Evaluation, seed: int = 0
) -> Iterator[dict[str, float]]:
    """Measure models between two at ``STEPS``; one line of stderr a point.

    Args:
        ends: the base and the aligned model.
        corpus: its test split is measured on, and its training pictures give batch norm's statistics.
        tasks: of `tpccma.evaluate`.
        settings: how much evaluation is done.
        seed: of the caption decoder.

    Yields:
        ``t`` and the measures of a point.
    """
    for number, t in enumerate(STEPS, 1):
        print(f"t = {t:g}: point {number} of {len(STEPS)}", file=sys.stderr, flush=True)
        between = interpolate(*ends, t, some_of(corpus.train.images))
        yield {"t": t} | evaluate(between, corpus, tasks, settings=settings, seed=seed)
