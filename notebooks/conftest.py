"""How processes share the tests: a file is one's, and chapters that share runs too."""

import pytest

# The second takes up the run of the first.
SHARE_RUNS = ("03_train", "04_evaluate")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Deal out whole files, in the order in which they are collected."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return "runs" if any(name in path for name in SHARE_RUNS) else path

    return ByFile(config, log)
