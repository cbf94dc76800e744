"""atheris on all targets: `python -m tests.fuzz.guided FLAGS CORPUS…`, with libFuzzer's flags."""

import sys

import atheris

with atheris.instrument_imports(include=["services", "orchestrator"]):
    from tests.fuzz import targets


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    atheris.Setup(sys.argv, targets.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
