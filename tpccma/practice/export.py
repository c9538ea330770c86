"""A model as others load it: the layout of Hugging Face's hub, with a card that holds what was measured.

>>> export_model("runs/demo/tpc-cma-a0.5-s0-...", "my-clip")
>>> model, _, transform = open_clip.create_model_and_transforms("local-dir:my-clip")
"""

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from tpccma.files import OPEN_CLIP_WEIGHTS, file_in, whole_file, write_whole
from tpccma.models.pretrained import config_of
from tpccma.models.transforms import _preprocessing
from tpccma.models.weight_files import check_exists, read_note, read_weights, save_weights, writing
from tpccma.practice.embed import embed_pairs, read_pairs
from tpccma.practice.gap import describe, lines
from tpccma.profiles import OpenClipModel

CONFIG, MODEL, MEANS, CARD = "open_clip_config.json", OPEN_CLIP_WEIGHTS, "means.safetensors", "README.md"
SHOWN = {
    "raw_gap": "modality gap, raw",
    "centroid_gap": "its centroid part",
    "distribution_gap": "its distribution part",
    "zeroshot_top1": "zero-shot accuracy",
    "i2t_recall_at_1": "recall@1, image to text",
    "t2i_recall_at_1": "recall@1, text to image",
    "clustering_ari": "joint clustering, ARI",
    "cider_memory": "captions from the memory of training captions, CIDEr",
}
RECORD = ("profile", "method", "alpha", "seed", "training", "metrics")  # what of a record goes with the weights
PLACE = "local-dir:PATH-OF-THIS-FOLDER"
LOAD = """```python
import open_clip

model, _, transform = open_clip.create_model_and_transforms("{place}")
{tokenizer}```"""
TOKENIZER = 'tokenizer = open_clip.get_tokenizer("{place}")\n'
WORDS = "Its tokenizer is one of words, which `tpccma.training.encoders.load_encoder` reads from the file of weights."
MIXTURE = """Without training, by `tpccma dial`: t = {t:g} of the way from the weights `{base}` (base) to `{aligned}`
(aligned). The digests are those of `tpccma.models.identity.weights_identity`, as in a run's record under `base`."""
CENTRE = """`means.safetensors` holds the mean embeddings `images` and `texts` of its owner's pictures and captions.
To centre: take the mean off rows of length 1, and scale them back to length 1."""


def export_model(
    run: str | Path, out: str | Path, means: dict[str, Tensor] | None = None, gap: dict | None = None
) -> Path:
    """Write a model of open_clip with its configuration, weights and card.

    Args:
        run: the folder of a finished run, or a file of weights that this package wrote.
        out: the folder to write; files of these names in it are replaced.
        means: (D,) mean embeddings ``images`` and ``texts``, for centring; None takes those of an export.
        gap: what `tpccma.practice.gap.describe` found, for the card.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: if there are no weights.
        ValueError: if it is not known what the weights belong to, it is no model of open_clip, or the folder holds
            something else.
    """
    run, out = Path(run), Path(out)
    path = _weights(run)
    check_out(out)
    architecture = _architecture(path)
    preprocess = {name: list(v) if isinstance(v, tuple) else v for name, v in _preprocessing(architecture).items()}
    config = {"model_cfg": config_of(architecture.name), "preprocess_cfg": preprocess}
    tokenizer = read_note(path, "tokenizer")
    record, mixture = _record(run) or read_note(path, "record"), read_note(path, "mixture")
    notes = {
        "tokenizer": tokenizer,
        "mixture": mixture,
        "record": {key: record[key] for key in RECORD if key in record},
    }
    metadata = {"format": "pt", "architecture": architecture.model_dump_json()}
    metadata |= {name: json.dumps(note) for name, note in notes.items() if note}  # an export of it tells the same
    save_weights(read_weights(path), out / MODEL, metadata)
    write_whole(out / CONFIG, json.dumps(config, indent=2) + "\n")
    if means is None and path.name == MODEL and path.with_name(MEANS).is_file():  # an export's own
        means = read_weights(path.with_name(MEANS))
    (out / MEANS).unlink(missing_ok=True)  # of another model
    if means:
        with whole_file(out / MEANS) as partial, writing(out / MEANS):
            save_file({name: mean.float().contiguous() for name, mean in means.items()}, partial)
    write_whole(out / CARD, card(architecture.name, record, mixture, bool(tokenizer), bool(means), gap))
    return out


