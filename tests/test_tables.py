"""Tables of captions as they are handed out, saved by other programs, or made by hand. All files are made here."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_cli import refused, run
from tpccma.data.content import content_of_files
from tpccma.data.tables import Layout, read_captions_table, read_rows, read_text
from tpccma.profiles import load_profile


@pytest.fixture
def read(tmp_path: Path):
    def read(content: str | bytes, name: str = "captions.csv") -> list[tuple[str, str]]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(read_captions_table(path))

    return read


# ---- layouts


@pytest.mark.parametrize(
    "content",
    [
        "image,caption\na.jpg,A man , a dog .\nb.jpg,2 girls\n",
        "image,caption,id\na.jpg,A man , a dog .,0\nb.jpg,2 girls,1\n",
        'id,image,caption\n0,a.jpg,"A man , a dog ."\n1,b.jpg,2 girls\n',
        '"image","caption"\n"a.jpg","A man , a dog ."\n"b.jpg","2 girls"\n',
        "caption,file_name\nA man , a dog .,a.jpg\n2 girls,b.jpg\n",
        "filepath\ttitle\na.jpg\tA man , a dog .\nb.jpg\t2 girls\n",
        "image_name| comment_number| comment\na.jpg| 0| A man , a dog .\nb.jpg| 0| 2 girls\n",
        "image_name| comment_number| comment\na.jpg| 4   A man , a dog .\nb.jpg| 12 | 2 girls\n",
        "image|caption\na.jpg|A man , a dog .\nb.jpg|2 girls\n",
        "a.jpg#0\tA man , a dog .\nb.jpg#4\t2 girls\n",
        "\ufeffIMAGE, Caption\n\na.jpg,A man , a dog .\n \nb.jpg, 2 girls",
    ],
)
def test_layouts_hold_the_same(read, content: str):
    expected = [("a.jpg", "A man , a dog ."), ("b.jpg", "2 girls")]
    assert read(content) == read(content.replace("\n", "\r\n")) == read(content.replace("\n", "\r")) == expected


def test_bars_and_tokens_quote_nothing(read):
    said = '"STOP", says a "sign"'
    assert read(f"image_name| comment_number| comment\na.jpg| 0| {said}\n") == [("a.jpg", said)]
    assert read(f"a.jpg.1#0\t{said}\n", "Flickr8k.token.txt") == [("a.jpg.1", said)]


@pytest.mark.parametrize("header", ["", "picture;text", "image,text2", "image,caption,title", "image,filename,caption"])
def test_other_header_is_refused(read, header: str):
    with pytest.raises(ValueError, match=r"captions\.csv starts with .*; expected 'image,caption'.* or a header with"):
        read(f"{header}\na.jpg,fine\n")


@pytest.mark.parametrize(
    "content, line",
    [
        ("image,caption,id\na.jpg,fine,0\na.jpg,fine\n", 3),
        ("image,caption\n,fine\n", 2),
        ('image,caption\na.jpg,"fine\nday"\nb.jpg,""\n', 4),
        ('image,caption\n"a,b.jpg",A man , a dog\n', 2),  # where the name ends nobody knows
        ("image_name| comment_number| comment\na.jpg| A man\n", 2),
        ("a.jpg#0\tfine\na.jpg fine\n", 2),
        ("a.jpg#0\tfine\na.jpg#1\t \n", 2),
    ],
)
def test_malformed_row_is_named_by_its_line(read, content: str, line: int):
    with pytest.raises(ValueError, match=rf"captions\.csv, line {line}: expected <image>"):
        read(content)


# ---- quotation marks


@pytest.mark.parametrize(
    "row, name, caption",
    [
        ('a.jpg,"He says ""stay"" , twice"', "a.jpg", 'He says "stay" , twice'),
        ('"a, b.jpg","fine"', "a, b.jpg", "fine"),
        ('"a ""b"".jpg",fine', 'a "b".jpg', "fine"),
        ('a.jpg,"""STOP"" and ""YIELD"""', "a.jpg", '"STOP" and "YIELD"'),
        ('a.jpg,"STOP" beside a sign that says "YIELD"', "a.jpg", '"STOP" beside a sign that says "YIELD"'),
        ('a.jpg,"STOP", says a sign', "a.jpg", '"STOP", says a sign'),
        ('a.jpg,A sign that says "STOP"', "a.jpg", 'A sign that says "STOP"'),
        ('a.jpg,"half a quotation', "a.jpg", '"half a quotation'),
        ('a.jpg, "fine" ', "a.jpg", "fine"),
        ('a.jpg,"two\nlines, with a comma"', "a.jpg", "two\nlines, with a comma"),
        ('a.jpg,12" pizza', "a.jpg", '12" pizza'),
    ],
)
def test_quotation_marks_of_csv_go_and_those_of_a_caption_stay(read, row: str, name: str, caption: str):
    assert read(f"image,caption\n{row}\nb.jpg,next\n") == [(name, caption), ("b.jpg", "next")]


def test_mark_that_takes_in_the_next_picture_is_refused(read):
    with pytest.raises(
        ValueError, match=r"line 2: its quotation mark is closed in line 3 only, .*; close it, or double"
    ):
        read('image,caption\na.jpg,"fine\nb.jpg,he says hi"\n')


NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cc", "Zs", "Zl", "Zp"]))
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"))


@given(rows=st.lists(st.tuples(NAME.map(lambda name: f"_{name}"), TEXT.map(lambda text: f"({text})"))))
def test_what_python_writes_comes_back(rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory):
    """Line ends of Unicode's own, quotation marks, commas: whatever csv wrote is read."""
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("image", "caption"), *rows])
    path = tmp_path_factory.mktemp("table") / "captions.csv"
    path.write_bytes(file.getvalue().encode())
    assert list(read_captions_table(path)) == rows


