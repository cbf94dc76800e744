"""`parley token`: a new token for a caller."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console

from cli.errors import USAGE, CliError
from services.common.access.token_file import MAX_NAME_CHARACTERS, Tokens, digest_of, new_token


@dataclass(frozen=True)
class TokenOptions:
    """Whom the token is for, and what it may use; 0 is what the server's flags say."""

    name: str
    sessions: int = 0
    requests_per_minute: int = 0
    audio_seconds_per_day: float = 0.0


def run(options: TokenOptions, file: Path | None, *, console: Console) -> None:
    """Print the token, once: nobody can tell it from the file. Its hash goes into the file, or is printed too.

    Raises:
        CliError: where the name is empty or too long, or the file is not one of tokens, or cannot be written.
    """
    if not 1 <= len(options.name) <= MAX_NAME_CHARACTERS:
        raise CliError(f"the name of a token has 1 to {MAX_NAME_CHARACTERS} characters", USAGE)
    token = new_token()
    entry: dict[str, object] = {"name": options.name, "sha256": digest_of(token).hex()}
    entry |= {name: value for name, value in vars(options).items() if name != "name" and value}
    if file is not None:
        _add(file, entry)
        console.out(token, highlight=False)
        return
    console.out(token, highlight=False)
    console.out(yaml.safe_dump({"tokens": [entry]}, sort_keys=False), end="", highlight=False)


def _add(file: Path, entry: dict[str, object]) -> None:
    """Add an entry; the file is whole at any time, since servers read it while they run."""
    try:
        text = file.read_text("utf-8") if file.exists() else ""
        if text.strip():
            Tokens(text.encode())
        entries = (yaml.safe_load(text) or {"tokens": []})["tokens"]
        new = file.with_name(file.name + ".new")
        new.touch(0o600)
        new.write_text(yaml.safe_dump({"tokens": [*entries, entry]}, sort_keys=False), "utf-8")
        if file.exists():  # whoever may read it may still: the user of a container
            known = file.stat()
            new.chmod(stat.S_IMODE(known.st_mode))
            os.chown(new, known.st_uid, known.st_gid)
        new.replace(file)
    except OSError as error:
        raise CliError(f"cannot add to {file}: {error.strerror or error}") from None
    except ValueError as error:
        raise CliError(f"{file}: {error}") from None
