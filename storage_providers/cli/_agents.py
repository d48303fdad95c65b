"""The commands `threads`, `messages`, `runs` and `traces`: what an agent store holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
import typer

from storage_providers._json import encode_object
from storage_providers.cli._errors import UsageError
from storage_providers.cli._options import FormatOption
from storage_providers.cli._output import Format, emit, open_writer, resolve_format
from storage_providers.cli._session import Session, command
from storage_providers.cli._text import indented_json, visible
from storage_providers.protocol import Item

if TYPE_CHECKING:
    from storage_providers.agents import AgentStore, Message, Span, Trace
    from storage_providers.agents._wire import Record
    from storage_providers.errors import StorageError

__all__ = ["register"]

PANEL = "Agents"
DEFAULT_LIMIT = 20

Commands: TypeAlias = "dict[str, tuple[Any, str]]"
"""Of a group, by what each does: its function, and arguments for an example."""

LimitOption = Annotated[
    int, typer.Option("--limit", "-n", min=1, help="At most so many.", show_default=True)
]
PageOption = Annotated[
    int, typer.Option("--page", min=0, help="Which page of so many, from 0.", show_default=True)
]
ThreadArgument = Annotated[str, typer.Argument(metavar="THREAD", help="The thread's id.")]
ResourceOption = Annotated[
    str | None,
    typer.Option("--resource", help="Only of this resource.", show_default=False),
]
TraceArgument = Annotated[str, typer.Argument(metavar="TRACE", help="The trace's id.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
WorkflowOption = Annotated[
    str | None, typer.Option("--workflow", help="Only of this workflow.", show_default=False)
]
StatusOption = Annotated[
    str | None, typer.Option("--status", help="Only with this status.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application, each group below its name.

    Args:
        app: The application.
    """
    groups: dict[str, tuple[str, Commands]] = {
        "threads": (
            "Conversations of agents.",
            {
                "list": (list_threads, "--resource user-7"),
                "show": (show_thread, "plants"),
                "export": (export_threads, "> threads.jsonl"),
            },
        ),
        "messages": (
            "What was said in a thread.",
            {
                "list": (list_messages, "plants --limit 5"),
                "show": (show_message, "0192f0c1-7a3e"),
                "export": (export_messages, "plants > plants.jsonl"),
            },
        ),
        "runs": (
            "Runs of workflows.",
            {
                "list": (list_runs, "--status suspended"),
                "show": (show_run, "42 --workflow water-plants"),
                "export": (export_runs, "--workflow water-plants"),
            },
        ),
        "traces": (
            "What happened, span by span.",
            {
                "list": (list_traces, "--status ERROR"),
                "show": (show_trace, "4bf92f3577b34da6a3ce929d0e0e4736"),
                "export": (export_traces, "--limit 1000 > spans.jsonl"),
            },
        ),
    }
    for name, (text, commands) in groups.items():
        app.add_typer(_group(name, text, commands), name=name, rich_help_panel=PANEL)


def _group(name: str, text: str, commands: Commands) -> typer.Typer:
    group = typer.Typer(help=text, no_args_is_help=True, rich_markup_mode="rich")
    for verb, (function, arguments) in commands.items():
        example = f"storage-providers -u sqlite:agents.db {name} {verb} {arguments}"
        command(group, verb, examples=(example,), panel=PANEL)(function)
    return group


# --- threads -----------------------------------------------------------------------------------


async def list_threads(
    session: Session,
    resource: ResourceOption = None,
    limit: LimitOption = DEFAULT_LIMIT,
    page: PageOption = 0,
    output_format: FormatOption = None,
) -> None:
    """List conversations, those that changed last first."""
    async with session.open() as provider:
        listed = await _store(provider).threads.list(
            resource_id=resource, order_by="-updatedAt", page=page, per_page=limit
        )
    columns = ("title", "resourceId", "updatedAt")
    _print(session, listed, columns, output_format)


