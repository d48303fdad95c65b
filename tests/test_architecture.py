"""What holds across all modules: documented errors, one place for time and randomness."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import storage_providers

PACKAGE = Path(storage_providers.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PORT = ["base.py", "_face.py", "collection.py", "filters.py", "_names.py", "_writes.py"]
"""Modules whose public functions callers meet first."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    """Public functions and methods of a module, those inside functions left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node)
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield node


def raised_in(function: Function) -> set[str]:
    """Names of the errors a function raises itself, by name."""
    names: set[str] = set()
    for node in ast.walk(function):
        raised = node.exc if isinstance(node, ast.Raise) else None
        while isinstance(raised, ast.Call | ast.Attribute):
            # `raise SomeError(…).with_context(…)` raises SomeError.
            raised = raised.func if isinstance(raised, ast.Call) else raised.value
        if isinstance(raised, ast.Name) and raised.id.endswith("Error"):
            names.add(raised.id)
    return names


@pytest.mark.parametrize("module", PORT)
def test_every_error_raised_is_documented(module: str) -> None:
    """A public function that raises an error names it, or one above it, under `Raises`."""
    tree = ast.parse((PACKAGE / module).read_text())
    missing = [
        f"{function.name}: {name}"
        for function in functions(tree)
        for name in raised_in(function)
        if name not in (ast.get_docstring(function) or "")
    ]
    assert missing == []


@pytest.mark.parametrize("module", PORT)
def test_every_public_function_says_what_it_does(module: str) -> None:
    """A docstring that begins with a sentence."""
    tree = ast.parse((PACKAGE / module).read_text())
    overrides = {"connect", "disconnect", "capabilities", "inner"}
    silent = [
        function.name
        for function in functions(tree)
        if not (ast.get_docstring(function) or "").strip()
        and function.name not in overrides
        and "abstractmethod" not in map(ast.unparse, function.decorator_list)
    ]
    assert silent == []


def test_the_clock_is_the_only_clock() -> None:
    """Wall-clock time and randomness come from `_clock` in the contract's own modules."""
    core = ["_checks", "_face", "_names", "_writes", "base", "filters", "protocol", "_json"]
    for name in core:
        tree = ast.parse((PACKAGE / f"{name}.py").read_text())
        imported = {
            alias.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not imported & {"time", "random", "secrets", "uuid", "os"}, name


def test_the_reference_stands_on_the_contract_alone() -> None:
    """`in_memory` imports nothing of its neighbours, so that it stays a reference."""
    tree = ast.parse((PACKAGE / "providers" / "in_memory.py").read_text())
    ours = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("storage_providers")
    }
    assert not {module for module in ours if module and ".providers" in module}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_test_kit_needs_pytest_and_hypothesis(path: Path) -> None:
    """No other room imports what only the extra `testing` installs."""
    if path.is_relative_to(PACKAGE / "testing"):
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        for name in names:
            assert name.partition(".")[0] not in {"pytest", "hypothesis"}, name
            assert not name.startswith("storage_providers.testing"), name
