"""What TLS and tokens cost: of each call in microseconds of the processor, and as latency of calls to a server, side by
side in turns, over plain TCP, TLS and mutual TLS, with and without tokens.

python -m benchmarks.security
"""

import asyncio
import contextlib
import itertools
import statistics
import tempfile
import time
import timeit
from collections.abc import Awaitable, Callable
from pathlib import Path

import yaml
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc

from benchmarks.report import save, show
from services.common.access.access import count_audio, open_access
from services.common.access.token_file import digest_of, new_token
from services.common.channel import open_channel
from services.common.client_security import ClientSecurity
from services.common.settings import ServerSettings, load
from tests.support.certificates import Authority
from tests.support.servers import running
from tests.support.signing import AUDIENCE, ISSUER, Signer

CALLS, ROUNDS, REPEATS = 20, 60, 5
EVENTS = 2_000
_PLAIN = "plain TCP"


async def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        token, signer, file, keys = new_token(), Signer(), folder / "tokens.yaml", folder / "keys.json"
        file.write_text(yaml.safe_dump({"tokens": [{"name": "me", "sha256": digest_of(token).hex()}]}))
        keys.write_text(signer.keys)
        authority = Authority(folder)
        pair = authority.certify("localhost", "127.0.0.1")
        signed = (f"--auth_jwks={keys}", f"--auth_issuer={ISSUER}", f"--auth_audience={AUDIENCE}")
        settings = load(ServerSettings, "parley", (f"--auth_token_file={file}", *signed))
        spent = await _spent(settings, token, signer.token(exp=int(time.time()) + 3600))
        mutual = ClientSecurity(True, authority.cert, pair.cert, pair.key)
        spent["certificates of a client looked at, for each call it makes"] = _timed(mutual.credentials())
        show("What a call costs", ("work", "µs"), [(work, round(us, 1)) for work, us in spent.items()])

        asks = (*pair.flags, f"--tls_client_ca={authority.cert}", "--health_port=0")
        ways = {
            _PLAIN: ((), ClientSecurity()),
            "plain TCP, token": ((f"--auth_token_file={file}",), ClientSecurity(token=token)),
            "TLS": ((*pair.flags, "--health_port=0"), ClientSecurity(True, authority.cert)),
            "mutual TLS, token": (
                (*asks, f"--auth_token_file={file}"),
                ClientSecurity(True, authority.cert, pair.cert, pair.key, token=token),
            ),
        }
        latency = await _latencies(ways)
    rows = [(way, round(us), f"{us / latency[_PLAIN]:.2f}") for way, us in latency.items()]
    show("Latency of a call on an open connection", ("way", "µs", "ratio"), rows)
    rounded = {"cpu_us": spent, "call_us": latency}
    save("security", {kind: {what: round(us, 2) for what, us in found.items()} for kind, found in rounded.items()})


async def _spent(settings: ServerSettings, token: str, signed: str) -> dict[str, float]:
    access = open_access(settings)
    assert access is not None

    async def admit(authorization: str) -> None:
        with await access.admit(authorization):
            count_audio(0.02)

    return {
        "token of the file, for each call served": await _awaited(lambda: admit(f"Bearer {token}")),
        "signed token (ES256), for each call served": await _awaited(lambda: admit(f"Bearer {signed}")),
        "audio counted, for each message": _timed(lambda: count_audio(0.02)),
    }


async def _awaited(work: Callable[[], Awaitable[None]]) -> float:
    spans = []
    for _ in range(REPEATS):
        begun = time.process_time()
        for _ in range(EVENTS):
            await work()
        spans.append(time.process_time() - begun)
    return min(spans) / EVENTS * 1e6


def _timed(work: Callable[[], object]) -> float:
    return min(timeit.repeat(work, timer=time.process_time, number=EVENTS, repeat=REPEATS)) / EVENTS * 1e6


async def _latencies(ways: dict[str, tuple[tuple[str, ...], ClientSecurity]]) -> dict[str, float]:
    """Microseconds of a call, as the median of all rounds; in each round all ways have their turn."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    async with contextlib.AsyncExitStack() as stack:
        stubs = {}
        for way, (flags, security) in ways.items():
            server = await stack.enter_async_context(running("tts", "--tts=fake", *flags))
            channel = await stack.enter_async_context(open_channel(server.address, security=security))
            stubs[way] = pb_grpc.TextToSpeechServiceStub(channel)
            await stubs[way].ListVoices(pb.ListVoicesRequest())
        for _, way in itertools.product(range(ROUNDS), ways):
            begun = time.perf_counter()
            for _ in range(CALLS):
                await stubs[way].ListVoices(pb.ListVoicesRequest())
            found[way].append((time.perf_counter() - begun) / CALLS * 1e6)
    return {way: statistics.median(spans) for way, spans in found.items()}


if __name__ == "__main__":
    asyncio.run(main())
