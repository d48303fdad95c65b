"""What a hybrid is made of, checked before anything is opened."""

from __future__ import annotations

import os

from storage_providers.base import Provider
from storage_providers.conflicts import Policy, PolicyName, check_policy
from storage_providers.errors import ConfigurationError

__all__ = ["checked_journal"]


def checked_journal(
    primary: Provider,
    fallback: Provider,
    journal: str | os.PathLike[str],
    policy: PolicyName | Policy,
    retry_seconds: float,
) -> str:
    """The journal's path, once nothing is wrong with any of these.

    Raises:
        ConfigurationError: Something is.
    """
    if primary is fallback:
        raise ConfigurationError("primary and fallback are the same provider; use two")
    if not 0 <= retry_seconds < float("inf"):
        raise ConfigurationError(f"retry_seconds is {retry_seconds}; the least is 0")
    check_policy(policy)
    path = os.fspath(journal)
    if not path or path == ":memory:" or "\x00" in path:
        raise ConfigurationError("journal names no file; what it takes must survive a kill")
    return path
