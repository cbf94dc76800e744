"""Shows a conversation while it happens: on a terminal with the transcript growing, elsewhere as plain lines."""

from types import TracebackType

from parley_client import events
from rich.console import Console
from rich.live import Live
from rich.text import Text

from cli.dialogue import Dialogue, Turn
from cli.render import breakdown, printable

_USER = ("You:     ", "bold cyan")
_ASSISTANT = ("Parley:  ", "bold green")


class TalkView:
    """Prints the events of a conversation.

    Args:
        console: where to.
        quiet: print nothing at all.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._live: Live | None = None
        self._answering = ""

    def __enter__(self) -> "TalkView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_live()
        self._end_line()

    def note(self, text: str) -> None:
        """Print a line about what happens."""
        if not self._quiet:
            self._console.print(Text(text, style="dim"), soft_wrap=True)

    def show(self, event: events.Event, dialogue: Dialogue) -> None:
        """Print what an event changes."""
        if self._quiet:
            return
        match event:
            case events.SpeechStarted():
                self._end_line()
            case events.InterimTranscript(_, text):
                self._interim(text)
            case events.FinalTranscript(_, text, _):
                self._stop_live()
                if text.strip():
                    self._console.print(Text.assemble(_USER, printable(text.strip())), soft_wrap=True)
            case events.TextDelta(response_id, text):
                self._delta(response_id, text)
            case events.ResponseEnded(response_id, outcome, _, _):
                self._ended(outcome, next((t for t in dialogue.turns if t.response_id == response_id), None))
            case events.TurnFailed(message):
                self._end_line()
                self._console.print(Text(printable(message), style="red"))
            case events.Reconnected():
                self._stop_live()
                self._end_line()
                self.note("The connection was lost; the conversation goes on.")
            case _:
                pass

    def _interim(self, text: str) -> None:
        """On a terminal the words so far, on a line that is written anew each time."""
        if not self._console.is_terminal or self._answering:
            return
        if self._live is None:
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        self._live.update(Text.assemble(_USER, (printable(text), "dim")), refresh=True)

    def _delta(self, response_id: str, text: str) -> None:
        if self._answering != response_id:
            self._stop_live()
            self._end_line()
            self._console.print(Text.assemble(_ASSISTANT), end="")
            self._answering = response_id
        self._console.print(Text(printable(text)), end="", soft_wrap=True)

    def _ended(self, outcome: events.Outcome, turn: Turn | None) -> None:
        if self._answering and outcome is not events.Outcome.COMPLETED:
            self._console.print(Text(f" ({outcome.value})", style="dim"), end="")
        self._end_line()
        if turn is not None and outcome is not events.Outcome.FAILED:
            self._console.print()
            self._console.print(breakdown(turn))
            self._console.print()

    def _end_line(self) -> None:
        if self._answering:
            self._console.print()
            self._answering = ""

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
