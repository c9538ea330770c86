"""What `make test` executes, in which order, and who shares a process."""

import pytest

# The second takes up the run of the first.
SHARE_RUNS = ("03_train", "04_evaluate")
# They train caption decoders at full length.
DEEP = ("02_post_processing", "04_evaluate")
# Begun first, so that processes end together.
LONG = ("03_train", "test_book", "test_interruption", "test_methods", "test_torture")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]):
    """Leave what takes longest to `make test-deep`; begin with what takes long."""
    items.sort(key=lambda item: item.path.stem not in LONG)
    for item in items:
        if item.path.stem in DEEP:
            item.add_marker(pytest.mark.deep)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Deal out whole files, in the order in which they are collected."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return "runs" if any(name in path for name in SHARE_RUNS) else path

    return ByFile(config, log)
