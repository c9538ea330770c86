"""Shards in img2dataset's layout, made here: streamed, shuffled, dealt out, and whatever is damaged counted."""

import io
import json
import logging
import tarfile
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from tpccma.data import shard_files
from tpccma.data import shards as shards_module
from tpccma.data.shard_files import find_shards
from tpccma.data.shards import COUNTED, Pair, PairStream

NONE = dict.fromkeys(COUNTED, 0)


def tokenizer(texts: list[str]) -> Tensor:
    """The number that ends a text."""
    return torch.tensor([[int(text.split()[-1])] for text in texts])


def picture(number: int, kind: str = "JPEG") -> bytes:
    """A picture whose every pixel is the number, 2 by 2 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (2, 2), (number, number, number)).save(file, kind, quality=95)
    return file.getvalue()


def pair(number: int) -> dict[str, bytes]:
    return {"jpg": picture(number), "txt": f"picture {number}".encode(), "json": b"{}"}


def write_shard(path: Path, samples: dict[str, dict[str, bytes]], stats: bool = True, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for key, parts in samples.items():
            for name, content in parts.items():
                entry = tarfile.TarInfo(f"{key}.{name}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    if stats:
        path.with_name(f"{path.stem}_stats.json").write_text(json.dumps({"count": 99, "successes": len(samples)}))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four shards of six pairs, numbered 0 to 23."""
    for shard in range(4):
        numbers = range(6 * shard, 6 * shard + 6)
        write_shard(tmp_path / f"{shard:05d}.tar", {f"{shard:05d}{n:04d}": pair(n) for n in numbers})
    return tmp_path


def stream(folder: Path, **settings) -> PairStream:
    return PairStream(find_shards(f"{folder}/{{00000..00003}}.tar").paths, to_tensor, tokenizer, **settings)


def numbers(pairs: PairStream, batches: int, batch_size: int = 6, workers: int = 0) -> list[int]:
    """Take batches and name their pairs; picture and text are checked to belong together."""
    found: list[int] = []
    for _, (images, tokens) in zip(range(batches), pairs.batches(batch_size, workers), strict=False):
        assert images.shape == (batch_size, 3, 2, 2) and tokens.shape == (batch_size, 1)
        assert (images.mean((1, 2, 3)) * 255 - tokens[:, 0]).abs().max() < 2  # JPEG is not exact
        found += tokens[:, 0].tolist()
    return found


# ---- finding


def test_pattern_finds_shards_and_counts_their_pairs(folder: Path):
    shards = find_shards(f"{folder}/{{00000..00003}}.tar")
    assert [path.name for path in shards.paths] == [f"0000{i}.tar" for i in range(4)]
    assert (shards.missing, shards.pairs) == ([], 24)
    (folder / "00002_stats.json").unlink()
    assert find_shards(f"{folder}/{{00000..00003}}.tar").pairs is None


def test_missing_shards_are_refused_or_named(folder: Path, caplog: pytest.LogCaptureFixture):
    (folder / "00001.tar").unlink()
    pattern = f"{folder}/{{00000..00004}}.tar"
    with pytest.raises(FileNotFoundError, match=r"2 of 5 shards of .* do not exist, such as .*00001\.tar; fetch them"):
        find_shards(pattern)
    with caplog.at_level(logging.WARNING):
        shards = find_shards(pattern, skip_missing=True)
    assert [path.name for path in shards.missing] == ["00001.tar", "00004.tar"]
    assert "2 of 5 shards" in caplog.text and shards.pairs == 18
    with pytest.raises(FileNotFoundError, match="1 of 1 shards"):
        find_shards(str(folder / "none.tar"), skip_missing=True)


def test_pipe_is_a_file_that_is_not_there_and_no_program(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="1 of 1 shards of pipe:touch "):
        find_shards(f"pipe:touch {tmp_path / 'ran'}", skip_missing=True)
    with pytest.raises(FileNotFoundError):
        next(PairStream([Path(f"pipe:touch {tmp_path / 'ran'}")], to_tensor, tokenizer).batches(1))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text", ["[]", "", "{}", '{"successes": -1}', '{"successes": 1e400}', '{"successes": "6"}', "[" * 100_000, "\x00"]
)
def test_statistics_of_another_kind_are_named(folder: Path, text: str):
    (folder / "00001_stats.json").unlink()  # which makes the sum unknown
    (folder / "00003_stats.json").write_text(text)
    with pytest.raises(ValueError, match=r"00003_stats\.json is not img2dataset's statistics"):
        find_shards(f"{folder}/{{00000..00003}}.tar")


