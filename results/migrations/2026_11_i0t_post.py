"""The records of ``i0t-post`` go: I0T's post-hoc variant (arXiv 2412.14384) is mean-centring under another name.

It was run by the same formula on the same base models, and then left out wherever methods were counted. This script
removes its records once it has seen that each says the same as that of mean-centering of its seed, and builds
``results.csv`` anew::

    python results/migrations/2026_11_i0t_post.py

It has been run; run again, it changes nothing.
"""

import math
import sys
from pathlib import Path

from tpccma.runs.records import build_csv, load_records, read_record, record_path

GONE, TWIN = "i0t-post", "mean-centering"


def says_the_same(record: dict, twin: dict) -> bool:
    """Say whether two records name the same measures and agree in each, up to rounding."""
    one, other = record["metrics"], twin["metrics"]
    return one.keys() == other.keys() and all(math.isclose(one[name], other[name], abs_tol=1e-6) for name in one)


def main(results_dir: str = "results") -> None:
    """Remove every record of a method that repeats another one's."""
    for record in load_records(results_dir):
        if record["method"] == GONE:
            path, twin = (
                record_path(record["profile"], method, record["alpha"], record["seed"], results_dir)
                for method in (GONE, TWIN)
            )
            assert says_the_same(record, read_record(twin)), f"{path} says what {twin} does not"
            path.unlink()
            print(Path(path).name)
    build_csv(results_dir)


if __name__ == "__main__":
    main(*sys.argv[1:])
