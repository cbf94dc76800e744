"""What a token may use, over time; the file of tokens; what stays on this machine."""

import logging
from pathlib import Path

import pytest

from services.common.access.limits import Limits, Usage
from services.common.access.token_file import Tokens, digest_of, new_token
from services.common.client_security import stays_here
from services.common.errors import QuotaExceededError
from services.common.watched_files import WatchedFiles


def usage(**limits: float) -> Usage:
    made = Usage()
    made.limits = Limits(**limits)  # type: ignore[arg-type]
    return made


def test_a_minute_begins_with_its_first_request_and_ends_sixty_seconds_later() -> None:
    used = usage(requests_per_minute=2)
    used.request(100.0)
    used.request(130.0)
    with pytest.raises(QuotaExceededError) as refused:
        used.request(159.0)
    assert refused.value.retry_after_s == 1.0
    used.request(160.0)
    used.request(219.9)
    with pytest.raises(QuotaExceededError):
        used.request(219.9)


def test_audio_that_was_refused_does_not_count_and_a_day_later_all_may_be_sent_again() -> None:
    used = usage(audio_seconds_per_day=10)
    used.audio(9.0, 0.0)
    for _ in range(3):
        with pytest.raises(QuotaExceededError, match="10 seconds of audio a day") as refused:
            used.audio(2.0, 3600.0)
        assert refused.value.retry_after_s == 23 * 3600
    used.audio(1.0, 3600.0)
    used.audio(10.0, 86_400.0)


def test_sessions_are_those_that_are_open() -> None:
    used = usage(sessions=2)
    used.enter()
    used.enter()
    with pytest.raises(QuotaExceededError):
        used.enter()
    used.leave()
    used.enter()
    assert not used.is_idle(1e9)
    used.leave()
    used.leave()
    assert used.is_idle(1e9)


def test_without_a_limit_all_is_let_through_and_the_servers_own_limits_fill_in() -> None:
    used = usage()
    for _ in range(1000):
        used.enter()
        used.request(0.0)
        used.audio(1e6, 0.0)
    assert Limits(sessions=3).over(Limits(sessions=9, requests_per_minute=7)) == Limits(3, 7, 0.0)


def test_tokens_are_known_by_their_hashes_alone() -> None:
    one, two = new_token(), new_token()
    assert one != two
    assert len(one) > 40
    digest = digest_of(one).hex()
    tokens = Tokens(f"tokens: [{{name: acme, sha256: {digest}, sessions: 2}}]".encode())
    holder = tokens.holder(one)
    assert holder is not None
    assert (holder.name, holder.limits) == ("acme", Limits(2))
    assert [tokens.holder(wrong) for wrong in (two, digest, "", one.lower())] == [None] * 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file of tokens: "),
        (b"tokens: {", "not YAML"),
        (b"tokens: [{name: a, sha256: plain-secret}]", "tokens.0.sha256"),
        (b"tokens: [{name: a, sha256: '" + b"0" * 64 + b"', session: 3}]", "tokens.0.session"),
        (b"tokens: [{sha256: '" + b"0" * 64 + b"'}]", "tokens.0.name"),
    ],
)
def test_a_wrong_file_is_refused_without_a_word_of_what_is_in_it(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        Tokens(content)
    assert "plain-secret" not in str(refused.value)


def test_files_that_changed_and_are_not_good_leave_what_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "number"
    file.write_text("1")
    watched = WatchedFiles([file], int)
    assert (watched.get(), watched.get()) == (1, 1)
    file.write_text("two")
    with caplog.at_level(logging.INFO):
        assert (watched.get(), watched.get()) == (1, 1)
    assert [record.message for record in caplog.records] == ["files changed and cannot be used"]
    file.unlink()
    assert watched.get() == 1
    file.write_text("33")
    assert watched.get() == 33
    with pytest.raises(FileNotFoundError):
        WatchedFiles([tmp_path / "none"], int)


@pytest.mark.parametrize(
    ("target", "here"),
    [
        ("127.0.0.1:50051", True),
        ("localhost:50051", True),
        ("[::1]:50051", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", True),
        ("unix:/run/parley.sock", True),
        ("dns:///localhost:50051", True),
        ("ipv4:127.0.0.1:1,10.0.0.2:2", False),
        ("stt:50051", False),
        ("dns:///stt:50051", False),
        ("dns://1.1.1.1/stt:50051", False),
        ("localhost.example.com:1", False),
        ("[2001:db8::1]:1", False),
        ("xds:///stt", False),
    ],
)
def test_what_a_target_names_is_here_or_elsewhere(target: str, here: bool) -> None:
    assert stays_here(target) is here