async def show_thread(session: Session, thread: ThreadArgument) -> None:
    """Print a conversation as a transcript."""
    async with session.open() as provider:
        store = _store(provider)
        found = await store.threads.get(thread)
        if found is None:
            raise UsageError(f"there is no thread {thread!r}")
        emit(visible(f"{found.title or found.id}  ({found.resource_id})") + "\n")
        told = _damaged(session)
        async for message in store.messages.iterate(thread, on_corrupt=told):
            emit(_spoken(message))


async def export_threads(session: Session, resource: ResourceOption = None) -> None:
    """Print conversations as JSON lines, whole."""
    async with session.open() as provider:
        told = _damaged(session)
        found = _store(provider).threads.iterate(resource_id=resource, on_corrupt=told)
        await _export(found)


# --- messages ----------------------------------------------------------------------------------


async def list_messages(
    session: Session,
    thread: ThreadArgument,
    limit: LimitOption = DEFAULT_LIMIT,
    page: PageOption = 0,
    output_format: FormatOption = None,
) -> None:
    """List the messages of a thread, newest first."""
    async with session.open() as provider:
        listed = await _store(provider).messages.list(
            thread, newest_first=True, page=page, per_page=limit
        )
    columns = ("createdAt", "role", "text")
    more = [{"text": message.text} for message in listed.items]
    _print(session, listed, columns, output_format, more)


async def show_message(
    session: Session,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="The message's id.")],
) -> None:
    """Print a message as JSON."""
    async with session.open() as provider:
        found = await _store(provider).messages.get([message])
    if not found:
        raise UsageError(f"there is no message {message!r}")
    _print_json(found[0])


async def export_messages(session: Session, thread: ThreadArgument) -> None:
    """Print the messages of a thread as JSON lines, oldest first."""
    async with session.open() as provider:
        told = _damaged(session)
        await _export(_store(provider).messages.iterate(thread, on_corrupt=told))


# --- runs --------------------------------------------------------------------------------------


async def list_runs(
    session: Session,
    workflow: WorkflowOption = None,
    resource: ResourceOption = None,
    status: StatusOption = None,
    limit: LimitOption = DEFAULT_LIMIT,
    page: PageOption = 0,
    output_format: FormatOption = None,
) -> None:
    """List runs of workflows, newest first."""
    async with session.open() as provider:
        listed = await _store(provider).workflows.list(
            workflow_name=workflow, resource_id=resource, status=status, page=page, per_page=limit
        )
    columns = ("workflowName", "runId", "status", "createdAt", "updatedAt")
    more = [{"id": run.run_id, "status": run.status} for run in listed.items]
    _print(session, listed, columns, output_format, more, without=("snapshot",))


async def show_run(session: Session, run: RunArgument, workflow: WorkflowOption = None) -> None:
    """Print a run with its last snapshot, as JSON."""
    async with session.open() as provider:
        found = await _store(provider).workflows.get(run, workflow_name=workflow)
    if found is None:
        raise UsageError(f"there is no run {run!r}")
    _print_json(found)


async def export_runs(
    session: Session,
    workflow: WorkflowOption = None,
    resource: ResourceOption = None,
    status: StatusOption = None,
) -> None:
    """Print runs with their snapshots as JSON lines, newest first."""
    async with session.open() as provider:
        runs, page = _store(provider).workflows, 0
        while True:
            listed = await runs.list(
                workflow_name=workflow,
                resource_id=resource,
                status=status,
                page=page,
                per_page=100,
            )
            for error in listed.corrupt:
                session.note(str(error))
            _emit_lines(listed.items)
            page += 1
            if not listed.has_more:
                return


# --- traces ------------------------------------------------------------------------------------


async def list_traces(
    session: Session,
    name: Annotated[
        str | None, typer.Option("--name", help="Only of this name.", show_default=False)
    ] = None,
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only ERROR, RUNNING or SUCCESS.", show_default=False),
    ] = None,
    limit: LimitOption = DEFAULT_LIMIT,
    page: PageOption = 0,
    output_format: FormatOption = None,
) -> None:
    """List traces by their root spans, those that began last first."""
    async with session.open() as provider:
        listed = await _store(provider).traces.list(
            name=name, status=_status(status), page=page, per_page=limit
        )
    columns = ("name", "status", "startedAt", "seconds")
    more = [
        {"id": span.trace_id, "status": span.status, "seconds": span.duration_seconds}
        for span in listed.items
    ]
    _print(session, listed, columns, output_format, more)


