"""Routes the flags that `parley up` does not know itself to the programs that do. No I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cli.errors import USAGE, CliError

_MOST_HINTS = 3
"""A flag that lacks its prefix may be that of any service; of more it is not known which is meant."""


@dataclass(frozen=True)
class KnownFlags:
    """The flags of one program.

    Attributes:
        names: all of them, without dashes.
        switches: those that may stand without a value.
        open_prefix: any name that begins so is a flag too; "" for none.
    """

    names: Collection[str]
    switches: Collection[str] = ()
    open_prefix: str = ""

    def has(self, name: str) -> bool:
        """Whether the program takes this flag."""
        return name in self.names or (bool(self.open_prefix) and name.startswith(self.open_prefix))


@dataclass(frozen=True)
class Flag:
    """A flag from the command line, still as text."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"--{self.name}={self.value}"


def parse(words: Sequence[str], known: Collection[KnownFlags]) -> list[Flag]:
    """Words of a command line to flags; `--name value`, `--name=value`, and a bare `--name` for switches.

    Raises:
        CliError: for a word that is no flag, a flag that no program has (with the nearest one), a missing value.
    """
    flags: list[Flag] = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise CliError(f"unexpected word {word!r}; flags are written --name value", USAGE)
        if not any(program.has(name) for program in known):
            raise CliError(_unknown(name, known), USAGE)
        if not equals:
            if pending and not pending[0].startswith("--"):
                value = pending.pop(0)
            elif any(name in program.switches for program in known):
                value = "true"
            else:
                raise CliError(f"--{name} needs a value", USAGE)
        flags.append(Flag(name, value))
    return flags


def route(flags: Sequence[Flag], programs: Mapping[str, KnownFlags]) -> dict[str, list[Flag]]:
    """For each program the flags that it has, in order; a flag that several have goes to all of them."""
    return {name: [flag for flag in flags if known.has(flag.name)] for name, known in programs.items()}


def _unknown(name: str, known: Collection[KnownFlags]) -> str:
    from services.common.settings import nearest  # slow to import, and needed for typos alone

    names = {candidate for program in known for candidate in program.names}
    hints = [f"--{candidate}" for candidate in sorted(names) if candidate.endswith(f"_{name}")]
    if not 2 <= len(hints) <= _MOST_HINTS:
        hints = [f"--{hint}"] if (hint := nearest(name, names)) else []
    meant = " or ".join(filter(None, (", ".join(hints[:-1]), *hints[-1:])))
    return f"unknown flag --{name}" + (f"; did you mean {meant}?" if meant else "; see `parley up --help`")
