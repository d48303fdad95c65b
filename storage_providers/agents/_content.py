"""What a message says: parts of several kinds, and the form of earlier programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from storage_providers.agents._wire import Record
from storage_providers.errors import InvalidDocumentError

__all__ = ["MessageContent"]


class MessageContent(Record, kw_only=True, rename={"attachments": "experimental_attachments"}):
    """What a message says, in format 2.

    Attributes:
        format: The format, 2.
        parts: Its parts, each with a `type`: `{"type": "text", "text": "…"}`, tool invocations,
            reasoning, files, sources.
        content: The whole as text, if it was given so.
        metadata: Whatever belongs to it.
        attachments: Files with it: `{"name": …, "contentType": …, "url": …}`.
    """

    format: int = 2
    parts: list[dict[str, Any]] = msgspec.field(default_factory=list[dict[str, Any]])
    content: str | None = None
    metadata: dict[str, Any] | None = None
    attachments: list[dict[str, Any]] | None = None

    @classmethod
    def of(cls, value: object) -> MessageContent:
        """Take what people and earlier programs say for a content.

        Text stays the text that it is, whatever it looks like. In format 1 a content was text or
        a list of parts; parts of tool calls and results become tool invocations, of format 2.

        Raises:
            InvalidDocumentError: It is none of these.
        """
        if isinstance(value, MessageContent):
            return value
        if isinstance(value, str):
            return cls(parts=[{"type": "text", "text": value}], content=value)
        if isinstance(value, Mapping):
            return cls.from_document(cast("Mapping[str, Any]", value))
        if isinstance(value, Sequence):
            return cls(parts=[_part(each) for each in cast("Sequence[object]", value)])
        raise InvalidDocumentError(
            f"the content of a message is text, a list of parts or an object, not "
            f"{type(value).__name__}",
            field="content",
        )

    @property
    def text(self) -> str:
        """What it says, as text; other parts are left out."""
        if self.content is not None:
            return self.content
        texts = (part.get("text") for part in self.parts if part.get("type") == "text")
        return "\n".join(text for text in texts if isinstance(text, str))


def _part(value: object) -> dict[str, Any]:
    """A part of format 1 in format 2."""
    if isinstance(value, str):
        return {"type": "text", "text": value}
    if not isinstance(value, Mapping):
        raise InvalidDocumentError(
            f"a part of a message is an object, not {type(value).__name__}", field="content"
        )
    part = dict(cast("Mapping[str, Any]", value))
    states = {"tool-call": "call", "tool-result": "result"}
    if part.get("type") not in states or "toolCallId" not in part:
        return part
    state = states[part["type"]]
    invocation = {"state": state, **{k: v for k, v in part.items() if k != "type"}}
    return {"type": "tool-invocation", "toolInvocation": invocation}
