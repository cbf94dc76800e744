"""The rules of the house that imports can break: who may know whom, and what is loaded only when it is chosen."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SERVICES = ("stt", "llm", "tts")
TRANSPORT = {"servicer.py", "convert.py", "service.py"}
WIRE = ("grpc", "google", "parley")
MODEL_LIBRARIES = ("torch", "transformers", "mlx", "mlx_lm", "faster_whisper", "ctranslate2", "onnxruntime", "hibari")
"""Heavy, and absent where another engine is installed."""


def files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


@cache
def imports(path: Path, *, at_start: bool = False) -> frozenset[str]:
    """Dotted names of the modules that a file imports; `at_start`, when it is imported itself and not in a function."""
    tree = ast.parse(path.read_text("utf-8"))
    names: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        if at_start and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _for_types_alone(node)):
            continue
        waiting += ast.iter_child_nodes(node)
    return frozenset(names)


def _for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def broken(paths: Iterator[Path], *forbidden: str, at_start: bool = False) -> list[str]:
    """Each import of one of these packages, as `file: module`."""
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in paths
        for name in sorted(imports(path, at_start=at_start))
        if any(f"{name}.".startswith(f"{package}.") for package in forbidden)
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_services_know_neither_each_other_nor_who_calls_them(service: str) -> None:
    others = [f"services.{other}" for other in SERVICES if other != service]
    assert not broken(files(f"services/{service}"), *others, "orchestrator", "cli")


def test_what_is_shared_knows_none_of_those_that_share_it() -> None:
    assert not broken(files("services/common"), *(f"services.{name}" for name in SERVICES), "orchestrator", "cli")


def test_the_orchestrator_knows_services_through_the_contract_alone() -> None:
    assert not broken(files("orchestrator"), *(f"services.{name}" for name in SERVICES), "cli")


@pytest.mark.parametrize("service", SERVICES)
def test_grpc_and_messages_stay_in_the_transport_layer_of_a_service(service: str) -> None:
    assert not broken((path for path in files(f"services/{service}") if path.name not in TRANSPORT), *WIRE)


@pytest.mark.parametrize("folder", ["services/stt", "services/llm", "services/tts", "services/common", "orchestrator"])
def test_model_libraries_are_imported_only_where_an_engine_needs_them(folder: str) -> None:
    domain = (path for path in files(folder) if not {"engines", "backends"} & set(path.parts))
    assert not broken(domain, *MODEL_LIBRARIES, at_start=True)


def test_the_check_sees_what_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "import grpc.aio\nif TYPE_CHECKING:\n    import torch.nn\ndef load():\n    from services.llm import turns\n"
    )
    assert imports(path) == {"grpc.aio", "torch.nn", "services.llm.turns"}
    assert imports(path, at_start=True) == {"grpc.aio"}
