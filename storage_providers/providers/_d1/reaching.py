"""How a database is reached: over the REST API, or through a Worker's binding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from storage_providers.cloudflare.d1 import D1Database, D1Transport
from storage_providers.errors import ConfigurationError, UnsupportedOperationError

if TYPE_CHECKING:
    from storage_providers._secrets import Secret
    from storage_providers.cloudflare.client import CloudflareClient

__all__ = ["reach", "time_travel"]


def reach(
    account_id: str | None,
    database_id: str | None,
    token: Secret | str | None,
    client: CloudflareClient | None,
    binding: Any,
) -> tuple[D1Transport, CloudflareClient | None, bool]:
    """The transport, the client it stands on, and whether that client is the provider's own.

    Raises:
        ConfigurationError: Arguments are missing, malformed or too many.
    """
    rest = {"account_id": account_id, "database_id": database_id, "token": token}
    if binding is not None:
        given = [name for name, value in (*rest.items(), ("client", client)) if value is not None]
        if given:
            raise ConfigurationError(
                f"a binding is a database already; leave out {', '.join(given)}"
            )
        from storage_providers.cloudflare.bindings import D1Binding

        return D1Binding(binding), None, False
    if database_id is None:
        raise ConfigurationError("database_id is missing; 'wrangler d1 list' names the databases")
    if client is not None:
        if account_id is not None or token is not None:
            raise ConfigurationError("a client has its account and token; leave them out")
        return D1Database(client, database_id), client, False
    if account_id is None or token is None:
        missing = "account_id" if account_id is None else "token"
        raise ConfigurationError(f"{missing} is missing; give it, a client or a binding")
    from storage_providers.cloudflare._http import need_httpx
    from storage_providers.cloudflare.client import CloudflareClient

    need_httpx("D1Provider")
    owned = CloudflareClient(account_id=account_id, token=token)
    return D1Database(owned, database_id), owned, True


def time_travel(transport: D1Transport) -> D1Database:
    """The database, where it can be put back to an earlier state.

    Raises:
        UnsupportedOperationError: It is a Worker's binding.
    """
    if isinstance(transport, D1Database):
        return transport
    raise UnsupportedOperationError(
        "a Worker's binding can't go back in time; use the REST API, or 'wrangler d1 time-travel'"
    )
