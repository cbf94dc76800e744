"""What encoded images are told to be, and which are refused before they cost anything."""

import io
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.llm.domain import ImagePart
from services.llm.images import content
from services.llm.images.content import inspect, media_type
from services.llm.images.limits import ImageError, ImageLimits
from tests.support.pictures import movie, picture, png_of

pytestmark = pytest.mark.usefixtures("nothing_is_light")
KINDS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}


@pytest.fixture(scope="module")
def nothing_is_light() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "_LIGHT_BYTES", 0)
        yield


def look(data: bytes, max_bytes: int = 1 << 20, max_pixels: int = 100_000, max_side: int = 0) -> ImagePart:
    return inspect(data, ImageLimits(max_bytes, max_pixels, max_side, 8, 0, 5.0))


def seen(part: ImagePart) -> Image.Image:
    with Image.open(io.BytesIO(part.data)) as image:
        image.load()
        return image


def problem(data: bytes, **limits: int) -> str:
    with pytest.raises(ImageError) as caught:
        look(data, **limits)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_image_stays_as_it_is_and_its_type_is_told_from_its_bytes(kind: str) -> None:
    data = picture(kind)
    assert look(data) == ImagePart(data, media_type=KINDS[kind])


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_what_moves_the_first_frame_is_taken(kind: str) -> None:
    taken = look(movie(kind))
    assert taken.media_type == "image/png"
    with Image.open(io.BytesIO(taken.data)) as image:
        assert image.size == (8, 6)
        red, _, blue = image.convert("RGB").getpixel((3, 3))  # type: ignore[misc]
        assert red > 200 > 60 > blue


def test_a_gif_keeps_its_transparency() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(file, "GIF")
    with Image.open(io.BytesIO(look(file.getvalue()).data)) as image:
        assert image.convert("RGBA").getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_a_phones_jpeg_with_a_second_picture_inside_is_a_jpeg() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 6)).save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 6))])
    assert look(file.getvalue()).media_type == "image/jpeg"


@pytest.mark.parametrize(("kind", "made"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/jpeg")])
@pytest.mark.parametrize("size", [(400, 100), (100, 400), (200, 199)])
def test_an_image_larger_than_models_look_at_is_made_smaller(kind: str, made: str, size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(file, kind)
    smaller = look(file.getvalue(), max_side=64)
    image = seen(smaller)
    assert (smaller.media_type, len(smaller.data) < len(file.getvalue())) == (made, True)
    assert 48 <= max(image.size) <= 64
    assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.1)


def test_what_is_made_smaller_is_turned_as_its_camera_was_and_keeps_its_colours() -> None:
    half = Image.new("RGB", (200, 100), "red")
    half.paste("blue", (100, 0, 200, 100))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: the left is up
    file = io.BytesIO()
    half.save(file, "JPEG", exif=exif)
    image = seen(look(file.getvalue(), max_side=64))
    assert (image.height, image.getexif().get(0x0112)) == (2 * image.width, None)
    assert image.getpixel((12, 8))[0] > 200  # type: ignore[index]
    assert image.getpixel((12, image.height - 8))[2] > 200  # type: ignore[index]


def test_what_is_made_smaller_keeps_its_transparency() -> None:
    file = io.BytesIO()
    Image.new("RGBA", (100, 100), (255, 0, 0, 0)).save(file, "WEBP", lossless=True)
    data = file.getvalue() + bytes(1000 - len(file.getvalue()) % 2)  # so long that the smaller one pays
    data = data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    smaller = look(data, max_side=64)
    assert smaller.media_type == "image/png"
    assert seen(smaller).getpixel((0, 0))[3] == 0  # type: ignore[index]


@pytest.mark.parametrize(("size", "side"), [((64, 64), 64), ((400, 100), 0)])
def test_what_is_not_too_large_stays_as_it_is(size: tuple[int, int], side: int) -> None:
    data = picture("JPEG", size)
    assert look(data, max_side=side).data is data


def test_what_is_light_stays_as_it_is_however_large(monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture("JPEG", (400, 100))
    monkeypatch.setattr(content, "_LIGHT_BYTES", len(data))
    assert look(data, max_side=64).data is data
    monkeypatch.setattr(content, "_LIGHT_BYTES", len(data) - 1)
    assert look(data, max_side=64).data is not data


def test_what_would_not_get_lighter_and_sixteen_bit_greys_stay_as_they_are() -> None:
    plain = picture("PNG", (300, 300))
    grey = io.BytesIO()
    Image.new("I;16", (300, 300), 40_000).save(grey, "PNG")
    for data in (plain, grey.getvalue()):
        assert look(data, max_side=299).data is data


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!doctype html><title>Not found</title>",
        b"%PDF-1.7",
        b"BM" + bytes(60),
        b"II*\x00" + bytes(60),
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        bytes(100),
        b"\xff",
    ],
)
def test_other_files_are_no_images(data: bytes) -> None:
    assert problem(data) == "is no JPEG, PNG, WebP or GIF"


def test_nothing_is_no_image() -> None:
    assert problem(b"") == "is empty"


@pytest.mark.parametrize("kind", [*KINDS, "GIF"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
def test_an_image_that_is_not_whole_is_refused(kind: str, part: float) -> None:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(file, kind)
    data = file.getvalue()
    look(data)
    assert "damaged or not whole" in problem(data[: max(16, int(len(data) * part))])


def test_a_type_that_only_the_first_bytes_claim_is_refused() -> None:
    assert "damaged" in problem(picture("PNG")[:8] + picture("JPEG"))
    assert "damaged" in problem(b"\xff\xd8\xff" + picture("PNG"))


def test_a_size_in_bytes_is_the_limit_itself() -> None:
    data = picture()
    assert look(data, max_bytes=len(data))
    assert f"{len(data) - 1} are the most" in problem(data, max_bytes=len(data) - 1)


@pytest.mark.parametrize("side", [1_000, 10_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    assert "pixels" in problem(png_of(side, side))


def test_a_gif_whose_frame_is_larger_than_its_screen_is_refused() -> None:
    data = bytearray(picture("GIF"))
    screen = data.index(b"\x2c")
    data[screen + 5 : screen + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError):
        look(bytes(data))


def test_text_that_unpacks_to_a_thousand_times_its_size_is_refused() -> None:
    bomb = zlib.compress(bytes(64 << 20))
    data = png_of(4, 4, (b"zTXt", b"Comment\x00\x00" + bomb))
    assert len(data) < 1 << 17
    assert "damaged" in problem(data)


def test_a_jpeg_of_hundreds_of_passes_is_refused() -> None:
    data = picture("JPEG", progressive=True)
    look(data)
    end = data.index(b"\xff\xda")
    assert "passes" in problem(data[:end] + b"\xff\xda\x00\x03\x00" * 100 + data[end:])


@given(st.binary(max_size=200), st.sampled_from([*KINDS, "GIF"]), st.integers(0, 200))
def test_whatever_the_bytes_it_is_an_image_or_one_clear_refusal(noise: bytes, kind: str, at: int) -> None:
    data = picture(kind)
    for mangled in (data[:at] + noise + data[at:], data[:at] + noise):
        outcome = _outcome(mangled)
        assert isinstance(outcome, ImagePart) or not any(word in outcome for word in ("0x", "PIL", "Error"))


def _outcome(data: bytes) -> ImagePart | str:
    try:
        return look(data)
    except ImageError as error:
        return str(error)


def test_the_type_needs_no_decoding() -> None:
    assert [media_type(picture(kind)) for kind in KINDS] == list(KINDS.values())
