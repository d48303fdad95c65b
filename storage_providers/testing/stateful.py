"""A provider beside the in-memory reference: Hypothesis invents what is done, both must agree.

```python
def test_my_provider_is_the_reference(tmp_path: Path) -> None:
    folders = itertools.count()
    run_against_reference(lambda: MyBackend(tmp_path / str(next(folders))))
```

Puts, patches, deletes, clears and batches of them under every condition; reads; queries with
generated `where` and `order_by`; pages begun before and continued after other writes; expiry by
turning the clock; declarations; closing and opening again.

Needs: `pip install 'storage-providers[testing]'`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from storage_providers._clock import Clock, format_timestamp
from storage_providers.errors import (
    BatchError,
    StorageError,
    UnsupportedOperationError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    ANY,
    IF_ABSENT,
    IF_PRESENT,
    Address,
    Clear,
    CollectionSpec,
    Condition,
    Delete,
    IfVersion,
    Index,
    Item,
    JsonObject,
    Page,
    Patch,
    Put,
    Query,
    StorageProvider,
    Write,
)
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.testing._harness import Backend, ManualClock, exactly
from storage_providers.testing.strategies import documents, merge_patches, order_bys, paths, wheres

__all__ = ["ReferenceMachine", "machine_against_reference", "run_against_reference"]

T = TypeVar("T")

COLLECTIONS: Final = ("things", "u/things")
IDS: Final = ("a", "A", "é", "e\u0301", "a/b", "0", "\uffff", "😀")
QUICK: Final = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=30,
    stateful_step_count=30,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same examples on every run, some seconds for a provider in memory."""

Outcome: TypeAlias = tuple[str, Any]
"""What a write came to: `("item", …)`, `("nothing", None)` or the name of an error."""

_collections = st.sampled_from([COLLECTIONS[0], *COLLECTIONS])
_ids = st.sampled_from(IDS)
_expiries = st.none() | st.none() | st.integers(-2, 30)
_conditions = st.sampled_from(["any", "any", "absent", "present", "version", "stale", "nonsense"])
_payloads = st.none() | st.none() | st.none() | st.binary(max_size=4)


class _Wish:
    """A write as it was drawn; made anew for each side, whose versions differ."""

    def __init__(self, kind: str, collection: str, item_id: str, condition: str) -> None:
        self.kind = kind
        self.collection = collection
        self.id = item_id
        self.condition = condition
        self.content: JsonObject = {}
        self.payload: bytes | None = None

    def __repr__(self) -> str:
        return (
            f"{self.kind}({self.collection!r}, {self.id!r}, {self.condition}, "
            f"{self.content!r}, payload={self.payload!r})"
        )

    def make(self, condition: Condition) -> Write:
        """The write with this condition."""
        if self.kind == "put":
            encoding = None if self.payload is None else "test"
            return Put(
                self.collection,
                {"id": self.id, **self.content},
                condition,
                encoding=encoding,
                payload=self.payload,
            )
        if self.kind == "patch":
            return Patch(self.collection, self.id, self.content, condition)
        return Delete(self.collection, self.id, condition)


@st.composite
def _wishes(draw: st.DrawFn) -> tuple[_Wish, int | None]:
    """A write, and in how many seconds its document is to expire."""
    kind = draw(st.sampled_from(["put", "put", "put", "patch", "patch", "delete"]))
    wish = _Wish(kind, draw(_collections), draw(_ids), draw(_conditions))
    if kind == "put":
        wish.content = draw(documents(st.just(wish.id)))
        wish.payload = draw(_payloads)
    elif kind == "patch":
        wish.content = draw(merge_patches())
    return wish, draw(_expiries)


def _target(drawn: tuple[_Wish, int | None]) -> tuple[str, str]:
    return drawn[0].collection, drawn[0].id


