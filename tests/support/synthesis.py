"""A TTS client for tests: one request, all its events."""

from dataclasses import dataclass, field

import grpc
import numpy as np
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc

from services.common import wire
from services.common.audio import Samples, decode
from services.common.audio_format import AudioFormat


@dataclass
class Synthesis:
    """What came back for one request."""

    started: pb.SynthesisStarted = field(default_factory=pb.SynthesisStarted)
    chunks: list[pb.AudioChunk] = field(default_factory=list)
    completed: pb.SynthesisCompleted = field(default_factory=pb.SynthesisCompleted)
    order: list[str] = field(default_factory=list)

    @property
    def audio_format(self) -> AudioFormat:
        """What the server says that the chunks are."""
        return wire.audio_format(self.started.audio_format, "audio_format")

    @property
    def data(self) -> bytes:
        """All audio."""
        return b"".join(chunk.data for chunk in self.chunks)

    @property
    def samples(self) -> Samples:
        """All audio, decoded as what the server says that it is."""
        return decode(self.data, self.audio_format)

    @property
    def durations_ms(self) -> list[float]:
        """How long each chunk is."""
        return [1000 * len(chunk.data) / self.audio_format.bytes_per_second for chunk in self.chunks]

    def check_contract(self) -> None:
        """Assert what the contract says of every synthesis."""
        assert self.order[0] == "started"
        assert self.order[-1] == "completed"
        assert set(self.order[1:-1]) <= {"audio"}
        frames, frame_bytes, rate = 0, self.audio_format.frame_bytes, self.audio_format.sample_rate_hz
        for chunk in self.chunks:
            assert chunk.data
            assert len(chunk.data) % frame_bytes == 0
            np.testing.assert_allclose(wire.seconds(chunk.offset), frames / rate, atol=1e-6)
            frames += len(chunk.data) // frame_bytes
        np.testing.assert_allclose(wire.seconds(self.completed.audio_duration), frames / rate, atol=1e-6)


async def synthesize(address: str, request: pb.SynthesizeRequest) -> Synthesis:
    """Send a request and read all events.

    Raises:
        grpc.aio.AioRpcError: what the server refused it with.
    """
    result = Synthesis()
    async with grpc.aio.insecure_channel(address) as channel:
        async for response in pb_grpc.TextToSpeechServiceStub(channel).Synthesize(request):
            kind = response.WhichOneof("event")
            result.order.append(str(kind))
            if kind == "started":
                result.started = response.started
            elif kind == "audio":
                result.chunks.append(response.audio)
            elif kind == "completed":
                result.completed = response.completed
    return result
