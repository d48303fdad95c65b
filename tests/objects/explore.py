"""Every order in which the requests of several writers can arrive, with what can befall them.

Writers are coroutines that await nothing but the store, so they are driven by hand, one request at
a time, without an event loop. Schedules are explored depth first; each is played from the start.
Two that lead to the same objects, the same requests on their way and the same answers given to
each writer go on alike, so only one of them is followed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from itertools import combinations, permutations
from typing import Any, NamedTuple, TypeVar

import msgspec

from storage_providers._clock import Clock
from storage_providers._json import encode_object, merge_patch
from storage_providers.errors import (
    ItemExistsError,
    ItemNotFoundError,
    OutcomeUnknownError,
    StorageError,
    VersionMismatchError,
)
from storage_providers.protocol import (
    IF_ABSENT,
    IF_PRESENT,
    Clear,
    CollectionSpec,
    Delete,
    IfVersion,
    Index,
    JsonObject,
    Put,
    Write,
)
from storage_providers.providers._objects import StoredObject
from storage_providers.providers._objects.documents import to_item
from storage_providers.providers._objects.entries import IndexKeys
from storage_providers.providers._objects.provider import ObjectProvider
from storage_providers.resilience import Timing
from tests.objects.memory_store import LIMITS, Fate, MemoryObjects, MemoryStore, Request, objects

T = TypeVar("T")

THINGS = "things"
LONG_AGO = 1_769_860_800.0
NOW = LONG_AGO + 10_000.0
MUCH_LATER = NOW + 10_000.0

Maintain = Callable[[ObjectProvider], Coroutine[Any, Any, object]]
Step = Write | Maintain
"""A write, or something that is to change no document."""


class ByHand(MemoryObjects):
    """A provider that needs no event loop, and whose indexes are due at once."""

    settle_seconds = 0.0
    builds_in_background = False


class _Asked:
    """Hands a request to whoever drives the coroutine, and gets its fate from there."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def __await__(self) -> Generator[Request, Fate, Fate]:
        return (yield self.request)


async def _ask(request: Request) -> Fate:
    return await _Asked(request)


async def _no_wait(_seconds: float) -> None:
    return None


