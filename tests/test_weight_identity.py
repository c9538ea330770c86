"""Equal weights have one identity, whatever the bytes of the files that hold them; and files have equal bytes."""

import json
import os
import stat
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tpccma import load_profile
from tpccma.files import whole_file
from tpccma.models import read_metadata, read_weights
from tpccma.models.identity import weights_identity
from tpccma.models.weight_files import save_weights
from tpccma.profiles import Profile
from tpccma.training.encoders import build_encoder
from tpccma.training.identity import fingerprint
from tpccma.training.run import base_run

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2]), "scale": torch.tensor(0.5).bfloat16()}
NOTES = {
    "format": "pt",
    "architecture": json.dumps({"kind": "open_clip", "name": "tpccma-demo", "pretrained": "/here/base.safetensors"}),
    "tokenizer": json.dumps({"words": ["a", "red"], "context_length": 8}),
}


def write(path: Path, weights: dict, notes: dict | None = None) -> Path:
    """Write a safetensors file by hand: tensors and metadata in the order given."""
    header, body = {"__metadata__": notes} if notes else {}, b""
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32"}
    for name, value in weights.items():
        content = value.reshape(-1).view(torch.uint8).numpy().tobytes()
        places = [len(body), len(body) + len(content)]
        header[name] = {"dtype": kinds[value.dtype], "shape": list(value.shape), "data_offsets": places}
        body += content
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def backwards(values: dict) -> dict:
    return dict(reversed(values.items()))


def test_order_of_tensors_and_notes_decides_nothing(tmp_path: Path):
    one = write(tmp_path / "one.safetensors", WEIGHTS, NOTES)
    other = write(tmp_path / "other.safetensors", backwards(WEIGHTS), backwards(NOTES))
    torch.testing.assert_close(load_file(one), load_file(other), rtol=0, atol=0)
    assert one.read_bytes() != other.read_bytes()
    assert weights_identity(one) == weights_identity(other)
    assert len(weights_identity(one)) == 16 and int(weights_identity(one), 16) >= 0


def test_form_of_a_file_and_its_name_decide_nothing(tmp_path: Path):
    paths = [tmp_path / name for name in ("one.pt", "other.pt", "trained.pt", "bare.safetensors")]
    torch.save(WEIGHTS, paths[0])
    torch.save(backwards(WEIGHTS), paths[1])  # torch writes a file's name into it
    torch.save({"epoch": 3, "state_dict": WEIGHTS}, paths[2])
    write(paths[3], WEIGHTS)
    assert len({path.read_bytes() for path in paths}) == 4
    assert len({weights_identity(path) for path in paths}) == 1


def noted(note: str, /, **changes) -> dict:
    """Change something that the notes say of architecture or tokenizer."""
    return NOTES | {note: json.dumps(json.loads(NOTES[note]) | changes)}


@pytest.mark.parametrize(
    "notes",
    [
        NOTES | {"format": "np", "written": "on a Monday"},
        noted("architecture", pretrained="/there/base.safetensors"),
        noted("architecture", pretrained=None, quick_gelu=None),
        NOTES | {"architecture": json.dumps(backwards(json.loads(NOTES["architecture"])), indent=1)},
    ],
)
def test_notes_that_decide_nothing_of_the_model_do_not_count(notes: dict, tmp_path: Path):
    paths = (write(tmp_path / f"{i}.safetensors", WEIGHTS, said) for i, said in enumerate((NOTES, notes)))
    assert len(set(map(weights_identity, paths))) == 1


OTHERS = [
    (WEIGHTS | {"a": WEIGHTS["a"] + torch.eye(2, 3)}, NOTES),  # another value
    (WEIGHTS | {"a": WEIGHTS["a"].reshape(3, 2)}, NOTES),  # another shape of the same bytes
    (WEIGHTS | {"b": WEIGHTS["b"].view(torch.int32)}, NOTES),  # another type of the same bytes
    (WEIGHTS | {"scale": WEIGHTS["scale"].view(torch.float16)}, NOTES),
    ({name.replace("b", "c"): value for name, value in WEIGHTS.items()}, NOTES),
    ({name: WEIGHTS[name] for name in "ab"}, NOTES),
    (WEIGHTS, noted("architecture", name="RN50")),
    (WEIGHTS, noted("architecture", quick_gelu=True)),
    (WEIGHTS, noted("architecture", preprocess={"resize_mode": "squash"})),
    (WEIGHTS, noted("architecture", name="ViT-B-32", pretrained="laion2b_s34b_b79k")),  # tags, which decide how
    (WEIGHTS, noted("architecture", name="ViT-B-32", pretrained="openai")),  # pictures are prepared
    (WEIGHTS, noted("tokenizer", words=["red", "a"])),
    (WEIGHTS, noted("tokenizer", context_length=9)),
    (WEIGHTS, {"format": "pt"}),
]


