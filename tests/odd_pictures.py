"""Pictures that are damaged, hostile or merely unusual, as bytes, each with what a reader is to make of it."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

GREY = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)
COLOUR = np.random.default_rng(3).integers(0, 256, (12, 16, 3), dtype=np.uint8)  # however turned, it looks different
ALPHA = np.where(np.arange(16) < 8, 255, 0).astype(np.uint8) * np.ones(
    (12, 1), dtype=np.uint8
)  # the right half is clear
OVER_WHITE = np.where(ALPHA[..., None] > 0, COLOUR, 255).astype(np.uint8)


def encode(picture: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int) -> bytes:
    """A grey PNG that claims a size, and has next to no pixels."""
    parts = {b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT": zlib.compress(b""), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, content) for name, content in parts.items())


def broken_chunk() -> bytes:
    """A PNG whose pixels come in two chunks, of which the second has no name: Pillow raises a SyntaxError."""
    pixels = zlib.compress(b"".join(b"\0" + bytes(np.random.default_rng(i).bytes(600)) for i in range(200)))
    half = len(pixels) // 2
    whole = png(200, 200).split(chunk(b"IDAT", zlib.compress(b"")))
    header = whole[0].replace(struct.pack(">BB", 8, 0), struct.pack(">BB", 8, 2))  # 8 bits, RGB
    header = header[:8] + chunk(b"IHDR", header[16:29])
    return header + chunk(b"IDAT", pixels[:half]) + struct.pack(">I", half) + b"\0\x8d\3\x98" + pixels[half:] + whole[1]


def oriented(number: int) -> bytes:
    """`COLOUR` stored as an EXIF orientation says: 6 has its first row at the right and its first column on top."""
    stored = {
        1: COLOUR,
        2: COLOUR[:, ::-1],
        3: COLOUR[::-1, ::-1],
        4: COLOUR[::-1],
        5: COLOUR.swapaxes(0, 1),
        6: np.rot90(COLOUR, 1),
        7: COLOUR.swapaxes(0, 1)[::-1, ::-1],
        8: np.rot90(COLOUR, -1),
    }[number]
    exif = Image.Exif()
    exif[0x0112] = number
    return encode(np.ascontiguousarray(stored), exif=exif)


def palette() -> Image.Image:
    return Image.fromarray(COLOUR).quantize(64)


def clear_palette() -> bytes:
    """A palette of red and green, whose green is transparent, red in the left half."""
    picture = Image.new("P", (16, 12))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.paste(1, (8, 0, 16, 12))
    return encode(picture, transparency=1)


BLOCKS = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
DAMAGED = {
    "broken chunk": broken_chunk(),
    "truncated JPEG": encode(BLOCKS, "JPEG")[:900],
    "truncated PNG": encode(BLOCKS)[:900],
    "nothing": b"",
    "random bytes": np.random.default_rng(1).bytes(2_000),
    "random bytes after a JPEG's first": b"\xff\xd8\xff\xe0" + np.random.default_rng(2).bytes(2_000),
    "bomb": png(60_000, 60_000),
    "small bomb": png(10_000, 9_000),  # Pillow would only warn
    "thread": png(1, 2_000),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n0 0 moveto\nshowpage\n",
    "no numbers": encode(Image.fromarray(np.full((12, 16), np.nan, dtype=np.float32)), "TIFF"),
}
RGB = np.stack([GREY] * 3, axis=2)
STRETCHED = np.rint(RGB * (255 / 191)).astype(np.uint8)  # from the least value, 0, to the largest, 191
RED = np.where(ALPHA[..., None] > 0, np.uint8([255, 0, 0]), np.uint8(255))
ODD = {
    "grey": (encode(GREY), RGB),
    "16-bit grey": (encode(GREY.astype(np.uint16) * 257), RGB),
    "16-bit TIFF": (encode(GREY.astype(np.uint16) * 257, "TIFF"), RGB),
    "16-bit PGM": (b"P5 16 12 65535\n" + (GREY.astype(np.uint16) * 257).astype(">u2").tobytes(), RGB),
    "10-bit PGM": (b"P5 16 12 1020\n" + (GREY.astype(np.uint16) * 4).astype(">u2").tobytes(), RGB),
    "bytes in 32-bit TIFF": (encode(GREY.astype(np.int32), "TIFF"), RGB),
    "signed 32-bit TIFF": (encode(GREY.astype(np.int32) * 1_000 - 100_000, "TIFF"), STRETCHED),
    "float TIFF from 0 to 1": (encode(GREY.astype(np.float32) / 255, "TIFF"), RGB),
    "float TIFF from 0 to 255": (encode(GREY.astype(np.float32), "TIFF"), RGB),
    "float TIFF around 0": (encode(GREY.astype(np.float32) / 1e4 - 0.01, "TIFF"), STRETCHED),
    "float TIFF of one value": (encode(np.full((12, 16), -3, dtype=np.float32), "TIFF"), np.zeros_like(RGB)),
    "palette": (encode(palette()), np.asarray(palette().convert("RGB"))),
    "transparent palette": (clear_palette(), RED),
    "CMYK": (encode(Image.fromarray(COLOUR).convert("CMYK"), "TIFF"), COLOUR),
    "RGBA": (encode(np.concatenate([COLOUR, ALPHA[..., None]], axis=2)), OVER_WHITE),
    "grey with alpha": (
        encode(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])),
        np.where(ALPHA[..., None] > 0, RGB, 255).astype(np.uint8),
    ),
    "a transparent grey": (encode(GREY, transparency=7), np.where(RGB == 7, 255, RGB).astype(np.uint8)),
    "opaque RGBA": (encode(np.concatenate([COLOUR, np.full_like(ALPHA, 255)[..., None]], axis=2)), COLOUR),
    "black and white": (encode(Image.fromarray(ALPHA).convert("1")), np.stack([ALPHA] * 3, axis=2)),
}
