"""Documents in Cloudflare R2: the engine for objects on one bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers.errors import ConfigurationError, UnsupportedOperationError
from storage_providers.estimates import Charge, Estimate, Workload
from storage_providers.maintenance import Check, Provision
from storage_providers.protocol import Capabilities
from storage_providers.providers._objects.estimating import operations_of
from storage_providers.providers._objects.keys import FolderLayout
from storage_providers.providers._objects.provider import ObjectProvider
from storage_providers.providers._r2 import provisioning
from storage_providers.providers._r2.binding import BOUND, R2Binding, R2Object
from storage_providers.providers._r2.config import (
    CONNECT_SECONDS,
    DEADLINE_SECONDS,
    READ_SECONDS,
    Jurisdiction,
    R2Config,
)
from storage_providers.providers._r2.objects import LIMITS
from storage_providers.providers._r2.store import R2Store
from storage_providers.resilience import CONCURRENCY, RetryPolicy, Timing

if TYPE_CHECKING:
    from storage_providers._secrets import Secret
    from storage_providers.providers._r2.client import S3Client

__all__ = ["CloudflareR2Provider"]

MAX_DOCUMENT_BYTES: Final = 100_000_000
"""Largest document, bytes. Ours: R2 takes nearly 5 GiB in one request, but a document is held in
memory whole, several times over while it is encoded and sent, for each request in flight."""

MAX_ID_BYTES: Final = 200
"""Longest id, bytes of UTF-8. Ours: an id that a key can't hold as it is takes three times as many,
and prefix, scope and collection need room in the 1,024 bytes of a key as well."""

USD_CLASS_A: Final = 4.50
"""A million operations that list or store, US dollars, Standard storage. Source: Cloudflare docs,
r2/pricing (read 2026-11)."""

USD_CLASS_B: Final = 0.36
"""A million operations that read, likewise. Removing is free."""

PRICES: Final = "R2's prices of 2026-11, Standard storage; the free tier is not taken off"


class CloudflareR2Provider(ObjectProvider):
    """Keeps documents as objects of one R2 bucket, over its S3 interface.

    Every document is one object, `{prefix/}{scope/}{collection}/{id}.json`, that other programs can
    read. Creating and replacing are conditional in the service itself; deleting is not.

    Args:
        bucket: Name of the bucket.
        prefix: What all keys begin with, parts separated by `/`.
        account_id: The Cloudflare account; gives the endpoint.
        jurisdiction: `eu`, `fedramp` or `us`, for a bucket that was made there.
        endpoint_url: The endpoint itself, instead of account and jurisdiction; https, except on
            this machine.
        access_key_id: Id of an R2 API token with "Object Read & Write" on the bucket.
        secret_access_key: Its secret.
        session_token: Belongs to temporary credentials.
        region: What requests are signed for.
        concurrency: Most requests in flight, and most connections.
        connect_timeout_seconds: How long connecting may take.
        read_timeout_seconds: How long an answer, or the next part of it, may be waited for.
        deadline_seconds: How long one object or page may take, with all that is tried again.
        retry: How often and when to try again; five attempts by default.
        client: An S3 client of aioboto3 to borrow instead of credentials and endpoint; it is not
            closed.
        binding: A Worker's `env.BUCKET` instead of all of these but `prefix`, `deadline_seconds`
            and `retry`.
        clock: Wall-clock time and ids; tests pass one that they turn by hand.
        timing: How to wait; tests pass their own.

    Raises:
        ConfigurationError: An argument is missing, contradictory or malformed, or `aioboto3` is
            not installed.
    """

    name: ClassVar[str] = "r2"

    def __init__(
        self,
        bucket: str | None = None,
        *,
        prefix: str = "",
        account_id: str | None = None,
        jurisdiction: Jurisdiction | None = None,
        endpoint_url: str | None = None,
        access_key_id: Secret | str | None = None,
        secret_access_key: Secret | str | None = None,
        session_token: Secret | str | None = None,
        region: str = "auto",
        concurrency: int = CONCURRENCY,
        connect_timeout_seconds: float = CONNECT_SECONDS,
        read_timeout_seconds: float = READ_SECONDS,
        deadline_seconds: float = DEADLINE_SECONDS,
        retry: RetryPolicy | None = None,
        client: S3Client | None = None,
        binding: R2Object | None = None,
        clock: Clock = SYSTEM_CLOCK,
        timing: Timing | None = None,
    ) -> None:
        config = R2Config(
            bucket=BOUND if bucket is None and binding is not None else bucket or "",
            account_id=account_id,
            jurisdiction=jurisdiction,
            endpoint_url=endpoint_url,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
            region=region,
            concurrency=concurrency,
            connect_timeout_seconds=connect_timeout_seconds,
            read_timeout_seconds=read_timeout_seconds,
            deadline_seconds=deadline_seconds,
        )
        timing = Timing() if timing is None else timing
        layout = FolderLayout(prefix, service="R2", max_key_bytes=LIMITS.max_key_bytes)
        self._store: R2Store | R2Binding
        if binding is None:
            self._store = R2Store(config, client=client, retry=retry, timing=timing)
        else:
            _refuse_beside_binding(bucket, config, client)
            self._store = R2Binding(
                binding, retry=retry, deadline_seconds=deadline_seconds, timing=timing
            )
        super().__init__(self._store, layout, clock=clock, timing=timing)

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return _CAPABILITIES

    def __repr__(self) -> str:
        return f"CloudflareR2Provider({self._store.bucket!r}, prefix={self.layout.prefix!r})"

    def estimate(self, workload: Workload) -> Estimate:
        """Tell what work will cost, without asking the service.

        Args:
            workload: The work, on one collection.

        Returns:
            Calls and charges. An index is reckoned with one entry for each document.
        """
        work = operations_of(workload, self.store.limits)
        return Estimate(
            requests=work.requests,
            charges=Charge.needed(
                Charge.at("Class A operations", work.lists + work.puts, USD_CLASS_A),
                Charge.at("Class B operations", work.gets, USD_CLASS_B),
            ),
            basis=PRICES,
        )

    # --- lifetime ------------------------------------------------------------------------------

    async def _connect(self) -> None:
        await self._store.open()
        await super()._connect()

    async def _disconnect(self) -> None:
        try:
            await super()._disconnect()
        finally:
            await self._store.close()

    # --- health --------------------------------------------------------------------------------

    async def checks(self, *, write: bool = True) -> list[Check]:
        """Ask the bucket, compare clocks, try each right by itself, look how far indexes are.

        Nothing that was written to try it stays behind.

        Args:
            write: Whether writing and removing may be tried.

        Returns:
            What was tried, in order; failures are results, not exceptions.
        """
        self._check_open("checks")
        checks: list[Check] = []
        if isinstance(self._store, R2Store):
            checks += await provisioning.check_service(self._store)
        if all(check.ok for check in checks):
            checks += await super().checks(write=write)
        # At the end, since it is those calls that tell.
        return [*checks, provisioning.check_circuit(self._store)]

    async def provision(self, *, dry_run: bool = False) -> list[Provision]:
        """Make the bucket if it is not there. Safe to repeat; the provider need not be connected.

        Args:
            dry_run: Only look.

        Returns:
            The bucket, with what became of it.

        Raises:
            UnsupportedOperationError: It stands on a Worker's binding.
            PermissionDeniedError: The token may not make buckets, or not look into this one.
            TransportError: The service could not be reached.
        """
        with self._context("provision"):
            if isinstance(self._store, R2Binding):
                raise UnsupportedOperationError(
                    "a Worker's bucket is made and bound by its configuration, with wrangler"
                )
            return await provisioning.provision(self._store, dry_run=dry_run)


_SAID_BY_BINDING: Final = (
    *("account_id", "jurisdiction", "endpoint_url"),
    *("access_key_id", "secret_access_key", "session_token"),
)


def _refuse_beside_binding(bucket: str | None, config: R2Config, client: S3Client | None) -> None:
    """Refuse what a binding says already."""
    place = {name: getattr(config, name) for name in _SAID_BY_BINDING}
    given = {"bucket": bucket, **place, "client": client}
    twice = [name for name, value in given.items() if value is not None]
    if twice:
        raise ConfigurationError(
            f"a binding is given, so {' and '.join(twice)} must not be: the Worker's configuration "
            "says which bucket it is"
        )


_CAPABILITIES: Final = Capabilities(
    conditional_write=True,
    max_document_bytes=MAX_DOCUMENT_BYTES,
    max_id_bytes=MAX_ID_BYTES,
)
