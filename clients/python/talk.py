"""Says a recording to Parley and writes what it answers: see ../README.md."""

import argparse
import asyncio
import datetime
import itertools
import sys
import time
import wave

from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import audio_pb2
from parley_client import (
    FinalTranscript,
    FunctionCall,
    ResponseEnded,
    ResponseStarted,
    Session,
    SessionError,
    SpeechStarted,
    Tool,
    TurnFailed,
    connect,
)

PCM = audio_pb2.AUDIO_ENCODING_PCM_S16LE
ANSWER_HZ = 24_000
FRAME_S, QUIET_S, PATIENCE_S = 0.02, 2.0, 30.0


async def get_time() -> str:
    return datetime.datetime.now().astimezone().strftime("It is %H:%M.")


CLOCK = Tool("get_time", "Tells what time it is.", get_time)


class TalkError(Exception):
    """One line for whoever called."""


class Conversation:
    """Prints what happens and knows whether something is still to come."""

    def __init__(self) -> None:
        self.unfinished = {"answer"}
        """What is still to come: an answer, the words of an utterance, the end of a response."""
        self.heard_at = time.monotonic()

    async def follow(self, session: Session) -> None:
        async for event in session.events():
            self.heard_at = time.monotonic()
            match event:
                case SpeechStarted(item_id):
                    print("speech started")
                    self.unfinished.add(item_id)
                case FinalTranscript(item_id, text):
                    print("you:", text)
                    self.unfinished.discard(item_id)
                    if text and not self.unfinished:
                        self.unfinished.add("answer")
                case ResponseStarted(response_id):
                    self.unfinished.discard("answer")
                    self.unfinished.add(response_id)
                case FunctionCall(_, _, name):
                    print("call:", name)  # the session runs it
                    self.unfinished.add("answer")
                case ResponseEnded(response_id, outcome, spoken):
                    print(f"parley ({outcome.value}): {spoken}")
                    self.unfinished.discard(response_id)
                case TurnFailed(message, reason):
                    raise TalkError(f"{reason}: {message}")


async def talk(target: str, question: wave.Wave_read, config: pb.SessionConfig, tools: list[Tool]) -> bytearray:
    """Every 20 ms a frame of the question goes up and a frame of the answer is played; returns what was played."""
    frame = round(question.getframerate() * FRAME_S)
    async with connect(target, config, tools=tools, reconnect_s=0) as session:
        conversation, playback, played = Conversation(), session.play(), bytearray()
        following = asyncio.create_task(conversation.follow(session))
        begun = time.monotonic()
        for tick in itertools.count(1):
            speech = question.readframes(frame)
            await session.send_audio(speech.ljust(2 * frame, b"\0"))  # silence, once all is said
            played += playback.read(2 * round(ANSWER_HZ * FRAME_S))
            quiet_s = time.monotonic() - conversation.heard_at
            over = not (speech or conversation.unfinished or playback.waiting_s) and quiet_s > QUIET_S
            if following.done() or over:
                break
            if not speech and quiet_s > PATIENCE_S:
                raise TalkError("DEADLINE_EXCEEDED: the server has fallen silent")
            await asyncio.sleep(begun + tick * FRAME_S - time.monotonic())
        await session.end()
        await following
    return played


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", metavar="HOST:PORT")
    parser.add_argument("question", metavar="QUESTION.wav", help="16 bit, mono")
    parser.add_argument("-o", "--output", metavar="ANSWER.wav", required=True)
    parser.add_argument("--language", help="of the question, as BCP-47")
    parser.add_argument("--clock", action="store_true", help="let the assistant ask for the time")
    arguments = parser.parse_args()
    try:
        with wave.open(arguments.question) as question:
            if (question.getnchannels(), question.getsampwidth()) != (1, 2):
                raise TalkError(f"{arguments.question} is not 16 bit mono")
            config = pb.SessionConfig(
                input_audio_format=audio_pb2.AudioFormat(encoding=PCM, sample_rate_hertz=question.getframerate()),
                output_audio_format=audio_pb2.AudioFormat(encoding=PCM, sample_rate_hertz=ANSWER_HZ),
                language_code=arguments.language,
            )
            played = asyncio.run(talk(arguments.target, question, config, [CLOCK] if arguments.clock else []))
        if not played:
            raise TalkError("there was no answer")
        with wave.open(arguments.output, "wb") as answer:
            answer.setparams((1, 2, ANSWER_HZ, 0, "NONE", ""))
            answer.writeframes(played)
    except (TalkError, SessionError, OSError, wave.Error) as error:
        sys.exit(f"talk: {error}")


if __name__ == "__main__":
    main()
