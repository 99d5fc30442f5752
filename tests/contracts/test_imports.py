"""Each folder imports only itself and those before it; importing a sub-package only re-exports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import striate

SOURCE = Path(striate.__file__).parent
ORDER = [
    *("errors", "plain", "registry", "shapes", "recipe", "ops", "layers", "geometry", "locality"),
    *("acceleration", "zoo", "data"),
    *("tasks", "train", "interpret", "demonstrations", "runs", "port", "studio", "cli"),
]
FILES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
SUBPACKAGES = [path for path in FILES if path.name == "__init__.py" and len(path.parts) > 1]


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names under striate that the source imports, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def forbidden(source: str, part: str) -> list[str]:
    """Imports that `part` (a folder or file of striate) may not have."""
    allowed = ORDER[: ORDER.index(part) + 1]
    ours = [name.split(".")[1:] for name in imported(ast.parse(source)) if name.startswith("striate.")]
    return [".".join(name) for name in ours if name[0] in ORDER and name[0] not in allowed]


def more_than_reexports(source: str) -> list[str]:
    """What stands in an __init__.py beside its docstring, imports of its own modules and __all__."""
    docstring, *body = ast.parse(source).body
    assert ast.get_docstring(ast.Module([docstring], []))
    return [
        ast.unparse(node)
        for node in body
        if not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("striate."))
        and not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    ]


@pytest.mark.parametrize("path", [f for f in FILES if str(f) != "__init__.py"], ids=str)
def test_imports_point_backwards(path: Path) -> None:
    part = path.parts[0].removesuffix(".py")
    assert part in ORDER, f"where does {part} stand in the order?"
    assert forbidden((SOURCE / path).read_text(), part) == []


@pytest.mark.parametrize("path", SUBPACKAGES, ids=str)
def test_a_subpackage_only_reexports(path: Path) -> None:
    assert more_than_reexports((SOURCE / path).read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from striate.runs import load", ["runs.load"]),
        ("from striate import runs, zoo", ["runs"]),
        ("import striate.cli", ["cli"]),
        ("def f():\n    from striate.train.fit import Step", ["train.fit.Step"]),
        ("from striate.layers import RBF\nfrom striate.errors import InputError\nimport torch.runs", []),
    ],
)
def test_a_forbidden_import_is_found(source: str, found: list[str]) -> None:
    assert forbidden(source, "zoo") == found


def test_code_in_an_init_is_found() -> None:
    source = '"""Doc."""\nfrom striate.zoo import build\nimport torch\n__all__ = ["build"]\nx = 1'
    assert more_than_reexports(source) == ["import torch", "x = 1"]
