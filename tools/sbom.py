"""Write what is in each image as a CycloneDX file, build/sbom/NAME.cdx.json: `make sbom`.

An image installs what the Dockerfile copies for it from requirements/, every package pinned by hash. Programs of the
base image (Debian's) are not Python's, and not in it: an image scanner reads those.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "sbom"
_STAGE = re.compile(r"^FROM build AS (\S+)-packages\nCOPY (.+) /requirements/$", re.MULTILINE)


def images() -> dict[str, list[Path]]:
    """The requirements files of each image, by its name in the Dockerfile."""
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text("utf-8")
    return {name: [ROOT / file for file in files.split()] for name, files in _STAGE.findall(dockerfile)}


def main() -> None:
    """Write all of them."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for name, files in images().items():
        target = OUTPUT / f"{name}.cdx.json"
        command = [sys.executable, "-m", "cyclonedx_py", "requirements", "-", "--output-reproducible"]
        command += ["--pyproject", str(ROOT / "pyproject.toml"), "-o", str(target)]
        subprocess.run(command, check=True, text=True, input="\n".join(file.read_text("utf-8") for file in files))
        sys.stdout.write(f"{target.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
