"""Where chapters run when several processes share the tests: each in one of them."""

from pathlib import Path

import pytest

# One takes up the runs of another.
SHARE_RUNS = ("02_post_processing", "03_train", "04_evaluate")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the cells of a chapter, and chapters that share runs, into one group."""
    for item in items:
        path = Path(item.path)
        if path.suffix == ".ipynb":
            group = "runs" if path.stem in SHARE_RUNS else path.stem
            item.add_marker(pytest.mark.xdist_group(group))
