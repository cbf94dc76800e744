"""Small encoded images, made when they are needed, and files that only look like some."""

import io
import struct
import zlib

from PIL import Image


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), colour: str = "red", **options: object) -> bytes:
    """One plain image."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind, **options)
    return file.getvalue()


def movie(kind: str) -> bytes:
    """A red frame, then a blue one."""
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(file, kind, save_all=True, append_images=[Image.new("RGB", (8, 6), "blue")])
    return file.getvalue()


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG whose header claims a size; its pixels are missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), *chunks, (b"IEND", b""))
    )