class ReferenceMachine(RuleBasedStateMachine):
    """Does the same to a provider and to the reference and compares what comes of it."""

    def make_backend(self) -> Backend:
        """Make an empty place for one example."""
        raise NotImplementedError("use machine_against_reference")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.time = ManualClock()
        self.backend = self.make_backend()
        self.provider = self.run(self.backend.open(self.time.clock))
        # A clock of its own, which reads the same time: stamps count on each side alike.
        self.reference = InMemoryProvider(clock=Clock(source=lambda: self.time.seconds))
        self.known: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self.paging: tuple[Query, str, str] | None = None
        self.run(self.provider.connect())
        self.run(self.reference.connect())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await in this machine's loop."""
        return self.runner.run(work)

    def teardown(self) -> None:
        """Close everything."""
        try:
            self.run(self.provider.disconnect())
            self.run(self.backend.close())
        finally:
            self.runner.close()

    @initialize(contents=st.lists(documents(st.just("")), min_size=len(IDS), max_size=len(IDS)))
    def begin(self, contents: list[JsonObject]) -> None:
        """Some documents to begin with."""
        for item_id, content in zip(IDS, contents, strict=True):
            wish = _Wish("put", COLLECTIONS[0], item_id, "any")
            wish.content = {**content, "id": item_id}
            self._write([(wish, None)])

    # --- writing -------------------------------------------------------------------------------

    @rule(drawn=_wishes())
    def write_one(self, drawn: tuple[_Wish, int | None]) -> None:
        """One write."""
        self._write([drawn])

    @rule(drawn=st.lists(_wishes(), min_size=2, max_size=5, unique_by=_target))
    def write_batch(self, drawn: list[tuple[_Wish, int | None]]) -> None:
        """Several writes at once."""
        self._write(drawn)

    @rule(collection=_collections)
    def clear(self, collection: str) -> None:
        """Empty one collection."""
        self.run(self.provider.write([Clear(collection)]))
        self.run(self.reference.write([Clear(collection)]))

    @rule(collection=_collections, item_id=_ids, changes=merge_patches())
    def update(self, collection: str, item_id: str, changes: JsonObject) -> None:
        """The friendly update, whose stamps are the clock's."""
        results = [
            self.run(_outcome(side.update_item(collection, item_id, changes)))
            for side in (self.provider, self.reference)
        ]
        self._agree(results[0], results[1], (collection, item_id))

    @rule(collection=_collections, item_id=_ids, content=documents(st.just("")))
    def create(self, collection: str, item_id: str, content: JsonObject) -> None:
        """The friendly create, whose stamps and time to live are added."""
        document = {**content, "id": item_id}
        results = [
            self.run(_outcome(side.create_item(collection, document)))
            for side in (self.provider, self.reference)
        ]
        self._agree(results[0], results[1], (collection, item_id))

    @rule(
        collection=_collections,
        fields=st.lists(paths(), max_size=2, unique=True),
        each=st.booleans(),
        ttl=st.none() | st.sampled_from([5.0, 60.5]),
    )
    def declare(self, collection: str, fields: list[str], each: bool, ttl: float | None) -> None:
        """Declare indexes and a time to live, or drop them."""
        indexes = (Index(tuple(fields), each and len(fields) == 1),) if fields else ()
        spec = CollectionSpec(collection=collection, indexes=indexes, default_ttl_seconds=ttl)
        plain = CollectionSpec(collection=collection, default_ttl_seconds=ttl)
        try:
            self.run(self.provider.declare(spec))
        except StorageError as error:
            # An engine may have names it can't index; it says so and keeps the old declaration.
            if not fields or not isinstance(error, UnsupportedOperationError):
                raise
            self.run(self.provider.declare(plain))
            spec = plain
        self.run(self.reference.declare(spec))
        assert self.run(self.provider.declared(collection)) == spec

    # --- asking --------------------------------------------------------------------------------

    @rule(where=st.none() | wheres(), order_by=order_bys(), collection=_collections)
    def query(self, where: JsonObject | None, order_by: tuple[str, ...], collection: str) -> None:
        """A listing in one piece, with its total."""
        query = Query(collection, where, order_by, limit=100, total=True)
        mine, theirs = self._ask(query), self._ask(query, reference=True)
        assert _contents(mine.items) == _contents(theirs.items), query
        assert theirs.total == len(theirs.items)
        if where is None and not self.provider.capabilities.native_query:
            # Counting keys alone counts expired documents until they are collected.
            assert mine.total is not None
            assert mine.total >= len(theirs.items)
        else:
            assert mine.total == theirs.total

    @rule(
        where=st.none() | st.none() | wheres(max_leaves=2),
        order_by=order_bys(),
        collection=st.just(COLLECTIONS[0]),
        limit=st.integers(1, 2),
    )
    def begin_paging(
        self, where: JsonObject | None, order_by: tuple[str, ...], collection: str, limit: int
    ) -> None:
        """The first page of a listing that goes on later."""
        query = Query(collection, where, order_by, limit)
        self._compare_pages(query, self._ask(query), self._ask(query, reference=True))

    @precondition(lambda self: self.paging is not None)
    @rule()
    def continue_paging(self) -> None:
        """The next page, whatever was written meanwhile."""
        assert self.paging is not None
        query, mine, theirs = self.paging
        self._compare_pages(query, self._ask(query, mine), self._ask(query, theirs, reference=True))

    @rule(addresses=st.lists(st.builds(Address, _collections, _ids), max_size=6))
    def read(self, addresses: list[Address]) -> None:
        """Several documents by id."""
        mine = self.run(self.provider.read(addresses))
        theirs = self.run(self.reference.read(addresses))
        assert _contents(mine) == _contents(theirs)

    # --- time and lifetime ---------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.001, 0.5, 1, 5, 20, 61]))
    def advance(self, seconds: float) -> None:
        """Turn the clock."""
        self.time.advance(seconds)

    @precondition(lambda self: self.backend.can_reopen)
    @rule()
    def reopen(self) -> None:
        """Close and open again: nothing changes, versions and pages included."""
        self.run(self.provider.disconnect())
        self.provider = self.run(self.backend.open(self.time.clock))
        self.run(self.provider.connect())

    @invariant()
    def everything_agrees(self) -> None:
        """All documents, by all the ways to list them."""
        for collection in COLLECTIONS:
            query = Query(collection, limit=100)
            mine, theirs = self._ask(query), self._ask(query, reference=True)
            assert _contents(mine.items) == _contents(theirs.items)
            versions = self.run(self.provider.versions(collection)).entries
            listed = {entry.id: entry.version for entry in versions}
            assert len(listed) == len(versions)
            for item in mine.items:
                assert listed.get(item.id) == item.version
        mine_names = self.run(self.provider.collections())
        for name in self.run(self.reference.collections()):
            if self.run(self.reference.count_items(name)):
                assert name in mine_names

    # --- helpers -------------------------------------------------------------------------------

    def _write(self, drawn: Sequence[tuple[_Wish, int | None]]) -> None:
        mine: list[Write] = []
        theirs: list[Write] = []
        for wish, expiry in drawn:
            if expiry is not None and wish.kind != "delete":
                moment = round(self.time.seconds * 1000) + expiry * 1000
                wish.content["expiresAt"] = format_timestamp(moment)
            left, right = self._condition(wish)
            mine.append(wish.make(left))
            theirs.append(wish.make(right))
        if self.provider.capabilities.atomic_batch or len(drawn) == 1:
            results = [
                self.run(_batch_outcome(side, batch))
                for side, batch in ((self.provider, mine), (self.reference, theirs))
            ]
            self._agree_all(results[0], results[1], [wish for wish, _ in drawn])
            return
        # The reference is atomic: it does one by one what the provider does each by itself.
        expected = [self.run(_batch_outcome(self.reference, [write]))[0] for write in theirs]
        self._agree_all(
            self.run(_batch_outcome(self.provider, mine)), expected, [wish for wish, _ in drawn]
        )

    def _condition(self, wish: _Wish) -> tuple[Condition, Condition]:
        """The condition for each side; `version` and `stale` name versions seen before."""
        capabilities = self.provider.capabilities
        allowed = (
            capabilities.conditional_delete
            if wish.kind == "delete"
            else capabilities.conditional_write
        )
        fallback = ANY if wish.kind in ("put", "delete") else IF_PRESENT
        if wish.condition in ("version", "stale", "nonsense") and allowed:
            seen = self.known.get((wish.collection, wish.id), [])
            if wish.condition == "nonsense" or not seen:
                return IfVersion("nonsense"), IfVersion("nonsense")
            mine, theirs = seen[-1] if wish.condition == "version" else seen[0]
            # Equal content may have an equal version again; only where both sides agree on
            # which version is the last can they be compared.
            assume((mine == seen[-1][0]) == (theirs == seen[-1][1]))
            return IfVersion(mine), IfVersion(theirs)
        if wish.condition == "absent" and wish.kind == "put":
            return IF_ABSENT, IF_ABSENT
        if wish.condition == "present" and (wish.kind != "delete" or allowed):
            return IF_PRESENT, IF_PRESENT
        return fallback, fallback

    def _agree_all(self, mine: list[Outcome], theirs: list[Outcome], wishes: list[_Wish]) -> None:
        assert len(mine) == len(theirs), (mine, theirs)
        for left, right, wish in zip(mine, theirs, wishes, strict=False):
            self._agree(left, right, (wish.collection, wish.id))

    def _agree(self, mine: Outcome, theirs: Outcome, place: tuple[str, str]) -> None:
        assert mine[0] == theirs[0], (mine, theirs)
        if mine[0] == "item":
            assert _content(mine[1]) == _content(theirs[1])
            self.known.setdefault(place, []).append((mine[1].version, theirs[1].version))
        elif mine[0] != "nothing":
            assert mine[1] == theirs[1]

    def _ask(self, query: Query, cursor: str | None = None, *, reference: bool = False) -> Page:
        side: StorageProvider = self.reference if reference else self.provider
        asked = Query(
            query.collection,
            query.where,
            query.order_by,
            query.limit,
            cursor,
            total=query.total,
        )
        (page,) = self.run(side.query([asked]))
        return page

    def _compare_pages(self, query: Query, mine: Page, theirs: Page) -> None:
        assert _contents(mine.items) == _contents(theirs.items), query
        assert (mine.cursor is None) == (theirs.cursor is None), query
        self.paging = None
        if mine.cursor is not None and theirs.cursor is not None:
            self.paging = query, mine.cursor, theirs.cursor