def clock_of(number: int, seconds: float = NOW) -> Clock:
    """A clock that stands still, whose random bits are its own and the same each time."""
    count = 0

    def randomness(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.blake2b(f"{number}/{count}".encode(), digest_size=size).digest()

    return Clock(source=lambda: seconds, randomness=randomness)


def provider_on(store: MemoryStore, number: int, seconds: float = NOW) -> ObjectProvider:
    """A connected provider on a store, with its own clock."""
    timing = Timing(monotonic=lambda: 0.0, sleep=_no_wait, jitter=lambda: 0.0)
    provider = objects(store, clock_of(number, seconds), timing=timing, kind=ByHand)
    at_once(provider.connect())
    return provider


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits for something")


# --- what is played ----------------------------------------------------------------------------


class Scenario(msgspec.Struct, kw_only=True):
    """What is there, and who does what with it.

    Attributes:
        actors: What each does, one step after the other.
        before: The documents that are there.
        garbage: Documents whose entries are there though they are not.
        index: The index of the collection.
        ready: Whether it is ready; otherwise it is being built.
        conditional: Whether the store judges conditions.
        fates: What can befall a request beside being carried out.
        faults: How many requests meet such a fate at most.
        kills: Whether an actor may be killed instead.
        asked: Values that are asked for by queries at each end.
    """

    actors: Sequence[Sequence[Step]]
    before: Sequence[JsonObject] = ()
    garbage: Sequence[JsonObject] = ()
    index: Index = Index(("v",))
    ready: bool = True
    conditional: bool = True
    fates: Sequence[Fate] = (Fate.ANSWER_LOST, Fate.DELAYED, Fate.REFUSED)
    faults: int = 0
    kills: bool = True
    asked: Sequence[int] = ()


class Choice(NamedTuple):
    """What happens next: an actor's request meets its fate, it is killed, or a late one arrives."""

    what: str
    number: int
    fate: Fate = Fate.DONE


class Done(NamedTuple):
    """One step of an actor, as it went.

    Attributes:
        step: The step.
        began: When its first request arrived.
        ended: When it returned; `None`: it did not.
        error: What it raised.
    """

    step: Step
    began: int
    ended: int | None
    error: StorageError | None


class _Actor:
    def __init__(self, provider: ObjectProvider, steps: Sequence[Step]) -> None:
        self.provider = provider
        self.done: list[Done] = []
        self.answers: list[object] = []
        self.request: Request | None = None
        self.is_killed = False
        self._steps = list(steps)
        self._running: Coroutine[Any, Any, object] | None = None
        self._began: int | None = None
        self._next(0)

    def _next(self, time: int) -> None:
        """Begin the next step, up to its first request."""
        if not self._steps:
            self.request = None
            return
        step = self._steps[0]
        self._running = step(self.provider) if callable(step) else self.provider.write([step])
        self._began = None
        self._advance(None, time)

    def _advance(self, fate: Fate | None, time: int) -> None:
        assert self._running is not None
        try:
            self.request = self._running.send(fate)
        except StopIteration:
            self._end(time, None)
        except StorageError as error:
            self._end(time, error)

    def _end(self, time: int, error: StorageError | None) -> None:
        began = time if self._began is None else self._began
        self.done.append(Done(self._steps.pop(0), began, time, error))
        self._next(time)

    def meet(self, fate: Fate, time: int) -> None:
        if self._began is None:
            self._began = time
        self._advance(fate, time)

    def kill(self) -> None:
        """End it where it is; nothing more is sent."""
        assert self._running is not None
        try:
            # Not close(), which asynchronous generators on the way do not survive.
            self._running.throw(asyncio.CancelledError())
        except asyncio.CancelledError:
            pass
        else:
            raise AssertionError("it goes on though it was killed")
        self.is_killed, self.request = True, None
        if self._began is not None:
            self.done.append(Done(self._steps[0], self._began, None, None))


class Stage:
    """A scenario, played up to some choice.

    Args:
        scenario: What is played.
        choices: What happened so far.
    """

    def __init__(self, scenario: Scenario, choices: Sequence[Choice]) -> None:
        self.scenario = scenario
        self.store = MemoryStore(
            LIMITS
            if scenario.conditional
            else msgspec.structs.replace(LIMITS, conditional_put=False)
        )
        self.store.objects.update(prepared(scenario))
        providers = [knowing(scenario, self.store, n) for n in range(len(scenario.actors))]
        self.store.gate = _ask
        self.actors = [
            _Actor(provider, steps)
            for provider, steps in zip(providers, scenario.actors, strict=True)
        ]
        self.faults = 0
        self._late: list[object] = []
        self.time = 0
        for choice in choices:
            self.play(choice)

    def play(self, choice: Choice) -> None:
        """Let something happen."""
        self.time += 1
        if choice.what == "arrive":
            self._late.pop(choice.number)
            self.store.arrive(choice.number)
            return
        actor = self.actors[choice.number]
        self.faults += choice.what == "kill" or choice.fate is not Fate.DONE
        if choice.what == "kill":
            actor.kill()
            return

        def answered(request: Request, fate: Fate, result: object) -> None:
            actor.answers.append((request, _brief(result)))
            if fate is Fate.DELAYED:
                self._late.append(tuple(actor.answers))

        self.store.answered = answered
        actor.meet(choice.fate, self.time)

    def close(self) -> None:
        """End whoever is still at it."""
        for actor in self.actors:
            if actor.request is not None:
                actor.kill()

    def choices(self) -> list[Choice]:
        """What can happen next."""
        scenario = self.scenario
        can_fail = self.faults < scenario.faults
        found: list[Choice] = []
        for number, actor in enumerate(self.actors):
            if actor.request is None:
                continue
            found.append(Choice("step", number))
            if can_fail and scenario.kills:
                found.append(Choice("kill", number))
            if can_fail and actor.request.kind in ("put", "delete"):
                found += [Choice("step", number, fate) for fate in scenario.fates]
        found += [Choice("arrive", number) for number in range(len(self._late))]
        return found

    @property
    def is_over(self) -> bool:
        """Whether nobody does anything any more; late requests may still arrive."""
        return all(actor.request is None for actor in self.actors)

    def key(self) -> object:
        """What the rest depends on."""
        done = [each for actor in self.actors for each in actor.done]
        return (
            tuple(sorted((key, kept.version, kept.metadata.token) for key, kept in self._kept())),
            tuple((tuple(actor.answers), actor.is_killed) for actor in self.actors),
            tuple(self._late),
            self.faults,
            # Who ended before whom began: the answers must fit to it.
            tuple(
                one.ended is not None and one.ended < other.began for one in done for other in done
            ),
        )

    def _kept(self) -> Iterable[tuple[str, Any]]:
        return self.store.objects.items()

    def documents(self) -> dict[str, JsonObject]:
        """The documents that are there, past the provider."""
        found: dict[str, JsonObject] = {}
        for item_id in ("a", "b"):
            (stored,) = at_once(MemoryStore.get(_plain(self.store), [f"{THINGS}/{item_id}.json"]))
            assert not isinstance(stored, StorageError)
            if stored is not None:
                found[item_id] = to_item(THINGS, item_id, stored)[0].document
        return found


def _plain(store: MemoryStore) -> MemoryStore:
    """The same objects, without anybody who holds requests."""
    plain = MemoryStore(store.limits)
    plain.objects = dict(store.objects)
    return plain


def _brief(result: object) -> object:
    if isinstance(result, StorageError):
        return type(result)
    if isinstance(result, StoredObject):
        return result.version, result.metadata.token
    return result if isinstance(result, str | None) else repr(result)


_PREPARED: dict[int, tuple[Scenario, Mapping[str, Any]]] = {}


def prepared(scenario: Scenario) -> Mapping[str, Any]:
    """The objects that are there before anything is played."""
    known = _PREPARED.get(id(scenario))
    if known is None:
        known = _PREPARED[id(scenario)] = scenario, _prepare(scenario)
    return known[1]


_KNOWING: dict[int, tuple[Scenario, ObjectProvider]] = {}


def knowing(scenario: Scenario, store: MemoryStore, number: int) -> ObjectProvider:
    """A provider that knows the declaration, and the versions of what is there."""
    known = _KNOWING.get(id(scenario))
    if known is None:
        template = provider_on(_plain(store), 96)
        at_once(template.indexes(THINGS))
        at_once(template.read_items(THINGS, ["a", "b"]))
        known = _KNOWING[id(scenario)] = scenario, template
    provider = provider_on(store, number)
    provider._declarations = dict(known[1]._declarations)
    provider._indexes = dict(known[1]._indexes)
    provider._expiries = dict(known[1]._expiries)
    return provider


def _prepare(scenario: Scenario) -> Mapping[str, Any]:
    store = MemoryStore()
    provider = provider_on(store, 99, LONG_AGO)
    spec = CollectionSpec(collection=THINGS, indexes=(scenario.index,))
    if scenario.ready:
        at_once(provider.declare(spec))
        at_once(provider.build_indexes(THINGS))
        for document in scenario.garbage:
            at_once(provider.write([Put(THINGS, document)]))
            del store.objects[f"{THINGS}/{document['id']}.json"]
    at_once(provider.write([Put(THINGS, document) for document in scenario.before]))
    if not scenario.ready:
        at_once(provider.declare(spec))
    return store.objects


# --- exploring ---------------------------------------------------------------------------------


def explore(scenario: Scenario) -> int:
    """Play every schedule, and check what is there whenever nobody does anything any more.

    Returns:
        In how many different ways it can end.
    """
    waiting: list[tuple[Choice, ...]] = [()]
    seen: set[object] = set()
    checked: set[object] = set()
    while waiting:
        schedule = waiting.pop()
        stage = Stage(scenario, schedule)
        while (key := stage.key()) not in seen:
            seen.add(key)
            choices = stage.choices()
            if stage.is_over:
                _checked(stage, schedule, checked)
            if not choices:
                break
            # This one goes on with the first; the others are played from the start.
            waiting += [(*schedule, choice) for choice in choices[1:]]
            schedule = (*schedule, choices[0])
            stage.play(choices[0])
        stage.close()
    return len(checked)


def _checked(stage: Stage, schedule: Sequence[Choice], checked: set[object]) -> None:
    end = stage.key()
    if end in checked:
        return
    checked.add(end)
    try:
        check(stage)
    except AssertionError as error:
        done = [each for actor in stage.actors for each in actor.done]
        error.add_note("\n".join(map(str, [*schedule, *done])))
        raise


# --- what must be so ---------------------------------------------------------------------------


def check(stage: Stage) -> None:
    """Every document is found, every answer was true, and garbage can be collected."""
    documents = stage.documents()
    assert_findable(stage.store, documents)
    if stage.scenario.conditional:
        assert_true(stage, documents)
    if stage.scenario.asked:
        asyncio.run(assert_answers(stage, documents))
    later = _plain(stage.store)
    at_once(provider_on(later, 98, MUCH_LATER).gc(THINGS))
    assert_findable(later, documents)
    assert_tidy(later, documents)


def ready_indexes(store: MemoryStore) -> list[IndexKeys]:
    """The indexes that queries use."""
    provider = provider_on(_plain(store), 97)
    return [index.keys for index in at_once(provider.indexes(THINGS)) if index.ready]


def assert_findable(store: MemoryStore, documents: Mapping[str, JsonObject]) -> None:
    """Every document stands in every ready index under each of its values."""
    for keys in ready_indexes(store):
        for item_id, document in documents.items():
            for values in keys.values_of(document):
                entry = keys.folder + values + keys.id_key(item_id)
                assert store.keys(entry), f"{item_id} can't be found: {document}"


async def assert_answers(stage: Stage, documents: Mapping[str, JsonObject]) -> None:
    """Queries by the index find exactly what is there, whatever entries were left."""
    provider = provider_on(_plain(stage.store), 95)
    for value in stage.scenario.asked:
        page = await provider.list_items(THINGS, where={"v": value}, order_by="id", total=True)
        expected = [each for each in documents if documents[each]["v"] == value]
        assert [item.id for item in page.items] == expected
        assert page.total == len(expected)
        assert page.statistics.index == "v"


def assert_tidy(store: MemoryStore, documents: Mapping[str, JsonObject]) -> None:
    """There is one entry for each value, and no other, in indexes that are ready."""
    for keys in ready_indexes(store):
        needed = sorted(
            keys.folder + values + keys.id_key(item_id)
            for item_id, document in documents.items()
            for values in keys.values_of(document)
        )
        assert sorted(key[:-22] for key in store.keys(keys.folder)) == needed


def assert_true(stage: Stage, documents: Mapping[str, JsonObject]) -> None:
    """The answers and the documents are those of the writes one after the other, in some order.

    Writes whose outcome nobody was told may have happened at any time since, or not at all.
    """
    done = [
        each
        for actor in stage.actors
        for each in actor.done
        if not callable(each.step) and not _did_nothing(each.error)
    ]
    certain = [each for each in done if _is_certain(each)]
    unknown = [part for each in done if not _is_certain(each) for part in _parts(each)]
    start = {str(document["id"]): document for document in stage.scenario.before}
    for count in range(len(unknown) + 1):
        for some in combinations(unknown, count):
            for order in permutations([*certain, *some]):
                if _in_time(order) and _explains(order, start, documents):
                    return
    raise AssertionError(f"no order of the writes explains {documents}")


def _parts(done: Done) -> list[Done]:
    """What may have happened of a write by itself: a clear removes one document after the other."""
    if not isinstance(done.step, Clear):
        return [done]
    return [done._replace(step=Delete(THINGS, item_id)) for item_id in ("a", "b")]


def _did_nothing(error: StorageError | None) -> bool:
    judged = (ItemExistsError, ItemNotFoundError, VersionMismatchError, OutcomeUnknownError)
    return error is not None and not isinstance(error, judged)


def _is_certain(done: Done) -> bool:
    return done.ended is not None and not isinstance(done.error, OutcomeUnknownError)


def _in_time(order: Sequence[Done]) -> bool:
    return not any(
        _is_certain(later) and later.ended is not None and later.ended < earlier.began
        for position, earlier in enumerate(order)
        for later in order[position + 1 :]
    )


def _explains(
    order: Sequence[Done], start: Mapping[str, JsonObject], end: Mapping[str, JsonObject]
) -> bool:
    state = dict(start)
    for each in order:
        assert not callable(each.step)
        expected = _apply(each.step, state)
        if _is_certain(each) and expected is not (None if each.error is None else type(each.error)):
            return False
    return state == end


def _apply(write: Write, state: dict[str, JsonObject]) -> type[StorageError] | None:
    """What a write does to the documents when nobody else is there."""
    if isinstance(write, Clear):
        state.clear()
        return None
    if isinstance(write, Delete):
        state.pop(write.id, None)
        return None
    before = state.get(write.id)
    condition = write.condition
    if isinstance(condition, IfVersion):
        if before is None or version_of(before) != condition.version:
            return VersionMismatchError
    elif condition is IF_ABSENT and before is not None:
        return ItemExistsError
    elif condition is IF_PRESENT and before is None:
        return ItemNotFoundError
    if isinstance(write, Put):
        state[write.id] = write.document
    else:
        assert before is not None
        state[write.id] = merge_patch(before, write.changes)
    return None


def version_of(document: JsonObject) -> str:
    """The version that a document has in the store."""
    return hashlib.md5(encode_object(document)).hexdigest()
