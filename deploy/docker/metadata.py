"""Writes what `importlib.metadata` needs to know of the project: `python metadata.py PYPROJECT FOLDER`."""

import sys
import tomllib
from pathlib import Path


def main(pyproject: Path, folder: Path) -> None:
    """Name and version, in a `.dist-info` folder below `folder`."""
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    name, version = project["name"], project["version"]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
