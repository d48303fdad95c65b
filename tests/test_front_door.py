"""What a newcomer meets first: the public names, the import, the rooms, the targets."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import storage_providers
from storage_providers import errors, protocol

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "storage_providers"
HEAVY = (
    "aiohttp",
    "boto3",
    "botocore",
    "httpx",
    "hypothesis",
    "pydantic",
    "pytest",
    "rich",
    "typer",
)


# --- public names ------------------------------------------------------------------------------


def test_public_names_are_sorted_and_there() -> None:
    """`__all__` is sorted as ruff sorts it, names nothing twice, and every name leads somewhere."""
    names = storage_providers.__all__
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(storage_providers, name) is not None, name
    assert set(names) <= set(dir(storage_providers))


def test_type_checkers_see_the_names_that_programs_get() -> None:
    """The imports for type checkers, the table of homes and `__all__` name the same things."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    seen = {
        alias.asname or alias.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {
        name: f"storage_providers.{home}"
        for home, members in storage_providers._HOMES.items()
        for name in members.split()
    }
    assert seen == homes
    assert {*homes, "__version__"} == set(storage_providers.__all__)


def test_every_error_and_word_is_public() -> None:
    """Whatever `errors` defines and whatever the contract is spoken with is a public name."""
    for_authors = {"check_collection", "check_id", "check_scope", "expiry_of", "is_inside"}
    wanted = {*errors.__all__, *protocol.__all__} - for_authors
    assert wanted <= set(storage_providers.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """A misspelt name fails as on any module."""
    with pytest.raises(AttributeError, match="no attribute 'SqliteProvider'"):
        _ = storage_providers.SqliteProvider  # type: ignore[attr-defined]


# --- importing ---------------------------------------------------------------------------------


def modules_after(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after a statement."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import storage_providers",
        "from storage_providers import InMemoryProvider, StorageProvider, compose",
        "from storage_providers import SQLiteProvider",
        "from storage_providers import LocalFileProvider",
        "from storage_providers import CloudflareR2Provider",
    ],
    ids=["package", "contract", "sqlite", "files", "r2"],
)
def test_importing_pulls_in_nothing_heavy(statement: str) -> None:
    """Neither the package nor an embedded provider loads HTTP, pydantic or test tools."""
    assert modules_after(statement) & set(HEAVY) == set()


def test_importing_the_package_alone_loads_nothing_of_it() -> None:
    """The package loads only what is used, so it costs next to nothing to import."""
    loaded = modules_after("import storage_providers")
    assert "storage_providers" in loaded
    assert loaded & {"asyncio", "msgspec", "sqlite3"} == set()


# --- rooms -------------------------------------------------------------------------------------

ROOMS: dict[str, tuple[str, ...]] = {
    "words": (
        *("errors", "protocol", "filters", "maintenance", "estimates", "conflicts"),
        *("_clock", "_hosts", "_json", "_names", "_requests", "_secrets", "_validation", "_writes"),
    ),
    "base": ("base", "_face", "_checks", "_importing"),
    "resilience": ("resilience", "_resilience"),
    "cloudflare": ("cloudflare",),
    "providers": ("providers",),
    "layers": ("layers",),
    "collection": ("collection", "_models", "_overlay", "_typed"),
    "settings": ("settings", "_opening", "_settings_sources", "_settings_table", "_urls"),
    "blocking": ("blocking", "_background"),
    "valet": ("valet",),
    "transfer": ("transfer",),
    "agents": ("agents",),
    "testing": ("testing",),
    "cli": ("cli", "__main__"),
}
MAY_IMPORT: dict[str, set[str]] = {
    "words": set(),
    "base": {"words"},
    "resilience": {"words"},
    "cloudflare": {"words", "resilience"},
    "providers": {"words", "base", "resilience", "cloudflare"},
    "layers": {"words", "base"},
    "collection": {"words", "base"},
    "settings": {"words", "base", "resilience", "providers", "layers"},
    "blocking": {"words", "base", "collection", "settings"},
    "valet": {"words", "base", "collection"},
    "agents": {"words", "base", "collection", "layers", "blocking"},
    "transfer": {
        *("words", "base", "resilience", "providers", "layers", "collection", "valet"),
        *("agents", "cloudflare"),
    },
    "testing": {"words", "base", "providers", "layers", "agents"},
    "cli": {
        *("words", "base", "providers", "layers", "collection", "settings", "valet", "transfer"),
        "agents",
    },
}


def room_of(module: str) -> str:
    """The room of `storage_providers.x.y`."""
    first = module.split(".")[1]
    for room, members in ROOMS.items():
        if first in members:
            return room
    raise AssertionError(f"{module} is in no room; give it one in ROOMS")


def imports_of(path: Path) -> Iterator[str]:
    """The modules of ours that a module imports, wherever in it, but for type checkers alone."""
    tree = ast.parse(path.read_text())
    for_types: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for_types.update(*(ast.walk(child) for child in node.body))
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "storage_providers":
            names = (alias.name for alias in node.names if alias.name != "__version__")
            yield from (f"storage_providers.{name}" for name in names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def test_imports_go_down() -> None:
    """Providers know no store, the words know nobody, and nobody knows the command line."""
    wrong: list[str] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts == ("storage_providers", "__init__"):
            continue
        room = room_of(".".join(parts))
        for imported in imports_of(path):
            if not imported.startswith("storage_providers."):
                continue
            other = room_of(imported)
            if other != room and other not in MAY_IMPORT[room]:
                wrong.append(f"{'/'.join(parts)}.py ({room}) imports {imported} ({other})")
    assert wrong == []


def test_modules_stay_readable() -> None:
    """No module has more than 600 lines."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 600
    }
    assert long == {}


# --- the project's files -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    """What pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_dependency_has_a_floor(pyproject: dict[str, Any]) -> None:
    """A dependency names the oldest release that the tests pass with."""
    project = pyproject["project"]
    requirements = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    without = [each for each in requirements if ">=" not in each]
    assert [each.partition("[")[0] for each in without] == ["storage-providers"]


def test_every_extra_is_tried_at_its_floor(pyproject: dict[str, Any]) -> None:
    """`make test-floors` installs every extra that users may ask for."""
    extras = pyproject["project"]["optional-dependencies"].keys() - {"bench", "dev", "docs"}
    words = set(re.findall(r"[a-z0-9-]+", (ROOT / "scripts" / "test_floors.sh").read_text()))
    assert extras <= words


def test_the_command_is_there(pyproject: dict[str, Any]) -> None:
    """The console script names a function that exists."""
    module, _, function = pyproject["project"]["scripts"]["storage-providers"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_help_names_every_target() -> None:
    """`make help` says what each target of the Makefile does."""
    text = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert targets is not None
    for target in targets[1].split():
        assert re.search(rf"^{target}:.*## \S", text, re.MULTILINE), target


def test_readme_reaches_python_by_line_30() -> None:
    """The first screen of the README holds a program that runs."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.index("```python") < 30


def test_the_changelog_has_this_version_or_says_unreleased() -> None:
    """A version that is out has its section."""
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{storage_providers.__version__}]" in text or "## [Unreleased]" in text
