"""Whether the database is there and what the token may do, and making it; for the operator."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Literal, cast

import msgspec

from storage_providers.cloudflare.d1 import D1Database, D1DatabaseInfo, D1Databases, D1Transport
from storage_providers.errors import (
    AuthenticationError,
    InvalidArgumentError,
    ItemExistsError,
    PermissionDeniedError,
    StorageError,
)
from storage_providers.maintenance import Check, Provision, error_name
from storage_providers.protocol import Address, Delete, Put
from storage_providers.providers._d1.reaching import NamedDatabase, Place, time_travel
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


async def provision(place: Place, *, dry_run: bool) -> list[Provision]:
    """Make the database if it is not there, by its name.

    Args:
        place: The database, and how it is reached.
        dry_run: Only look.

    Raises:
        ConfigurationError: It is given by its id, and there is none.
        StorageError: It can't be reached, looked for or made.
    """
    if place.binding is not None:
        return [Provision(what="database", state="there", detail="a Worker's binding")]
    # A client of its own, since the provider's can't be opened again once it is closed.
    transport, client, owned = place.reach()
    assert client is not None
    await client.connect()
    try:
        if isinstance(transport, NamedDatabase):
            return [await _find_or_make(D1Databases(client), transport.name, dry_run)]
        return [_described(await cast(D1Database, transport).info(), "there")]
    finally:
        if owned:
            await client.disconnect()


async def _find_or_make(databases: D1Databases, name: str, dry_run: bool) -> Provision:
    found = await databases.find(name)
    if found is not None:
        return _described(found, "there")
    if dry_run:
        return Provision(what=f"database {name}", state="missing")
    try:
        return _described(await databases.create(name), "made")
    except ItemExistsError:
        # Another was faster, or an attempt before this one landed.
        found = await databases.find(name)
        if found is None:
            raise
        return _described(found, "there")
    except PermissionDeniedError as error:
        raise PermissionDeniedError(
            f"the token may not make the database {name!r}; {EDIT}, or make it in the dashboard"
        ) from error


def _described(info: D1DatabaseInfo, state: Literal["made", "there"]) -> Provision:
    return Provision(what=f"database {info.name}", state=state, detail=f"id {info.id}")


# --- checks ------------------------------------------------------------------------------------


async def check_service(transport: D1Transport, client: CloudflareClient | None) -> list[Check]:
    """Verify the token and ask for the database.

    Args:
        transport: The database.
        client: What it is reached through, open; `None` for a binding, which needs neither.

    Returns:
        The checks `token` and `database`, the second only if the token is good.
    """
    if client is None:
        return []
    checks = [await _tried("token", lambda: _verify(client))]
    if checks[0].ok:
        checks.append(await _tried("database", lambda: _ask(transport)))
    return checks


async def _verify(client: CloudflareClient) -> str:
    """Ask what the token is worth; tokens of users and of accounts are asked for elsewhere."""
    try:
        answer = await _verified(client, "/user/tokens/verify")
    except (AuthenticationError, PermissionDeniedError, InvalidArgumentError):
        answer = await _verified(client, "tokens/verify")
    if answer.status != "active":
        raise AuthenticationError(f"the token is {answer.status}; make another in the dashboard")
    until = "for ever" if answer.expires_on is None else f"until {answer.expires_on}"
    return f"active, {until}"


async def _verified(client: CloudflareClient, path: str) -> _Token:
    answer = await client.request(
        "GET", path, effect=Effect.READ, as_type=_Token, operation="token.verify"
    )
    return cast(_Token, answer.result)


async def _ask(transport: D1Transport) -> str:
    database = await time_travel(transport)
    info = await database.info()
    size = "" if info.file_size is None else f", {info.file_size:,.0f} bytes"
    region = "" if info.running_in_region is None else f" in {info.running_in_region}"
    return f"{info.name} ({info.id}){region}{size}"


async def check_rights(provider: D1Provider, *, write: bool) -> list[Check]:
    """Try listing, reading and, if wanted, writing and removing, each by itself.

    Args:
        provider: The database, open.
        write: Whether writing may be tried.

    Returns:
        What was tried. The trial document is gone, or the check `delete` says that it is not.
    """
    item_id = f"probe-{provider.clock.new_id()}"

    async def list_collections() -> str:
        return f"{len(await provider.collections())} collections"

    async def read() -> str:
        await provider.read([Address(SCRATCH, item_id)])
        return "documents may be read"

    async def put() -> str:
        await provider.write([Put(SCRATCH, {"id": item_id})])
        (found,) = await provider.read([Address(SCRATCH, item_id)])
        if found is None:
            raise StorageError("a document that was just written is not there")
        return "a document was written and read"

    async def delete() -> str:
        await provider.write([Delete(SCRATCH, item_id)])
        await provider.discard(SCRATCH)
        return "the trial document is removed"

    checks = [await _tried("list", list_collections), await _tried("read", read)]
    if not write:
        return checks
    try:
        checks.append(await _tried("write", put, EDIT))
    finally:
        # Also after a failure, or Ctrl-C: it may have landed.
        checks.append(await _tried("delete", delete, EDIT))
    return checks


def check_circuit(transport: D1Transport, client: CloudflareClient | None) -> list[Check]:
    """See whether calls pass.

    Args:
        transport: The database.
        client: What it is reached through, if it is.

    Returns:
        The check `circuit`; nothing for a binding, which has none.
    """
    if client is None:
        return []
    resource = getattr(transport, "database_id", "")
    status = client.resilience(f"D1 {resource}").breaker.status
    if status.state == "closed":
        return [Check(name="circuit", ok=True, detail="closed: calls are let through")]
    since, probe = status.opened_for_seconds or 0.0, status.probe_in_seconds or 0.0
    return [
        Check(
            name="circuit",
            ok=False,
            detail=f"{status.state}: D1 has been unavailable for {since:.1f} s (last: "
            f"{status.last_error}); one call probes it in {probe:.1f} s",
            error="TransportError",
        )
    ]


async def _tried(name: str, attempt: Callable[[], Awaitable[str]], denied: str = "") -> Check:
    """Make an attempt a check; `denied` is what to do where it is not allowed."""
    started = time.perf_counter()
    try:
        detail = await attempt()
    except StorageError as error:
        advice = denied if denied and isinstance(error, PermissionDeniedError) else None
        kind = error_name(error)
        return Check(name=name, ok=False, detail=str(error), advice=advice, error=kind)
    took_ms = (time.perf_counter() - started) * 1000
    return Check(name=name, ok=True, detail=f"{detail} ({took_ms:.0f} ms)")
