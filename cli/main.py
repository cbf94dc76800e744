"""The `parley` command line. Each command's work is in the module of its name, imported when it is called."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from cli.errors import FAILED, INTERRUPTED, USAGE, CliError
from cli.options import (
    ANY_FLAG,
    AudioFile,
    ConversationOption,
    InstructionsOption,
    LanguageOption,
    OutputOption,
    VoiceOption,
    checked_target,
    port_option,
    target_option,
)
from cli.programs import LLM, LOOPBACK, ORCHESTRATOR, PROGRAMS, STT, TTS

_debug = False
app = typer.Typer(
    name="parley",
    help="Parley: a voice agent made of gRPC services.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show a stack trace where the program itself fails.")] = False,
    token: Annotated[
        str, typer.Option("--token", envvar="PARLEY_TOKEN", help="Token for the server; better from the environment.")
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option("--token_file", metavar="FILE", envvar="PARLEY_TOKEN_FILE", help="File that has it.")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Use TLS, and trust those whom browsers trust.")] = False,
    tls_ca: Annotated[
        Path | None,
        typer.Option("--tls_ca", metavar="FILE", envvar="PARLEY_TLS_CA", help="Use TLS; who signs certificates."),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls_cert", metavar="FILE", envvar="PARLEY_TLS_CERT", help="Certificate to show (mTLS)."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls_key", metavar="FILE", envvar="PARLEY_TLS_KEY", help="Key of --tls_cert.")
    ] = None,
    tls_server_name: Annotated[
        str,
        typer.Option(
            "--tls_server_name", envvar="PARLEY_TLS_SERVER_NAME", help="Name in the server's certificate, if another."
        ),
    ] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", envvar="PARLEY_INSECURE", help="Let a token be sent without TLS.")
    ] = False,
) -> None:
    global _debug
    _debug = debug
    if not tls and not tls_ca:
        _check_unencrypted(context, "tls_cert", "tls_key", "tls_server_name")
    if token or token_file or tls or tls_ca:
        from cli import connection
        from services.common.client_security import ClientSecurity

        uses_tls = tls or tls_ca is not None
        security = ClientSecurity(uses_tls, tls_ca, tls_cert, tls_key, tls_server_name, token, token_file)
        connection.use(security, insecure=insecure)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _check_unencrypted(context: typer.Context, *flags: str) -> None:
    """Of the environment they may be meant for the servers, which call their own flags so."""
    for flag in flags:
        source = context.get_parameter_source(flag)
        if source is not None and source.name == "COMMANDLINE":
            raise CliError(f"--{flag} is of no use without TLS; give --tls or --tls_ca, too", USAGE)


@app.command(
    context_settings=ANY_FLAG,
    epilog="Any flag of any service may be given too, and goes to those that have it, such as --tts espeak-ng or "
    "--llm_gen_top_p 0.9: see parley-stt --help, parley-llm --help, parley-tts --help, parley-orchestrator --help. "
    "PARLEY_* environment variables reach them as well. --stt_target, --llm_target or --tts_target HOST:PORT use a "
    "service that runs elsewhere already.",
)
def up(
    context: typer.Context,
    port: Annotated[int | None, port_option("--port", ORCHESTRATOR)] = None,
    stt_port: Annotated[int | None, port_option("--stt_port", STT)] = None,
    llm_port: Annotated[int | None, port_option("--llm_port", LLM)] = None,
    tts_port: Annotated[int | None, port_option("--tts_port", TTS)] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="YAML file with flags as keys.")
    ] = None,
    log_dir: Annotated[
        Path | None, typer.Option("--log_dir", metavar="DIR", help="Folder of the services' logs, a file for each.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the services' logs here too.")] = False,
) -> None:
    """Start the whole stack on this machine; Ctrl-C stops it."""
    from cli import up as command
    from cli.plan import plan_stack

    ports = {ORCHESTRATOR.name: port, STT.name: stt_port, LLM.name: llm_port, TTS.name: tts_port}
    plan = plan_stack(context.args, {name: number for name, number in ports.items() if number is not None}, config)
    code = asyncio.run(command.run(plan, log_dir=log_dir, verbose=verbose, console=_console()))
    raise typer.Exit(code)


@app.command()
def talk(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Recording to send.")] = None,
    output: OutputOption = None,
    mic: Annotated[bool, typer.Option("--mic", help="Talk live with the sound card.")] = False,
    target: Annotated[str, target_option(ORCHESTRATOR)] = ORCHESTRATOR.default_target,
    voice: VoiceOption = "",
    language: LanguageOption = "",
    instructions: InstructionsOption = "",
    conversation_id: ConversationOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end, nothing else.")] = False,
) -> None:
    """Send a recording, or the microphone, and hear the answer."""
    from cli import talk as command

    if mic == (file is not None):
        raise CliError("give either a recording or --mic", USAGE)
    if mic and (output is not None or as_json):
        raise CliError("-o and --json are for recordings, not for --mic", USAGE)
    options = command.TalkOptions(target, voice, language, instructions, conversation_id)
    if file is None:
        asyncio.run(command.run_microphone(options, console=_console()))
    else:
        asyncio.run(command.run_file(file, output, options, as_json=as_json, console=_console()))


@app.command()
def say(
    text: Annotated[str, typer.Argument(help="What to say; - reads it from standard input.")],
    output: OutputOption = None,
    target: Annotated[str, target_option(TTS)] = TTS.default_target,
    voice: VoiceOption = "",
    language: Annotated[str, typer.Option(help="BCP-47 language of the text; the voice's own if not given.")] = "",
    rate: Annotated[float | None, typer.Option(help="Speaking rate; 1 is normal.", show_default=False)] = None,
) -> None:
    """Speak a text, into a file or through the sound card."""
    from cli import say as command

    options = command.SayOptions(target, voice, language, rate)
    asyncio.run(command.run(sys.stdin.read() if text == "-" else text, output, options, console=_console()))


@app.command()
def transcribe(
    file: AudioFile,
    interim: Annotated[bool, typer.Option("--interim", help="Show interim transcripts too.")] = False,
    words: Annotated[bool, typer.Option("--words", help="Show when each word is said.")] = False,
    target: Annotated[str, target_option(STT)] = STT.default_target,
    language: LanguageOption = "",
) -> None:
    """Print what is said in a recording."""
    from cli import transcribe as command

    options = command.TranscribeOptions(target, language, interim=interim, words=words)
    asyncio.run(command.run(file, options, console=_console()))


@app.command()
def chat(
    message: Annotated[str, typer.Argument(help="One message to answer; without it, a conversation.")] = "",
    target: Annotated[str, target_option(LLM)] = LLM.default_target,
    instructions: InstructionsOption = "",
    conversation_id: ConversationOption = "",
) -> None:
    """Write with the language model."""
    from cli import chat as command

    command.run(message, command.ChatOptions(target, instructions, conversation_id), console=_console())


@app.command()
def load(
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="Recording that every session says.")],
    sessions: Annotated[int, typer.Option(min=1, max=2000, help="Sessions at the same time.")] = 10,
    turns: Annotated[int, typer.Option(min=1, help="How often each session says the recording.")] = 3,
    ramp_s: Annotated[float, typer.Option("--ramp_s", min=0, help="Seconds within which all sessions begin.")] = 10.0,
    barge_in: Annotated[
        float,
        typer.Option("--barge_in", min=0, max=1, help="Share of answers to interrupt; a session's last never is."),
    ] = 0.0,
    barge_in_after_s: Annotated[
        float, typer.Option("--barge_in_after_s", min=0, help="Seconds of an answer heard before it is interrupted.")
    ] = 1.0,
    pause_s: Annotated[
        float, typer.Option("--pause_s", min=0, help="Seconds between an answer and the next turn.")
    ] = 1.0,
    patience_s: Annotated[
        float, typer.Option("--patience_s", min=3, help="Seconds without any event after which a session hangs up.")
    ] = 30.0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where records and report go, new or without another run's; out/load-TIME if not given.",
        ),
    ] = None,
    target: Annotated[str, target_option(ORCHESTRATOR)] = ORCHESTRATOR.default_target,
    voice: VoiceOption = "",
    language: LanguageOption = "",
    instructions: InstructionsOption = "",
) -> None:
    """Say a recording in many live sessions at once, and report how long answers took and why."""
    from cli.load import command
    from cli.load.plan import LoadPlan
    from cli.talk import TalkOptions

    if barge_in and turns < 2:
        raise CliError("--barge_in needs --turns of 2 or more: an answer is interrupted by the next turn", USAGE)
    plan = LoadPlan(sessions, turns, ramp_s, barge_in, barge_in_after_s, pause_s, patience_s)
    options = TalkOptions(target, voice, language, instructions)
    raise typer.Exit(asyncio.run(command.run(file, plan, options, out, console=_console())))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `parley load` wrote.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.html", help="Page to write; in the folder if not given."),
    ] = None,
) -> None:
    """Write the page of a load run again from its records."""
    from cli.report import command

    command.run(run, output, console=_console())


@app.command()
def top(
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Metrics of a program, several with commas or one by one; those of `parley up` if not given.",
            show_default=False,
        ),
    ] = None,
    interval_s: Annotated[float, typer.Option("--interval_s", min=0.1, help="Seconds between readings.")] = 2.0,
    window_s: Annotated[
        float, typer.Option("--window_s", min=1, help="Seconds that rates and percentiles are of.")
    ] = 60.0,
    once: Annotated[bool, typer.Option("--once", help="Print one frame, of two readings, and end.")] = False,
) -> None:
    """Watch sessions, latency by stage, queues and errors of running programs."""
    from cli.top import command

    services = {f"{LOOPBACK}:{program.metrics_port}": program.name for program in PROGRAMS}
    addresses = [checked_target(address) for words in metrics or () for address in words.split(",")]
    watching = command.run(
        addresses or list(services), services, interval_s=interval_s, window_s=window_s, once=once, console=_console()
    )
    asyncio.run(watching)


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="Whom it is for; conversations belong to this name.")],
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="File of tokens to add it to, the servers' --auth_token_file."),
    ] = None,
    sessions: Annotated[int, typer.Option(min=0, help="Sessions at a time; 0: as the server's flags say.")] = 0,
    requests_per_minute: Annotated[
        int, typer.Option("--requests_per_minute", min=0, help="Requests a minute; 0: as the server's flags say.")
    ] = 0,
    audio_seconds_per_day: Annotated[
        float, typer.Option("--audio_seconds_per_day", min=0, help="Seconds of audio a day; 0: as the flags say.")
    ] = 0.0,
) -> None:
    """Make a token for a caller; it is printed once, servers keep a hash of it."""
    from cli import token as command

    options = command.TokenOptions(name, sessions, requests_per_minute, audio_seconds_per_day)
    command.run(options, file, console=_console())


@app.command()
def doctor(
    cache_dir: Annotated[
        Path | None, typer.Option("--cache_dir", metavar="DIR", help="Where models are unpacked.", show_default=False)
    ] = None,
) -> None:
    """Say what is missing on this machine, and what to do about it."""
    from cli import doctor as command

    if not asyncio.run(command.run(cache_dir, console=_console())):
        raise typer.Exit(FAILED)


@app.command(context_settings=ANY_FLAG, epilog="Flags of the services may be given as to `parley up`.")
def demo(
    context: typer.Context,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.wav", help="WAV file of the answer.")] = Path(
        "out/answer.wav"
    ),
    question: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another recorded question.", show_default=False)
    ] = None,
) -> None:
    """Start the stack, put a recorded question to it, stop it."""
    from cli import demo as command

    asyncio.run(command.run(question, output, context.args, console=_console()))


def main() -> NoReturn:
    """Run a command; whatever fails is one line on standard error and an exit code."""
    # gRPC's own lines on standard error tell a user nothing, and would spoil the services' JSON logs.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        code = app(prog_name="parley", standalone_mode=False)
    except CliError as error:
        code = _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        code = _fail(_usage_message(error), USAGE)
    except (typer.Abort, KeyboardInterrupt, asyncio.CancelledError):
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; nothing more to flush
        code = FAILED
    except Exception as error:  # the last line of defence
        if _debug:
            raise
        code = _fail(f"unexpected {type(error).__name__}: {error}; `parley --debug …` shows where", FAILED)
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"parley: {' '.join(message.split())}\n")
    return code


def _usage_message(error: "typer.TyperException") -> str:
    format_message = getattr(error, "format_message", None)
    return format_message() if format_message else str(error)


def _console() -> Any:
    from rich.console import Console

    return Console()


if __name__ == "__main__":
    main()
