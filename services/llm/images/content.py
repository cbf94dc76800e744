"""What encoded images are, told from their bytes alone. Blocking: damaged ones are found by reading all of them."""

import io
import logging

from PIL import Image, ImageFile, ImageOps

from services.llm.domain import ImagePart
from services.llm.images.limits import ImageError, ImageLimits

log = logging.getLogger(__name__)

_MAX_SCANS = 32
"""Scans of a progressive JPEG: real ones have about ten, and each is a pass over all pixels."""
_COMMON_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Those that turn into RGB without loss of what is seen; 16-bit greys do not."""
_LIGHT_BYTES = 1 << 19
"""An image of fewer bytes is sent as it is, however large: to make it smaller would take longer than it saves."""
_LOOK_SIDE = 256
"""Pixels of a side at which a JPEG is decoded for a look: its decoder skips most of the work."""


def media_type(data: bytes) -> str:
    """The media type of an encoded image; "" for what is none of the four that models take."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "image/gif" if data.startswith((b"GIF87a", b"GIF89a")) else ""


def inspect(data: bytes, limits: ImageLimits) -> ImagePart:
    """An image that a model can take: its bytes as they are, unless it is larger than models look at, or may move.

    Raises:
        ImageError: for what is no image, a damaged one, or one that is too large.
    """
    if not data:
        raise ImageError("is empty")
    if len(data) > limits.max_bytes:
        raise ImageError(f"has {len(data)} bytes; {limits.max_bytes} are the most")
    kind = media_type(data)
    if not kind:
        raise ImageError("is no JPEG, PNG, WebP or GIF")
    try:
        with Image.open(io.BytesIO(data), formats=[kind.removeprefix("image/").upper()]) as image:
            _check_work(image, data, limits.max_pixels)
            moves = kind == "image/gif" or (kind == "image/webp" and bool(getattr(image, "is_animated", False)))
            heavy = len(data) > _LIGHT_BYTES and image.mode in _COMMON_MODES
            too_large = heavy and bool(limits.max_side) and max(image.size) > limits.max_side
            if not moves and not too_large:
                _check_whole(image, kind)
                return ImagePart(data, media_type=kind)
            made = _made_again(image, limits.max_side if too_large else 0, lossy=not moves and kind != "image/png")
            return made if moves or len(made.data) < len(data) else ImagePart(data, media_type=kind)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"has more than {limits.max_pixels} pixels") from None
    except Exception as error:  # what Pillow raises for damaged files is as various as its decoders
        log.debug("an image cannot be decoded", exc_info=error)
        raise ImageError("cannot be decoded: the image is damaged or not whole") from None


def _check_work(image: ImageFile.ImageFile, data: bytes, max_pixels: int) -> None:
    """Refuse, before it is decoded, what would take more memory or time than its bytes suggest."""
    if image.width * image.height > max_pixels:
        raise ImageError(f"has {image.width} x {image.height} pixels; {max_pixels} in all are the most")
    # In a JPEG's compressed data 0xFF is always followed by 0x00: this pair marks the beginning of a scan.
    if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _MAX_SCANS:
        raise ImageError("is a JPEG of too many passes")


def _check_whole(image: ImageFile.ImageFile, kind: str) -> None:
    """Raise for an image that is damaged or cut off, by what costs least for its type."""
    if kind == "image/png":
        image.verify()  # the checksums of all chunks, nothing unpacked
    elif kind == "image/jpeg":
        image.draft("RGB", (_LOOK_SIDE, _LOOK_SIDE))
        image.load()
    # A WebP that is not whole was refused when it was opened: its container says how long it is.


def _made_again(image: ImageFile.ImageFile, side: int, *, lossy: bool) -> ImagePart:
    """The first frame as JPEG or PNG, turned as its camera was, made smaller where `side` pixels are the most.

    A JPEG is decoded at a half, a quarter or an eighth where that leaves three quarters of the side: most of the time
    goes into pixels.
    """
    if side:
        wanted = 0.75 * side / max(image.size)
        image.draft("RGB", (int(image.width * wanted), int(image.height * wanted)))
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA") else None
    frame = ImageOps.exif_transpose(image)
    transparent = frame.has_transparency_data
    frame = frame.convert("RGBA" if transparent else "RGB")
    if side:
        frame.thumbnail((side, side), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    if lossy and not transparent:
        frame.save(file, "JPEG", quality=90, icc_profile=profile)
        return ImagePart(file.getvalue(), media_type="image/jpeg")
    frame.save(file, "PNG", compress_level=1, icc_profile=profile)
    return ImagePart(file.getvalue(), media_type="image/png")
