"""Arguments and options that several commands of `parley` have."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.programs import Program

ANY_FLAG: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}
AudioFile = Annotated[Path, typer.Argument(metavar="FILE", help="WAV, FLAC, OGG or MP3, of any rate.")]
OutputOption = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE.wav", help="WAV file to write.")]
VoiceOption = Annotated[str, typer.Option(help="Voice of the answer; the server's default if not given.")]
LanguageOption = Annotated[str, typer.Option(help="BCP-47 language of the speech, or auto to detect it.")]
InstructionsOption = Annotated[str, typer.Option(help="What the assistant is told to be and do.")]
ConversationOption = Annotated[
    str, typer.Option("--conversation_id", "--conversation-id", help="Continue this conversation.")
]


def target_option(program: Program) -> Any:
    """The option `--target`: where a program listens."""
    return typer.Option(help=f"Address of {program.title}.", metavar="HOST:PORT", callback=checked_target)


def checked_target(target: str) -> str:
    """`host:port`, or a gRPC target with a scheme of its own (`dns:///name:port`, `unix:path`).

    Raises:
        typer.BadParameter: it is neither.
    """
    _, colon, port = target.rpartition(":")
    if not colon or not port or ("/" not in target and not target.startswith("unix:") and not port.isdecimal()):
        raise typer.BadParameter(f"{target!r} is not HOST:PORT")
    return target


def port_option(flag: str, program: Program) -> Any:
    """An option that says where a program is to listen."""
    what = f"Port of {program.title} ({program.default_port}); 0 takes a free one."
    return typer.Option(flag, min=0, max=65535, metavar="PORT", help=what, show_default=False)
