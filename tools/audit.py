"""Look every pinned package up in a database of known vulnerabilities: `make audit`.

Exit code 1 where one is vulnerable, 2 where the database could not be asked: pip-audit by itself takes no answer for a
good one.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def locked() -> list[Path]:
    """Every file of pinned, hashed packages."""
    return sorted((ROOT / "requirements").rglob("*.txt"))


def verdict(reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[int, list[str]]:
    """The exit code, and what to say, for what pip-audit says of the packages of each file."""
    found, known, unknown = [], set(), set()
    for file, packages in reports.items():
        for package in packages:
            (unknown if "skip_reason" in package else known).add(package["name"])
            for hole in package.get("vulns", ()):
                fixed = ", ".join(hole["fix_versions"]) or "none"
                found.append(f"{file}: {package['name']} {package['version']}: {hole['id']}, fixed in {fixed}")
    if not known:
        return 2, ["nothing was audited: no database of vulnerabilities can be reached from here"]
    said = [f"{len(known)} packages were looked up, {len(found)} vulnerable"]
    if unknown - known:
        said.append(f"not in the database: {', '.join(sorted(unknown - known))}")
    return int(bool(found)), [*found, *said]


def main() -> int:
    """Audit; the exit code."""
    reports = {}
    for file in locked():
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
        done = subprocess.run([*command, "--format=json", "-r", str(file)], capture_output=True, text=True, check=False)
        try:
            reports[str(file.relative_to(ROOT))] = json.loads(done.stdout)["dependencies"]
        except ValueError:  # it could not connect
            reports[str(file.relative_to(ROOT))] = []
    code, said = verdict(reports)
    sys.stdout.write("\n".join(said) + "\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
