"""Which audio goes up at once, and which waits for company: pure bookkeeping."""

from parley_client.events import Event, FinalTranscript, ResponseEnded, ResponseStarted, SpeechStarted

GATHERED_S = 0.2


class Gathering:
    """A message costs a server as much as what it does with it. So while nobody speaks, a fifth of a second goes up at
    a time, which is as much as the server looks at then. From the beginning of the user's voice to the end of the
    answer all goes at once: an interruption and the end of speech are heard as soon as ever.
    """

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._utterance = self._response = ""

    def see(self, event: Event) -> None:
        """Something has happened in the session."""
        match event:
            case SpeechStarted(item_id):
                self._utterance = item_id
            case FinalTranscript(item_id) if item_id == self._utterance:
                self._utterance = ""
            case ResponseStarted(response_id):
                self._response = response_id
            case ResponseEnded(response_id) if response_id == self._response:
                self._response = ""

    def add(self, data: bytes, bytes_per_second: int) -> bool:
        """More audio; returns whether what waits is to be sent now."""
        self._waiting += data
        return bool(self._utterance or self._response) or len(self._waiting) >= bytes_per_second * GATHERED_S

    def take(self) -> bytes:
        """All that waits."""
        data = bytes(self._waiting)
        self._waiting.clear()
        return data
