"""Imports run one way: features -> models -> pipelines, and one way inside each package."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from pipelines.core.member import member_class
from pipelines.members import MEMBERS
from tests.conftest import ROOT

PACKAGES = ("features", "models", "pipelines")
LAYERS = {
    "features": (("common",), ("data",), ("annotations",), ("frames",), ("columns",)),
    "models": (
        ("logistic", "metrics", "folds", "self_training", "study"),
        ("estimators", "scoring", "survey"),
        ("tuning",),
    ),
    "pipelines": (("core",), ("members", "reporting", "reviewing"), ("benchmarks",), ("commands",)),
}
"""Subpackages or modules of each package, lowest layer first. A subpackage may import itself and lower
layers, but no other subpackage of its layer."""


def modules(package: str) -> dict[str, Path]:
    """Return the modules of a package by their dotted names."""
    files = sorted((ROOT / package).rglob("*.py"))
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
    }


def imports(file: Path) -> set[str]:
    """Return the dotted names of our modules that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def module_of(name: str, known: set[str]) -> str:
    """Return the module that an imported name belongs to: itself, or its parent."""
    return name if name in known else name.rpartition(".")[0]


def layer(module: str) -> tuple[int, str]:
    """Return the number of a module's layer, and its name in `LAYERS`; commands are the top layer."""
    package, *rest = module.split(".")
    name = rest[0] if rest else ""
    for number, names in enumerate(LAYERS[package]):
        if name in names:
            return number, name
    assert package == "pipelines", f"{module}: no layer in tests/test_layering.py"
    assert len(rest) == 1, f"{module}: no layer in tests/test_layering.py"
    return len(LAYERS[package]) - 1, module


def edges() -> list[tuple[str, str]]:
    """Return all pairs of a module and a module that it imports."""
    files = {name: file for package in PACKAGES for name, file in modules(package).items()}
    known = set(files)
    return [
        (module, module_of(imported, known))
        for module, file in files.items()
        if module not in PACKAGES
        for imported in imports(file)
    ]


def is_allowed(module: str, imported: str) -> bool:
    """Return whether the layers allow an import."""
    package, other = module.split(".")[0], imported.split(".")[0]
    if package != other:
        return PACKAGES.index(other) < PACKAGES.index(package)
    (number, name), (imported_number, imported_name) = layer(module), layer(imported)
    return imported_number < number or name == imported_name


def test_imports_only_lower_layers() -> None:
    found = edges()
    assert len(found) > 100
    assert [edge for edge in found if not is_allowed(*edge)] == []


def test_imports_have_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for module, imported in edges():
        graph.setdefault(module, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {error.args[1]}")


@pytest.mark.parametrize(
    ("module", "imported", "allowed"),
    [
        ("features.frames.store", "features.data.audio", True),
        ("features.data.audio", "features.frames.store", False),
        ("features.annotations.raven", "features.data.tables", True),
        ("features.data.dataset", "features.annotations.raven", False),
        ("features.columns.block", "models.metrics", False),
        ("models.scoring.blending", "models.metrics", True),
        ("models.scoring.blending", "models.estimators.gru", False),
        ("pipelines.core.train", "pipelines.members.gru", False),
        ("pipelines.members.gru", "pipelines.core.task", True),
        ("pipelines.blend", "pipelines.reporting.plots", True),
        ("pipelines.blend", "pipelines.predict", False),
    ],
)
def test_known_imports_are_allowed_or_forbidden(module: str, imported: str, allowed: bool) -> None:
    assert is_allowed(module, imported) is allowed


def test_imports_inside_functions_are_found(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("def f():\n    from pipelines.core import cli\n")
    assert imports(file) == {"pipelines.core.cli"}


@pytest.mark.parametrize("package", ["features", "models"])
def test_only_pipelines_has_a_command_line(package: str) -> None:
    for file in modules(package).values():
        assert "argparse" not in file.read_text(encoding="utf-8"), file


def test_pipelines_folder_holds_only_commands() -> None:
    for file in (ROOT / "pipelines").glob("[!_]*.py"):
        text = file.read_text(encoding="utf-8")
        assert '\nif __name__ == "__main__":\n' in text, file
        assert "sys.path[0] = str(Path(__file__).resolve().parents[1])" in text, file


def test_no_top_level_package_is_named_after_a_library() -> None:
    # Commands put the repository on sys.path, so its top-level names could shadow libraries.
    installed = packages_distributions()
    libraries = {name for name, distributions in installed.items() if set(distributions) != {"understory"}}
    assert not set(PACKAGES) & (set(sys.stdlib_module_names) | libraries)


def test_only_the_registry_is_imported_by_name() -> None:
    # An import by name is not seen by the other tests. Core needs one, because members import core.
    for package in PACKAGES:
        for name, file in modules(package).items():
            uses = "import_module(" in file.read_text(encoding="utf-8")
            assert uses == (name == "pipelines.core.member"), file


@pytest.mark.parametrize("name", MEMBERS)
def test_registered_member_has_its_name_and_a_command(name: str) -> None:
    assert member_class(name)().name == name
    assert (ROOT / "pipelines" / f"{name}.py").exists()


def test_each_name_has_one_meaning() -> None:
    classes: dict[str, Path] = {}
    for package in PACKAGES:
        for file in modules(package).values():
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    assert node.name != file.stem, f"{file}: {node.name} has the name of its module"
                if isinstance(node, ast.ClassDef):
                    assert node.name not in classes, (
                        f"{file}: class {node.name} is also in {classes[node.name]}"
                    )
                    classes[node.name] = file


def test_members_are_named_only_in_their_own_files() -> None:
    for package in PACKAGES:
        for name, file in modules(package).items():
            of_members = {
                f"{parent}.{member}" for parent in ("pipelines", "models.estimators") for member in MEMBERS
            }
            own = name.startswith("pipelines.members") or name in of_members
            for member in () if own else MEMBERS:
                text = file.read_text(encoding="utf-8")
                assert f'"{member}"' not in text, f"{file} names the member {member}"
                assert f"'{member}'" not in text, f"{file} names the member {member}"
