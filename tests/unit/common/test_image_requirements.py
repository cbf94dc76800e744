"""What the images install is a part of what everything else is tested with."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LOCKS = ROOT / "requirements"


def test_the_requirements_of_the_images_are_the_part_of_the_lock_that_they_need() -> None:
    command = (sys.executable, "tools/image_requirements.py", "--check")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_torch_for_gpus_is_the_version_of_torch_for_cpus() -> None:
    versions = {
        line.rstrip(" \\")
        for name in ("torch.txt", "images/torch-gpu.txt")
        for line in (LOCKS / name).read_text("utf-8").splitlines()
        if line.startswith("torch==")
    }
    assert len(versions) == 1
