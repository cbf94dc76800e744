"""Write requirements/dev.txt and requirements/deploy.txt: pinned, hashed versions of all but torch and the models.

Run it as `make lock`. Torch is left out because its CPU build is not on the index (requirements/torch.txt).
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEV = ROOT / "requirements" / "dev.txt"
DEPLOY = ROOT / "requirements" / "deploy.txt"
HEADER = "# Everything but torch (torch.txt) and the model packages (models.txt), pinned and hashed by `make lock`.\n"
DEPLOY_HEADER = "# What `make test-deploy` needs beside dev.txt, pinned and hashed by `make lock`.\n"
FLAGS = "--quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header --no-emit-index-url"
MORE_FLAGS = "--no-emit-find-links --no-emit-options --unsafe-package torch"
_PINNED = re.compile(r"^[A-Za-z0-9_.-]+==[^\n]+\\\n(?:    --hash=[^\n]+\n?)+", re.MULTILINE)


def main() -> None:
    """Lock the two; the second has none of the first one's pins, and agrees with them."""
    pins = [pin for pin in _compile("dev") if not pin.startswith("torch==")]
    DEV.write_text(HEADER + "\n".join(pins) + "\n", "utf-8")
    more = [pin for pin in _compile("deploy", "--constraint", str(DEV)) if pin not in pins]
    DEPLOY.write_text(DEPLOY_HEADER + "\n".join(more) + "\n", "utf-8")


def _compile(extra: str, *options: str) -> list[str]:
    """The pins of an extra that have hashes: not this project itself, no notes of the tool."""
    compiled = DEV.with_name(f"{extra}.compiled")
    try:
        output = ("--extra", extra, "--output-file", str(compiled))
        command = [sys.executable, "-m", "piptools", "compile", *FLAGS.split(), *MORE_FLAGS.split(), *options, *output]
        subprocess.run([*command, str(ROOT / "pyproject.toml")], check=True)
        return [pin.rstrip("\n") for pin in _PINNED.findall(compiled.read_text("utf-8"))]
    finally:
        compiled.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