@given(text=TEXT.map(lambda text: text.replace("\n", " ")))
def test_what_is_written_without_quotation_comes_back(text: str):
    rows = [fields for _, _, fields in read_rows([f"7,({text})"], Layout(2, 1))]
    assert rows == [["7", f"({text})"]]


# ---- encodings and line ends


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_other_line_ends_are_part_of_a_caption(read, end: str):
    rows = [("a.jpg", f"A dog{end}b.jpg,grass"), ("b.jpg", "A cat")]
    assert read(f"image,caption\na.jpg,A dog{end}b.jpg,grass\nb.jpg,A cat\n") == rows
    assert read(f"a.jpg#0\tA dog{end}b.jpg,grass\nb.jpg#0\tA cat\n") == rows


WRITTEN = "image,caption\na.jpg,fine\nb.jpg,a café\n"
ENCODED = {
    "UTF-16": (WRITTEN.encode("utf-16"), "is not UTF-8, it looks like UTF-16; save it as UTF-8"),
    "UTF-16 without its mark": (WRITTEN.encode("utf-16-le"), "is not UTF-8, it looks like UTF-16; save it as UTF-8"),
    "Windows-1252": (WRITTEN.encode("cp1252"), "is not UTF-8, see byte 0xe9 in line 3; save it as UTF-8"),
}


@pytest.mark.parametrize("kind", ENCODED)
@pytest.mark.parametrize("name", ["captions.txt", "captions.csv", "captions.tsv", "captions.json"])
def test_other_encoding_is_named_at_every_door(kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path, (content, told) = tmp_path / name, ENCODED[kind]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path} {told}"):
        read_text(path)
    with pytest.raises(ValueError, match=rf"^{path} {told}"):
        content_of_files(load_profile("photos", data__images_dir=tmp_path, data__captions=path).data)
    given = ["train", "--profile", "photos", "--images-dir", tmp_path, "--captions", path]
    refused(run(*given), f"{path} {told}")
