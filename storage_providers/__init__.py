"""storage-providers: one contract for collections of JSON documents, and places to keep them.

Every public name is here. Each is loaded when it is first used, so importing the package costs
next to nothing and drags in nothing that a program does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage_providers._clock import Clock
    from storage_providers.agents import AgentStore
    from storage_providers.base import Provider
    from storage_providers.collection import Collection, TypedItem, TypedPage
    from storage_providers.errors import (
        AuthenticationError,
        BatchError,
        ConfigurationError,
        ConflictError,
        CorruptArchiveError,
        CorruptItemError,
        CorruptItemWarning,
        DeadlineExceededError,
        DocumentTooLargeError,
        InvalidArgumentError,
        InvalidDocumentError,
        ItemExistsError,
        ItemNotFoundError,
        MigrationError,
        OutcomeUnknownError,
        PermissionDeniedError,
        ProviderClosedError,
        RateLimitedError,
        StorageError,
        StorageFullError,
        TransportError,
        UnsupportedOperationError,
        VersionMismatchError,
    )
    from storage_providers.layers import Call, Layer, Offload, Scope, compose
    from storage_providers.protocol import (
        ANY,
        IF_ABSENT,
        IF_PRESENT,
        Address,
        Capabilities,
        Clear,
        CollectionSpec,
        Condition,
        Delete,
        IfVersion,
        ImportReport,
        Index,
        Item,
        ItemVersion,
        JsonObject,
        JsonValue,
        LegacyProblem,
        LegacyRecord,
        LegacySource,
        Page,
        Patch,
        Presence,
        Put,
        Query,
        QueryStatistics,
        StorageProvider,
        VersionPage,
        Write,
    )
    from storage_providers.providers.d1 import D1Provider
    from storage_providers.providers.dual_write import DualWriteProvider
    from storage_providers.providers.hybrid import HybridProvider
    from storage_providers.providers.in_memory import InMemoryProvider
    from storage_providers.providers.kv import CloudflareKVProvider
    from storage_providers.providers.local_file import LocalFileProvider
    from storage_providers.providers.r2 import CloudflareR2Provider
    from storage_providers.providers.sqlite import SQLiteProvider
    from storage_providers.settings import StorageSettings, open_provider

__version__ = "0.1.0"

_HOMES = {
    "_clock": "Clock",
    "agents": "AgentStore",
    "base": "Provider",
    "collection": "Collection TypedItem TypedPage",
    "errors": """
        AuthenticationError BatchError ConfigurationError ConflictError CorruptArchiveError
        CorruptItemError CorruptItemWarning DeadlineExceededError DocumentTooLargeError
        InvalidArgumentError InvalidDocumentError ItemExistsError ItemNotFoundError
        MigrationError OutcomeUnknownError PermissionDeniedError ProviderClosedError
        RateLimitedError StorageError StorageFullError TransportError
        UnsupportedOperationError VersionMismatchError
    """,
    "layers": "Call Layer Offload Scope compose",
    "protocol": """
        ANY Address Capabilities Clear CollectionSpec Condition Delete IF_ABSENT IF_PRESENT
        IfVersion ImportReport Index Item ItemVersion JsonObject JsonValue LegacyProblem
        LegacyRecord LegacySource Page Patch Presence Put Query QueryStatistics
        StorageProvider VersionPage Write
    """,
    "providers.d1": "D1Provider",
    "providers.dual_write": "DualWriteProvider",
    "providers.hybrid": "HybridProvider",
    "providers.in_memory": "InMemoryProvider",
    "providers.kv": "CloudflareKVProvider",
    "providers.local_file": "LocalFileProvider",
    "providers.r2": "CloudflareR2Provider",
    "providers.sqlite": "SQLiteProvider",
    "settings": "StorageSettings open_provider",
}
"""Where each public name lives; a test holds it equal to the imports above."""

__all__ = [
    "ANY",
    "IF_ABSENT",
    "IF_PRESENT",
    "Address",
    "AgentStore",
    "AuthenticationError",
    "BatchError",
    "Call",
    "Capabilities",
    "Clear",
    "Clock",
    "CloudflareKVProvider",
    "CloudflareR2Provider",
    "Collection",
    "CollectionSpec",
    "Condition",
    "ConfigurationError",
    "ConflictError",
    "CorruptArchiveError",
    "CorruptItemError",
    "CorruptItemWarning",
    "D1Provider",
    "DeadlineExceededError",
    "Delete",
    "DocumentTooLargeError",
    "DualWriteProvider",
    "HybridProvider",
    "IfVersion",
    "ImportReport",
    "InMemoryProvider",
    "Index",
    "InvalidArgumentError",
    "InvalidDocumentError",
    "Item",
    "ItemExistsError",
    "ItemNotFoundError",
    "ItemVersion",
    "JsonObject",
    "JsonValue",
    "Layer",
    "LegacyProblem",
    "LegacyRecord",
    "LegacySource",
    "LocalFileProvider",
    "MigrationError",
    "Offload",
    "OutcomeUnknownError",
    "Page",
    "Patch",
    "PermissionDeniedError",
    "Presence",
    "Provider",
    "ProviderClosedError",
    "Put",
    "Query",
    "QueryStatistics",
    "RateLimitedError",
    "SQLiteProvider",
    "Scope",
    "StorageError",
    "StorageFullError",
    "StorageProvider",
    "StorageSettings",
    "TransportError",
    "TypedItem",
    "TypedPage",
    "UnsupportedOperationError",
    "VersionMismatchError",
    "VersionPage",
    "Write",
    "__version__",
    "compose",
    "open_provider",
]

if not TYPE_CHECKING:  # A type checker would take every misspelt name for one of these.
    _HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
