"""Models of the agent store: threads, messages, resources, workflow runs, scores.

Attributes are snake_case, the documents camelCase, so that TypeScript programs read the same data.
Dates are datetimes, to the millisecond, UTC. What a model does not know is kept in `extra` and
written back. Traces are in `storage_providers.agents.traces`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, Self, TypeAlias, TypeVar, cast

import msgspec

from storage_providers.agents._content import MessageContent
from storage_providers.agents._wire import EXTRA, Record
from storage_providers.errors import StorageError

__all__ = [
    "Include",
    "Listed",
    "Message",
    "MessageContent",
    "Resource",
    "Score",
    "Thread",
    "WorkflowRun",
]

T = TypeVar("T")

Status: TypeAlias = str
"""Where a run stands: `running`, `success`, `failed`, `suspended`, `waiting`, …"""


class Thread(Record, kw_only=True):
    """A conversation.

    Attributes:
        id: Its id; made when it is saved, unless given.
        resource_id: Whose it is: a user, a project.
        title: What it is about.
        metadata: Whatever belongs to it.
        created_at: When it was saved first, unless given.
        updated_at: When it, or one of its messages, was last saved, changed or deleted.
    """

    id: str = ""
    resource_id: str
    title: str | None = None
    metadata: dict[str, Any] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Message(Record, kw_only=True):
    """A message of a thread.

    Attributes:
        id: Its id; made when it is saved, unless given.
        thread_id: Its thread.
        resource_id: Whose it is; that of its thread, usually.
        role: `user`, `assistant`, `system`, `tool`, …
        content: What it says. Text, or a list of parts, is taken for a content of such.
        type: A word about its kind, `v2` by default.
        created_at: When it was said, unless given: when it was saved first.
        updated_at: When it was last saved.
    """

    hidden: ClassVar[frozenset[str]] = frozenset({"position"})

    id: str = ""
    thread_id: str = ""
    resource_id: str = ""
    role: str = "user"
    content: MessageContent = msgspec.field(default_factory=MessageContent)
    type: str = "v2"
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def __post_init__(self) -> None:
        self.content = MessageContent.of(self.content)

    @classmethod
    def prepared(cls, document: Mapping[str, Any]) -> Mapping[str, Any]:
        if isinstance(document.get("content"), dict) and EXTRA not in document["content"]:
            return document  # It is converted with the message.
        return {**document, "content": MessageContent.of(document.get("content", ""))}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        message = super().from_document(document)
        content = document.get("content")
        if isinstance(content, dict):
            message.content.extra = MessageContent.unknown(cast("dict[str, Any]", content))
        return message

    @classmethod
    def of(
        cls,
        content: MessageContent | str | Sequence[Any] | Mapping[str, Any],
        *,
        thread_id: str,
        resource_id: str,
        role: str = "user",
        **more: Any,
    ) -> Self:
        """A message that says this: text, parts, or a content.

        Args:
            content: What it says.
            thread_id: Its thread.
            resource_id: Whose it is.
            role: Who says it.
            **more: Other attributes.

        Raises:
            InvalidDocumentError: The content is no such thing.
        """
        return cls(
            content=MessageContent.of(content),
            thread_id=thread_id,
            resource_id=resource_id,
            role=role,
            **more,
        )

    @property
    def text(self) -> str:
        """What it says, as text; other parts are left out."""
        return self.content.text


class Resource(Record, kw_only=True):
    """What agents remember of a user or project across threads.

    Attributes:
        id: Its id.
        working_memory: The text that agents keep up to date; may be empty.
        metadata: Whatever belongs to it.
        created_at: When it was saved first.
        updated_at: When it was last saved.
    """

    id: str
    working_memory: str | None = None
    metadata: dict[str, Any] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class WorkflowRun(Record, kw_only=True):
    """A run of a workflow, with the last snapshot of its state.

    Attributes:
        workflow_name: The workflow.
        run_id: The run.
        resource_id: Whose it is.
        snapshot: The whole state, as the workflow engine has it; `status` and `context` (what
            each step gave) are looked at here.
        created_at: When it was persisted first.
        updated_at: When it was last persisted.
    """

    hidden: ClassVar[frozenset[str]] = frozenset({"id", "status"})

    workflow_name: str
    run_id: str
    resource_id: str | None = None
    snapshot: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def status(self) -> Status | None:
        """Where the run stands, as its snapshot says."""
        status = self.snapshot.get("status")
        return status if isinstance(status, str) else None


class Score(Record, kw_only=True):
    """What a scorer found about an answer.

    Attributes:
        id: Its id; made when it is saved, unless given.
        scorer_id: Which scorer.
        score: The number it gave.
        reason: Why.
        run_id: The run that was judged.
        entity_id: The agent or workflow that was judged.
        entity_type: Which of the two: `AGENT`, `WORKFLOW`.
        trace_id: The trace that was judged.
        span_id: The span of it.
        thread_id: The thread it was in.
        resource_id: Whose it was.
        source: `LIVE` or `TEST`.
        input: What was asked.
        output: What was answered.
        metadata: Whatever belongs to it.
        created_at: When it was saved first, unless given.
        updated_at: When it was last saved.
    """

    id: str = ""
    scorer_id: str
    score: float
    reason: str | None = None
    run_id: str | None = None
    entity_id: str | None = None
    entity_type: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    thread_id: str | None = None
    resource_id: str | None = None
    source: str | None = None
    input: Any = None
    output: Any = None
    metadata: dict[str, Any] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Include(msgspec.Struct, frozen=True):
    """A message to have in a listing, wherever it is, with those around it.

    Attributes:
        id: The message; one that is not there is passed over.
        previous: How many before it in its thread.
        next: How many after it.
    """

    id: str
    previous: int = 0
    next: int = 0


class Listed(msgspec.Struct, Generic[T], kw_only=True):
    """A page of a listing.

    Attributes:
        items: What is on it, in order.
        total: How many there are on all pages; `None` unless asked for.
        page: Its number, from 0.
        per_page: How many fit on a page; `False`: all there are.
        has_more: Whether there is something behind it.
        corrupt: What would be on it but can't be read, and why.
    """

    items: list[T]
    total: int | None = None
    page: int = 0
    per_page: int | Literal[False] = False
    has_more: bool = False
    corrupt: tuple[StorageError, ...] = ()
