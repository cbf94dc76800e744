"""Write requirements/dev.txt: the pinned, hashed versions of everything but torch and the model packages.

Run it as `make lock`. Torch is left out because its CPU build is not on the index (requirements/torch.txt).
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "requirements" / "dev.txt"
HEADER = "# Everything but torch (torch.txt) and the model packages (models.txt), pinned and hashed by `make lock`.\n"
FLAGS = "--quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header --no-emit-index-url"
MORE_FLAGS = "--no-emit-find-links --no-emit-options --unsafe-package torch --extra dev --output-file"
_PINNED = re.compile(r"^[A-Za-z0-9_.-]+==[^\n]+\\\n(?:    --hash=[^\n]+\n?)+", re.MULTILINE)


def main() -> None:
    """Compile, and keep only the pins that have hashes: not this project itself, not torch, no notes of the tool."""
    compiled = TARGET.with_suffix(".compiled")
    try:
        command = [sys.executable, "-m", "piptools", "compile", *FLAGS.split(), *MORE_FLAGS.split(), str(compiled)]
        subprocess.run([*command, str(ROOT / "pyproject.toml")], check=True)
        pins = [pin.rstrip("\n") for pin in _PINNED.findall(compiled.read_text("utf-8"))]
    finally:
        compiled.unlink(missing_ok=True)
    TARGET.write_text(HEADER + "\n".join(pin for pin in pins if not pin.startswith("torch==")) + "\n", "utf-8")


if __name__ == "__main__":
    main()
