"""Writers whose requests arrive in every possible order, are killed, lost, refused or late."""

from __future__ import annotations

import pytest

from storage_providers.protocol import (
    IF_ABSENT,
    IF_PRESENT,
    Clear,
    Delete,
    IfVersion,
    Index,
    JsonObject,
    Patch,
    Put,
)
from storage_providers.providers._objects import building
from storage_providers.providers._objects.provider import ObjectProvider
from tests.objects.explore import THINGS, Scenario, Step, explore, version_of


def doc(v: int, item_id: str = "a") -> JsonObject:
    """A document with a value that is indexed."""
    return {"id": item_id, "v": v}


def put(v: int) -> Put:
    """A put without a condition."""
    return Put(THINGS, doc(v))


def create(v: int) -> Put:
    """A put of a new document."""
    return Put(THINGS, doc(v), IF_ABSENT)


def patch(v: int) -> Patch:
    """A change of the indexed value."""
    return Patch(THINGS, "a", {"v": v})


def replace(v: int, before: int) -> Put:
    """A put on the condition that the value is still this."""
    return Put(THINGS, doc(v), IfVersion(version_of(doc(before))))


DELETE = Delete(THINGS, "a")
CLEAR = Clear(THINGS)

PAIRS: dict[str, tuple[tuple[Step, ...], tuple[Step, ...]]] = {
    "put, put": ((put(2),), (put(3),)),
    "put, put of the same": ((put(2),), (put(2),)),
    "put, put of what is there": ((put(2),), (put(1),)),
    "put, patch back": ((put(2),), (patch(1),)),
    "patch, patch back": ((patch(2),), (patch(1),)),
    "patches of other fields": ((patch(2),), (Patch(THINGS, "a", {"w": 1}),)),
    "there and back, patch": ((patch(2), patch(1)), (patch(3),)),
    "there and back, replace": ((put(2), put(1)), (replace(3, 1),)),
    "replace, replace": ((replace(2, 1),), (replace(3, 1),)),
    "put if there, delete": ((Put(THINGS, doc(2), IF_PRESENT),), (DELETE,)),
    "put, delete": ((put(2),), (DELETE,)),
    "patch, delete": ((patch(2),), (DELETE,)),
    "create, delete": ((create(2),), (DELETE,)),
    "delete and create, patch": ((DELETE, create(1)), (patch(2),)),
    "delete and create, delete": ((DELETE, create(1)), (DELETE,)),
    "clear, put": ((CLEAR,), (put(2),)),
    "clear, create": ((CLEAR,), (create(2),)),
    "clear and create, patch": ((CLEAR, create(1)), (patch(2),)),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("before", [(doc(1),), ()], ids=["there", "absent"])
def test_two_writers(
    pair: tuple[tuple[Step, ...], tuple[Step, ...]], before: tuple[JsonObject, ...]
) -> None:
    """Whatever befalls one request: every document is found and no answer was untrue."""
    assert explore(Scenario(actors=pair, before=before, faults=1)) > 1


@pytest.mark.parametrize(
    "pair",
    [PAIRS[name] for name in ("put, patch back", "replace, replace", "put, delete")],
    ids=["put, patch", "replace, replace", "put, delete"],
)
def test_two_misfortunes(pair: tuple[tuple[Step, ...], tuple[Step, ...]]) -> None:
    """Two requests may be lost, late or refused, or both writers killed."""
    assert explore(Scenario(actors=pair, before=(doc(1),), faults=2)) > 1


@pytest.mark.parametrize("name", ["put, patch back", "create, delete", "clear, create"])
def test_queries_give_no_wrong_answer(name: str) -> None:
    """Entries without documents, twice the same, of values long gone: all are seen through."""
    garbage = (doc(1), doc(2), doc(2), doc(3))
    scenario = Scenario(
        actors=PAIRS[name], before=(doc(1),), garbage=garbage, faults=1, asked=(1, 2, 3)
    )
    assert explore(scenario) > 1


@pytest.mark.parametrize("name", ["put, put", "patch, delete", "delete and create, patch"])
def test_an_index_over_members(name: str) -> None:
    """A document with several entries in an index, some of which stay."""

    def members(step: Step) -> Step:
        tags = {1: ["x", "y"], 2: ["y", "z"], 3: "y"}
        match step:
            case Put():
                document = {"id": "a", "v": tags[step.document["v"]]}
                return Put(THINGS, document, step.condition)
            case Patch():
                return Patch(THINGS, "a", {"v": tags[step.changes["v"]]})
            case _:
                return step

    actors = [[members(step) for step in steps] for steps in PAIRS[name]]
    before = {"id": "a", "v": ["x", "y"]}
    index = Index(("v",), each=True)
    assert explore(Scenario(actors=actors, before=(before,), index=index, faults=1)) > 1


TRIPLES: dict[str, tuple[tuple[Step, ...], ...]] = {
    "put, put, put": ((put(2),), (put(3),), (put(4),)),
    "put, put, delete": ((put(2),), (put(3),), (DELETE,)),
    "patch, patch back, delete": ((patch(2),), (patch(1),), (DELETE,)),
    "create, create, delete": ((create(2),), (create(3),), (DELETE,)),
    "create, delete, clear": ((create(2),), (DELETE,), (CLEAR,)),
}


@pytest.mark.parametrize("steps", TRIPLES.values(), ids=TRIPLES)
@pytest.mark.parametrize("before", [(doc(1),), ()], ids=["there", "absent"])
def test_three_writers(steps: tuple[tuple[Step, ...], ...], before: tuple[JsonObject, ...]) -> None:
    """Three at once, all of whom live."""
    assert explore(Scenario(actors=steps, before=before)) > 1


async def collect(provider: ObjectProvider) -> None:
    """Remove garbage."""
    await provider.gc(THINGS)


async def build(provider: ObjectProvider) -> None:
    """Fill in what is older than the index, unless another is at it."""
    await building.Builder(provider).step(THINGS, None)


async def index_anew(provider: ObjectProvider) -> None:
    """Put all entries."""
    await provider.reindex(THINGS)


WRITES: dict[str, tuple[Step, ...]] = {
    "put": (put(2),),
    "put of what is there": (put(1),),
    "patch": (patch(2),),
    "there and back": (put(2), put(1)),
    "delete": (DELETE,),
    "delete and create": (DELETE, create(2)),
    "clear and create": (CLEAR, create(2)),
}


@pytest.mark.parametrize("steps", WRITES.values(), ids=WRITES)
def test_garbage_is_collected_meanwhile(steps: tuple[Step, ...]) -> None:
    """Old entries of the very values that are written meanwhile, and of others, are removed."""
    garbage = (doc(1), doc(2), doc(2), doc(7), doc(7, "b"))
    actors, faults = (steps, (collect,)), 1 if len(steps) == 1 else 0
    scenario = Scenario(actors=actors, before=(doc(1),), garbage=garbage, faults=faults)
    assert explore(scenario) >= 1


@pytest.mark.parametrize("steps", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("maintain", [build, index_anew])
def test_entries_are_filled_in_meanwhile(steps: tuple[Step, ...], maintain: Step) -> None:
    """An index that becomes ready knows what was written meanwhile, whoever is killed."""
    scenario = Scenario(
        actors=(steps, (maintain,)),
        before=(doc(1), doc(5, "b")),
        ready=maintain is index_anew,
        fates=(),
        faults=1,
    )
    assert explore(scenario) >= 1


@pytest.mark.parametrize("lease_seconds", [0, 120])
def test_two_fill_in_at_once(monkeypatch: pytest.MonkeyPatch, lease_seconds: int) -> None:
    """Two that build the same index do no harm, also when a lease has run out."""
    monkeypatch.setattr(building, "LEASE_SECONDS", lease_seconds)
    scenario = Scenario(
        actors=((build,), (build,)), before=(doc(1),), ready=False, fates=(), faults=1
    )
    assert explore(scenario) >= 1


UNCONDITIONAL = [name for name in PAIRS if "replace" not in name]


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_a_store_without_conditions(name: str) -> None:
    """What is written last stays; still no document becomes unfindable."""
    scenario = Scenario(actors=PAIRS[name], before=(doc(1),), conditional=False, faults=1)
    assert explore(scenario) > 1
