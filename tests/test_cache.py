"""The feature cache: computed once, kept in one file, whatever cuts a run off."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tpccma.data import cache as cache_module
from tpccma.data.cache import FeatureCache, content_key


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

    def disk_full(tensors, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(cache_module, "save_file", disk_full)
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


def test_features_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 4\), got \(1, 3\)"):
        FeatureCache(None, width=4).add(keys_of("a"), torch.zeros(1, 3))
