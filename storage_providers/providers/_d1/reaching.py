"""How a database is reached: over the REST API, by id or name, or through a Worker's binding."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from storage_providers._secrets import Secret
from storage_providers.cloudflare._checks import BASE_URL
from storage_providers.cloudflare._own import own_client
from storage_providers.cloudflare.d1 import (
    D1Database,
    D1Databases,
    D1Result,
    D1Transport,
    SqlStatement,
)
from storage_providers.errors import ConfigurationError, UnsupportedOperationError
from storage_providers.resilience import Deadline, Effect, RetryPolicy

if TYPE_CHECKING:
    from storage_providers.cloudflare.client import CloudflareClient

__all__ = ["NamedDatabase", "Place", "time_travel"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a database may be called. Ours, so that a name stands in a URL as it is."""

_OF_THE_CLIENT: Final = ("account_id", "token", "base_url", "retry")


class NamedDatabase:
    """A database over the REST API whose id is asked for by its name when it is first needed.

    Args:
        client: The account; borrowed.
        name: The database's name.

    Raises:
        ConfigurationError: `name` is malformed.
    """

    def __init__(self, client: CloudflareClient, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                "database_name is not a name: 1 to 64 letters, digits, - or _, and no - or _ first"
            )
        self.name = name
        self.client = client
        self._database: D1Database | None = None
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        return f"NamedDatabase({self.name!r})"

    @property
    def database_id(self) -> str:
        """Its id; empty until it was asked for."""
        return "" if self._database is None else self._database.database_id

    async def raw(
        self,
        statements: Sequence[SqlStatement],
        *,
        effect: Effect = Effect.WRITE,
        operation: str = "",
        deadline: Deadline | None = None,
    ) -> list[D1Result]:
        """Run statements in order as one transaction; see `D1Transport.raw`."""
        database = await self.database()
        return await database.raw(statements, effect=effect, operation=operation, deadline=deadline)

    async def database(self) -> D1Database:
        """The database, by its id.

        Raises:
            ConfigurationError: The account has none of this name.
            StorageError: The service could not be asked.
        """
        async with self._asking:
            if self._database is None:
                found = await D1Databases(self.client).find(self.name)
                if found is None:
                    raise ConfigurationError(
                        f"the account has no D1 database named {self.name!r}; 'storage-providers "
                        f"provision d1://{self.name}' makes it"
                    )
                self._database = D1Database(self.client, found.id)
            return self._database


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Which database, and how it is reached; the arguments of `D1Provider`.

    Raises:
        ConfigurationError: Arguments are missing or contradict each other.
    """

    account_id: str | None = None
    database_id: str | None = None
    database_name: str | None = None
    token: Secret | str | None = None
    base_url: str | None = None
    retry: RetryPolicy | None = None
    client: CloudflareClient | None = None
    binding: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.token, str):
            msgspec.structs.force_setattr(self, "token", Secret(self.token))
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        if self.binding is not None:
            if len(given) > 1:
                rest = ", ".join(name for name in given if name != "binding")
                raise ConfigurationError(f"a binding is a database already; leave out {rest}")
            return
        if self.database_id is None and self.database_name is None:
            raise ConfigurationError(
                "database_id is missing; give it, or database_name; 'wrangler d1 list' says both"
            )
        if self.database_id is not None and self.database_name is not None:
            raise ConfigurationError("database_id and database_name are given; leave one of them")
        own = ", ".join(name for name in given if name in _OF_THE_CLIENT)
        if self.client is not None and own:
            raise ConfigurationError(f"a client has its {own} already; leave them out")

    def reach(self) -> tuple[D1Transport, CloudflareClient | None, bool]:
        """The transport, the client it stands on, and whether that client is the provider's own.

        Raises:
            ConfigurationError: Something is missing or malformed, or `httpx` is not installed.
        """
        if self.binding is not None:
            from storage_providers.cloudflare.bindings import D1Binding

            return D1Binding(self.binding), None, False
        client = self._made_client() if self.client is None else self.client
        if self.database_name is not None:
            return NamedDatabase(client, self.database_name), client, self.client is None
        assert self.database_id is not None
        return D1Database(client, self.database_id), client, self.client is None

    def _made_client(self) -> CloudflareClient:
        return own_client(
            "D1Provider",
            account_id=self.account_id,
            token=self.token,
            base_url=BASE_URL if self.base_url is None else self.base_url,
            retry=self.retry,
        )


async def time_travel(transport: D1Transport) -> D1Database:
    """The database, where it can be put back to an earlier state.

    Raises:
        UnsupportedOperationError: It is a Worker's binding.
        StorageError: Its id could not be asked for.
    """
    if isinstance(transport, NamedDatabase):
        return await transport.database()
    if isinstance(transport, D1Database):
        return transport
    raise UnsupportedOperationError(
        "a Worker's binding can't go back in time; use the REST API, or 'wrangler d1 time-travel'"
    )
