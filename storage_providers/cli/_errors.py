"""Exit codes, and how an error becomes one line."""

from __future__ import annotations

from enum import IntEnum

from storage_providers import errors
from storage_providers.cli._text import visible
from storage_providers.errors import (
    AuthenticationError,
    BatchError,
    ConfigurationError,
    ConflictError,
    CorruptArchiveError,
    CorruptItemError,
    InvalidArgumentError,
    InvalidDocumentError,
    ItemNotFoundError,
    MigrationError,
    PermissionDeniedError,
    StorageError,
    TransportError,
    UnsupportedOperationError,
)

__all__ = ["ExitCode", "UsageError", "describe", "exit_code_named", "exit_code_of"]


class ExitCode(IntEnum):
    """What the process ends with. Where several apply, the highest counts."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    DAMAGED = 5
    SETTINGS = 6
    UNREACHABLE = 7
    INTERRUPTED = 130
    BROKEN_PIPE = 141

    @property
    def meaning(self) -> str:
        """For `--help` and the documentation."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "wrong usage",
    ExitCode.NOT_FOUND: "not found",
    ExitCode.CONFLICT: "conflict (exists already, or changed by someone else)",
    ExitCode.DAMAGED: "some data is damaged (the rest was processed)",
    ExitCode.SETTINGS: "settings, credentials or permissions",
    ExitCode.UNREACHABLE: "not reachable, or the outcome is unknown",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.BROKEN_PIPE: "the reader of the output went away",
}

_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (InvalidArgumentError, ExitCode.USAGE),
    (InvalidDocumentError, ExitCode.USAGE),
    (UnsupportedOperationError, ExitCode.USAGE),
    (ItemNotFoundError, ExitCode.NOT_FOUND),
    (ConflictError, ExitCode.CONFLICT),
    (MigrationError, ExitCode.CONFLICT),
    (CorruptItemError, ExitCode.DAMAGED),
    (CorruptArchiveError, ExitCode.DAMAGED),
    (ConfigurationError, ExitCode.SETTINGS),
    (AuthenticationError, ExitCode.SETTINGS),
    (PermissionDeniedError, ExitCode.SETTINGS),
    (TransportError, ExitCode.UNREACHABLE),
    (FileNotFoundError, ExitCode.NOT_FOUND),
)


class UsageError(Exception):
    """The command line was used wrongly; the message says how to do it right."""


def exit_code_named(name: str | None) -> ExitCode:
    """The exit code for an error of ours that a report knows by its name alone.

    Args:
        name: Name of its class; `None` or an unknown one is a failure like any other.
    """
    error = getattr(errors, name or "", None)
    if isinstance(error, type):
        for kind, code in _CODES:
            if issubclass(error, kind):
                return code
    return ExitCode.FAILED


def exit_code_of(error: Exception) -> ExitCode:
    """The exit code for an error that ends a command.

    Args:
        error: What was raised.

    Returns:
        The code; of a `BatchError`, the highest of its parts.
    """
    if isinstance(error, UsageError):
        return ExitCode.USAGE
    if isinstance(error, BatchError):
        return max((exit_code_of(part) for part in error.errors), default=ExitCode.FAILED)
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.FAILED


def describe(error: Exception) -> str:
    """One line about an error, safe to print on a terminal.

    Args:
        error: What was raised.
    """
    if isinstance(error, StorageError | UsageError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        name = error.filename
        text = error.strerror if name is None else f"{name}: {error.strerror}"
    else:
        text = f"unexpected {type(error).__name__}: {error}; --debug shows where"
    return visible(text)
