"""The command line itself: exit codes, one line for every error, and nothing slow before it is needed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import main as main_module

Parley = Callable[..., tuple[int, str, str]]
HEAVY = ("numpy", "soundfile", "grpc", "pydantic_settings", "torch", "rich")


@pytest.fixture
def parley(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Parley:
    """Runs a command line in this process; returns exit code, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["parley", *words])
        with pytest.raises(SystemExit) as ended:
            main_module.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_without_a_command_there_is_help(parley: Parley) -> None:
    code, out, _ = parley()
    assert code == 0
    for command in ("up", "talk", "say", "transcribe", "chat", "doctor", "demo"):
        assert f"\n  {command} " in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("tlk",), "parley: No such command 'tlk'. Did you mean 'talk'?"),
        (("talk", "--nonsense"), "parley: No such option: --nonsense"),
        (("talk",), "parley: give either a recording or --mic"),
        (("talk", "a.wav", "--mic"), "parley: give either a recording or --mic"),
        (("talk", "--mic", "-o", "a.wav"), "parley: -o and --json are for recordings, not for --mic"),
        (("transcribe",), "parley: Missing argument 'FILE'."),
        (("say", " ", "-o", "a.wav"), "parley: there is nothing to say"),
        (("up", "--port", "70000"), "parley: Invalid value for '--port': Input should be less than or equal to 65535"),
        (("chat", "--target", "localhost"), "parley: Invalid value for '--target': 'localhost' is not HOST:PORT"),
        (("chat", "--target", "a:b"), "parley: Invalid value for '--target': 'a:b' is not HOST:PORT"),
        (
            ("--tls_cert", "a.crt", "chat"),
            "parley: --tls_cert is of no use without TLS; give --tls or --tls_ca, too",
        ),
        (("up", "nonsense"), "parley: unexpected word 'nonsense'; flags are written --name value"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(parley: Parley, words: tuple[str, ...], line: str) -> None:
    assert parley(*words) == (2, "", line + "\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("talk", "no.wav"), "parley: no.wav: No such file or directory"),
        (("transcribe", "no.wav"), "parley: no.wav: No such file or directory"),
        (("say", "Hi.", "-o", "no/a.wav"), "parley: cannot write no/a.wav: there is no folder no"),
        (
            ("chat", "Hi.", "--target", "127.0.0.1:1"),
            "parley: nothing listens at 127.0.0.1:1; start it with `parley up`",
        ),
    ],
)
def test_what_fails_is_one_line_and_exit_code_1(
    parley: Parley, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parley(*words) == (1, "", line + "\n")


def test_without_a_sound_card_say_tells_of_files(parley: Parley, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, out, err = parley("say", "Hi.")
    assert (code, out) == (1, "")
    assert err.startswith("parley: the sound card needs the sounddevice package")
    assert err.endswith("; or write a file with -o FILE.wav\n")


def test_the_unexpected_is_one_line_too(parley: Parley, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(main_module, "_console", broken)
    code, out, err = parley("chat", "Hi.")
    assert (code, out) == (1, "")
    assert err == "parley: unexpected ZeroDivisionError: division by zero; `parley --debug …` shows where\n"


def test_debug_shows_where_the_unexpected_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main_module, "_console", broken)
    monkeypatch.setattr(sys, "argv", ["parley", "--debug", "chat", "Hi."])
    with pytest.raises(ZeroDivisionError):
        main_module.main()


def test_interruption_is_quiet(parley: Parley, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "_console", interrupted)
    assert parley("chat", "Hi.") == (130, "", "")


def test_help_imports_nothing_slow() -> None:
    program = (
        "import sys; sys.argv = ['parley', '--help']\n"
        "from cli.main import main\n"
        "try: main()\n"
        f"finally: sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Usage: parley" in done.stdout
    assert done.stderr == ""