# ---- the stream


@pytest.mark.parametrize("workers", [0, 2])
def test_every_pass_has_every_pair_once_in_an_order_of_its_own(folder: Path, workers: int):
    found = numbers(stream(folder), 8, workers=workers)  # two passes of 24
    first, second = found[:24], found[24:]
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second and first != list(range(24))


def test_stream_repeats_by_seed(folder: Path):
    one, again, other = (numbers(stream(folder, seed=seed), 4) for seed in (1, 1, 2))
    assert one == again != other


def test_small_buffer_mixes_shards_only_in_their_order(folder: Path):
    found = numbers(stream(folder, buffer=1), 4)
    assert [n // 6 for n in found[::6]] != [0, 1, 2, 3]
    assert all(len({n // 6 for n in found[i : i + 6]}) == 1 for i in range(0, 24, 6))


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_share_a_pass_without_overlap(folder: Path, workers: int):
    parts = [numbers(stream(folder, rank=rank, world_size=2), 2, workers=workers) for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == list(range(24))


def test_too_few_shards_for_the_readers_are_named(folder: Path):
    with pytest.raises(ValueError, match="4 shards are too few for 2 processes of 3 workers"):
        stream(folder, world_size=2).batches(6, workers=3)


@pytest.mark.parametrize("workers", [0, 2])
def test_used_pairs_are_counted(folder: Path, workers: int):
    pairs = stream(folder, buffer=1)
    numbers(pairs, 4, workers=workers)
    assert pairs.tally()["used"] >= 24  # workers read ahead
    assert {**pairs.tally(), "used": 0} == NONE


# ---- going on after batches that were taken before


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Six shards of ten pairs, numbered 0 to 59; pictures 7, 23 and 41 are damaged, pair 12 has no text."""
    for shard in range(6):
        pairs = {n: pair(n) for n in range(10 * shard, 10 * shard + 10)}
        for n in DAMAGED & pairs.keys():
            pairs[n]["jpg"] = pairs[n]["jpg"][:150]
        if 12 in pairs:
            pairs[12]["txt"] = b" "
        write_shard(tmp_path / f"{shard:05d}.tar", {f"{n:09d}": parts for n, parts in pairs.items()})
    return tmp_path


def note_opened(patch: pytest.MonkeyPatch, path: Path) -> None:
    """Let every reader add the number in each picture that it opens to a file, -1 of a damaged one."""
    open_picture = shards_module.open_picture

    def opened(content: bytes) -> Image.Image:
        with path.open("a") as file:
            file.write(f"{NUMBERS.get(content, -1)}\n")
        return open_picture(content)

    patch.setattr(shards_module, "open_picture", opened)


NUMBERS = {picture(number): number for number in range(60)}
DAMAGED = {7, 23, 41}


def large_stream(folder: Path) -> PairStream:
    return PairStream(sorted(folder.glob("*.tar")), to_tensor, tokenizer, seed=3, buffer=8)


def opened_numbers(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "opened").read_text().split()]


@pytest.mark.parametrize(("workers", "taken"), [(0, 1), (0, 2), (0, 3), (0, 9), (2, 1), (2, 2), (2, 3), (2, 6)])
def test_stream_goes_on_where_it_was_and_opens_no_picture_again(
    large: Path, workers: int, taken: int, monkeypatch: pytest.MonkeyPatch
):
    first, second = large_stream(large), large_stream(large)
    whole = first.batches(4, workers)
    seen = [n for _, tokens in islice(whole, taken) for n in tokens[:, 0].tolist()]
    place = json.loads(json.dumps(first.place))  # as a checkpoint keeps it
    expected = list(islice(whole, 3))  # within the first pass
    note_opened(monkeypatch, large / "opened")
    rest = second.batches(4, workers, place)
    for (images, tokens), (own_images, own_tokens) in zip(expected, rest, strict=False):
        assert torch.equal(images, own_images) and torch.equal(tokens, own_tokens)
    opened = opened_numbers(large)
    assert set(opened) & set(seen) == set() and len(opened) >= 12
    drawn, unreadable = (sum(each) for each in zip(*place["workers"], strict=True))
    assert drawn - unreadable == 4 * taken == len(seen)
    if not workers:  # else they read ahead, into the next pass
        assert max(Counter(n for n in opened if n >= 0).values()) == 1
        assert opened.count(-1) <= len(DAMAGED) - unreadable


@pytest.mark.parametrize("workers", [0, 2])
def test_stream_goes_on_in_a_later_pass(large: Path, workers: int):
    first, second = large_stream(large), large_stream(large)
    whole = first.batches(4, workers)
    for _ in range(25):  # 56 pairs a pass
        next(whole)
    assert first.place["batches"] == 25 and sum(unreadable for _, unreadable in first.place["workers"]) in (5, 6)
    rest = second.batches(4, workers, first.place)
    for _ in range(15):
        assert all(torch.equal(one, other) for one, other in zip(next(whole), next(rest), strict=True))
    assert first.place == second.place
    if not workers:  # else they read ahead
        assert first.tally() == second.tally()


def test_place_of_other_workers_is_refused(large: Path):
    stream = large_stream(large)
    next(stream.batches(4))
    with pytest.raises(ValueError, match=r"was read by 1 workers and cannot go on with 2: .* use as many as before"):
        stream.batches(4, 2, stream.place)


# ---- what waits


def test_pictures_wait_undecoded(folder: Path, monkeypatch: pytest.MonkeyPatch):
    note_opened(monkeypatch, folder / "opened")
    pairs = stream(folder, buffer=12)
    found = numbers(pairs, 1)
    assert opened_numbers(folder) == found and len(found) == 6  # of 24, while eleven wait


def waiting(pairs: PairStream, sizes: list[int]) -> list[list[int]]:
    """Draw pairs of some sizes, one byte of each a text; say which wait whenever the next one is read."""
    drawn, waits = [], []

    def read():
        for number, size in enumerate(sizes):
            waits.append([sizes[n] for n in range(number) if n not in drawn])
            yield Pair(str(number), bytes(size - 1), "a")

    for pair in pairs._draw(read(), Random(0)):
        drawn.append(int(pair.name))
    assert sorted(drawn) == [*range(len(sizes))]
    return waits


def test_what_waits_is_bounded_in_pairs_and_in_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert [len(wait) for wait in waiting(stream(folder, buffer=4), [10] * 8)] == [0, 1, 2, 3, 3, 3, 3, 3]
    monkeypatch.setattr(shards_module, "MAX_HELD", 100)
    waits = waiting(stream(folder), [10, 60, 20, 101, 90, 5, 100, 30, 2, 2, 2])
    assert max(map(sum, waits)) <= 100 and waits[3] == [10, 60, 20]


def test_buffer_of_5000_takes_less_than_a_gibibyte_whatever_the_pictures(folder: Path):
    assert shards_module.MAX_HELD + shard_files.MAX_BYTES <= 2**30
    content = io.BytesIO()
    noise = torch.randint(256, (256, 256, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(content, "JPEG", quality=95)  # as img2dataset writes them, the costliest
    assert 5_000 * Pair("", content.getvalue(), "a caption").size < shards_module.MAX_HELD


# ---- what is damaged


def damaged(kind: str) -> dict[str, bytes]:
    parts = pair(100)
    if kind == "without_text":
        del parts["txt"]
    elif kind == "blank":
        parts["txt"] = b" \n"
    elif kind == "without_image":
        del parts["jpg"]
    elif kind == "unreadable_image":
        parts["jpg"] = parts["jpg"][:150]
    return parts


@pytest.mark.parametrize("kind", ["without_text", "blank", "without_image", "unreadable_image"])
def test_damaged_pair_is_skipped_and_counted_or_ends_the_run(tmp_path: Path, kind: str):
    samples = {"000": pair(0), "001": damaged(kind), "002": pair(2)}
    path = write_shard(tmp_path / "00000.tar", samples)
    pairs = PairStream([path], to_tensor, tokenizer, buffer=1)
    assert numbers(pairs, 1, batch_size=2) == [0, 2]
    counted = "without_text" if kind == "blank" else kind
    assert pairs.tally() == {**NONE, "used": 2, counted: 1}
    strict = PairStream([path], to_tensor, tokenizer, buffer=1, skip_bad=False)
    with pytest.raises(ValueError, match=rf"pair 001 of .*00000\.tar: {counted.replace('_', ' ')}"):
        numbers(strict, 1, batch_size=2)


@pytest.mark.parametrize("where, left", [("in a picture", 1), ("between two pairs", 2)])
def test_truncated_shard_is_counted_and_the_others_read(
    folder: Path, where: str, left: int, caplog: pytest.LogCaptureFixture
):
    path = folder / "00000.tar"
    with tarfile.open(path) as tar:
        third = tar.getmembers()[6]  # three files a pair
    cut = third.offset_data + 100 if where == "in a picture" else third.offset
    path.write_bytes(path.read_bytes()[:cut])
    pairs = stream(folder)
    with caplog.at_level(logging.WARNING):
        found = numbers(pairs, left + 18, batch_size=1)
    assert sorted(found) == [*range(left), *range(6, 24)]
    assert pairs.tally() == {**NONE, "used": left + 18, "broken_shard": 1}
    assert "00000.tar is damaged" in caplog.text
    with pytest.raises(ValueError, match=r"00000\.tar is damaged .*; fetch it again"):
        numbers(stream(folder, skip_bad=False), 4)


def test_file_of_a_shard_is_read_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A compressed shard of some kilobytes can hold a file that would fill the memory."""
    samples = {"000": pair(0), "001": {"jpg": bytes(10**6), "txt": b"picture 1"}, "002": pair(2)}
    path = write_shard(tmp_path / "00000.tar", samples, mode="w:gz")
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(shard_files, "MAX_BYTES", 1_000)
    with path.open("rb") as stream:
        assert max(len(file["data"]) for file in shard_files.read_files(stream, path)) == 1_000
    pairs = PairStream([path], to_tensor, tokenizer, buffer=1)
    assert numbers(pairs, 1, batch_size=2) == [0, 2]
    assert pairs.tally() == {**NONE, "used": 2, "unreadable_image": 1}


@pytest.mark.parametrize("damage", ["cut", "overwritten", "of a size that it does not have"])
def test_shard_that_cannot_be_unpacked_is_counted(folder: Path, damage: str):
    path, samples = folder / "00000.tar", {f"{n:03d}": pair(n) for n in range(6)}
    content = bytearray(write_shard(path, samples, mode="w:gz").read_bytes())
    half = len(content) // 2
    if damage == "cut":
        content = content[:half]
    elif damage == "overwritten":
        content[half : half + 100] = bytes(100)
    else:
        entry = tarfile.TarInfo("000.jpg")
        entry.size = 10**12
        content = entry.tobuf() + picture(0)
    path.write_bytes(content)
    pairs = stream(folder, buffer=1)
    found = numbers(pairs, 4)
    assert set(range(6, 24)) <= set(found) and pairs.tally()["broken_shard"] >= 1
    with pytest.raises(ValueError, match=r"00000\.tar.+ let it be skipped \(skip_bad\)"):
        numbers(stream(folder, skip_bad=False), 4)


def test_file_that_is_no_tar_is_counted(folder: Path):
    (folder / "00002.tar").write_bytes(b"<html>404</html>" * 100)
    pairs = stream(folder)
    assert sorted(numbers(pairs, 3)) == [n for n in range(24) if n // 6 != 2]
    assert pairs.tally()["broken_shard"] == 1


@pytest.mark.parametrize("where", [".", "a.b[c]"])
def test_stars_stand_for_shards_in_order(folder: Path, where: str):
    (folder / where).mkdir(exist_ok=True)
    for path in [*folder.glob("0*")] if where != "." else []:
        path.rename(folder / where / path.name)
    shards = find_shards(f"{folder}/{where}/{{0000?,none-*}}.tar", skip_missing=True)
    assert [path.name for path in shards.paths] == [f"0000{i}.tar" for i in range(4)]
    assert ([path.name for path in shards.missing], shards.pairs) == (["none-*.tar"], 24)
    with pytest.raises(FileNotFoundError, match=r"1 of 1 shards of .*none-\*\.tar do not exist"):
        find_shards(f"{folder}/none-*.tar")


def test_caption_in_json_is_read_where_there_is_no_txt(tmp_path: Path):
    samples = {
        "000": {"jpeg": picture(0), "json": b'{"caption": " picture 0 ", "url": "x"}'},
        "001": {"PNG": picture(1, "PNG"), "JSON": b'{"caption": "picture 1"}'},
        "002": {"jpg": picture(2), "json": b'{"caption": "picture 99"}', "txt": b"picture 2"},
    }
    pairs = PairStream([write_shard(tmp_path / "00000.tar", samples)], to_tensor, tokenizer, buffer=1)
    assert numbers(pairs, 1, batch_size=3) == [0, 1, 2]
    assert pairs.tally() == {**NONE, "used": 3}


NO_TEXT = {
    "no json": {"json": b"{"},
    "deep json": {"json": b"[" * 100_000},
    "long number": {"json": b"1" * 5_000},
    "no object": {"json": b"[]"},
    "null": {"json": b'{"caption": null}'},
    "number": {"json": b'{"caption": 7}'},
    "blank": {"json": b'{"caption": " "}'},
    "blank txt": {"txt": b" ", "json": b'{"caption": "picture 1"}'},
    "Windows-1252": {"txt": "café 1".encode("cp1252")},
    "json in Windows-1252": {"json": '{"caption": "café 1"}'.encode("cp1252")},
    "neither": {"cls": b"1"},
}


@pytest.mark.parametrize("kind", NO_TEXT)
def test_pair_without_readable_text_is_counted_or_named(tmp_path: Path, kind: str):
    samples = {"000": pair(0), "001": {"jpg": picture(1), **NO_TEXT[kind]}}
    path = write_shard(tmp_path / "00000.tar", samples)
    pairs = PairStream([path], to_tensor, tokenizer, buffer=1)
    assert numbers(pairs, 1, batch_size=2) == [0, 0]
    assert pairs.tally() == {**NONE, "used": 2, "without_text": 1}
    strict = PairStream([path], to_tensor, tokenizer, buffer=1, skip_bad=False)
    with pytest.raises(ValueError, match=r"pair 001 of .*00000\.tar: without text.*; repair the shard"):
        numbers(strict, 1, batch_size=2)


def test_files_that_nothing_uses_are_not_read(tmp_path: Path):
    """So that no sample, however many files it has, fills the memory."""
    extra = {f"x{i}.jpg": bytes(1_000) for i in range(5)} | {"npy": bytes(1_000), "mask": bytes(1_000)}
    path = write_shard(tmp_path / "a.b" / "00000.tar", {"a.b/000": {**pair(3), **extra}}, stats=False)
    with path.open("rb") as stream:
        sizes = {file["fname"]: len(file["data"]) for file in shard_files.read_files(stream, path)}
    assert {name for name, size in sizes.items() if size} == {f"a.b/000.{kind}" for kind in ("jpg", "txt", "json")}
    assert numbers(PairStream([path], to_tensor, tokenizer), 1, batch_size=1) == [3]


def test_shards_without_any_usable_pair_end_the_run(tmp_path: Path):
    path = write_shard(tmp_path / "00000.tar", {"000": damaged("without_text")})
    with pytest.raises(ValueError, match=r"no usable pair in 1 shards, the first .*'without_text': 1"):
        numbers(PairStream([path], to_tensor, tokenizer), 1)


def test_other_picture_formats_are_read(tmp_path: Path):
    samples = {
        "000": {"png": picture(7, "PNG"), "txt": b"picture 7"},
        "001": {"webp": picture(9, "WEBP"), "txt": b"a 9"},
    }
    path = write_shard(tmp_path / "00000.tar", samples, stats=False)
    assert sorted(numbers(PairStream([path], to_tensor, tokenizer), 1, batch_size=2)) == [7, 9]
