"""Which questions can be answered from what stays in the documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from storage_providers.errors import UnsupportedOperationError
from storage_providers.filters import (
    And,
    Compare,
    Node,
    Not,
    Or,
    Path,
    Text,
    parse_order,
    parse_path,
    parse_where,
)
from storage_providers.layers._offload.layout import Layout
from storage_providers.protocol import Query

__all__ = ["check_question", "check_text_fields", "is_partial", "searches_text"]


def check_question(query: Query, layouts: Sequence[Layout]) -> None:
    """Refuse a query that could miss documents.

    Raises:
        UnsupportedOperationError: It names a field that leaves large documents.
        InvalidArgumentError: A path or condition is malformed.
    """
    ordered = (order.path for order in parse_order(query.order_by))
    for path in (*_paths(parse_where(query.where)), *ordered):
        if any(layout.hides(path) for layout in layouts):
            raise UnsupportedOperationError(
                f"the field {_dotted(path)!r} leaves documents that are large, where no query "
                f"reaches it; {_advice(layouts)}",
                collection=query.collection,
            )


def check_text_fields(collection: str, fields: Sequence[str], layouts: Sequence[Layout]) -> None:
    """Refuse to search text that may have left its document.

    Raises:
        UnsupportedOperationError: A field, or something in it, leaves large documents.
    """
    for field in fields:
        if any(layout.touches(parse_path(field)) for layout in layouts):
            raise UnsupportedOperationError(
                f"the text field {field!r} leaves documents that are large, where no search "
                f"reaches it; {_advice(layouts)}",
                collection=collection,
            )


def is_partial(query: Query, layouts: Sequence[Layout]) -> bool:
    """Whether all the fields that a query asks for are sure to be in the documents."""
    return query.fields is not None and not any(
        layout.touches(parse_path(field)) for layout in layouts for field in query.fields
    )


def searches_text(query: Query) -> bool:
    """Whether a query holds `$text`."""
    return any(isinstance(node, Text) for node in _leaves(parse_where(query.where)))


def _paths(node: Node | None) -> Iterator[Path]:
    return (leaf.path for leaf in _leaves(node) if isinstance(leaf, Compare))


def _leaves(node: Node | None) -> Iterator[Compare | Text]:
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _leaves(part)
        case Not(part):
            yield from _leaves(part)
        case Compare() | Text():
            yield node
        case None:
            pass


def _advice(layouts: Sequence[Layout]) -> str:
    if layouts[-1].fields is None:
        return "name it in keep="
    return "leave it out of fields="


def _dotted(path: Path) -> str:
    return ".".join(step.replace("\\", "\\\\").replace(".", "\\.") for step in path)
