"""Documents in Cloudflare Workers KV: the engine for objects on namespaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers.estimates import Charge, Estimate, Workload
from storage_providers.maintenance import Check, Provision
from storage_providers.protocol import Capabilities
from storage_providers.providers._kv import naming, provisioning
from storage_providers.providers._kv.layout import KVLayout
from storage_providers.providers._kv.metadata import MAX_CARRIED_BYTES, MAX_VALUE_BYTES
from storage_providers.providers._kv.reaching import Place
from storage_providers.providers._kv.store import STALENESS_SECONDS, KVStore
from storage_providers.providers._objects.declaring import SETTLE_SECONDS
from storage_providers.providers._objects.estimating import operations_of
from storage_providers.providers._objects.provider import ObjectProvider
from storage_providers.resilience import RetryPolicy, Timing

if TYPE_CHECKING:
    from storage_providers._secrets import Secret
    from storage_providers.cloudflare.client import CloudflareClient

__all__ = ["CloudflareKVProvider"]

MAX_ID_BYTES: Final = 256
"""Longest id, bytes of UTF-8. Ours: it leaves room for a scope and a prefix in a key of 512."""

USD_READS: Final = 0.50
"""A million keys read, US dollars, on a paid plan beyond what it includes. Bulk calls are billed by
their keys. Source: Cloudflare docs, kv/platform/pricing (read 2026-11)."""

USD_CHANGES: Final = 5.00
"""A million keys written or deleted, or listing requests, likewise."""

PRICES: Final = "Workers KV's prices of 2026-11 on a paid plan; included use is not taken off"


class CloudflareKVProvider(ObjectProvider):
    """Keeps documents under keys of Workers KV, over the REST API or in a Worker.

    Every document is one key, `[{prefix}:][@{scope}:]{collection}:{id}`, whose value is its JSON.
    Batches are bulk calls, and small documents come with the listing.

    KV is fast to read everywhere and **weak to write**. An answer may be 60 seconds old, also one
    that there is no such document. Nothing is conditional: `create_item` looks first and then
    writes, which keeps out a document that was seen a minute ago and not one that another writer
    puts at the same moment; `update_item` reads, merges and writes, so of two at once one may be
    lost; `if_version` is refused. A key takes one write a second.

    Args:
        account_id: The Cloudflare account.
        namespace_id: The namespace, by its id; `wrangler kv namespace list` shows it.
        namespace_title: The namespace, by its title; its id is asked for once, by a call more.
        namespaces: Collections that have a namespace of their own, by id or title.
        create_namespaces: Whether namespaces that are named by title are made when they are first
            needed and not there.
        prefix: What all keys begin with, parts separated by `:`.
        token: An API token with the permission `Workers KV Storage: Edit` on the account.
        base_url: Where the API is, if elsewhere than usual; plain http only on this machine.
        retry: How often and when to try again.
        client: A client to share with other providers instead of account, token, `base_url` and
            `retry`; it is borrowed, connected and never closed.
        binding: A Worker's `env.KV` instead of all of these but `prefix`.
        clock: Wall-clock time and ids; tests pass one that they turn by hand.
        timing: How to wait; tests pass their own.

    Raises:
        ConfigurationError: An argument is missing, malformed or one too many; or `httpx` is not
            installed, which the REST API needs.
    """

    name: ClassVar[str] = "kv"

    settle_seconds: ClassVar[float] = SETTLE_SECONDS + STALENESS_SECONDS
    """How long after a change of a declaration every write goes by it, seconds: a process may see
    the declaration so much later."""

    staleness_seconds: ClassVar[float] = STALENESS_SECONDS
    """How old answers may be. So long a provider remembers its own writes."""

    def __init__(
        self,
        *,
        account_id: str | None = None,
        namespace_id: str | None = None,
        namespace_title: str | None = None,
        namespaces: Mapping[str, str] | None = None,
        create_namespaces: bool = False,
        prefix: str = "",
        token: Secret | str | None = None,
        base_url: str | None = None,
        retry: RetryPolicy | None = None,
        client: CloudflareClient | None = None,
        binding: Any = None,
        clock: Clock = SYSTEM_CLOCK,
        timing: Timing | None = None,
    ) -> None:
        self._place = Place(
            account_id=account_id,
            namespace_id=namespace_id,
            namespace_title=namespace_title,
            namespaces=namespaces,
            create_namespaces=create_namespaces,
            token=token,
            base_url=base_url,
            retry=retry,
            client=client,
            binding=binding,
        )
        timing = Timing() if timing is None else timing
        self._keys = KVLayout(prefix)
        namespace, own, self._client = self._place.reach()
        self._kv = KVStore(
            namespace,
            own,
            self._keys,
            clock=clock,
            timing=timing,
            staleness_seconds=self.staleness_seconds,
        )
        super().__init__(self._kv, self._keys, clock=clock, timing=timing)

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return _CAPABILITIES

    def __repr__(self) -> str:
        return f"CloudflareKVProvider({self._kv.namespace!r}, prefix={self._keys.prefix!r})"

    def estimate(self, workload: Workload) -> Estimate:
        """Tell what work will cost, without asking the service.

        Args:
            workload: The work, on one collection.

        Returns:
            Calls of the REST API and charges; in a Worker each key that is written is a call. An
            index is reckoned with one entry for each document.
        """
        work = operations_of(workload, self.store.limits, MAX_CARRIED_BYTES)
        return Estimate(
            requests=work.requests,
            charges=Charge.needed(
                Charge.at("keys read", work.gets, USD_READS),
                Charge.at("keys written", work.puts, USD_CHANGES),
                Charge.at("keys deleted", work.deletes, USD_CHANGES),
                Charge.at("list requests", work.lists, USD_CHANGES),
            ),
            basis=PRICES,
        )

    # --- lifetime ------------------------------------------------------------------------------

    async def _connect(self) -> None:
        if self._client is not None:
            await self._client.connect()
        await super()._connect()

    async def _disconnect(self) -> None:
        try:
            await super()._disconnect()
        finally:
            if self._client is not None and self._place.client is None:
                await self._client.disconnect()

    # --- collections ---------------------------------------------------------------------------

    async def _collections(self, scope: str | None) -> list[str]:
        return await naming.collections(self._kv, self._keys, scope)

    # --- health --------------------------------------------------------------------------------

    async def checks(self, *, write: bool = True) -> list[Check]:
        """Look for the namespaces, try each right by itself, look how far indexes are.

        Nothing that was written to try it stays behind.

        Args:
            write: Whether writing and removing may be tried.

        Returns:
            What was tried, in order; failures are results, not exceptions.
        """
        self._check_open("checks")
        checks = await provisioning.check_namespaces(self._place, self._client)
        if all(check.ok for check in checks):
            checks += await super().checks(write=write)
        # At the end, since it is those calls that tell.
        return [*checks, *provisioning.check_circuit(self._client)]

    async def provision(self, *, dry_run: bool = False) -> list[Provision]:
        """Make the namespaces that are not there, by their titles. Safe to repeat.

        The provider need not be connected. A namespace that is given by its id can only be looked
        for, because the service chooses ids.

        Args:
            dry_run: Only look.

        Returns:
            The namespaces, with what became of each.

        Raises:
            ConfigurationError: The account has none of the given id.
            PermissionDeniedError: The token may not make namespaces, or not look for them.
            TransportError: The service could not be reached.
        """
        with self._context("provision"):
            return await provisioning.provision(self._place, dry_run=dry_run)


_CAPABILITIES: Final = Capabilities(
    native_ttl=True,
    strongly_consistent=False,
    staleness_seconds=STALENESS_SECONDS,
    max_document_bytes=MAX_VALUE_BYTES,
    max_id_bytes=MAX_ID_BYTES,
)
