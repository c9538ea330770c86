"""Reading, grouping and splitting product photographs, on small made-up pictures and, if there, on the real ones."""

import hashlib
import logging
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.odd_pictures import DAMAGED
from tpccma.data import duplicates as groups_module
from tpccma.data.duplicates import group_items, split_groups
from tpccma.data.fashion import COLUMNS, Report, load_fashion, mask_class_words, read_styles


def picture(path: Path, seed: int, quality: int = 95) -> None:
    """A JPEG of 8 x 8 blocks of random grey: coarse, so that recompression hardly changes its hash."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(blocks).resize((48, 64)).convert("RGB").save(path, quality=quality)


def row(number: int | str, article_type: str, title: str) -> str:
    return f"{number},Men,Apparel,Topwear,{article_type},Blue,Fall,2011,Casual,{title}"


def write_set(folder: Path, rows: list[str]) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "styles.csv").write_text("\n".join([COLUMNS, *rows, ""]))
    return folder


@pytest.fixture
def shop(tmp_path):
    """Twelve shirts and twelve watches, and one of each thing that can be odd about a row."""
    rows = [row(i, "Shirts", f"Brand Model{i} Shirt") for i in range(1, 13)]
    rows += [row(i, "Watches", f"Brand Model{i} Watch") for i in range(13, 25)]
    rows[0] = row(1, "Shirts", "Brand Red, White, and Blue Shirt")  # commas in the title
    rows += [
        row(30, "Shirts", "No Picture Shirt"),
        row(31, "Shirts", "Damaged Picture Shirt"),
        row(32, "Shirts", "Renamed Copy Shirt"),  # the picture of 2
        row(33, "Shirts", "BRAND  model3 shirt!"),  # the title of 3
        row(34, "Shirts", "Recompressed Shirt"),  # the picture of 4, saved again
        "35,Men,Apparel",  # too few fields
        row("x", "Shirts", "No Number Shirt"),
        row(36, "Shirts", " "),  # no title
        row(37, "Ties", "Lone Tie"),  # too small a class
    ]
    folder = write_set(tmp_path / "shop", rows)
    for i in [*range(1, 25), 31, 33, 36, 37]:
        picture(folder / f"images/{i}.jpg", seed=i)
    damaged = folder / "images/31.jpg"
    damaged.write_bytes(damaged.read_bytes()[:400])
    shutil.copy(folder / "images/2.jpg", folder / "images/32.jpg")
    picture(folder / "images/34.jpg", seed=4, quality=80)
    return folder


def number_of_file(paths, cache_dir, progress):
    """Stands in for EfficientNet: the feature of 17.jpg is (17, 0)."""
    return torch.tensor([[float(path.stem), 0.0] for path in paths])


def load(folder, **changes):
    settings = {"min_class_items": 10, "test_items": 6, "val_items": 4, "progress": False, "extract": number_of_file}
    return load_fashion(folder, None, **(settings | changes))


def test_read_styles_counts_what_it_leaves_out(shop):
    products, report = read_styles(shop)
    # 24 + 9 rows; 35 and x malformed, 36 untitled, 30 imageless; the damaged 31 is found when pictures are opened
    assert report == Report(rows=33, malformed=2, untitled=1, imageless=1)
    assert [product.id for product in products] == [str(i) for i in [*range(1, 25), 31, 32, 33, 34, 37]]


def test_read_styles_keeps_commas_of_a_title(shop):
    first = read_styles(shop)[0][0]
    assert (first.title, first.article_type) == ("Brand Red, White, and Blue Shirt", "shirts")
    assert first.image == shop / "images/1.jpg"


@pytest.mark.parametrize("absent", ["", "styles.csv", "images"])
def test_missing_data_say_where_to_get_them(shop, absent):
    path = shop / absent
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError, match="paramaggarwal/fashion-product-images-small") as error:
        read_styles(shop)
    assert str(path) in str(error.value) and "<data_dir>/images/<id>.jpg" in str(error.value)


@pytest.mark.parametrize("text", ["", "id,title\n1,Shirt\n"])
def test_other_columns_are_refused(tmp_path, text):
    (write_set(tmp_path / "other", []) / "styles.csv").write_text(text)
    with pytest.raises(ValueError, match="expected the columns id,gender"):
        read_styles(tmp_path / "other")


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    folder = write_set(tmp_path / "windows", [])
    (folder / "styles.csv").write_bytes(f"\ufeff{COLUMNS}\r\n{row(7, 'Shirts', 'A Shirt')}\r\n".encode())
    picture(folder / "images/7.jpg", seed=7)
    products, report = read_styles(folder)
    assert [product.title for product in products] == ["A Shirt"] and report == Report(rows=1)


def test_load_fashion_makes_a_corpus(shop, caplog):
    with caplog.at_level(logging.INFO):
        corpus = load(shop)
    assert corpus.classes == ("shirts", "watches")  # the tie's class has one item
    splits = (corpus.train, corpus.val, corpus.test)
    # 24 good rows, copies 32, 33, 34; not the damaged 31, the tie, or anything that read_styles dropped
    numbers = [int(number) for pairs in splits for number in pairs.images[:, 0]]
    assert sorted(numbers) == [*range(1, 25), 32, 33, 34]
    titles = {int(p.id): p.title for p in read_styles(shop)[0]}
    for pairs in splits:
        expected = [[titles[int(number)]] for number in pairs.images[:, 0]]
        assert pairs.captions == expected
        assert pairs.labels.tolist() == [int(13 <= number <= 24) for number in pairs.images[:, 0]]
        assert pairs.images.dtype == torch.float32 and pairs.labels.dtype == torch.int64
    assert "33 products, of which left out: 2 malformed, 1 without title, 1 without image" in caplog.text
    assert "1 unreadable ['31.jpg']" in caplog.text
    assert any(record.levelno == logging.WARNING for record in caplog.records)


def test_pictures_are_left_out_however_damaged(shop, caplog):
    rows = [row(100 + i, "Shirts", f"Damaged Model{i}") for i in range(len(DAMAGED))]
    with (shop / "styles.csv").open("a") as styles:
        styles.write("\n".join(rows))
    for i, content in enumerate(DAMAGED.values()):
        (shop / f"images/{100 + i}.jpg").write_bytes(content)
    plain = load(shop)
    assert sum(len(pairs) for pairs in (plain.train, plain.val, plain.test)) == 27  # as without them
    assert f"{len(DAMAGED) + 1} unreadable ['31.jpg', '100.jpg', '101.jpg'" in caplog.text


@pytest.mark.parametrize("pair", [(2, 32), (3, 33), (4, 34)], ids=["same bytes", "same title", "same picture"])
@pytest.mark.parametrize("seed", range(5))
def test_copies_stay_on_one_side(shop, pair, seed):
    corpus = load(shop, seed=seed)
    sides = [{int(number) for number in pairs.images[:, 0]} for pairs in (corpus.train, corpus.val, corpus.test)]
    assert sum(set(pair) <= side for side in sides) == 1


def test_quoted_titles_are_read_as_csv_and_others_as_they_are(tmp_path):
    rows = [
        row(7, "Shirts", '"Red, White, and ""Blue"" Shirt"'),
        row(8, "Shirts", '"Red" and "Blue" Shirt'),
        row(9, "Shirts", '"Never closed'),
        row(10, "Shirts", 'A shirt that says hi"'),
        row(11, "Shirts", "Two\x85lines\u2028in one"),
    ]
    folder = write_set(tmp_path / "quoted", rows)
    for i in range(7, 12):
        picture(folder / f"images/{i}.jpg", seed=i)
    products, report = read_styles(folder)
    assert report == Report(rows=5)
    assert [product.title for product in products] == [
        'Red, White, and "Blue" Shirt',
        '"Red" and "Blue" Shirt',
        '"Never closed',
        'A shirt that says hi"',
        "Two\x85lines\u2028in one",
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_other_encoding_is_named(shop, encoding):
    styles = shop / "styles.csv"
    styles.write_bytes((styles.read_text() + row(40, "Shirts", "Café Shirt")).encode(encoding))
    with pytest.raises(ValueError, match=rf"^{styles} is not UTF-8.*; save it as UTF-8"):
        read_styles(shop)


def test_split_repeats_by_seed(shop):
    assert load(shop, seed=1).test.captions == load(shop, seed=1).test.captions
    assert load(shop, seed=1).test.captions != load(shop, seed=2).test.captions


def test_hashes_are_kept_on_disk(shop, tmp_path, monkeypatch):
    settings = {"min_class_items": 10, "test_items": 6, "val_items": 4, "progress": False, "extract": number_of_file}
    first = load_fashion(shop, tmp_path / "cache", **settings)

    def refuse(content):
        raise OSError("only the damaged picture may be opened again")

    monkeypatch.setattr(groups_module, "_difference_hash", refuse)
    second = load_fashion(shop, tmp_path / "cache", **settings)
    assert torch.equal(first.train.images, second.train.images) and len(second.train) > 0


def test_a_repeated_item_counts_once_for_its_class(shop):
    # 15 rows of shirts, of which 3 are copies: 12 items; and 12 watches
    assert load(shop, min_class_items=12).classes == ("shirts", "watches")
    with pytest.raises(ValueError, match="min_class_items=13"):
        load(shop, min_class_items=13)


def test_masked_titles_lose_class_words_and_keep_the_split(shop):
    plain, masked = load(shop), load(shop, mask_titles=True)
    assert torch.equal(plain.test.images, masked.test.images)
    words = {
        word.lower()
        for pairs in (masked.train, masked.val, masked.test)
        for [t] in pairs.captions
        for word in t.split()
    }
    assert not words & {"shirt", "shirts", "watch", "watches"} and "brand" in words


@pytest.mark.parametrize("title", ["Shirts", "SHIRT!", "... shirt"])
def test_caption_without_a_word_is_refused_where_it_would_be_scored(shop, title):
    """Captions of train and val are never references, and such titles were trained on before."""
    styles = shop / "styles.csv"
    styles.write_text(styles.read_text().replace("Brand Model5 Shirt", title))
    told = rf"the caption '[.!]*' of product 5, '{re.escape(title)}', has no word; .* mask_titles: false keeps it"
    tested = [number_in_test(load(shop, seed=seed), 5) for seed in range(6)]
    assert set(tested) == {True, False}
    for seed, refused in enumerate(tested):
        if refused:
            with pytest.raises(ValueError, match=told):
                load(shop, seed=seed, mask_titles=True, extract=lambda *paths: pytest.fail("features come later"))
        else:
            load(shop, seed=seed, mask_titles=True)


def number_in_test(corpus, number: int) -> bool:
    return number in corpus.test.images[:, 0].tolist()


def test_templates_take_the_class_name(shop):
    templates = load(shop).templates
    assert len(set(templates)) == 7 and all("shirts" in template.format("shirts") for template in templates)


def test_groups_follow_chains():
    hashes = torch.zeros(6, 32, dtype=torch.uint8)
    hashes[0, 0] = 0b00001111  # 4 bits from all zeros: the same picture as 1
    hashes[2:, 1:5] = 255  # 32 bits away from 0 and 1, the same for 2 to 5 ...
    hashes[3, 20] = 0b00011111  # ... but 3 is 5 bits from 2,
    hashes[4, 30] = 0b11110001  # 4 is 5 bits from 2 and 10 from 3,
    hashes[5, 0] = 0b00000001  # and 5 is 1 bit from 2.
    titles = ["a", "b", "B.", "c", "d", "e"]
    # 0 ~ 1 by picture, 1 ~ 2 by title, 2 ~ 5 by picture; 3 and 4 stand alone
    groups = group_items(hashes, [[title] for title in titles]).tolist()
    assert groups[0] == groups[1] == groups[2] == groups[5]
    assert len({groups[0], groups[3], groups[4]}) == 3


def test_one_caption_in_common_is_enough():
    hashes = (torch.arange(3)[:, None].repeat(1, 32) * 85).to(torch.uint8)  # half of the bits apart
    groups = group_items(hashes, [["a dog", "a cat"], ["A cat."], ["a bird", "two dogs"]]).tolist()
    assert groups[0] == groups[1] != groups[2]


def test_split_groups_fills_test_then_val():
    splits = split_groups(np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]), test_items=4, val_items=3)
    # groups of 3: two of them reach 4, one more reaches 3, one is left
    assert {name: len(rows) for name, rows in splits.items()} == {"test": 6, "val": 3, "train": 3}


@given(
    groups=st.lists(st.integers(0, 30), min_size=40, max_size=120),
    test_items=st.integers(1, 10),
    val_items=st.integers(1, 10),
    seed=st.integers(0, 100),
)
def test_split_groups_keeps_groups_whole(groups, test_items, val_items, seed):
    groups = np.array(groups)
    largest = np.bincount(groups).max()
    try:
        splits = split_groups(groups, test_items, val_items, seed)
    except ValueError:
        assert test_items + val_items + 2 * largest >= len(groups)
        return
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(len(groups)))
    members = [set(groups[rows].tolist()) for rows in splits.values()]
    assert sum(len(part) for part in members) == len(set.union(*members))
    assert test_items <= len(splits["test"]) < test_items + largest
    assert val_items <= len(splits["val"]) < val_items + largest
    assert len(splits["train"]) > 0


def test_split_groups_refuses_impossible_sizes():
    groups = np.arange(10)
    with pytest.raises(ValueError, match="6 test and 4 val items leave nothing of 10"):
        split_groups(groups, 6, 4)
    with pytest.raises(ValueError, match="20 test"):
        split_groups(groups, 20, 4)
    with pytest.raises(ValueError, match="got 0 and 4"):
        split_groups(groups, 0, 4)


@pytest.mark.parametrize(
    ("title", "classes", "masked"),
    [
        ("Nike Men Navy T-shirt", ["tshirts"], "Nike Men Navy"),
        ("Nike Men Navy T Shirts", ["tshirts"], "Nike Men Navy"),
        ("Nike Tshirt Men", ["tshirts", "shirts"], "Nike Men"),
        ("Titan Men WATCH and Watches", ["watches"], "Titan Men and"),
        ("Ray-Ban Sunglass, Sunglasses", ["sunglasses"], "Ray-Ban ,"),
        ("Lotto Sports Shoe", ["sports shoes"], "Lotto"),
        ("Silver Accessory Accessories", ["accessories"], "Silver"),
        ("Topshop Women Top", ["tops"], "Topshop Women"),  # whole words only
        ("Shirt", ["shirts"], ""),
        ("Red Shirt", [], "Red Shirt"),
    ],
)
def test_mask_class_words(title, classes, masked):
    assert mask_class_words(title, classes) == masked


@pytest.mark.skipif("TPCCMA_FASHION_DIR" not in os.environ, reason="TPCCMA_FASHION_DIR does not name a folder")
def test_real_set_splits_without_leaks():
    folder = Path(os.environ["TPCCMA_FASHION_DIR"])

    def index(paths, cache_dir, progress):
        digests.extend(hashlib.sha256(path.read_bytes()).digest() for path in paths)
        return torch.arange(len(paths), dtype=torch.float32)[:, None]

    digests = []
    corpus = load_fashion(folder, None, progress=False, extract=index)
    splits = (corpus.train, corpus.val, corpus.test)
    assert len(corpus.classes) >= 20
    assert 1_500 <= len(corpus.test) < 1_600 and 700 <= len(corpus.val) < 800
    titles = [{caption.lower() for [caption] in pairs.captions} for pairs in splits]
    files = [{digests[int(i)] for i in pairs.images[:, 0]} for pairs in splits]
    for sides in (titles, files):
        assert sum(len(side) for side in sides) == len(set.union(*sides))
