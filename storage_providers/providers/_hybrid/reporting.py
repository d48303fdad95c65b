"""What a hybrid says about itself: events, status, checks, and what both sides can do together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from storage_providers.base import Provider
from storage_providers.conflicts import ConflictRecord
from storage_providers.errors import ProviderClosedError, StorageError
from storage_providers.maintenance import Check, Checkable, Provision, Provisionable, error_name
from storage_providers.protocol import Address, Capabilities
from storage_providers.providers._hybrid.metrics import METRICS, Counter, HybridCounts
from storage_providers.providers._probe import try_writing

__all__ = [
    "HybridEvent",
    "HybridStatus",
    "Listener",
    "check_copies",
    "check_journal",
    "check_side",
    "is_open",
    "provision_sides",
    "together",
]

_LOGGER = logging.getLogger("storage_providers")


class HybridEvent(msgspec.Struct, frozen=True):
    """Something that happened between the two sides.

    Attributes:
        kind: `degraded`: the primary can't be reached. `recovered`: it has everything again.
            `journaled`: the fallback took writes. `replayed`: the primary got them. `conflict`: one
            was settled. `refused`: the primary does not take a document; see the log of conflicts.
        count: Of how many.
        detail: Name of the error or of the policy, if there is one.
    """

    kind: Literal["degraded", "recovered", "journaled", "replayed", "conflict", "refused"]
    count: int = 1
    detail: str | None = None


class HybridStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the two sides stand.

    Attributes:
        degraded: Whether the fallback answers.
        error: Name of the error that the primary was last met with, while degraded.
        pending: Writes that the fallback took and the primary does not have yet.
        oldest_pending_ms: When the oldest of them was made, milliseconds since 1970.
        complete: Whether the fallback answers queries and misses while degraded.
        filled_ms: When it was last filled, milliseconds since 1970.
        doubts: Copies at the fallback that may be old; they are made anew at the next chance.
        conflicts: Conflicts in the log.
        refused: Those of them where the primary does not take the document.
        counts: What happened since the provider was made, in this process.
    """

    degraded: bool
    error: str | None
    pending: int
    oldest_pending_ms: int | None
    complete: bool
    filled_ms: int | None
    doubts: int
    conflicts: int
    refused: int
    counts: HybridCounts = HybridCounts()

    def metrics(self) -> dict[str, int]:
        """Every number by its name in `METRICS`."""
        return {
            each.name: int(getattr(self.counts if each.kind == "counter" else self, each.field))
            for each in METRICS
        }


_COUNTED: Final = {
    "degraded": "outages",
    "journaled": "journaled",
    "replayed": "replayed",
    "conflict": "conflicts",
    "refused": "refused",
}
"""Which count each kind of event belongs to."""


class Listener:
    """Counts events and passes them on, to the log and to the program.

    Args:
        on_event: The program's function; what it raises is logged by name and changes nothing.
        counter: Counts.
    """

    def __init__(
        self, on_event: Callable[[HybridEvent], None] | None, counter: Counter | None = None
    ) -> None:
        self._on_event = on_event
        self._counter = Counter() if counter is None else counter

    def tell(self, event: HybridEvent) -> None:
        """Pass one on."""
        if event.kind in _COUNTED:
            self._counter.add(_COUNTED[event.kind], event.count)
        if event.kind not in ("journaled", "replayed"):
            _LOGGER.warning("hybrid: %s (%s)", event.kind, event.detail)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception as error:  # noqa: BLE001 - what was done stands.
            _LOGGER.error("on_event raised %s, which was ignored", type(error).__name__)

    def tell_conflict(self, record: ConflictRecord) -> None:
        """Tell of a conflict that was settled, or of a document that was refused."""
        if record.state == "refused":
            self.tell(HybridEvent("refused", detail=record.error))
        else:
            self.tell(HybridEvent("conflict", detail=record.policy))


def together(primary: Capabilities, fallback: Capabilities) -> Capabilities:
    """What both sides give; batches are never atomic over two."""
    sides = primary, fallback
    limits = [each.max_document_bytes for each in sides if each.max_document_bytes is not None]
    return Capabilities(
        atomic_batch=False,
        conditional_write=all(each.conditional_write for each in sides),
        conditional_delete=all(each.conditional_delete for each in sides),
        native_query=all(each.native_query for each in sides),
        text_search=all(each.text_search for each in sides),
        native_ttl=all(each.native_ttl for each in sides),
        strongly_consistent=all(each.strongly_consistent for each in sides),
        staleness_seconds=max(each.staleness_seconds for each in sides),
        durable=all(each.durable for each in sides),
        max_document_bytes=min(limits, default=None),
        max_id_bytes=min(each.max_id_bytes for each in sides),
        max_scope_bytes=min(each.max_scope_bytes for each in sides),
    )


def is_open(provider: Provider) -> bool:
    """Whether a provider is connected."""
    try:
        provider._check_open("connect")
    except ProviderClosedError:
        return False
    return True


async def check_side(side: str, provider: Provider, *, write: bool) -> list[Check]:
    """Have one side checked; one that checks nothing itself is read from and written to."""
    own = _below_layers(provider)
    if isinstance(own, Checkable) and is_open(provider):
        found = await own.checks(write=write)
        return [msgspec.structs.replace(each, name=f"{side}: {each.name}") for each in found]
    try:
        await provider.read([Address("hybrid_check", "none")])
        done = await try_writing(own) if write else "it answers"
    except StorageError as error:
        detail = f"{provider!r} fails: {error}"
        return [Check(name=side, ok=False, detail=detail, error=error_name(error))]
    return [Check(name=side, ok=True, detail=f"{provider!r}: {done}")]


async def provision_sides(sides: Mapping[str, Provider], *, dry_run: bool) -> list[Provision]:
    """Make what the services of the sides need, and say whose it is."""
    return [
        msgspec.structs.replace(each, what=f"{side}: {each.what}")
        for side, provider in sides.items()
        if isinstance(own := _below_layers(provider), Provisionable)
        for each in await own.provision(dry_run=dry_run)
    ]


def _below_layers(provider: Provider) -> Provider:
    """What layers stand on. Providers know no layer, so it goes by the name of the attribute."""
    while isinstance(inner := getattr(provider, "inner", None), Provider):
        provider = inner
    return provider


def check_journal(status: HybridStatus) -> Check:
    """What waits, and what became of conflicts."""
    detail = f"{status.pending} writes wait for the primary, {status.conflicts} conflicts"
    advice = None
    if status.pending:
        advice = "they are replayed when the primary is back; keep the journal until then"
    elif status.refused:
        detail += f", {status.refused} of them documents that the primary refused"
        advice = "see conflicts(), which keeps them"
    return Check(name="journal", ok=True, detail=detail, advice=advice)


def check_copies(status: HybridStatus) -> Check:
    """What the fallback could answer in an outage."""
    if not status.complete:
        detail = "the fallback is not complete: it answers no queries in an outage"
        return Check(name="copies", ok=True, detail=detail, advice="run fill() once")
    detail = f"the fallback is complete, {status.doubts} copies are to be made anew"
    return Check(name="copies", ok=True, detail=detail)
