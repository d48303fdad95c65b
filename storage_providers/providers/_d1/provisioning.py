"""Whether the database is there and what the token may do, and making it; for the operator."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, cast

import msgspec

from storage_providers.cloudflare.d1 import D1Database, D1DatabaseInfo, D1Databases, D1Transport
from storage_providers.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidArgumentError,
    ItemExistsError,
    PermissionDeniedError,
    StorageError,
    TransportError,
)
from storage_providers.maintenance import Check, Provision
from storage_providers.protocol import Address, Delete, Put
from storage_providers.providers._d1.reaching import NamedDatabase
from storage_providers.resilience import Effect

if TYPE_CHECKING:
    from storage_providers.cloudflare.client import CloudflareClient
    from storage_providers.providers.d1 import D1Provider

__all__ = ["check_circuit", "check_rights", "check_service", "provision"]

SCRATCH: Final = ".doctor"
"""The collection of the trial document; nothing of it stays."""

EDIT: Final = "a token needs the permission 'D1: Edit' on this account"


class _Token(msgspec.Struct, frozen=True):
    """What the service says of a token."""

    status: str
    expires_on: str | None = None


# --- provision ---------------------------------------------------------------------------------


async def provision(
    transport: D1Transport, client: CloudflareClient | None, *, dry_run: bool
) -> list[Provision]:
    """Make the database if it is not there, by its name.

    Args:
        transport: The database.
        client: What it is reached through; open or new.
        dry_run: Only look.

    Raises:
        ConfigurationError: It is given by its id, and there is none.
        StorageError: It can't be reached or made.
    """
    if client is None:
        return [Provision(what="database", state="there", detail="a Worker's binding")]
    # Closed when the provider is.
    await client.connect()
    if isinstance(transport, D1Database):
        return [_described(await transport.info(), "there")]
    named = cast(NamedDatabase, transport)
    databases = D1Databases(client)
    found = await databases.find(named.name)
    if found is not None:
        return [_described(found, "there")]
    if dry_run:
        return [Provision(what=f"database {named.name}", state="missing")]
    try:
        return [_described(await databases.create(named.name), "made")]
    except ItemExistsError:
        return [_described((await named.database()).info(), "there")]