async def show_trace(session: Session, trace: TraceArgument) -> None:
    """Print a trace as a tree of spans with their durations."""
    async with session.open() as provider:
        found = await _store(provider).traces.get(trace)
    if found is None:
        raise UsageError(f"there is no trace {trace!r}")
    for error in found.corrupt:
        session.note(str(error))
    emit("".join(_tree(found, None, "")))


async def export_traces(
    session: Session,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="At most so many traces.")
    ] = 100,
) -> None:
    """Print the spans of the newest traces as JSON lines."""
    async with session.open() as provider:
        traces = _store(provider).traces
        roots = await traces.list(per_page=limit)
        for error in roots.corrupt:
            session.note(str(error))
        for root in roots.items:
            found = await traces.get(root.trace_id)
            if found is not None:
                _emit_lines(found.spans)


# --- helpers -----------------------------------------------------------------------------------


def _store(provider: Any) -> AgentStore:
    from storage_providers.agents import AgentStore

    return AgentStore(provider)


def _status(text: str | None) -> Any:
    if text is not None and text.upper() not in ("ERROR", "RUNNING", "SUCCESS"):
        raise UsageError(f"--status is ERROR, RUNNING or SUCCESS, not {text!r}")
    return None if text is None else text.upper()


def _print(
    session: Session,
    listed: Any,
    columns: tuple[str, ...],
    output_format: Format | None,
    more: list[dict[str, Any]] | None = None,
    *,
    without: tuple[str, ...] = (),
) -> None:
    """A page as a table, JSON or CSV."""
    rows: list[Item] = []
    output = resolve_format(output_format)
    for position, record in enumerate(listed.items):
        row = record.to_document() | ({} if more is None else more[position])
        row = {name: value for name, value in row.items() if name not in without}
        rows.append(Item("", str(row.get("id", "")), "", encode_object(row)))
    with open_writer(output, columns, session.note) as writer:
        writer.write(rows)
    for error in listed.corrupt:
        session.note(str(error))
    if not rows:
        session.note("nothing there")
    elif listed.has_more:
        session.note(f"there are more: --page {listed.page + 1}")


def _print_json(record: Record) -> None:
    emit(indented_json(encode_object(record.to_document())) + "\n")


async def _export(records: Any) -> None:
    async for record in records:
        _emit_lines([record])


def _emit_lines(records: Iterable[Record]) -> None:
    emit("".join(msgspec.json.encode(record.to_document()).decode() + "\n" for record in records))


def _damaged(session: Session) -> Callable[[StorageError], None]:
    def tell(error: StorageError) -> None:
        session.note(str(error))

    return tell


def _spoken(message: Message) -> str:
    """A message as it stands in a transcript."""
    when = "" if message.created_at is None else f"{message.created_at:%Y-%m-%d %H:%M:%S}"
    lines = message.text.splitlines() or [_other(message)]
    said = "\n".join(f"  {visible(line)}" for line in lines)
    return f"\n{visible(message.role)}  {when}\n{said}\n"


def _other(message: Message) -> str:
    kinds = ", ".join(str(part.get("type", "?")) for part in message.content.parts)
    return f"({kinds})" if kinds else ""


def _tree(trace: Trace, span_id: str | None, indent: str) -> Iterable[str]:
    """The lines of a tree."""
    children = trace.children(span_id)
    for position, span in enumerate(children):
        last = position == len(children) - 1
        branch = "" if span_id is None else ("└─ " if last else "├─ ")
        yield f"{indent}{branch}{_line(span)}\n"
        below = "" if span_id is None else ("   " if last else "│  ")
        yield from _tree(trace, span.span_id, indent + below)


def _line(span: Span) -> str:
    seconds = span.duration_seconds
    took = "running" if seconds is None else f"{seconds * 1000:,.0f} ms"
    failed = "  ERROR" if span.status == "ERROR" else ""
    kind = "" if span.span_type is None else f"  {span.span_type}"
    return visible(f"{span.name}  {took}{kind}{failed}")
