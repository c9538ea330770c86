"""Whether a profile's runs can be recorded in a folder, asked before anything is trained."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from tpccma.profiles import Profile, load_profile, profile_names
from tpccma.runs.jobs import BASE
from tpccma.runs.records import read_record
from tpccma.training.identity import fingerprint

PARTS = ("data", "model", "base", "fine_tune", "loss", "curriculum", "first_reading", "evaluation", "learning_rates")


def check_room(profile: Profile, results_dir: str | Path = "results") -> None:
    """See to it that there is room for a profile's records: a folder to write to, and not another profile's.

    A profile that differs from the one that ships by its name, in more than places, is one of its own. It may keep the
    name, as small trials of ``demo`` do, where no training of the shipped one is recorded.

    Args:
        profile: whose runs are to be recorded.
        results_dir: where the records go.

    Raises:
        OSError: if it cannot be written to.
        ValueError: if it holds records of the shipped profile, from which this one differs; the message says in what.
    """
    folder = Path(results_dir) / profile.name
    for place in (folder.parent, folder):
        _check_writable(place)
    differs = differences(profile, load_profile(profile.name)) if profile.name in profile_names() else []
    if differs and any(_is_of(record, load_profile(profile.name), profile) for record in _records(folder)):
        raise ValueError(
            f"profile {profile.name!r} differs from the one that ships by that name (in {', '.join(differs)}), whose "
            f"records lie in {folder}; give it a name of its own (name: in its file) or say another --results-dir"
        )


def _check_writable(folder: Path) -> None:
    """Write a nameless file to a folder, or to where the folder is to be made."""
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise type(error)(
            f"{folder} cannot be written to ({error.strerror}): make it writable, or say another --results-dir"
        ) from None


def differences(profile: Profile, other: Profile) -> list[str]:
    """Name the settings in which two profiles differ, by which their runs are others: places of data are none."""
    one, two = ({name: _plain(getattr(each, name)) for name in PARTS} for each in (profile, other))
    found = [
        f"{part}.{name}"
        for part in PARTS
        for name in sorted(one[part].keys() | two[part].keys())
        if one[part].get(name) != two[part].get(name)
    ]
    return found or (["model.pretrained"] if _weights_differ(profile, other) else [])


def _plain(part) -> dict:
    return part if isinstance(part, dict) else part.identity()


def _weights_differ(profile: Profile, other: Profile) -> bool:
    named = [getattr(each.model, "pretrained", None) for each in (profile, other)]
    if named[0] == named[1] or None in named:
        return named[0] != named[1]
    return fingerprint(profile, BASE, 0.0, 0) != fingerprint(other, BASE, 0.0, 0)


def _records(folder: Path) -> Iterator[dict]:
    yield from (read_record(path) for path in sorted(folder.glob("*.json")))


def _is_of(record: dict, shipped: Profile, profile: Profile) -> bool:
    """Say whether a record is of the shipped profile, and not of what the other one leaves as it is either."""
    own = record.get("training") is not None or not is_record_of(record, profile)
    return own and is_record_of(record, shipped)


def is_record_of(record: dict, profile: Profile) -> bool:
    """Say whether a record has a profile's fingerprint and was measured with its evaluation settings.

    Args:
        record: of a run.
        profile: which may have made it.
    """
    if record.get("evaluation") != profile.model_dump(mode="json")["evaluation"]:
        return False
    return record["fingerprint"] == fingerprint(profile, record["method"], record["alpha"], record["seed"])
