"""Print the licence of every installed package, as it states it itself: run with the Python of the environment."""

from importlib.metadata import Distribution, distributions


def licence_of(package: Distribution) -> str:
    """Say under which licence a package stands: its expression, its classifiers, or the first line of its text."""
    stated = package.metadata
    named = [line.rpartition(" :: ")[2] for line in stated.get_all("Classifier", []) if line.startswith("License ::")]
    text = (stated.get("License") or "").strip().split("\n")[0]
    return stated.get("License-Expression") or ", ".join(named) or text.replace("UNKNOWN", "") or "not stated"


if __name__ == "__main__":
    for name, version, licence in sorted({(each.name, each.version, licence_of(each)) for each in distributions()}):
        print(f"{name:40} {version:16} {licence:.80}")
