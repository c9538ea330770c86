"""Whether a profile's runs can be recorded in a folder, asked before anything is trained."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from tpccma.profiles import Profile, load_profile, profile_names
from tpccma.runs.jobs import BASE
from tpccma.runs.records import read_record
from tpccma.training.identity import fingerprint

PARTS = (
    "data",
    "model",
    "base",
    "fine_tune",
    "loss",
    "curriculum",
    "first_reading",
    "floor",
    "evaluation",
    "learning_rates",
)


def check_room(profile: Profile, results_dir: str | Path = "results") -> None:
    """See to it that there is room for a profile's records: a folder to write to, and not another profile's.

    Args:
        profile: whose runs are to be recorded.
        results_dir: where the records go.

    Raises:
        OSError: if it cannot be written to.
        ValueError: see `check_records`.
    """
    for place in (Path(results_dir), Path(results_dir) / profile.name):
        _check_writable(place)
    check_records(profile, results_dir)


def check_records(profile: Profile, results_dir: str | Path = "results") -> None:
    """See to it that the records of a profile's name are its own.

    A profile that differs from the one that ships by its name, in more than places, is one of its own. It may keep the
    name, as small trials of ``demo`` do, where no training of the shipped one is recorded.

    Args:
        profile: whose records are to be used.
        results_dir: where they lie.

    Raises:
        ValueError: if it holds records of the shipped profile, from which this one differs; the message says in what.
            Where the shipped one's weights would have to be fetched to tell, all records but its own count.
    """
    folder = Path(results_dir) / profile.name
    shipped = load_profile(profile.name) if profile.name in profile_names() else profile
    differs = differences(profile, shipped)
    other = (
        next((record for record in _records(folder) if _is_others(record, shipped, profile)), None) if differs else None
    )
    if other:
        raise ValueError(
            f"profile {profile.name!r} differs from the one that ships by that name (in {', '.join(differs)}), and "
            f"{folder} holds records that are not its own, as of {other['method']}; give it a name of its own "
            "(name: in its file) or say another --results-dir"
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


def differences(profile: Profile, shipped: Profile) -> list[str]:
    """Name the settings, but for places, in which a profile differs from one that ships, so that its runs differ."""
    one, two = ({name: _plain(getattr(each, name)) for name in PARTS} for each in (profile, shipped))
    found = [
        f"{part}.{name}"
        for part in PARTS
        for name in sorted(one[part].keys() | two[part].keys())
        if one[part].get(name) != two[part].get(name)
    ]
    found += ["bases"] if profile.bases != shipped.bases else []
    return found or (["model.pretrained"] if _weights_differ(profile, shipped) else [])


def _plain(part) -> dict:
    return part if isinstance(part, dict) else part.identity()


def _weights_differ(profile: Profile, shipped: Profile) -> bool:
    named = [getattr(each.model, "pretrained", None) for each in (profile, shipped)]
    if named[0] == named[1] or None in named or not _is_at_hand(shipped):
        return named[0] != named[1]
    return fingerprint(profile, BASE, 0.0, 0) != fingerprint(shipped, BASE, 0.0, 0)


def _is_at_hand(shipped: Profile) -> bool:
    """Say whether a shipped profile's weights, if it starts from any, ship too: others would have to be fetched."""
    return shipped.data.kind == "demo" or getattr(shipped.model, "pretrained", None) is None


def _records(folder: Path) -> Iterator[dict]:
    yield from (read_record(path) for path in sorted(folder.glob("*.json")))


def _is_others(record: dict, shipped: Profile, profile: Profile) -> bool:
    """Say whether a record is of the shipped profile and no base, or the like, that the other one has as well.

    Where other weights than the shipped profile's are named, and those are not here, it is whether it is not its own.
    """
    own = is_record_of(record, profile)
    if profile.model != shipped.model and not _is_at_hand(shipped):
        return not own
    return (not own or record.get("training") is not None) and is_record_of(record, shipped)


def is_record_of(record: dict, profile: Profile) -> bool:
    """Say whether a record has a profile's fingerprint and was measured with its evaluation settings.

    Args:
        record: of a run.
        profile: which may have made it.
    """
    if record.get("evaluation") != profile.model_dump(mode="json")["evaluation"]:
        return False
    return record["fingerprint"] == fingerprint(profile, record["method"], record["alpha"], record["seed"])