def test_whatever_makes_another_model_has_another_identity(tmp_path: Path):
    files = [write(tmp_path / f"{i}.safetensors", *each) for i, each in enumerate([(WEIGHTS, NOTES), *OTHERS])]
    assert len(set(map(weights_identity, files))) == len(files)


def test_identity_follows_the_file(tmp_path: Path):
    path, found = tmp_path / "w.safetensors", []
    for value in (0.0, 1.0, 0.0):
        save_weights({"a": torch.full((2,), value)}, path, {})
        found.append(weights_identity(path))
    assert found[0] == found[2] != found[1]


def test_tensor_without_plain_values_is_named(tmp_path: Path):
    torch.save({"a": torch.empty(2, device="meta")}, tmp_path / "w.pt")  # a tensor without values
    with pytest.raises(ValueError, match=r"w\.pt holds 'a', a tensor of type torch\.float32 that is no plain array"):
        weights_identity(tmp_path / "w.pt")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none\.pt"):
        weights_identity(tmp_path / "none.pt")


# ---- what runs are named


def test_base_that_is_written_again_is_the_same_run(tiny_profile: Profile, tmp_path: Path):
    def named(path: Path) -> tuple[str, str]:
        run = base_run(load_profile(tiny_profile, model__pretrained=str(path)))
        assert fingerprint(run.profile, "clip", 0.0, 0) != run.fingerprint
        return run.fingerprint, run.base

    shipped = Path(tiny_profile.model.pretrained)
    again = write(tmp_path / "again.safetensors", backwards(load_file(shipped)), backwards(read_metadata(shipped)))
    assert again.read_bytes() != shipped.read_bytes()
    assert named(again) == named(shipped)
    encoder = build_encoder(tiny_profile, seed=9)
    encoder.save(tmp_path / "other.safetensors")
    assert not set(named(tmp_path / "other.safetensors")) & set(named(shipped))


# ---- how files are written

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(notes=st.dictionaries(TEXT, TEXT, max_size=5))
def test_weights_are_written_to_the_same_bytes_and_read_as_they_were(notes: dict, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    save_weights(WEIGHTS, folder / "one.safetensors", notes)
    save_weights(backwards(WEIGHTS), folder / "other.safetensors", backwards(notes))
    assert (folder / "one.safetensors").read_bytes() == (folder / "other.safetensors").read_bytes()
    torch.testing.assert_close(load_file(folder / "one.safetensors"), WEIGHTS, rtol=0, atol=0)
    assert read_metadata(folder / "one.safetensors") == notes


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_may_be_read_by_whom_the_umask_lets(umask: int, mode: int, tmp_path: Path):
    before = os.umask(umask)
    try:
        save_weights(WEIGHTS, tmp_path / "w.safetensors", {})
        with whole_file(tmp_path / "any") as partial:
            save_file(WEIGHTS, partial)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {mode}


# ---- that they are what was written


def turned(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    save_weights(WEIGHTS, tmp_path / "w.safetensors", {"architecture": '{"name": "\u00e4"}'})
    return tmp_path / "w.safetensors"


def test_one_turned_bit_among_the_numbers_is_seen(whole: Path):
    content = whole.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    assert len(content) > start
    for bit in range(8 * start, 8 * len(content)):
        whole.write_bytes(turned(content, bit))
        with pytest.raises(ValueError, match=rf"{whole} is damaged: by its checksum .*; get it again or make it anew"):
            read_weights(whole)


def test_one_turned_bit_anywhere_gives_what_was_written_or_is_refused(whole: Path):
    content, read = whole.read_bytes(), 0
    for bit in range(0, 8 * len(content), 7):
        whole.write_bytes(turned(content, bit))
        try:
            weights = read_weights(whole)
        except ValueError as error:
            assert str(whole) in str(error)
        else:  # such as of a bit in the name of the checksum
            torch.testing.assert_close(weights, WEIGHTS, rtol=0, atol=0)
            read += 1
    assert read


def test_notes_belong_to_what_was_written(whole: Path):
    content = whole.read_bytes()
    whole.write_bytes(content.replace(b'\\"name\\"', b'\\"game\\"'))
    with pytest.raises(ValueError, match="is damaged: by its checksum"):
        read_weights(whole)


def test_files_of_others_have_no_checksum_and_pass(whole: Path):
    save_file(WEIGHTS, whole, {"format": "pt", "sha256": "of something"})
    torch.testing.assert_close(read_weights(whole), WEIGHTS, rtol=0, atol=0)
    save_file(WEIGHTS, whole)
    torch.testing.assert_close(read_weights(whole), WEIGHTS, rtol=0, atol=0)


def test_what_was_read_can_be_changed_and_written_again(whole: Path):
    changed = read_weights(whole) | {"a": torch.zeros(2, 3)}
    save_weights(changed, whole, read_metadata(whole))
    torch.testing.assert_close(read_weights(whole), changed, rtol=0, atol=0)
    save_file(WEIGHTS, whole, read_metadata(whole))  # by other means
    torch.testing.assert_close(read_weights(whole), WEIGHTS, rtol=0, atol=0)