def check_out(out: Path) -> None:
    """See to it that a folder holds nothing but an earlier export, and what a repository has hidden.

    Raises:
        ValueError: naming what else it holds.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder to write")
    known = {CONFIG, MODEL, MEANS, CARD}
    others = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if foreign := [name for name in others if name not in known and not name.startswith(".")]:
        raise ValueError(f"{out} holds {foreign[0]} and so is no export: name a new folder")


def measure(run: Path, images_dir: Path, captions: Path) -> dict:
    """Measure a model on pictures and their first captions: ``means`` and ``gap``, as `export_model` takes them."""
    path = _weights(run)
    architecture = _architecture(path).model_copy(update={"pretrained": str(path)})
    images, texts = embed_pairs(architecture, read_pairs(images_dir, captions))
    return {"means": {"images": images.mean(0), "texts": texts.mean(0)}, "gap": describe(images, texts)}


def _weights(run: Path) -> Path:
    path = file_in(run)
    check_exists(path)
    return path


def _architecture(path: Path) -> OpenClipModel:
    said = read_note(path, "architecture")
    if said.get("kind") != "open_clip":
        kind = said.get("kind", "not said")
        raise ValueError(f"{path} holds a model of kind {kind!r}: give a run of an open_clip model, or its weights")
    return OpenClipModel(**said).for_pictures()


def _record(run: Path) -> dict:
    path = run / "record.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"{path} is damaged; remove it and run `tpccma train` again") from None


def card(name: str, record: dict, mixture: dict, words: bool, means: bool, gap: dict | None) -> str:
    """Write a model card: how it was made, what was measured, how it is loaded.

    Args:
        name: of the architecture.
        record: of its run, or {}.
        mixture: ``t``, and what names the weights of ``base`` and ``aligned``, of a model between two; or {}.
        words: whether its tokenizer is this package's own.
        means: whether mean embeddings lie beside it.
        gap: what `tpccma.practice.gap.describe` found, or None.

    Returns:
        Markdown with the hub's front matter.
    """
    parts = ["---\nlibrary_name: open_clip\npipeline_tag: zero-shot-image-classification\ntags: [clip, tpccma]\n---"]
    parts += [
        f"# {name}, {_how(record, mixture)} by tpccma",
        LOAD.format(place=PLACE, tokenizer="" if words else TOKENIZER.format(place=PLACE)),
    ]
    parts += [WORDS] * words
    if record:
        made = ", ".join(f"{key} {record.get(key)}" for key in ("profile", "method", "alpha", "seed"))
        measured = {said: record["metrics"][key] for key, said in SHOWN.items() if key in record.get("metrics", {})}
        rows = [f"| {said} | {value:.4f} |" for said, value in measured.items()]
        parts += [f"## Measured\n\n{_how(record, {}).capitalize()}: {made}. On the test data of that profile:",
                  "\n".join(["| measure | value |", "| --- | ---: |", *rows])]  # fmt: skip
    if mixture:
        parts += ["## Made\n\n" + MIXTURE.format(**mixture)]
    if gap:
        parts += ["## On its owner's pictures and captions", "```text\n" + "\n".join(lines(gap)) + "\n```"]
    return "\n\n".join([*parts, *([CENTRE] * means)]) + "\n"


def _how(record: dict, mixture: dict) -> str:
    if mixture:
        return "mixed"
    return "fine-tuned" if record.get("training") else "written"


def push(folder: Path, repository: str) -> str:
    """Upload an exported model to Hugging Face's hub; returns its address."""
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        hub.create_repo(repository, exist_ok=True)
        return str(hub.upload_folder(repo_id=repository, folder_path=folder))
    except Exception as error:  # of the hub, of the network
        raise OSError(f"{folder} is written, but was not uploaded to {repository!r}: {error}") from None
