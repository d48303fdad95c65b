"""Messages that a listing is to have beside its page, with those around them."""

from __future__ import annotations

from collections.abc import Sequence

from storage_providers.agents._asking import Answer, Question, neighbours
from storage_providers.agents._place import Place
from storage_providers.agents._tables import MESSAGES
from storage_providers.agents.models import Include
from storage_providers.errors import StorageError
from storage_providers.protocol import Item

__all__ = ["add_windows"]


async def add_windows(
    place: Place, answer: Answer, question: Question, include: Sequence[Include]
) -> None:
    """Add windows to a page, each message once, in order; `more` is told anew.

    Raises:
        TransportError: The provider could not be reached.
    """
    wanted = {each.id: each for each in include}
    targets = await place.read([(MESSAGES, item_id) for item_id in wanted])
    known = {item.id: item for item in answer.items}
    for each, target in zip(wanted.values(), targets, strict=True):
        if isinstance(target, StorageError):
            answer.corrupt.append(target)
        if not isinstance(target, Item):
            continue
        for found in await _window(place, target, each):
            if isinstance(found, StorageError):
                answer.corrupt.append(found)
            else:
                known.setdefault(found.id, found)
    answer.items = sorted(known.values(), key=_place_of, reverse=not question.oldest_first)
    if answer.total is not None:
        field = question.order.field
        covered = sum(item.document.get(field or "") in question.lists for item in known.values())
        answer.more = answer.more and covered < answer.total


async def _window(place: Place, target: Item, each: Include) -> list[Item | StorageError]:
    if each.previous <= 0 and each.next <= 0:
        return [target]
    thread_id = str(target.document.get("threadId"))
    question = Question(table=MESSAGES, order=MESSAGES.order("thread"), lists=(thread_id,))
    await place.declare(MESSAGES)
    return await neighbours(place, question, target, each.previous, each.next)


def _place_of(item: Item) -> tuple[str, str]:
    return str(item.document.get("position", "")), item.id
