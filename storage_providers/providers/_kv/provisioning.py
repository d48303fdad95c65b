"""Whether the namespaces are there and what the token may do, and making them; for the operator."""

from __future__ import annotations

import time
from typing import Final, Literal

from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.cloudflare.kv import KVNamespaceInfo, KVNamespaces
from storage_providers.errors import ConfigurationError, PermissionDeniedError, StorageError
from storage_providers.maintenance import Check, Provision
from storage_providers.providers._kv.reaching import Place, find_or_make, is_namespace_id
from storage_providers.providers._objects.checking import failed

__all__ = ["check_circuit", "check_namespaces", "provision"]

EDIT: Final = "a token needs the permission 'Workers KV Storage: Edit' on this account"


async def provision(place: Place, *, dry_run: bool) -> list[Provision]:
    """Make the namespaces that are not there, by their titles.

    Args:
        place: The namespaces, and how they are reached.
        dry_run: Only look.

    Raises:
        ConfigurationError: One is given by its id, and there is none.
        StorageError: They can't be reached, looked for or made.
    """
    if place.binding is not None:
        return [Provision(what="namespace", state="there", detail="a Worker's binding")]
    # A client of its own, since the provider's can't be opened again once it is closed.
    client = place.open_client()
    await client.connect()
    try:
        there = [each async for each in KVNamespaces(client).list()]
        return [await _provided(client, name, there, dry_run=dry_run) for name in place.names]
    finally:
        if place.client is None:
            await client.disconnect()


async def _provided(
    client: CloudflareClient, name: str, there: list[KVNamespaceInfo], *, dry_run: bool
) -> Provision:
    for each in there:
        if name in (each.id, each.title):
            return _described(each, "there")
    if is_namespace_id(name):
        raise ConfigurationError(
            f"the account has no KV namespace {name}; the service chooses ids, so give "
            "namespace_title to have one made"
        )
    if dry_run:
        return Provision(what=f"namespace {name}", state="missing")
    try:
        info, made = await find_or_make(client, name)
    except PermissionDeniedError as error:
        raise PermissionDeniedError(
            f"the token may not make the namespace {name!r}; {EDIT}, or make it in the dashboard"
        ) from error
    return _described(info, "made" if made else "there")


def _described(info: KVNamespaceInfo, state: Literal["made", "there"]) -> Provision:
    return Provision(what=f"namespace {info.title}", state=state, detail=f"id {info.id}")


async def check_namespaces(place: Place, client: CloudflareClient | None) -> list[Check]:
    """See whether the namespaces are there.

    Args:
        place: Which.
        client: What they are reached through, open; `None` for a binding, which has no need.
    """
    if client is None:
        return []
    started = time.perf_counter()
    try:
        there = [each async for each in KVNamespaces(client).list()]
    except StorageError as error:
        advice = EDIT if isinstance(error, PermissionDeniedError) else None
        return [failed("namespaces", error, advice)]
    took = (time.perf_counter() - started) * 1000
    known = {each.id: each for each in there} | {each.title: each for each in there}
    missing = [name for name in place.names if name not in known]
    if missing:
        return [
            Check(
                name="namespaces",
                ok=False,
                detail=f"the account has no {', '.join(missing)}",
                advice="'storage-providers provision' makes those that are named by their titles",
                error="ConfigurationError",
            )
        ]
    named = ", ".join(f"{known[name].title} ({known[name].id})" for name in place.names)
    return [Check(name="namespaces", ok=True, detail=f"{named} ({took:.0f} ms)")]


def check_circuit(client: CloudflareClient | None) -> list[Check]:
    """See whether calls pass; nothing for a binding."""
    if client is None:
        return []
    status = client.resilience("Workers KV").breaker.status
    if status.state == "closed":
        return [Check(name="circuit", ok=True, detail="closed: calls are let through")]
    since, probe = status.opened_for_seconds or 0.0, status.probe_in_seconds or 0.0
    return [
        Check(
            name="circuit",
            ok=False,
            detail=f"{status.state}: KV has been unavailable for {since:.1f} s (last: "
            f"{status.last_error}); one call probes it in {probe:.1f} s",
            error="TransportError",
        )
    ]
