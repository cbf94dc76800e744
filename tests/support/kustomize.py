"""The manifests of deploy/kubernetes, as `kubectl kustomize` makes them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.servers import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent))
Manifest = dict[str, Any]


def build(folder: Path) -> list[Manifest]:
    """All manifests of an overlay."""
    assert KUBECTL is not None
    done = subprocess.run((KUBECTL, "kustomize", str(folder)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def write_kustomization(folder: Path, overlay: str, *components: str, **more: object) -> None:
    """An overlay with more components, as a user would write it."""
    paths = {
        "resources": [FOLDER / "overlays" / overlay],
        "components": [FOLDER / "components" / component for component in components],
    }
    lists = {kind: [os.path.relpath(path, folder.resolve()) for path in found] for kind, found in paths.items()}
    content = {"kind": "Kustomization", **lists, **more}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content), "utf-8")
