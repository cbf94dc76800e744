"""docs/flags.md says what the settings say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_of_flags_is_what_the_settings_say() -> None:
    command = (sys.executable, "tools/flag_tables.py", "--check")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
