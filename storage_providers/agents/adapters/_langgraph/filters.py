"""LangGraph's search filters in the `where` language, and what that can't say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from langgraph.store.base import MatchCondition, SearchOp

from storage_providers.agents.adapters._langgraph.items import Names
from storage_providers.agents.adapters._langgraph.layout import PAGE
from storage_providers.errors import InvalidArgumentError
from storage_providers.protocol import Item, JsonObject, Query

__all__ = ["Filter", "SearchPlan", "matches_path", "translated"]


class Filter(NamedTuple):
    """A filter for the provider to answer, and tests for the values it finds."""

    where: list[JsonObject]
    tests: list[Callable[[Mapping[str, Any]], bool]]


def translated(asked: Mapping[str, Any] | None) -> Filter:
    """A filter on the fields of values: plain ones must be equal, nested objects field by field.

    Operators are those of the `where` language, among them LangGraph's `$eq $ne $gt $gte $lt $lte`.
    Arrays and objects are compared whole, which the language can't, so those are tested here.
    """
    result = Filter([], [])
    for key, wanted in (asked or {}).items():
        _translate((key,), wanted, result)
    return result


class SearchPlan(NamedTuple):
    """How a search is answered.

    Attributes:
        query: What the provider is asked first.
        exact: Whether its answer is the result, limit and offset included.
        path: The namespace that items must be in or below, where the answer is not exact.
        tests: What the values must satisfy.
        offset: Items to pass over.
        end: Items to find, those passed over included.
    """

    query: Query
    exact: bool
    path: list[str]
    tests: list[Callable[[Mapping[str, Any]], bool]]
    offset: int
    end: int

    @classmethod
    def of(cls, names: Names, op: SearchOp) -> SearchPlan:
        """The plan of one search that has no `query`.

        Raises:
            InvalidArgumentError: The limit or the offset is negative.
        """
        asked, prefix = translated(op.filter), names.prefix_of(op.namespace_prefix)
        exact = not asked.tests and prefix == "".join(f"{label}." for label in op.namespace_prefix)
        if min(op.limit, op.offset) < 0:
            raise InvalidArgumentError(
                f"limit is {op.limit} and offset {op.offset}; neither may be negative"
            )
        inside: list[JsonObject] = [{"id": {"$prefix": prefix}}] if prefix else []
        query = Query(
            names.collection,
            {"$and": [*inside, *asked.where]},
            order_by=("-updatedAt",),
            limit=op.limit if exact else PAGE,
            offset=op.offset if exact else 0,
        )
        path = list(op.namespace_prefix)
        return cls(query, exact, path, asked.tests, op.offset, op.offset + op.limit)

    def accepts(self, item: Item) -> bool:
        """Whether a document that the query found belongs to the result."""
        document = item.document
        return document["namespace"][: len(self.path)] == self.path and all(
            test(document["value"]) for test in self.tests
        )


def matches_path(condition: MatchCondition, namespace: tuple[str, ...]) -> bool:
    """Whether a namespace begins or ends as a condition says; `*` stands for any label."""
    path = tuple(condition.path)
    if len(namespace) < len(path):
        return False
    suffix = condition.match_type == "suffix"
    part = namespace[len(namespace) - len(path) :] if suffix else namespace[: len(path)]
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))


def _translate(path: tuple[str, ...], wanted: object, result: Filter) -> None:
    if isinstance(wanted, Mapping):
        members = cast("Mapping[str, object]", wanted)
        if any(key.startswith("$") for key in members):
            for operator, operand in members.items():
                _apply(path, operator, operand, result)
        elif members:
            for key, member in members.items():
                _translate((*path, key), member, result)
        else:
            result.tests.append(lambda value: isinstance(_at(value, path), dict))
    else:
        _apply(path, "$eq", wanted, result)


def _apply(path: tuple[str, ...], operator: str, operand: Any, result: Filter) -> None:
    whole = issubclass(type(operand), Mapping | list | tuple)
    if operator in ("$eq", "$ne") and (whole or not all(path)):
        plain: Any = list(operand) if issubclass(type(operand), tuple) else operand
        equal = operator == "$eq"
        result.tests.append(lambda value: (_at(value, path) == plain) is equal)
    else:
        steps = [step.replace("\\", "\\\\").replace(".", "\\.") for step in path]
        result.where.append({".".join(["value", *steps]): {operator: operand}})


def _at(value: object, path: tuple[str, ...]) -> object:
    for step in path:
        if not isinstance(value, dict):
            return None
        value = cast(JsonObject, value).get(step)
    return value
