"""Files that are damaged at random, in the ways in which disks, networks, editors and strangers damage them."""

import re
from collections.abc import Callable
from random import Random

SCALAR = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null')
ODD = [
    *(b"null", b"true", b"{}", b"[]", b'""', b"-1", b"0", b"1e400", b"-1e-400", b"NaN", b"-Infinity", b"9" * 400),
    *(
        b"0.5",
        b'"0.5"',
        b"[[[[]]]]",
        b'{"a": 1}',
        b'"../../x"',
        b'"/etc/hostname"',
        b'"a\\u0000b"',
        b'"\\ud800"',
        b'"/"',
    ),
    *(b"18446744073709551616", b"-9223372036854775809", b"2147483648", b'"' + b"x" * 3_000 + b'"'),
]
PIECES = [
    *(
        b"\0",
        b"\xff",
        b"\xfe\xff",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n",
        b"\r\n",
        b"\t",
        b'"',
        b"'",
        b",",
        b";",
        b":",
        b"|",
        b"#",
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b"[" * 3_000,
        b"{" * 300,
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"e\xcc\x81",
        b"\xf0\x9f\x98\x80",
    ),
    *(
        b"&a ",
        b"*a ",
        b"<<: *a",
        b"!!python/object/apply:os.getcwd []",
        b"--- ",
        b"%YAML 9",
        b"? ",
        b"nan",
        b"inf",
        b"-0",
    ),
    *(
        b"\x80\x02",
        b"cos\nsystem\n",
        b"PK\3\4",
        b"PK\5\6",
        b"\x93NUMPY",
        b"IHDR",
        b"IDAT",
        b"\xff\xd8",
        b"\xff\xda",
        b"GIF89a",
    ),
]


def flip(content: bytearray, draw: Random, others: list[bytes]) -> None:
    for _ in range(draw.choice([1, 1, 2, 8, 64])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def overwrite(content: bytearray, draw: Random, others: list[bytes]) -> None:
    start = draw.randrange(len(content))
    length = min(draw.choice([1, 4, 16, 256]), len(content) - start)
    content[start : start + length] = draw.choice([bytes(length), b"\xff" * length, draw.randbytes(length)])


def truncate(content: bytearray, draw: Random, others: list[bytes]) -> None:
    del content[draw.randrange(len(content)) :]


def cut_out(content: bytearray, draw: Random, others: list[bytes]) -> None:
    start = draw.randrange(len(content))
    del content[start : start + draw.choice([1, 2, 8, 100])]


def repeat(content: bytearray, draw: Random, others: list[bytes]) -> None:
    start = draw.randrange(len(content))
    part = content[start : start + draw.choice([1, 8, 100, 1_000])]
    content[start:start] = part * draw.choice([1, 1, 3])


def splice(content: bytearray, draw: Random, others: list[bytes]) -> None:
    other = draw.choice(others)
    if draw.random() < 0.3:  # the head of one, the tail of the other
        content[draw.randrange(len(content)) :] = other[draw.randrange(len(other)) :]
    else:
        start, place = draw.randrange(len(other)), draw.randrange(len(content))
        part = other[start : start + draw.choice([4, 64, 1_000])]
        content[place : place + draw.choice([0, len(part)])] = part


def insert(content: bytearray, draw: Random, others: list[bytes]) -> None:
    content[(place := draw.randrange(len(content) + 1)) : place] = draw.choice(PIECES)


def enlarge(content: bytearray, draw: Random, others: list[bytes]) -> None:
    """Put an extreme number where sizes and counts stand."""
    width, order = draw.choice([1, 2, 4, 8]), draw.choice(["little", "big"])
    number = draw.choice([0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2 ** (8 * width - 1) - 1, 2 ** (4 * width)])
    start = draw.choice([0, 0, draw.randrange(len(content))]) + draw.randrange(64)
    content[start : start + width] = number.to_bytes(width, order)


def other_value(content: bytearray, draw: Random, others: list[bytes]) -> None:
    """Put another value in the place of one that is written in words."""
    if found := list(SCALAR.finditer(content)):
        place = draw.choice(found)
        content[place.start() : place.end()] = draw.choice([*ODD, draw.choice(found)[0]])


WAYS: list[Callable] = [flip, overwrite, truncate, cut_out, repeat, splice, insert, enlarge]


def mutate(content: bytes, draw: Random, others: list[bytes], in_words: bool = False) -> bytes:
    """Damage a file in one to four ways.

    Args:
        content: of a whole file.
        draw: decides how.
        others: contents from which parts may come.
        in_words: whether it is text, whose values are changed more often than its bytes.
    """
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 2, 3, 4])):
        if changed:
            draw.choice([*WAYS, *([other_value] * 6 + [insert] if in_words else [])])(changed, draw, others)
    return bytes(changed)
