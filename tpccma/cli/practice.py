"""The commands for embeddings and models of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from tpccma.cli.options import Json, ResultsDir, at_least_one, print_json

ModelName = Annotated[str | None, typer.Option(help="a model of open_clip, such as ViT-B-32-quickgelu")]
Pretrained = Annotated[
    str | None,
    typer.Option(help="its weights: a file, a folder that `export` wrote, or open_clip's tag, such as openai"),
]
Pictures = Annotated[
    Path | None, typer.Option("--images", help="folder such as pictures; 1,000 pictures or more bound it well")
]
CaptionsFile = Annotated[
    Path | None, typer.Option(help="such as captions.csv (image,caption); COCO's, Karpathy's, Flickr's")
]
Shards = Annotated[str | None, typer.Option(help="tar files of webdataset, such as 'cc3m/{00000..00331}.tar'")]
QuickGelu = Annotated[
    bool | None, typer.Option("--quick-gelu/--gelu", help="of weights in a file that does not say: OpenAI's have it")
]
Preprocess = Annotated[
    str | None,
    typer.Option(help="of weights in a file that does not say, as in a profile, such as '{interpolation: bilinear}'"),
]
SkipMissing = Annotated[
    bool,
    typer.Option(
        "--skip-missing", help="leave out damaged pictures, and captions without a file or a word; else an error"
    ),
]
Workers = Annotated[int, typer.Option(min=0, help="that read pictures ahead: 0 for few, else as many as cores")]


def gap(
    images: Annotated[
        str | None,
        typer.Argument(
            help="image embeddings, such as images.npy; npz, pt, safetensors, parquet too; FILE:NAME of several; "
            "or, alone, what `embed` wrote"
        ),
    ] = None,
    texts: Annotated[str | None, typer.Argument(help="text embeddings of the same pairs, such as texts.npy")] = None,
    model: ModelName = None,
    pretrained: Pretrained = None,
    images_dir: Pictures = None,
    captions: CaptionsFile = None,
    skip_missing: SkipMissing = False,
    quick_gelu: QuickGelu = None,
    preprocess: Preprocess = None,
    workers: Workers = 0,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="scale rows to length 1; else others are refused")
    ] = False,
    resamples: Annotated[
        int, typer.Option(callback=at_least_one, help="of the bootstrap over pairs; 1000 is enough for two digits")
    ] = 1000,
    plot: Annotated[Path | None, typer.Option(help="file of a figure, such as gap.svg; png or pdf too")] = None,
    as_json: Json = False,
) -> None:
    """Measure the modality gap of paired embeddings, or of a model on captioned pictures, with 95 % intervals.

    It says which part is the larger and what centring each modality would do. Up to 5,000 pairs recall@1 is measured.
    """
    from tpccma.practice.gap import describe, lines

    named = {"model": model, "pretrained": pretrained, "images": images_dir, "captions": captions}
    _check_sources(images, texts, named)
    if images:
        (images, texts), rows = _open(images, texts)
    else:
        rows = _embed_pictures(named, skip_missing, quick_gelu, preprocess, workers)
    try:
        found = describe(*rows, normalize, resamples)
    except ValueError as error:
        raise ValueError(f"{error}; x is {images}, y is {texts}" if images else error) from None
    if plot:
        from tpccma.figures.clouds import save_gap

        save_gap(found, plot)
    if as_json:
        return print_json(found)
    print("\n".join(lines(found)))


def _check_sources(images: str | None, texts: str | None, named: dict) -> None:
    """Refuse what are neither embeddings nor a model on captioned pictures."""
    given = [name for name, value in named.items() if value is not None]
    if images and images == texts:
        raise ValueError(f"{images} is given twice: the second is to hold the embeddings of the texts")
    both = texts or (images and Path(images).suffix.lower() != ".npy")  # what `embed` wrote holds both
    if (images and both and not given) or (not images and not texts and len(given) == len(named)):
        return
    told = f"; you gave {images}" if images else ""
    if given and not images:
        told = f"; --{' and --'.join(sorted(named.keys() - given))} lack"
    options = " ".join(f"--{name} {name.upper()}" for name in named)
    raise ValueError(f"give two files of embeddings, IMAGES TEXTS, what `embed` wrote, or all of {options}{told}")


def _open(images: str, texts: str | None) -> tuple[tuple, tuple]:
    """Open two matrices: their places, then the rows."""
    from tpccma.practice.arrays import open_rows, places_in

    places = (images, texts) if texts else places_in(images)
    return places, tuple(map(open_rows, places))


def _embed_pictures(
    named: dict, skip_missing: bool, quick_gelu: bool | None, preprocess: str | None, workers: int
) -> tuple:
    """Embed pictures and their captions by a model."""
    from tpccma.practice.embed import architecture_of, embed_pairs, read_pairs

    pairs = read_pairs(named["images"].expanduser(), named["captions"].expanduser(), skip_missing)
    architecture = architecture_of(named["model"], named["pretrained"], quick_gelu, preprocess)
    return embed_pairs(architecture, pairs, workers, skip_missing)


def embed(
    out: Annotated[Path, typer.Argument(help="a file such as all.safetensors, or a folder for images.npy and so on")],
    model: Annotated[str, typer.Option(help="a model of open_clip, such as ViT-B-32-quickgelu")],
    pretrained: Annotated[
        str, typer.Option(help="its weights: a file, a folder that `export` wrote, or open_clip's tag, such as openai")
    ],
    images_dir: Annotated[Path | None, typer.Option("--images", help="folder such as pictures")] = None,
    captions: CaptionsFile = None,
    skip_missing: SkipMissing = False,
    shards: Shards = None,
    quick_gelu: QuickGelu = None,
    preprocess: Preprocess = None,
    workers: Workers = 0,
) -> None:
    """Embed a folder of pictures and their first captions, or shards, by any model of open_clip; run again, it goes on.

    A damaged picture of a folder is an error unless it is skipped. What is damaged in shards is left out. What is left
    out is counted in the end.
    """
    from tpccma.data.embeddings import READERS
    from tpccma.practice.arrays import PARQUET
    from tpccma.practice.embed import architecture_of, embed_to

    if out.suffix != ".safetensors" and (out.suffix.lower() in (*READERS, PARQUET, ".csv") or out.is_file()):
        raise ValueError(f"{out}: embeddings are written to a file named .safetensors, or into a folder")
    if images_dir and out.resolve() == images_dir.resolve():
        raise ValueError(f"{out} holds the pictures: name another folder for their embeddings")
    parts = _parts(images_dir, captions, skip_missing, shards)
    found = embed_to(architecture_of(model, pretrained, quick_gelu, preprocess), parts, out.expanduser(), workers)
    left_out = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in found.left_out.items())
    print(f"{out}: {found.pairs} {'pairs' if captions or shards else 'pictures'} of width {found.width}"
          + f"; left out: {left_out}" * bool(left_out))  # fmt: skip


def _parts(images_dir: Path | None, captions: Path | None, skip_missing: bool, shards: str | None) -> list:
    """List what is to be embedded, in parts."""
    from tpccma.practice.embed import parts_of_folder, read_pairs
    from tpccma.practice.shards import parts_of_shards

    if (images_dir is None) == (shards is None) or (shards and captions):
        raise ValueError("say what to embed: --images DIR, with --captions FILE or without, or --shards PATTERN alone")
    if shards:
        return parts_of_shards(str(Path(shards).expanduser()))
    pairs = read_pairs(images_dir.expanduser(), captions and captions.expanduser(), skip_missing)
    return parts_of_folder(pairs, skip_missing)


def export(
    run: Annotated[Path, typer.Argument(help="folder of a finished run, such as runs/demo/..., or weights of ours")],
    out: Annotated[Path, typer.Argument(help="folder to write, such as my-clip")],
    images_dir: Pictures = None,
    captions: CaptionsFile = None,
    to_hub: Annotated[str | None, typer.Option("--push", help="also upload it to the hub, such as OWNER/NAME")] = None,
) -> None:
    """Write a model as open_clip and Hugging Face's hub have it, with a card; only --push uploads it.

    With pictures and captions the card also has the gap on them, and the means for centring lie beside it.
    """
    from tpccma.practice.export import check_out, export_model, push

    if (images_dir is None) != (captions is None):
        raise ValueError("give both --images DIR and --captions FILE, or neither")
    run, out, measured = run.expanduser(), out.expanduser(), {}
    check_out(out)
    if images_dir and captions:
        from tpccma.practice.export import measure

        measured = measure(run, images_dir.expanduser(), captions.expanduser())
    print(export_model(run, out, **measured))
    if to_hub:
        print(push(out, to_hub))


def report(
    run: Annotated[Path, typer.Argument(help="folder of a finished run, such as runs/demo/...")],
    out: Annotated[Path, typer.Option(help="file to write; one page that can be sent")] = Path("report.html"),
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Write a page of a run in one file: settings, curves, and its measures beside those of its base."""
    from tpccma.practice.report import write_report

    print(write_report(run.expanduser(), out.expanduser(), results_dir))
