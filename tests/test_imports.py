"""No circles: no file of a package needs itself, by whatever way, also where an import is put off or there for types alone."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("mbrl_envs", "mbrl_agents", "tuning")


def modules(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """All files of the packages, by the name of the module."""
    found = {}
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: pathlib.Path, known: dict[str, pathlib.Path]) -> Iterator[str]:
    """The modules that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports by a relative name"
            for each in node.names:
                inner = f"{node.module}.{each.name}"
                if inner in known:
                    yield inner
                elif node.module in known:
                    yield node.module


def circle(root: pathlib.Path) -> list[str]:
    """A circle of modules, or nothing."""
    known = modules(root)
    graph = {name: {*imports(file, known)} - {name} for name, file in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_there_are_no_circles() -> None:
    assert len(modules(ROOT)) > 200
    assert circle(ROOT) == []


@pytest.mark.parametrize(
    "back",
    [
        "from tuning import a",
        "def f():\n    from tuning.a import x",
        "if TYPE_CHECKING:\n    import tuning.a",
        "import tuning.a as y",
    ],
)
def test_a_circle_is_found(back: str, tmp_path: pathlib.Path) -> None:
    """However it is closed."""
    (tmp_path / "tuning").mkdir()
    (tmp_path / "tuning" / "__init__.py").write_text("")
    (tmp_path / "tuning" / "a.py").write_text("from tuning.b import z\n")
    (tmp_path / "tuning" / "b.py").write_text("from tuning import c\n")
    (tmp_path / "tuning" / "c.py").write_text("")
    assert circle(tmp_path) == []
    (tmp_path / "tuning" / "c.py").write_text(back + "\n")
    assert {*circle(tmp_path)} == {"tuning.a", "tuning.b", "tuning.c"}
