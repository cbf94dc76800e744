"""Which URLs images may be fetched from."""

from dataclasses import replace

import pytest

from services.llm.images.limits import ImageError, ImageLimits
from services.llm.images.urls import MAX_URL_CHARS, parse, redirect

LIMITS = ImageLimits(1000, 1000, 0, 8, 1000, 5.0)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://a.example/x.png", "is no https URL"),
        ("ftp://a.example/x.png", "is no https URL"),
        ("file:///etc/passwd", "is no https URL"),
        ("data:image/png;base64,AAAA", "is no https URL"),
        ("//a.example/x.png", "is no https URL"),
        ("x.png", "is no https URL"),
        ("", "is no https URL"),
        ("https://user:secret@a.example/x.png", "user name or password"),
        ("https://user@a.example/x.png", "user name or password"),
        ("https://a.example\\@b.example/x.png", "user name or password"),
        ("https:///x.png", "names no host"),
        ("https://:443/x.png", "names no host"),
        ("https://a.example:99999/x.png", "valid"),
        ("https://a.example:0/x.png", "no valid port"),
        ("https://a.example:x/x.png", "valid"),
        ("https://[::1/x.png", "valid"),
        ("https://999.1.1.1/x.png", "valid"),
        ("https://a.example/\r\nHost: b", "valid"),
        ("https://a.example/\x00", "valid"),
        ("https://a.example/" + "x" * MAX_URL_CHARS, "characters"),
    ],
)
def test_what_is_no_plain_https_url_is_refused(url: str, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        parse(url, LIMITS)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://a.example", "HTTPS://A.example:8443/x.png?y=z#f", "https://bücher.example/ü.png"]
)
def test_https_urls_are_taken(url: str) -> None:
    parsed = parse(url, LIMITS)
    assert (parsed.scheme, parsed.raw_host.isascii(), parsed.raw_path.isascii()) == ("https", True, True)
    assert b"#" not in parsed.raw_path


def test_http_is_taken_where_a_flag_allows_it_and_nothing_else_is() -> None:
    open_ = replace(LIMITS, allow_http=True)
    assert parse("http://a.example/", open_).scheme == "http"
    with pytest.raises(ImageError, match="no https or http URL"):
        parse("gopher://a.example/", open_)


def test_urls_are_refused_altogether_where_a_flag_says_so() -> None:
    with pytest.raises(ImageError, match="fetches no images"):
        parse("https://a.example/", replace(LIMITS, allow_urls=False))


@pytest.mark.parametrize(
    ("location", "target"),
    [
        (b"/other.png", "https://a.example/other.png"),
        (b"other.png?x=1", "https://a.example/dir/other.png?x=1"),
        (b"//b.example/y", "https://b.example/y"),
        (b"https://b.example:444/y", "https://b.example:444/y"),
    ],
)
def test_a_redirect_is_relative_or_absolute(location: bytes, target: str) -> None:
    assert str(redirect(parse("https://a.example/dir/x.png", LIMITS), location, LIMITS)) == target


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (b"http://a.example/x.png", "redirects to a URL that is no https URL"),
        (b"file:///etc/passwd", "is no https URL"),
        (b"https://user:pw@b.example/", "user name or password"),
        (b"https://b.example:x/", "no valid URL"),
        (b"https://b.example/\xff", "no valid URL"),
    ],
)
def test_a_redirect_is_checked_as_the_first_url_was(location: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        redirect(parse("https://a.example/x.png", LIMITS), location, LIMITS)
