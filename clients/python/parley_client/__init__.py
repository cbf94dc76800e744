"""A client of Parley's voice agent, on asyncio.

    async with parley_client.connect("127.0.0.1:50050") as session:
        await session.send_audio(frame)          # from the microphone, as it comes
        async for event in session.events():     # in another task
            ...

The contract's own messages are in the package `parley` (`from parley.agent.v1 import agent_service_pb2`): decision 029.
"""

from parley_client.errors import SessionError
from parley_client.events import (
    AudioDelta,
    Event,
    FinalTranscript,
    FunctionCall,
    InterimTranscript,
    ItemDeleted,
    Outcome,
    Reconnected,
    ResponseEnded,
    ResponseStarted,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    Timings,
    TurnFailed,
)
from parley_client.playback import Playback, Position
from parley_client.session import Session, connect
from parley_client.tools import Tool

__all__ = [
    "AudioDelta",
    "Event",
    "FinalTranscript",
    "FunctionCall",
    "InterimTranscript",
    "ItemDeleted",
    "Outcome",
    "Playback",
    "Position",
    "Reconnected",
    "ResponseEnded",
    "ResponseStarted",
    "Session",
    "SessionError",
    "SpeechStarted",
    "SpeechStopped",
    "TextDelta",
    "Timings",
    "Tool",
    "TurnFailed",
    "connect",
]
