"""How a command fails: one line for a person, and an exit code. `main` prints it; nothing else ends the program."""

FAILED = 1
USAGE = 2
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


class CliError(Exception):
    """A command cannot do what it was asked to.

    Args:
        message: one line that names what failed and, where there is one, what to do.
        exit_code: FAILED, or USAGE where the command line itself is wrong.
    """

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code
