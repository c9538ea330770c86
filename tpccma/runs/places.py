"""Where a profile's data lie, as options of a command say it, and which profile weights are of."""

import json
from pathlib import Path

from tpccma.profiles import Profile, load_profile, profile_names

PLACES = ("data_dir", "images_dir", "captions")


def find_profile(
    name: str, data_dir: Path | None = None, images_dir: Path | None = None, captions: Path | None = None
) -> Profile:
    """Load a profile with the places that options name.

    Args:
        name: of a profile, or the path of its file.
        data_dir: where its data lie.
        images_dir: where its pictures lie.
        captions: where their captions lie.

    Raises:
        ValueError: if the profile takes no such place.
        FileNotFoundError: if there is nothing at the place.
    """
    named = dict(zip(PLACES, (data_dir, images_dir, captions), strict=True))
    given = {place: path for place, path in named.items() if path is not None}
    profile = load_profile(name)
    for place in given:
        _check_takes(profile, place)
    profile = load_profile(profile, **{f"data__{place}": path for place, path in given.items()})
    for place in given:
        path = _place_of(profile, place)
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}, which {_option(place)} names")
    return profile


def _place_of(profile: Profile, place: str) -> Path:
    """Say where a place is; the profile `paper` has the others below its ``data_dir``."""
    root = getattr(profile.data, "data_dir", None) or Path()
    return root if place == "data_dir" else root / getattr(profile.data, place)


def _option(place: str) -> str:
    return f"--{place.replace('_', '-')}"


def _check_takes(profile: Profile, place: str) -> None:
    taken = [_option(name) for name in PLACES if name in type(profile.data).model_fields]
    if _option(place) not in taken:
        raise ValueError(
            f"profile {profile.name!r} takes no {_option(place)}: it takes {', '.join(taken) or 'no place of data'}"
        )


def profile_of(checkpoint: Path) -> str:
    """Name the shipped profile that weights are measured on where none is asked for: a run's own, else the demo.

    Raises:
        ValueError: if they are of a run of another profile, of which the name alone is known.
    """
    path = checkpoint.expanduser() / "record.json"
    try:
        name = json.loads(path.read_text())["profile"] if path.is_file() else "demo"
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError(f"{path} is damaged; remove it, or say --profile") from None
    if name not in profile_names():
        raise ValueError(f"{checkpoint} is a run of profile {name!r}: say its file, --profile FILE.yaml")
    return name
