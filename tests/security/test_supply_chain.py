"""What is installed is what was locked: pins have hashes, installers check them, and each image has its list."""

import re
from pathlib import Path

import pytest

from tools import audit, sbom

ROOT = audit.ROOT
_PIN = re.compile(
    r"^[A-Za-z0-9_.-]+==[^\s\\]+(?P<hashes>(?:\s*\\\n\s+--hash=sha256:[0-9a-f]{64}|\s+--hash=sha256:[0-9a-f]{64})*)$"
)


def entries(file: Path) -> list[str]:
    """The requirements of a file, each with its hashes."""
    text = file.read_text("utf-8").replace("\\\n", "\\\0")
    return [line.replace("\\\0", "\\\n") for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("file", audit.locked(), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_requirement_is_pinned_and_hashed(file: Path) -> None:
    found = entries(file)
    assert found
    for entry in found:
        pin = _PIN.fullmatch(entry)
        assert pin is not None, entry
        assert pin["hashes"], entry


@pytest.mark.parametrize("file", ["Makefile", "deploy/docker/install"])
def test_every_installer_checks_hashes(file: str) -> None:
    script = (ROOT / file).read_text("utf-8").replace("\\\n", " ")
    installs = [line for line in script.splitlines() if re.search(r"install\b.*(\s-r|\"-r\"|@)", line)]
    assert installs
    assert not [line for line in installs if "--require-hashes" not in line]


def test_an_image_has_a_list_of_what_is_in_it() -> None:
    listed = sbom.images()
    assert listed.keys() >= {"orchestrator", "stt", "tts", "llm", "llm-api", "llm-gpu", "llama-cpp", "models"}
    files = {file for files in listed.values() for file in files}
    assert files >= set((ROOT / "requirements" / "images").iterdir())
    assert all(file.is_file() for file in files)


def test_an_audit_that_could_ask_nobody_is_no_good_one() -> None:
    skipped = {"name": "numpy", "skip_reason": "not found"}
    good = {"name": "numpy", "version": "2.4.6", "vulns": []}
    hole = {"id": "CVE-1", "fix_versions": ["2"], "description": "", "aliases": []}
    assert audit.verdict({"a.txt": [skipped], "b.txt": []})[0] == 2
    assert audit.verdict({"a.txt": [good]}) == (0, ["1 packages were looked up, 0 vulnerable"])
    code, said = audit.verdict({"a.txt": [{**good, "vulns": [hole]}, {**skipped, "name": "own"}]})
    assert code == 1
    assert said == [
        "a.txt: numpy 2.4.6: CVE-1, fixed in 2",
        "1 packages were looked up, 1 vulnerable",
        "not in the database: own",
    ]
