"""Documents in Cloudflare D1: the SQL engine of `SQLiteProvider`, one HTTP call for one batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from storage_providers._clock import SYSTEM_CLOCK, Clock
from storage_providers._requests import tallied
from storage_providers.base import Provider
from storage_providers.cloudflare.errors import D1StatementError
from storage_providers.errors import (
    InvalidArgumentError,
    OutcomeUnknownError,
    StorageError,
    TransportError,
)
from storage_providers.estimates import Estimate, Workload
from storage_providers.maintenance import Check, Provision
from storage_providers.protocol import (
    Address,
    Capabilities,
    CollectionSpec,
    Item,
    ItemVersion,
    Page,
    Query,
    VersionPage,
    Write,
    check_collection,
)
from storage_providers.providers import _sql
from storage_providers.providers._d1 import (
    asking,
    conflicts,
    declaring,
    estimating,
    provisioning,
    writing,
)
from storage_providers.providers._d1.database import Database, Part, Usage, refusal
from storage_providers.providers._d1.reaching import Place, time_travel
from storage_providers.providers._sql import Statement, table_of
from storage_providers.providers._sql.rows import MissingSideTableError
from storage_providers.providers._sql.schema import access_of
from storage_providers.providers._sql.write import collect_expired
from storage_providers.resilience import Effect, RetryPolicy

if TYPE_CHECKING:
    from storage_providers._secrets import Secret
    from storage_providers.cloudflare.client import CloudflareClient
    from storage_providers.cloudflare.d1 import D1DatabaseInfo

__all__ = ["D1Provider"]

COLLECT_MS: Final = 60_000
"""Expired documents of a collection are removed this often, by a write to it."""

COLLECT_ROWS: Final = 1000
"""Most expired documents removed at once, so that no writer waits long."""

ATTEMPTS: Final = 5
"""How often a batch is made anew after others changed what it was made for."""


class D1Provider(Provider):
    """Keeps collections in the tables of one D1 database, over the REST API or in a Worker.

    Each verb is one call: a batch of writes is one transaction, several queries are answered
    together. What is declared about collections is read in a call of its own at first, and beside
    other calls from then on.

    Args:
        account_id: The Cloudflare account.
        database_id: The database, by its id; `wrangler d1 list` shows it.
        database_name: The database, by its name; its id is asked for once, by a call more.
        token: An API token with the permission `D1: Edit` on the account.
        base_url: Where the API is, if elsewhere than usual; plain http only on this machine.
        retry: How often and when to try again.
        client: A client to share with other providers instead of account, token, `base_url` and
            `retry`; it is borrowed, connected and never closed.
        binding: A Worker's `env.DB` instead of all of these.
        clock: Time and ids; tests pass one that they turn by hand.

    Raises:
        ConfigurationError: An argument is missing, malformed or one too many; or `httpx` is not
            installed, which the REST API needs.
    """

    name: ClassVar[str] = "d1"

    def __init__(
        self,
        *,
        account_id: str | None = None,
        database_id: str | None = None,
        database_name: str | None = None,
        token: Secret | str | None = None,
        base_url: str | None = None,
        retry: RetryPolicy | None = None,
        client: CloudflareClient | None = None,
        binding: Any = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(clock=clock)
        self._place = Place(
            account_id=account_id,
            database_id=database_id,
            database_name=database_name,
            token=token,
            base_url=base_url,
            retry=retry,
            client=client,
            binding=binding,
        )
        self._transport, self._client, self._owned = self._place.reach()
        self._new_version = _sql.version_tokens(clock)
        self._plans: asking.Plans = {}
        self._collected: dict[str, int] = {}
        self._database = Database(self._transport, clock)

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return _CAPABILITIES

    @property
    def usage(self) -> Usage:
        """What this provider has cost so far."""
        return msgspec.structs.replace(self._database.usage)

    def estimate(self, workload: Workload) -> Estimate:
        """Tell what work will cost, without asking the service.

        Args:
            workload: The work, on one collection.

        Returns:
            Calls and charges. An index is reckoned with one row for each document.
        """
        return estimating.estimate(workload)

    # --- lifetime ------------------------------------------------------------------------------

    async def _connect(self) -> None:
        if self._client is not None:
            await self._client.connect()

    async def _disconnect(self) -> None:
        if self._client is not None and self._owned:
            await self._client.disconnect()

    # --- reads ---------------------------------------------------------------------------------

    async def _read(self, addresses: Sequence[Address]) -> list[Item | None]:
        parts = asking.parts_of(addresses, self.clock.now_ms())
        return asking.items_of(addresses, await self._database.ask(parts, "read"))

    # --- writes --------------------------------------------------------------------------------

    async def _write(self, batch: Sequence[Write]) -> list[Item | None]:
        for _ in range(ATTEMPTS):
            now = self.clock.now_ms()
            limits = {write.collection: self.size_limit(write.collection) for write in batch}
            plan = writing.plan(batch, self._new_version(), now, limits, asking.DIALECT)
            first = self._database.missing_tables(limits, now)
            last = self._collecting(limits, now)
            try:
                results = await self._database.run(
                    [*first, *plan.statements, *last], Effect.IDEMPOTENT_WRITE, "write"
                )
            except StorageError as error:
                refused = refusal(error)
                if refused is None:
                    raise
                if refused.guard == writing.LANDED or (
                    # An attempt before the one that was refused may still be on its way.
                    refused is not error and await self._has_landed(plan, now)
                ):
                    return await self._landed(plan)
                if refused.kind == "no_such_table" and self._database.forget():
                    continue
                failed = await conflicts.explain(self._database, plan, limits, refused, now)
                if failed is not None:
                    raise failed from error
                if refused.guard is None:
                    raise
                # What was in the way is gone already.
                continue
            self._database.made(limits, now)
            done = results[len(first) : len(first) + len(plan.statements)]
            return writing.items_of(plan, writing.bodies_of(plan, done))
        raise TransportError(
            f"others changed what the batch is about {ATTEMPTS} times; nothing was written, try "
            "again"
        )

    async def _has_landed(self, plan: writing.Batch, now: int) -> bool:
        """Whether a batch landed; if not, it never will."""
        results = await self._database.run(
            writing.fence(plan, now), Effect.IDEMPOTENT_WRITE, "write"
        )
        return bool(results[-2].rows)

    async def _landed(self, plan: writing.Batch) -> list[Item | None]:
        """The results of a batch that landed though its answer was lost."""
        wanted = [Address(*key) for key in plan.numbers]
        found = await self._read(wanted) if wanted else []
        bodies: dict[int, Item] = {}
        for (collection, item_id), item in zip(plan.numbers, found, strict=True):
            if item is None:
                raise OutcomeUnknownError(
                    "the patch landed, and then the document was removed before the answer, which "
                    "had been lost, could be had again",
                    collection=collection,
                    item_id=item_id,
                )
            bodies[plan.numbers[collection, item_id]] = item
        texts = {number: item.body.decode() for number, item in bodies.items()}
        results = writing.items_of(plan, texts)
        # A document that was changed since is returned as it is now.
        return [bodies.get(number, result) for number, result in enumerate(results)]

    def _collecting(self, collections: Iterable[str], now: int) -> list[Statement]:
        """Remove expired documents now and then, in a call that is made anyway."""
        statements: list[Statement] = []
        for table in dict.fromkeys(table_of(name)[0] for name in collections):
            if not 0 <= now - self._collected.get(table, 0) < COLLECT_MS:
                self._collected[table] = now
                statements.append(collect_expired(table, now, COLLECT_ROWS))
        return statements

    # --- queries -------------------------------------------------------------------------------

    async def _query(self, queries: Sequence[Query]) -> list[Page]:
        with tallied() as tally:
            pages = await self._answer(queries)
        return [
            msgspec.structs.replace(
                page,
                statistics=msgspec.structs.replace(page.statistics, requests=tally.requests),
            )
            for page in pages
        ]

    async def _answer(self, queries: Sequence[Query]) -> list[Page]:
        found: dict[str, list[str]] = {}
        for _ in range(ATTEMPTS):
            questions: list[asking.Question] = []
            now = self.clock.now_ms()
            for query in queries:
                access = access_of(await self.declared(query.collection), query.collection)
                questions.append(asking.question(query, access, now, self._plans))
            broken: list[asking.BrokenRows] = []
            pages: list[Page] = []
            try:
                answers = await self._database.ask([each.part for each in questions], "query")
            except MissingSideTableError:
                # Another process changed a declaration within the last minute.
                for query in queries:
                    scope, name = check_collection(query.collection)
                    spec = await self._database.read_spec(name, scope)
                    self._remember(query.collection, spec)
                continue
            except D1StatementError as error:
                if error.kind != "malformed_json":
                    raise
                broken = [asking.BrokenRows(query.collection, []) for query in queries]
            else:
                for question, answer in zip(questions, answers, strict=True):
                    page = asking.page_of(question, answer, self._plans)
                    if isinstance(page, Page):
                        pages.append(page)
                    else:
                        broken.append(page)
            if not broken:
                return [_with_found(*each, found) for each in zip(queries, pages, strict=True)]
            for rows in broken:
                known = found.setdefault(rows.collection, [])
                known += await self._set_aside(rows)
        raise TransportError(f"the tables changed under the query {ATTEMPTS} times; try again")

    async def _set_aside(self, rows: asking.BrokenRows) -> list[str]:
        """Take rows that are no JSON objects out of the way; their bytes stay in `sp_broken`.

        Returns:
            The ids of this scope that were not known yet.
        """
        look, change = asking.set_aside(rows)
        (found,) = await self._database.run([look], Effect.READ, "query")
        await self._database.run(change, Effect.IDEMPOTENT_WRITE, "query")
        return [item_id for (item_id,) in found.rows]

    async def _versions(self, collection: str, cursor: str | None, limit: int) -> VersionPage:
        if cursor is not None and not cursor.startswith(">"):
            raise InvalidArgumentError("the cursor is damaged; begin again without one")
        limit = min(limit, 2**62)
        after = "" if cursor is None else cursor[1:]
        part = Part(table_of(collection)[0], [_sql.list_versions(collection, after, limit + 1)])
        (answer,) = await self._database.ask([part], "versions")
        if answer is None:
            return VersionPage()
        rows = answer[0].rows
        entries = [ItemVersion(item_id, version) for item_id, version in rows[:limit]]
        return VersionPage(
            entries=entries, cursor=f">{entries[-1].id}" if len(rows) > limit else None
        )

    # --- collections ---------------------------------------------------------------------------

    async def _collections(self, scope: str | None) -> list[str]:
        (listed,) = await self._database.run([_sql.list_tables()], Effect.READ, "collections")
        names = [name[2:] for (name,) in listed.rows if not name.startswith("c_.")]
        if not names:
            return []
        # Every collection that was declared has a table.
        parts = [
            Part(table_of(name)[0], [_sql.list_scopes(table_of(name)[0], scope)]) for name in names
        ]
        declared = [_sql.list_declared_scopes(name, scope) for name in names]
        parts.append(Part(_sql.quoted(_sql.DECLARATIONS), declared))
        *owners, declarers = await self._database.ask(parts, "collections")
        found: set[str] = set()
        for place, name in enumerate(names):
            results = [*(owners[place] or ()), *(declarers[place : place + 1] if declarers else ())]
            for (owner,) in (row for result in results for row in result.rows):
                found.add(f"{owner}/{name}" if owner else name)
        return list(found)

    async def _declare(self, spec: CollectionSpec) -> None:
        scope, name = check_collection(spec.collection)
        for _ in range(ATTEMPTS):
            now = self.clock.now_ms()
            first = self._database.missing_tables([name], now)
            try:
                looked = await self._database.run(
                    [*first, *declaring.look(spec.collection)], Effect.IDEMPOTENT_WRITE, "declare"
                )
                self._database.made([name], now)
                await self._database.run(
                    declaring.build(spec, looked[-2:]), Effect.IDEMPOTENT_WRITE, "declare"
                )
            except StorageError as error:
                refused = refusal(error)
                if refused is None:
                    raise
                if refused.kind == "malformed_json":
                    await self._set_aside(asking.BrokenRows(spec.collection, []))
                elif refused.guard != declaring.CHANGED and not (
                    refused.kind == "no_such_table" and self._database.forget()
                ):
                    raise
                continue
            self._plans.clear()
            self._database.remember_spec(name, scope, spec)
            return
        raise TransportError(f"others changed declarations of {name!r} {ATTEMPTS} times; try again")

    async def _declared(self, collection: str) -> CollectionSpec | None:
        scope, name = check_collection(collection)
        return await self._database.find_spec(name, scope)

    def _remember(self, collection: str, spec: CollectionSpec | None) -> None:
        super()._remember(collection, spec)
        # It may have been read before, together with others.
        scope, name = check_collection(collection)
        known = self._database.known_spec(name, scope)
        if known is not None:
            self._declarations[collection] = spec, known[1]

    async def discard(self, collection: str) -> None:
        """Drop the table of a collection of the SDK's own, unless it holds documents.

        Raises:
            StorageError: The database can't be written.
        """
        self._check_open("discard")
        with self._context("discard"):
            table = table_of(collection)[0]
            if not check_collection(collection)[1].startswith("."):
                return
            try:
                await self._database.run(
                    declaring.drop_if_empty(table), Effect.IDEMPOTENT_WRITE, "discard"
                )
            except StorageError as error:
                refused = refusal(error)
                if refused is None or (
                    refused.guard != declaring.CHANGED and refused.kind != "no_such_table"
                ):
                    raise
            self._database.tables.discard(table)

    async def erase(self, collection: str) -> list[str]:
        """Remove a collection for good: documents, broken ones that were set aside, declaration.

        Nobody may be writing to it. Safe to repeat.

        Args:
            collection: Name of the collection, with its scope.

        Returns:
            Where something of it may remain, and how that goes, a sentence each.

        Raises:
            StorageError: The database could not be written, nothing was removed; do it again.
        """
        self._check_open("erase")
        with self._context("erase"):
            check_collection(collection, self.capabilities.max_scope_bytes)
            await self.clear_collection(collection)
            now = self.clock.now_ms()
            first = self._database.missing_tables([collection], now)
            statements = [*first, *_sql.erase_rows(collection)]
            await self._database.run(statements, Effect.IDEMPOTENT_WRITE, "erase")
            self._database.made([collection], now)
            self._database.forget()
            self._declarations.clear()
            self._plans.clear()
            return [
                "D1's Time Travel can restore the database as it was at any moment of the last 30 "
                "days (7 on the free plan); that can't be shortened, so don't restore to before "
                "now"
            ]

    # --- health --------------------------------------------------------------------------------

    async def checks(self, *, write: bool = True) -> list[Check]:
        """Verify the token, ask for the database, try each right by itself.

        Nothing that was written to try it stays behind.

        Args:
            write: Whether writing and removing may be tried.

        Returns:
            What was tried, in order; failures are results, not exceptions.
        """
        self._check_open("checks")
        checks = await provisioning.check_service(self._transport, self._client)
        if all(check.ok for check in checks):
            checks += await provisioning.check_rights(self, write=write)
        # At the end, since it is those calls that tell.
        return [*checks, *provisioning.check_circuit(self._transport, self._client)]

    async def provision(self, *, dry_run: bool = False) -> list[Provision]:
        """Make the database if it is not there, by its name. Safe to repeat.

        The provider need not be connected. A database that is given by its id can only be looked
        for, because the service chooses ids.

        Args:
            dry_run: Only look.

        Returns:
            The database, with what became of it.

        Raises:
            ConfigurationError: There is no database of that id.
            PermissionDeniedError: The token may not make databases, or not look for them.
            TransportError: The service could not be reached.
        """
        with self._context("provision"):
            return await provisioning.provision(self._place, dry_run=dry_run)

    async def database_info(self) -> D1DatabaseInfo:
        """What the service says about the database: its id, its name, its size.

        Raises:
            UnsupportedOperationError: A Worker's binding does not know.
            ConfigurationError: There is no such database.
            TransportError: The service could not be reached.
        """
        self._check_open("database_info")
        with self._context("database_info"):
            return await (await time_travel(self._transport)).info()

    # --- time travel ---------------------------------------------------------------------------

    async def bookmark(self, timestamp: str | None = None) -> str:
        """Name the state of the database, to put it back to later.

        Args:
            timestamp: A moment of the last 30 days (7 on the free plan), RFC 3339; now without it.

        Raises:
            UnsupportedOperationError: A Worker's binding can't do that.
            TransportError: The service could not be reached.
        """
        self._check_open("bookmark")
        with self._context("bookmark"):
            database = await time_travel(self._transport)
            return (await database.bookmark(timestamp)).bookmark

    async def restore(self, bookmark: str) -> str:
        """Put the whole database back to an earlier state, in place: what came after is gone.

        Args:
            bookmark: What `bookmark` returned.

        Returns:
            The state before, which leads back.

        Raises:
            UnsupportedOperationError: A Worker's binding can't do that.
            OutcomeUnknownError: The connection broke; look at the database before trying again.
            TransportError: The service could not be reached.
        """
        self._check_open("restore")
        with self._context("restore"):
            database = await time_travel(self._transport)
            state = await database.restore(bookmark=bookmark)
        self._database.forget()
        self._declarations.clear()
        self._plans.clear()
        return state.previous_bookmark or ""


def _with_found(query: Query, page: Page, found: dict[str, list[str]]) -> Page:
    """A later page names the broken documents that no page before it can have named."""
    ids = found.get(query.collection)
    if not ids or query.cursor is None:
        return page
    broken = tuple(asking.corrupt(query.collection, item_id) for item_id in ids)
    return msgspec.structs.replace(page, corrupt=broken)


_CAPABILITIES: Final = Capabilities(
    atomic_batch=True,
    conditional_write=True,
    conditional_delete=True,
    native_query=True,
    text_search=True,
    max_document_bytes=writing.MAX_DOCUMENT_BYTES,
)
