"""Data as the rest of the package sees it: three splits of image-caption pairs, and pictures of known classes."""

from dataclasses import replace

from tpccma.data.corpus import Corpus, Labelled, Pairs

__all__ = ["Corpus", "Labelled", "Pairs", "load_corpus"]


def load_corpus(profile) -> Corpus:
    """Load the data that a profile names.

    Args:
        profile: a `tpccma.profiles.Profile`.

    Returns:
        Its `Corpus`.

    Raises:
        FileNotFoundError: if the profile's files are not where it says; the message tells where they are to be had.
    """
    from tpccma.data.content import content_of_files

    content = content_of_files(profile.data)
    return replace(_load(profile), content=content)


def _load(profile) -> Corpus:
    if profile.data.kind == "demo":
        from tpccma.data.scenes import load_demo

        return load_demo(profile.data)
    if profile.data.kind == "photos":
        from tpccma.data.photos import load_photos

        return load_photos(profile.data, profile.model)
    if profile.data.kind == "paper":
        from tpccma.data.paper import load_paper

        return load_paper(profile.data, profile.model)
    from tpccma.data.fashion import load_fashion

    return load_fashion(**profile.data.model_dump(exclude={"kind"}))
