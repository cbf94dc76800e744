"""Keys of signed tokens at a URL: when they are fetched, and what holds while they cannot be."""

import pytest

from services.common.access.signed_tokens import SignedTokens
from services.common.errors import UnauthenticatedError, UpstreamError
from tests.support.signing import AUDIENCE, ISSUER, Signer, published


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_known_keys_serve_on_while_the_signer_is_down_and_new_ones_are_found_after_a_while() -> None:
    clock, signers = Clock(), [Signer()]
    first = signers[0].token()
    with published(signers) as (url, asked):
        signed = SignedTokens(url, ISSUER, AUDIENCE, clock)
        assert await signed.subject(first) == "acme"
        signers.append(Signer("two"))
        for _ in range(3):
            with pytest.raises(UnauthenticatedError, match="key that is not known"):
                await signed.subject(signers[1].token())
        assert len(asked) == 1
        clock.now = 11.0
        assert await signed.subject(signers[1].token("other")) == "other"
        assert len(asked) == 2
    clock.now = 1000.0
    assert await signed.subject(signers[1].token()) == "acme"  # the signer is gone
    await signed.aclose()


async def test_where_keys_were_never_had_it_is_not_the_callers_fault() -> None:
    signed = SignedTokens("http://127.0.0.1:1/keys", ISSUER, AUDIENCE, Clock())
    for _ in range(2):
        with pytest.raises(UpstreamError, match="who signs tokens cannot be reached") as failed:
            await signed.subject(Signer().token())
        assert failed.value.retry_after_s
    await signed.aclose()
