"""Runs the scripts of recipes/ in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.recipes.made import RECIPES, Run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a script of recipes/ with arguments; pages and folders of the repository are those of `tmp_path`."""
    import importlib
    import sys

    (tmp_path / "recipes").mkdir()
    (tmp_path / "places.md").touch()
    monkeypatch.syspath_prepend(RECIPES)

    def run(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        for module in (importlib.import_module(known) for known in ("places", name)):
            for place, path in {"ROOT": tmp_path, "PAGE": tmp_path / "places.md", "FOLDER": tmp_path / "out"}.items():
                if hasattr(module, place):
                    monkeypatch.setattr(module, place, path)
        importlib.import_module(name).main()

    (tmp_path / "out").mkdir()
    return run