class _Exactly:
    """A JSON value that equals another only to the bit."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Exactly) and exactly(self.value, other.value)

    def __hash__(self) -> int:
        return hash(repr(self.value))

    def __repr__(self) -> str:
        return repr(self.value)


def _content(item: Item | None) -> tuple[Any, ...] | None:
    """What must be equal on both sides: everything but the version."""
    if item is None:
        return None
    return item.collection, item.id, _Exactly(item.document), item.encoding, item.payload


def _contents(items: Sequence[Item | None]) -> list[tuple[Any, ...] | None]:
    return [_content(item) for item in items]


def _facts(error: StorageError) -> Outcome:
    """What must be equal on both sides of an error."""
    gone = isinstance(error, VersionMismatchError) and error.actual_version is None
    return type(error).__name__, (error.collection, error.item_id, gone)


async def _outcome(work: Coroutine[Any, Any, Item | None]) -> Outcome:
    try:
        item = await work
    except StorageError as error:
        return _facts(error)
    return ("nothing", None) if item is None else ("item", item)


async def _batch_outcome(side: StorageProvider, batch: Sequence[Write]) -> list[Outcome]:
    """One outcome per write; one alone where an atomic batch was refused."""
    results: Sequence[Item | StorageError | None]
    try:
        results = await side.write(batch)
    except BatchError as error:
        results = error.results
    except StorageError as error:
        return [_facts(error)]
    return [
        _facts(result)
        if isinstance(result, StorageError)
        else (("nothing", None) if result is None else ("item", result))
        for result in results
    ]


def machine_against_reference(make_backend: Callable[[], Backend]) -> type[ReferenceMachine]:
    """Make the state machine for one kind of place.

    Args:
        make_backend: Makes an empty place for each example.
    """

    class AgainstReference(ReferenceMachine):
        def make_backend(self) -> Backend:
            return make_backend()

    return AgainstReference


def run_against_reference(
    make_backend: Callable[[], Backend], *, profile: settings = QUICK
) -> None:
    """Compare a provider with the reference; raises what differed, with the steps that led there.

    Args:
        make_backend: Makes an empty place for each example.
        profile: How many examples, how long each; the default is quick and always the same.
    """
    run_state_machine_as_test(machine_against_reference(make_backend), settings=profile)
