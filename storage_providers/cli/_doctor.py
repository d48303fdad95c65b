"""The command `doctor`: what is set, what can be reached, what may be done."""

from __future__ import annotations

import platform
import time
from collections.abc import Awaitable, Callable
from importlib import metadata
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from storage_providers import __version__
from storage_providers.cli._errors import ExitCode, describe, exit_code_of
from storage_providers.cli._output import emit, print_rows
from storage_providers.cli._session import Session, command
from storage_providers.cli._text import visible
from storage_providers.errors import ConfigurationError, StorageError
from storage_providers.protocol import Address, Delete, JsonObject, Put
from storage_providers.settings import SettingsReport, explain_settings

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["register"]

PROBE_COLLECTION = ".doctor"
EXTRAS = {
    "core": ("msgspec", "filelock", "pydantic", "pydantic-settings"),
    "cli": ("typer", "rich"),
    "testing": ("pytest", "hypothesis"),
}


class Check(msgspec.Struct, frozen=True):
    """One thing that was tried.

    Attributes:
        name: What was tried.
        ok: Whether it went well.
        detail: What came of it, on one line.
    """

    name: str
    ok: bool
    detail: str


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
        diagnosis.checks.append(_failed(session, "settings", ConfigurationError(problem)))
    if session.url is not None or not settings.problems:
        await _examine(session, diagnosis, no_write)
    if as_json:
        emit(msgspec.json.format(msgspec.json.encode(diagnosis), indent=2).decode() + "\n")
    else:
        _print(session, diagnosis)
    failed = [check for check in diagnosis.checks if not check.ok]
    if failed:
        session.exit_code = max(session.exit_code, ExitCode.FAILED)
        session.note(f"{len(failed)} of {len(diagnosis.checks)} checks failed")


async def _examine(session: Session, diagnosis: Diagnosis, no_write: bool) -> None:
    checks = diagnosis.checks
    try:
        started = time.perf_counter()
        async with session.open(create=True) as provider:
            checks.append(Check("connect", True, f"{provider!r}{_since(started)}"))
            diagnosis.capabilities = msgspec.to_builtins(provider.capabilities)
            checks.append(await _tried(session, "list", lambda: _list(provider)))
            if not no_write:
                checks.append(await _tried(session, "write", lambda: _write(provider)))
    except (StorageError, OSError) as error:
        checks.append(_failed(session, "connect", error))


async def _tried(session: Session, name: str, attempt: Callable[[], Awaitable[str]]) -> Check:
    started = time.perf_counter()
    try:
        return Check(name, True, await attempt() + _since(started))
    except (StorageError, OSError) as error:
        return _failed(session, name, error)


def _failed(session: Session, name: str, error: Exception) -> Check:
    session.exit_code = max(session.exit_code, exit_code_of(error))
    return Check(name, False, describe(error))


async def _list(provider: Provider) -> str:
    names = await provider.collections()
    return f"{len(names)} collections"


async def _write(provider: Provider) -> str:
    document = {"id": f"probe-{provider.clock.new_id()}"}
    address = Address(PROBE_COLLECTION, document["id"])
    await provider.write([Put(PROBE_COLLECTION, document)])
    try:
        found = await provider.read([address])
    finally:
        await provider.write([Delete(PROBE_COLLECTION, document["id"])])
    if found[0] is None and provider.capabilities.strongly_consistent:
        raise StorageError("a document that was just written is not there")
    return "a document was written, read and removed"


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
    for check in diagnosis.checks:
        emit(f"{'ok    ' if check.ok else 'FAILED'}  {check.name}: {check.detail}\n")
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
