"""Tables as they are handed out or made by hand: text in UTF-8, csv and tsv, and Flickr's two layouts of captions.

Python's csv reads what is quoted. Files that quote nothing, whose one long column holds commas as they come, are common
too; a row that is not quoted as csv asks for is taken as it is written.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NAMES = ("image", "image_name", "filename", "file_name", "filepath")
TEXTS = ("caption", "comment", "title")
TOKEN = re.compile(r"(.+)#\d+\t(.*)")  # as in Flickr8k.token.txt
LOST_BAR = re.compile(r"^([^|]+\| *\d+) +([^|]*)$")  # a row of Flickr30k's results.csv lacks the bar behind its number


@dataclass(frozen=True)
class Layout:
    """How rows are parted.

    Args:
        width: columns.
        free: number of the column that may hold the delimiter without being quoted.
        delimiter: between columns.
    """

    width: int
    free: int
    delimiter: str = ","


def read_text(path: Path) -> str:
    r"""Read a file in UTF-8; its lines end in ``\n``, ``\r\n`` or ``\r``, and all of them come out as ``\n``.

    Args:
        path: the file; a byte order mark is left out.

    Returns:
        Its text.

    Raises:
        ValueError: if it is in another encoding.
    """
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content:
        raise ValueError(f"{path} is not UTF-8, it looks like UTF-16; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        told = f"{path} is not UTF-8, see byte 0x{content[error.start]:02x} in line {line}"
        raise ValueError(f"{told}; save it as UTF-8, from Windows-1252 perhaps") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_rows(lines: list[str], layout: Layout, first: int = 1) -> Iterator[tuple[int, int, list[str]]]:
    """Part lines into columns; blank lines are left out.

    Args:
        lines: without their ends.
        layout: of the rows.
        first: number of the first line.

    Returns:
        For each row the numbers of its first and last line, and its columns, stripped; fewer than there should be where
        the row is malformed. A row has several lines only where line ends stand in quotation marks.
    """
    place = 0
    while place < len(lines):
        fields, taken = _quoted(lines, place, layout) or (_as_written(lines[place], layout), 1)
        if lines[place].strip():
            yield first + place, first + place + taken - 1, [field.strip() for field in fields]
        place += taken


def _quoted(lines: list[str], place: int, layout: Layout) -> tuple[list[str], int] | None:
    """Read a row that is quoted as csv asks for, and count its lines; None if it is not."""
    if '"' not in lines[place] or layout.delimiter == "|":
        return None
    rest = (lines[number].rstrip(" ") + "\n" for number in range(place, len(lines)))
    reader = csv.reader(rest, delimiter=layout.delimiter, skipinitialspace=True, strict=True)
    try:
        fields = next(reader)
    except csv.Error:  # such as text behind a closing mark, or a mark that nothing closes
        return None
    return (fields, reader.line_num) if len(fields) == layout.width else None


def _as_written(line: str, layout: Layout) -> list[str]:
    if line.lstrip().startswith('"'):
        return []  # where a quoted first column ends nobody knows
    parts = line.split(layout.delimiter)
    end = layout.free + max(0, len(parts) - layout.width) + 1
    return [*parts[: layout.free], *_joined(parts[layout.free : end], layout.delimiter), *parts[end:]]


def _joined(parts: list[str], delimiter: str) -> list[str]:
    return [delimiter.join(parts)] if parts else []


def read_captions_table(path: Path) -> Iterator[tuple[str, str]]:
    """Read which caption belongs to which picture.

    Args:
        path: a table whose header names a column of ``NAMES`` and one of ``TEXTS``, parted by commas, tabs or bars,
            such as ``image,caption``, ``image,caption,id`` or ``image_name| comment_number| comment``; or lines
            ``<image>#<number><tab><caption>`` without a header.

    Returns:
        Picture and caption of each row, in order.

    Raises:
        ValueError: if it is none of these, or a row lacks picture or caption, or a quotation mark takes in the next
            picture; the message names the line.
    """
    header, *lines = read_text(path).split("\n")
    if TOKEN.fullmatch(header):
        return _of_tokens(path, [header, *lines])
    delimiter = next((mark for mark in "\t|" if mark in header), ",")
    columns = [column.strip().strip('"').lower() for column in header.split(delimiter)]
    name, text = ([i for i, column in enumerate(columns) if column in known] for known in (NAMES, TEXTS))
    if len(name) != 1 or len(text) != 1:
        raise ValueError(
            f"{path} starts with {header[:80]!r}; expected 'image,caption', as in Flickr8k's captions.txt, or a header "
            f"with one of the columns {', '.join(NAMES)} and one of {', '.join(TEXTS)}"
        )
    if delimiter == "|" and len(columns) == 3:
        lines = [LOST_BAR.sub(r"\1|\2", line) for line in lines]
    return _of_columns(path, lines, Layout(len(columns), text[0], delimiter), name[0])


def _of_tokens(path: Path, lines: list[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, start=1):
        found = TOKEN.fullmatch(line)
        if line.strip() and not (found and found[2].strip()):
            raise ValueError(f"{path}, line {number}: expected <image>#<number><tab><caption>, got {line[:80]!r}")
        if found:
            yield found[1].strip(), found[2]


def _of_columns(path: Path, lines: list[str], layout: Layout, name: int) -> Iterator[tuple[str, str]]:
    for first, last, fields in read_rows(lines, layout, first=2):
        if len(fields) != layout.width or not (fields[name] and fields[layout.free]):
            line = lines[first - 2][:80]
            raise ValueError(f"{path}, line {first}: expected <image>{layout.delimiter}<caption>, got {line!r}")
        starts = [line.split(layout.delimiter)[0].strip() for line in lines[first - 1 : last - 1]]
        if any(Path(start).suffix == Path(fields[name]).suffix != "" for start in starts):
            raise ValueError(f"{path}, line {first}: its quotation mark is closed in line {last} only, so that another "
                             "picture would be part of the caption; close it, or double it if it is meant")  # fmt: skip
        yield fields[name], fields[layout.free]
