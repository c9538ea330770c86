"""The commands for embeddings and models of one's own."""

from typing import Annotated

import typer

from tpccma.cli.options import Json, at_least_one, print_json


def gap(
    images: Annotated[str, typer.Argument(help="image embeddings: npy, npz, pt or safetensors; FILE:NAME of several")],
    texts: Annotated[str, typer.Argument(help="text embeddings of the same pairs, row by row")],
    normalize: Annotated[bool, typer.Option("--normalize", help="scale rows to length 1, not refuse others")] = False,
    resamples: Annotated[int, typer.Option(callback=at_least_one, help="of the bootstrap over pairs")] = 1000,
    as_json: Json = False,
) -> None:
    """Measure the modality gap of paired embeddings, with 95 % intervals over the pairs."""
    from tpccma.data.embeddings import read_embeddings
    from tpccma.metrics import describe_gap

    found = describe_gap(read_embeddings(images), read_embeddings(texts), normalize, resamples)
    if as_json:
        return print_json(found)
    print(f"{found['pairs']} pairs of width {found['width']}")
    for name in ("raw", "centroid", "distribution", "scale_free"):
        low, high = found[f"{name}_interval"]
        print(f"{name.replace('_', '-'):13}{found[name]:8.4f}   [{low:.4f}, {high:.4f}]")
