"""The command `doctor`: what is set, what can be reached, what may be done."""

from __future__ import annotations

import platform
import time
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from storage_providers import __version__
from storage_providers.cli._checks import note_failures, print_checks
from storage_providers.cli._errors import describe
from storage_providers.cli._output import emit, print_json, print_rows
from storage_providers.cli._place import missing_path, nearest_folder
from storage_providers.cli._session import Session, command
from storage_providers.cli._text import visible
from storage_providers.errors import ConfigurationError, StorageError
from storage_providers.layers import below_layers
from storage_providers.maintenance import Check, Checkable, error_name
from storage_providers.protocol import JsonObject
from storage_providers.providers._probe import try_writing
from storage_providers.settings import SettingsReport, explain_settings

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["register"]

EXTRAS = {
    "core": ("msgspec", "filelock", "pydantic", "pydantic-settings"),
    "cli": ("typer", "rich"),
    "r2": ("aioboto3", "aiobotocore", "botocore", "aiohttp"),
    "cloudflare": ("httpx",),
    "testing": ("pytest", "hypothesis"),
}


class Diagnosis(msgspec.Struct):
    """Everything that `doctor` found.

    Attributes:
        versions: Packages and programs with their versions; `None`: not installed.
        settings: Every setting with its value (secrets masked) and where it came from.
        checks: What was tried, in order.
        capabilities: What the provider declares that it can do.
    """

    versions: dict[str, str | None]
    settings: SettingsReport
    checks: list[Check]
    capabilities: JsonObject | None = None


def register(app: typer.Typer) -> None:
    """Add this command to the application.

    Args:
        app: The application.
    """
    command(
        app,
        "doctor",
        examples=(
            "storage-providers doctor",
            "storage-providers -u sqlite:agents.db doctor --no-write",
            "storage-providers doctor --json > report.json",
        ),
        panel="Check",
    )(doctor)


async def doctor(
    session: Session,
    no_write: Annotated[
        bool,
        typer.Option(
            "--no-write",
            help="Don't try whether documents may be written and removed.",
            show_default=False,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print everything as JSON, for a report.", show_default=False),
    ] = False,
) -> None:
    """Say what is set and where from, and try whether the documents can be reached and changed.

    Secrets are masked. The trial document goes to the collection `.doctor` and is removed again.
    """
    settings = explain_settings(url=session.url)
    diagnosis = Diagnosis(versions=_versions(), settings=settings, checks=[])
    for problem in settings.problems:
        diagnosis.checks.append(_failed("settings", ConfigurationError(problem)))
    if session.url is not None or not settings.problems:
        await _examine(session, diagnosis, not no_write)
    if as_json:
        print_json(diagnosis)
    else:
        _print(session, diagnosis)
    note_failures(session, diagnosis.checks)


async def _examine(session: Session, diagnosis: Diagnosis, write: bool) -> None:
    checks = diagnosis.checks
    try:
        provider = session.provider()
        diagnosis.capabilities = msgspec.to_builtins(provider.capabilities)
        missing = missing_path(provider)
        if missing is not None:
            checks.append(_look_at_nothing(provider, missing))
            return
        started = time.perf_counter()
        async with provider:
            checks.append(Check(name="connect", ok=True, detail=f"{provider!r}{_since(started)}"))
            own = below_layers(provider)
            if isinstance(own, Checkable):
                checks += await own.checks(write=write)
                return
            checks.append(await _tried("list", lambda: _list(provider)))
            if write:
                # Below layers: a scope would have the trial document's folder inside its own.
                checks.append(await _tried("write", lambda: try_writing(own)))
    except (StorageError, OSError) as error:
        checks.append(_failed("connect", error))


def _look_at_nothing(provider: Provider, path: str) -> Check:
    """What to say of a folder or database that the first document would make."""
    folder, may_write = nearest_folder(path)
    detail = f"there is nothing at {path} yet"
    if not may_write:
        return Check(
            name="place", ok=False, detail=detail, advice=f"{folder} can't be written; change that"
        )
    if provider.name == "sqlite" and str(Path(path).absolute().parent) != folder:
        return Check(name="place", ok=False, detail=detail, advice="make its folder first")
    advice = "the first put, declare or import makes it; check the path if it should be there"
    return Check(name="place", ok=True, detail=detail, advice=advice)


async def _tried(name: str, attempt: Callable[[], Awaitable[str]]) -> Check:
    started = time.perf_counter()
    try:
        return Check(name=name, ok=True, detail=await attempt() + _since(started))
    except (StorageError, OSError) as error:
        return _failed(name, error)


def _failed(name: str, error: Exception) -> Check:
    return Check(name=name, ok=False, detail=describe(error), error=error_name(error))


async def _list(provider: Provider) -> str:
    names = await provider.collections()
    return f"{len(names)} collections"


def _since(started: float) -> str:
    return f" ({(time.perf_counter() - started) * 1000:.0f} ms)"


def _versions() -> dict[str, str | None]:
    import sqlite3

    versions: dict[str, str | None] = {
        "storage-providers": __version__,
        "Python": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        "SQLite": sqlite3.sqlite_version,
    }
    for extra, packages in EXTRAS.items():
        for package in packages:
            name = package if extra == "core" else f"{package} [{extra}]"
            versions[name] = _installed(package)
    return versions


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _print(session: Session, diagnosis: Diagnosis) -> None:
    emit("Versions\n")
    versions: list[JsonObject] = [
        {"package": name, "version": version or "not installed"}
        for name, version in diagnosis.versions.items()
    ]
    print_rows(versions, session.note)
    emit("\nSettings\n")
    _print_settings(session, diagnosis.settings)
    emit("\nChecks\n")
    print_checks(diagnosis.checks)
    if diagnosis.capabilities is not None:
        emit("\nCapabilities\n")
        capabilities: list[JsonObject] = [
            {"capability": name, "value": _words(value)}
            for name, value in diagnosis.capabilities.items()
        ]
        print_rows(capabilities, session.note)


def _print_settings(session: Session, report: SettingsReport) -> None:
    chosen: list[JsonObject] = [
        {"setting": setting.name, "value": setting.value, "from": setting.origin}
        for setting in report.settings
        if setting.origin != "default"
    ]
    print_rows(chosen, session.note)
    emit(f"{len(report.settings) - len(chosen)} others have their defaults (--json shows them)\n")
    for file in report.files:
        emit(f"looked at {visible(file.path)}: {file.status}\n")


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "no limit" if value is None else f"{value:,}"
