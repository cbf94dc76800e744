"""Write requirements/images/NAME.txt, what each image installs: `make image-requirements`.

Each is a part of requirements/dev.txt: the pins that the image's extras need on Linux, found through what the installed
packages say of each other. With `--check` nothing is written: it exits 1 where the committed files differ from that.
"""

import functools
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
_PROJECT = "parley-voice"
IMAGES = {
    "orchestrator": f"{_PROJECT}[realtime,otlp,auth]",
    "llm-api": f"{_PROJECT}[llm-api,llm-redis,otlp]",
    "llm": f"{_PROJECT}[llm-transformers,llm-api,llm-redis,otlp]",
    "stt": f"{_PROJECT}[stt-faster-whisper,stt-openai-api,otlp]",
    "tts": f"{_PROJECT}[tts-hibari,tts-openai-api,otlp]",
    "llama-cpp": "xllamacpp",
}
_APART = frozenset({"torch"})
"""Comes from requirements/torch.txt; a build for GPUs needs more than what is locked, and brings it."""
_NEEDLESS = frozenset({"setuptools"})
"""For compiling at run time, which no image can."""
_LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}


def pins() -> dict[str, str]:
    """The lines of requirements/dev.txt for each package, its hashes among them."""
    text = (ROOT / "requirements" / "dev.txt").read_text("utf-8")
    entries = text.partition("\n")[2].replace("\\\n    ", "\0").splitlines()
    return {canonicalize_name(entry.partition("==")[0]): entry.replace("\0", "\\\n    ") for entry in entries}


def needed(root: str) -> set[str]:
    """The packages that a requirement brings, all the way down."""
    locked = pins()
    extras_of: dict[str, set[str]] = {}
    pending = [Requirement(root)]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        known = extras_of.get(name)
        if name in _NEEDLESS or (known is not None and requirement.extras <= known):
            continue
        extras_of[name] = (known or set()) | requirement.extras
        more = [Requirement(text) for text in _requirements(name, extras_of[name])]
        pending += [found for found in more if name not in _APART or canonicalize_name(found.name) in locked]
    return extras_of.keys() - {_PROJECT, *_APART}


def _requirements(name: str, extras: set[str]) -> list[str]:
    """What a package needs with these extras: the project by its pyproject.toml, others by their metadata."""
    if name == _PROJECT:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        return [*project["dependencies"], *(text for e in extras for text in project["optional-dependencies"][e])]
    environments = [{**_LINUX, "extra": extra} for extra in extras | {""}]
    wanted = []
    for text in metadata.requires(name) or ():
        marker = Requirement(text).marker
        if marker is None or any(marker.evaluate(environment) for environment in environments):
            wanted.append(text)
    return wanted


def page(image: str) -> str:
    """The file of an image."""
    locked = pins()
    header = f"# What the image {image} installs, {IMAGES[image]}: a part of dev.txt, by `make image-requirements`."
    return "\n".join((header, *(locked[name] for name in sorted(needed(IMAGES[image]))), ""))


if __name__ == "__main__":
    from tools.generated_page import write_or_check

    for image in IMAGES:
        path = ROOT / "requirements" / "images" / f"{image}.txt"
        stale = f"{path.relative_to(ROOT)} is not a part of dev.txt any more: run make image-requirements"
        write_or_check(__doc__, path, functools.partial(page, image), stale)
