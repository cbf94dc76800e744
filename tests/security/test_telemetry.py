"""No library of a server tells its maker anything."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.servers import ROOT


def test_onnxruntime_makes_no_id_of_this_machine_in_a_server(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    program = "import services.common.server, onnxruntime"
    subprocess.run((sys.executable, "-c", program), env={**kept, "HOME": str(tmp_path)}, cwd=ROOT, check=True)
    assert not list(tmp_path.iterdir())
