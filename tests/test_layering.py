"""The house keeps its shape: data flows features -> models -> pipelines."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

MAY_IMPORT = {
    "features": {"features"},
    "models": {"features", "models"},
    "pipelines": {"features", "models", "pipelines"},
}


def imported_rooms(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add((node.module or "").split(".")[0])
    return names & set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_what_lies_before_them(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        assert imported_rooms(file) <= MAY_IMPORT[room], file


def test_imports_are_seen_where_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("def f():\n    from pipelines import common\n")
    assert imported_rooms(file) == {"pipelines"}


@pytest.mark.parametrize("room", ["models", "features"])
def test_only_pipelines_have_a_command_line(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        assert "argparse" not in file.read_text(encoding="utf-8"), file


def test_no_pipeline_is_named_after_a_library() -> None:
    # The script's folder is on sys.path, so its modules would hide the library.
    import sys
    from importlib.metadata import packages_distributions

    taken = set(sys.stdlib_module_names) | set(packages_distributions())
    assert not {file.stem for file in (ROOT / "pipelines").glob("[!_]*.py")} & taken
