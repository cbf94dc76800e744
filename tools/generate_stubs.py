"""Generate the Python stubs of the contract into a folder: `python tools/generate_stubs.py protos`.

With `--check` nothing is written: it exits 1 where the committed stubs differ from what the contract generates.
"""

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = ROOT / "protos"
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def generate(out: Path) -> None:
    """Run protoc over the whole contract; the stubs land in `out` under the same folders as the .proto files."""
    sources = sorted(str(path.relative_to(CONTRACT)) for path in CONTRACT.rglob("*.proto"))
    out.mkdir(parents=True, exist_ok=True)
    kinds = ("python", "grpc_python", "mypy", "mypy_grpc")
    scripts = Path(sys.executable).parent  # the plugins live beside the interpreter, on the PATH or not
    plugins = [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    outputs = [f"--{kind}_out={'quiet:' if kind.startswith('mypy') else ''}{out}" for kind in kinds]
    arguments = ["protoc", f"-I{CONTRACT}", f"-I{WELL_KNOWN}", *plugins, *outputs, *sources]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed: see its message above")


def stubs(folder: Path) -> set[Path]:
    """The generated files under a folder, relative to it."""
    return {path.relative_to(folder) for path in folder.rglob("*_pb2*.py*") if path.suffix in {".py", ".pyi"}}


def main() -> None:
    """Generate, or compare with `--check`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--check", action="store_true", help="compare instead of writing; exit 1 on drift")
    args = parser.parse_args()
    if not args.check:
        generate(args.out)
        return
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        generate(fresh)
        expected, present = stubs(fresh), stubs(args.out)
        same = {path for path in expected & present if filecmp.cmp(fresh / path, args.out / path, shallow=False)}
        drift = sorted(str(path) for path in (expected | present) - same)
    if drift:
        sys.exit("generated stubs differ from the contract, run `make protos`: " + ", ".join(drift))


if __name__ == "__main__":
    main()
