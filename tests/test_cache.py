"""The feature cache: computed once, kept in one file, whatever cuts a run off."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tpccma.data import cache as cache_module
from tpccma.data.cache import FeatureCache, content_key
from tpccma.models import weight_files


def keys_of(*texts: str) -> list[bytes]:
    return [content_key(text.encode()) for text in texts]


def test_fill_computes_each_key_once_and_in_order():
    asked = []

    def compute(batch):
        asked.append(batch)
        return torch.tensor([[float(position)] for position in batch])

    cache = FeatureCache(None, width=1)
    cache.add(keys_of("b"), torch.tensor([[100.0]]))
    features = cache.fill(keys_of("a", "b", "c", "a", "d"), compute, batch_size=2)
    assert asked == [[0, 2], [4]]  # not b, which was there, nor the second a
    assert features.tolist() == [[0.0], [100.0], [2.0], [0.0], [4.0]]


def test_fill_of_nothing_is_empty():
    assert FeatureCache(None, width=3).fill([], lambda batch: torch.ones(0, 3), batch_size=2).shape == (0, 3)


def test_cache_survives_in_one_file(tmp_path):
    path = tmp_path / "made" / "kind.safetensors"
    cache = FeatureCache(path, width=2, dtype=torch.uint8)
    cache.add(keys_of("a", "b"), torch.tensor([[1, 2], [3, 4]]))
    cache.save()
    again = FeatureCache(path, width=2, dtype=torch.uint8)
    assert len(again) == 2 and again.stack(keys_of("b", "a")).tolist() == [[3, 4], [1, 2]]
    assert [file.name for file in path.parent.iterdir()] == ["kind.safetensors"]  # no partial file is left


def test_cut_off_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "SAVE_EVERY", 2)
    path, keys = tmp_path / "kind.safetensors", keys_of(*"abcde")

    def fails_at_e(batch):
        if batch == [4]:
            raise KeyboardInterrupt
        return torch.tensor([[float(position)] for position in batch])

    with pytest.raises(KeyboardInterrupt):
        FeatureCache(path, width=1).fill(keys, fails_at_e, batch_size=1)
    asked = []
    features = FeatureCache(path, width=1).fill(
        keys, lambda batch: asked.extend(batch) or torch.tensor([[9.0]]), batch_size=1
    )
    assert asked == [4] and features.flatten().tolist() == [0, 1, 2, 3, 9]


def test_cache_writes_every_so_often(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "SAVE_EVERY", 2)
    cache = FeatureCache(tmp_path / "kind.safetensors", width=1)
    cache.add(keys_of("a"), torch.ones(1, 1))
    assert not cache.path.exists()
    cache.add(keys_of("b"), torch.ones(1, 1))
    assert len(load_file(cache.path)["keys"]) == 2


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path / "kind.safetensors", width=1)
    cache.add(keys_of("a"), torch.ones(1, 1))
    cache.save()
    before = cache.path.read_bytes()

    def disk_full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(weight_files, "save_file", disk_full)
    cache.add(keys_of("b"), torch.ones(1, 1))
    with pytest.raises(OSError, match="disk full"):
        cache.save()
    assert cache.path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_unfit_cache_files_are_refused(tmp_path):
    path = tmp_path / "kind.safetensors"
    path.write_bytes(b"not a cache")
    with pytest.raises(ValueError, match="not a feature cache"):
        FeatureCache(path, width=1)
    save_file({"keys": torch.zeros(1, 32, dtype=torch.uint8), "values": torch.zeros(1, 3)}, path)
    with pytest.raises(ValueError, match=r"holds \(1, 3\) torch.float32, not \(1, 4\)"):
        FeatureCache(path, width=4)
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not a feature cache"):
        FeatureCache(path, width=1)


def test_one_turned_bit_in_a_cache_is_seen(tmp_path):
    cache = FeatureCache(tmp_path / "kind.safetensors", width=1)
    cache.add(keys_of("a"), torch.ones(1, 1))
    cache.save()
    content = cache.path.read_bytes()
    for place in range(-36, 0):  # of its 32 bytes of a key and 4 of a feature, in either order
        cache.path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[len(content) + place + 1 :])
        with pytest.raises(ValueError, match=rf"{cache.path} is damaged: .*; delete it and run again"):
            FeatureCache(cache.path, width=1)
    cache.path.write_bytes(content)
    assert len(FeatureCache(cache.path, width=1)) == 1


def test_features_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 4\), got \(1, 3\)"):
        FeatureCache(None, width=4).add(keys_of("a"), torch.zeros(1, 3))


# ---- what has made a cache

MADE_BY = {"network": "one", "weights": "1.0", "preprocessing": "small"}


def make_cache(path, **given) -> FeatureCache:
    return FeatureCache(path, width=1, **given)


def keep(cache: FeatureCache, *texts: str) -> None:
    cache.add(keys_of(*texts), torch.ones(len(texts), 1))
    cache.save()


@pytest.mark.parametrize("name", MADE_BY)
def test_cache_of_another_network_or_preprocessing_is_told_of_and_made_anew(tmp_path, caplog, name):
    path = tmp_path / "kind.safetensors"
    keep(make_cache(path, made_by=MADE_BY), "a")
    assert len(make_cache(path, made_by=MADE_BY)) == 1 and caplog.text == ""
    other = make_cache(path, made_by=MADE_BY | {name: "other"})
    assert len(other) == 0
    [told] = caplog.messages
    assert told.startswith(f"{path} was made by another") and f"{name} {MADE_BY[name]!r}, now 'other'" in told
    keep(other, "b", "c")
    assert len(make_cache(path, made_by=MADE_BY | {name: "other"})) == 2
    assert len(make_cache(path, made_by=MADE_BY)) == 0


def test_what_is_not_known_here_is_what_the_file_says(tmp_path, caplog):
    path = tmp_path / "kind.safetensors"
    keep(make_cache(path, made_by=MADE_BY), "a")
    without = make_cache(path, made_by=MADE_BY | {"weights": None})  # the package is not installed
    keep(without, "b")
    assert len(make_cache(path, made_by=MADE_BY)) == 2 and caplog.text == ""
    assert len(make_cache(path, made_by=MADE_BY | {"weights": "2.0"})) == 0


def test_cache_from_before_there_was_a_note_stays_valid_for_what_made_it_then(tmp_path, caplog):
    path = tmp_path / "kind.safetensors"
    save_file({"keys": torch.zeros(1, 32, dtype=torch.uint8), "values": torch.zeros(1, 1)}, path)
    assert len(make_cache(path, made_by=MADE_BY, formerly=MADE_BY)) == len(make_cache(path, made_by=MADE_BY)) == 1
    assert caplog.text == ""
    assert len(make_cache(path, made_by=MADE_BY | {"weights": "2.0"}, formerly=MADE_BY)) == 0
    assert "weights '1.0', now '2.0'" in caplog.text


def test_damaged_note_is_refused(tmp_path):
    path = tmp_path / "kind.safetensors"
    tensors = {"keys": torch.zeros(1, 32, dtype=torch.uint8), "values": torch.zeros(1, 1)}
    for note in ("{", "3", "[" * 100_000):
        save_file(tensors, path, {"made_by": note})
        with pytest.raises(ValueError, match=r"not a feature cache .*; delete it and run again"):
            make_cache(path)
