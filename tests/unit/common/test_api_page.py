"""docs/api.md says what the contract says."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_of_the_api_is_what_the_contract_says() -> None:
    command = (sys.executable, "tools/api_page.py", "--check")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
