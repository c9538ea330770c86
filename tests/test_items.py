"""Outcomes of single test pictures: packed and read back, and refused where they are none."""

import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_record_schema import RECORD
from tpccma.runs.items import ITEMS, pack_items, unpack_items
from tpccma.runs.schema import check_record

THREE = {
    "class": [0, 300, 2],
    "zeroshot_correct": [True, False, True],
    "t2i_hits": [0.2, 1, 0.5],
    "cider": [0, 10, 2.5],
}


def packed(dtype: str, raw: bytes) -> dict:
    return {"dtype": dtype, "data": base64.b64encode(zlib.compress(raw)).decode()}


def test_bytes_by_hand_are_read():
    found = unpack_items(
        {
            "class": packed("uint16", b"\x02\x00\x00\x01"),  # the low byte first: 2 and 256
            "i2t_hit": packed("float32", b"\x00\x00\x80\x3f\x00\x00\x00\x3f"),  # 1.0 is 3f800000, 0.5 is 3f000000
            "cider": packed("float16", b"\x00\x3c\x00\x49"),  # 1.0 is 3c00, 10 is 4900
        }
    )
    assert {name: values.tolist() for name, values in found.items()} == {
        "class": [2, 256],
        "i2t_hit": [1.0, 0.5],
        "cider": [1.0, 10.0],
    }


def test_values_take_the_narrowest_type_and_json_holds_them():
    kept = json.loads(json.dumps(pack_items(THREE)))
    assert {name: part["dtype"] for name, part in kept.items()} == {
        "class": "uint16",
        "zeroshot_correct": "bool",
        "t2i_hits": "float32",
        "cider": "float16",
    }
    assert pack_items({"class": [0, 255]})["class"]["dtype"] == "uint8"
    found = unpack_items(kept)
    assert found["class"].tolist() == [0, 300, 2] and found["zeroshot_correct"].tolist() == [True, False, True]
    assert found["t2i_hits"].tolist() == [pytest.approx(0.2), 1, 0.5] and found["cider"].tolist() == [0, 10, 2.5]


@given(st.data(), st.integers(1, 30), st.sets(st.sampled_from(sorted(ITEMS))))
def test_what_is_packed_is_unpacked(data: st.DataObject, count: int, names: set[str]):
    def values(name: str) -> st.SearchStrategy:
        floats = ITEMS[name].dtypes[0].startswith("float")
        return st.floats(0, ITEMS[name].most) if floats else st.integers(0, ITEMS[name].most)

    items = {name: data.draw(st.lists(values(name), min_size=count, max_size=count)) for name in sorted(names)}
    found = unpack_items(pack_items(items))
    assert found.keys() == names
    for name, kept in found.items():
        np.testing.assert_allclose(kept, items[name], rtol=2**-11, atol=2**-24)  # half a last digit of float16
    assert pack_items(found) == pack_items(items)


def test_a_record_of_a_thousand_pictures_grows_by_less_than_20_kilobytes():
    draws = np.random.default_rng(0)
    whole = {name: draws.integers(0, 12, 1000) for name in ("class", "cluster_image", "cluster_text")}
    shares = {"i2t_hit": draws.integers(0, 2, 1000), "t2i_hits": draws.integers(0, 6, 1000) / 5}
    cider = {name: draws.uniform(0, 8, 1000) for name in ITEMS if name.startswith("cider")}
    kept = pack_items(whole | shares | cider | {"zeroshot_correct": draws.integers(0, 2, 1000)})
    assert kept.keys() == ITEMS.keys() and len(json.dumps(kept)) < 20_000


@pytest.mark.parametrize(
    ("items", "named"),
    [
        ({"colour": [1]}, "'colour' is nothing that is known of a picture: give some of class, "),
        ({"class": [1, 2], "cider": [0.5]}, r"as many pictures each \(class 2, cider 1\): give one value a test"),
        ({"class": []}, r"class is of shape \(0,\): give one value a test picture"),
        ({"cider": [[1.0]]}, r"cider is of shape \(1, 1\)"),
        ({"class": [-1, 2]}, "class runs from -1 to 2: give 0 to 65535"),
        ({"class": [70_000]}, "class runs from 70000 to 70000"),
        ({"class": [0.5]}, "class holds 0.5: give whole numbers"),
        ({"zeroshot_correct": [0, 2]}, "zeroshot_correct runs from 0 to 2: give 0 to 1"),
        ({"i2t_hit": [0.5, 1.5]}, "i2t_hit runs from 0.5 to 1.5: give 0 to 1"),
        ({"cider": [0.5, float("nan")]}, "cider runs from nan to nan"),
    ],
)
def test_outcomes_that_cannot_be_are_not_packed(items: dict, named: str):
    with pytest.raises(ValueError, match=named):
        pack_items(items)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": packed("uint8", b"\x00")}, "items: .*'colour' is nothing that is known"),
        ({"class": packed("uint8", b"\x00")}, r"items: .*\(class 1, cider 2\)"),
        ({"class": packed("uint8", b"")}, r"items: .*class is of shape \(0,\)"),
        ({"class": packed("int64", bytes(16))}, "items: .*class is of dtype 'int64': give uint8 or uint16"),
        ({"class": packed("uint16", bytes(3))}, "items: .*the data of class cannot be read"),
        ({"class": {"dtype": "uint8", "data": "!"}}, "items: .*the data of class cannot be read .*pack them"),
        ({"class": {"dtype": "uint8", "data": "AAAA"}}, "items: .*the data of class cannot be read"),
        ({"class": {"dtype": "uint8"}}, "items: .*class is .*: give dtype and data"),
        ({"zeroshot_correct": packed("bool", b"\x00\x02")}, "items: .*zeroshot_correct runs from 0 to 2"),
        ({"cider": packed("float16", b"\x00\x7c\x00\x00")}, "items: .*cider runs from 0.0 to inf: give 0 to 10"),
        ({"class": 5}, "items.class: .*got 5"),
    ],
)
def test_record_whose_outcomes_are_none_is_refused(change: dict, named: str):
    items = pack_items({"class": [1, 2], "cider": [0.5, 1.0]})
    assert check_record(RECORD | {"items": items})["items"] == items
    with pytest.raises(ValueError, match=named):
        check_record(RECORD | {"items": items | change})
