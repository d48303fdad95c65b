"""Scores: what scorers found about answers, one by one and counted up."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any

import msgspec

from storage_providers._json import JsonObject
from storage_providers.agents._asking import Question, iterate
from storage_providers.agents._pages import PerPage, listed, record_of, required
from storage_providers.agents._place import Change, Known, Place
from storage_providers.agents._tables import SCORES
from storage_providers.agents._wire import iso
from storage_providers.agents.models import Listed, Score
from storage_providers.errors import InvalidArgumentError, StorageError
from storage_providers.protocol import Item

__all__ = ["ScoreSummary", "Scores"]


class ScoreSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a scorer gave on one day.

    Attributes:
        scorer_id: The scorer.
        day: The day, `YYYY-MM-DD`, UTC.
        count: How many scores.
        mean: Their mean.
        least: The least of them.
        most: The greatest.
    """

    scorer_id: str
    day: str
    count: int
    mean: float
    least: float
    most: float


class Scores:
    """What scorers found.

    Args:
        place: Where they are.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    async def save(self, score: Score) -> Score:
        """Store a score, creating it or replacing what is there but for its `created_at`.

        Args:
            score: The score. Without an id it gets one.

        Returns:
            The score as stored.

        Raises:
            InvalidArgumentError: It names no scorer.
            InvalidDocumentError: It is not storable JSON.
            OutcomeUnknownError: The connection broke after sending; saving again is safe.
        """
        return (await self.save_many([score]))[0]

    async def save_many(self, scores: Iterable[Score]) -> list[Score]:
        """Store scores in one batch; as `save`, and `BatchError` without `atomic_batch`."""
        drafts: dict[Any, JsonObject] = {}
        for score in scores:
            required(score.scorer_id, "scorerId")
            document = score.to_document()
            document["id"] = score.id or self._place.clock.new_id()
            drafts[SCORES, str(document["id"])] = document

        def plan(known: Known) -> list[Change]:
            changes: list[Change] = []
            for key, document in drafts.items():
                old = known[key]
                before: JsonObject = {} if old is None else old.document
                now = self._place.stamp(before.get("updatedAt"))
                new = {"createdAt": now, **document, "updatedAt": now}
                new["createdAt"] = before.get("createdAt", new["createdAt"])
                changes.append(Change(key=key, old=old, new=new))
            return changes

        written = await self._place.change(list(drafts), plan, guess=True)
        return [_score(written[key]) for key in drafts]

    async def get(self, score_id: str) -> Score | None:
        """Read a score.

        Args:
            score_id: Its id.

        Returns:
            The score, or `None` if there is none.

        Raises:
            CorruptItemError: What is stored can't be decoded.
            InvalidDocumentError: What is stored is no score.
        """
        item = await self._place.read_one(SCORES, required(score_id, "scoreId"))
        return None if item is None else _score(item)

    async def delete(self, score_ids: Iterable[str]) -> None:
        """Delete scores; those that are absent are not an error."""
        keys = [(SCORES, score_id) for score_id in dict.fromkeys(score_ids)]
        found = await self._place.read(keys) if self._place.keeps_orders else [None] * len(keys)
        changes = [
            Change(key=key, old=old if isinstance(old, Item) else None, new=None)
            for key, old in zip(keys, found, strict=True)
        ]
        await self._place.apply(changes)

    async def list(
        self,
        *,
        scorer_id: str | None = None,
        run_id: str | None = None,
        entity_id: str | None = None,
        entity_type: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        source: str | None = None,
        page: int = 0,
        per_page: PerPage = 100,
        total: bool = False,
    ) -> Listed[Score]:
        """List a page of scores, newest first.

        Args:
            scorer_id: Only those of this scorer.
            run_id: Only those about this run.
            entity_id: Only those about this agent or workflow.
            entity_type: Only those about entities of this type.
            trace_id: Only those about this trace.
            span_id: Only those about this span.
            source: Only those of this source.
            page: Which page, from 0.
            per_page: Scores on a page; `False`: all of them.
            total: Whether to count those on all pages.

        Returns:
            The page.

        Raises:
            InvalidArgumentError: A number is negative, or an id blank.
            TransportError: The provider could not be reached.
        """
        wanted = {
            "spanId": span_id,
            "runId": run_id,
            "entityId": entity_id,
            "scorerId": scorer_id,
            "traceId": trace_id,
            "entityType": entity_type,
            "source": source,
        }
        question = _question({name: value for name, value in wanted.items() if value is not None})
        question = msgspec.structs.replace(question, total=total)
        return await listed(self._place, Score, question, page, per_page)

    async def summary(
        self,
        scorer_id: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> builtins.list[ScoreSummary]:
        """Count up scores by scorer and day, going through them in bounded memory.

        Args:
            scorer_id: Only those of this scorer.
            since: Only those of then or later.
            until: Only those before then.

        Returns:
            A summary for each scorer and day, by scorer, then by day.

        Raises:
            CorruptItemError: A score can't be decoded; the others alone would give a wrong mean.
            InvalidDocumentError: What is stored is no score.
            TransportError: The provider could not be reached.
        """
        question = _question({} if scorer_id is None else {"scorerId": scorer_id})
        question = msgspec.structs.replace(
            question,
            low=None if since is None else iso(since),
            high=None if until is None else iso(until),
        )
        found: dict[tuple[str, str], builtins.list[float]] = {}
        async for score, day in _read(self._place, question):
            tally = found.setdefault((score.scorer_id, day), [0, 0.0, score.score, score.score])
            tally[0] += 1
            tally[1] += score.score
            tally[2] = min(tally[2], score.score)
            tally[3] = max(tally[3], score.score)
        return [
            ScoreSummary(
                scorer_id=scorer,
                day=day,
                count=int(count),
                mean=total / count,
                least=least,
                most=most,
            )
            for (scorer, day), (count, total, least, most) in sorted(found.items())
        ]


async def _read(place: Place, question: Question) -> AsyncIterator[tuple[Score, str]]:
    async for item in iterate(place, question):
        if isinstance(item, StorageError):
            raise item
        yield _score(item), str(item.document["createdAt"])[:10]


def _score(item: Item | None) -> Score:
    assert item is not None
    return record_of(Score, item)


def _question(wanted: dict[str, str]) -> Question:
    """The list that names the fewest, and conditions for the rest."""
    order, value = SCORES.order("created"), ""
    for name in ("span", "run", "entity", "scorer"):
        if f"{name}Id" in wanted:
            order, value = SCORES.order(name), wanted.pop(f"{name}Id")
            if not value.strip():
                raise InvalidArgumentError(f"{name}Id must be a non-empty string")
            break
    conditions = [{name: value} for name, value in wanted.items()]
    where = {"$and": conditions} if conditions else None
    return Question(table=SCORES, order=order, lists=(value,), where=where)
