"""Workflows: the state of each run, which several processes may change at once."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

import msgspec

from storage_providers._json import JsonObject
from storage_providers.agents._asking import Question, ask
from storage_providers.agents._pages import PerPage, checked_page, page_of, record_of, required
from storage_providers.agents._place import Change, Known, Place
from storage_providers.agents._tables import RUNS, compound_id
from storage_providers.agents._wire import iso
from storage_providers.agents.models import Listed, WorkflowRun
from storage_providers.errors import UnsupportedOperationError
from storage_providers.protocol import Item

__all__ = ["PENDING", "Workflows"]

PENDING: Final = "__mastra_pending__"
"""An output `{PENDING: true}` of one branch is reset to null. Source: `PENDING_MARKER_KEY` in
packages/core/src/storage/workflow-snapshot.ts of github.com/mastra-ai/mastra (read 2026-11)."""


class Workflows:
    """Runs of workflows.

    Args:
        place: Where they are.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    # --- snapshots -----------------------------------------------------------------------------

    async def persist(
        self,
        workflow_name: str,
        run_id: str,
        snapshot: Mapping[str, Any],
        *,
        resource_id: str | None = None,
        created_at: datetime | None = None,
    ) -> WorkflowRun:
        """Store the snapshot of a run; the one before is replaced whole.

        Args:
            workflow_name: The workflow.
            run_id: The run.
            snapshot: Its whole state.
            resource_id: Whose the run is; `None`: as before.
            created_at: When it began; that of a run that is there already stays.

        Returns:
            The run as stored.

        Raises:
            InvalidDocumentError: The snapshot is not storable JSON.
            DocumentTooLargeError: It exceeds what the provider accepts.
            OutcomeUnknownError: The connection broke after sending; persisting again is safe.
        """
        key = self._key(workflow_name, run_id)

        def plan(known: Known) -> list[Change]:
            old = known[key]
            before: JsonObject = {} if old is None else old.document
            new = run_document(key[1], workflow_name, run_id, dict(snapshot))
            whose = before.get("resourceId") if resource_id is None else resource_id
            if whose is not None:
                new["resourceId"] = whose
            new["updatedAt"] = self._place.stamp(before.get("updatedAt"))
            given = new["updatedAt"] if created_at is None else iso(created_at)
            new["createdAt"] = before.get("createdAt", given)
            return [Change(key=key, old=old, new=new)]

        return _run((await self._place.change([key], plan, guess=True))[key])

    async def load(self, workflow_name: str, run_id: str) -> JsonObject | None:
        """Read the last snapshot of a run.

        Args:
            workflow_name: The workflow.
            run_id: The run.

        Returns:
            The snapshot, or `None` if there is no such run.

        Raises:
            CorruptItemError: What is stored can't be decoded.
            InvalidDocumentError: What is stored is no run.
        """
        item = await self._place.read_one(*self._key(workflow_name, run_id))
        return None if item is None else _run(item).snapshot

    async def update_results(
        self,
        workflow_name: str,
        run_id: str,
        step_id: str,
        result: Mapping[str, Any],
        *,
        request_context: Mapping[str, Any] | None = None,
    ) -> JsonObject:
        """Put what a step gave into the snapshot's `context`; others' steps are kept.

        Where the outputs of before and of now are both lists, they are merged place by place: null
        keeps what was there, and the marker `PENDING` makes it null.

        Args:
            workflow_name: The workflow.
            run_id: The run.
            step_id: The step.
            result: What it gave, with `output` among it.
            request_context: Fields to set in the snapshot's `requestContext`.

        Returns:
            The snapshot's `context` as it is now; `{}` if there is no such run.

        Raises:
            UnsupportedOperationError: The provider has no `conditional_write`.
            InvalidDocumentError: The result is not storable JSON.
            OutcomeUnknownError: The connection broke after sending; updating again is safe.
        """

        def changed(snapshot: JsonObject) -> JsonObject:
            context: JsonObject = dict(snapshot.get("context") or {})
            context[step_id] = _merged(context.get(step_id), dict(result))
            asked: JsonObject = dict(snapshot.get("requestContext") or {})
            asked.update(request_context or {})
            return {**snapshot, "context": context, "requestContext": asked}

        snapshot = await self._modify("update_results", workflow_name, run_id, changed)
        return {} if snapshot is None else cast(JsonObject, snapshot["context"])

    async def update_state(
        self,
        workflow_name: str,
        run_id: str,
        changes: Mapping[str, Any],
        *,
        expected_status: str | Sequence[str] | None = None,
    ) -> JsonObject | None:
        """Set fields of the snapshot, if its status is what is expected.

        Of several that expect the same at the same moment and set another, one succeeds.

        Args:
            workflow_name: The workflow.
            run_id: The run.
            changes: Fields to set: `status`, `result`, `error`, `suspendedPaths`, …
            expected_status: The status, or one of several, that it must have; `None`: any.

        Returns:
            The snapshot as it is now; `None` if there is no such run or it has another status:
            nothing was changed.

        Raises:
            UnsupportedOperationError: The provider has no `conditional_write`.
            InvalidDocumentError: The changes are not storable JSON.
            OutcomeUnknownError: The connection broke after sending; read before trying again.
        """
        expected = (expected_status,) if isinstance(expected_status, str) else expected_status

        def changed(snapshot: JsonObject) -> JsonObject | None:
            if expected is not None and snapshot.get("status") not in expected:
                return None
            return {**snapshot, **changes}

        return await self._modify("update_state", workflow_name, run_id, changed)

    # --- runs ----------------------------------------------------------------------------------

    async def get(self, run_id: str, *, workflow_name: str | None = None) -> WorkflowRun | None:
        """Read a run.

        Args:
            run_id: The run.
            workflow_name: Its workflow; without, the newest run with this id of any.

        Returns:
            The run, or `None` if there is none.

        Raises:
            CorruptItemError: What is stored can't be decoded.
            InvalidDocumentError: What is stored is no run.
        """
        if workflow_name is not None:
            item = await self._place.read_one(*self._key(workflow_name, run_id))
            return None if item is None else _run(item)
        question = Question(
            table=RUNS, order=RUNS.order("run"), lists=(required(run_id, "runId"),), limit=1
        )
        answer = await ask(self._place, question)
        for error in answer.corrupt:
            raise error
        return _run(answer.items[0]) if answer.items else None

    async def list(
        self,
        *,
        workflow_name: str | None = None,
        resource_id: str | None = None,
        status: str | None = None,
        from_date: datetime | None = None,
        to_date: datetime | None = None,
        page: int | None = None,
        per_page: PerPage | None = None,
        total: bool = False,
    ) -> Listed[WorkflowRun]:
        """List runs, newest first: a page if both its number and size are given, else all.

        Args:
            workflow_name: Only those of this workflow.
            resource_id: Only those of this resource.
            status: Only those whose snapshot has this status.
            from_date: Only those that began then or later.
            to_date: Only those that began then or earlier.
            page: Which page, from 0.
            per_page: Runs on a page.
            total: Whether to count those on all pages.

        Returns:
            The runs.

        Raises:
            InvalidArgumentError: A number is negative.
            TransportError: The provider could not be reached.
        """
        size: PerPage = False if page is None or per_page is None else per_page
        number = 0 if page is None or per_page is None else page
        checked_page(number, size)
        question = _question(workflow_name, resource_id, status)
        question = msgspec.structs.replace(
            question,
            low=None if from_date is None else iso(from_date),
            high=None if to_date is None else f"{iso(to_date)}~",
            total=total,
        )
        if size is not False:
            question = msgspec.structs.replace(question, limit=size, offset=size * number)
        return page_of(WorkflowRun, await ask(self._place, question), number, per_page=size)

    async def delete(self, workflow_name: str, run_id: str) -> None:
        """Delete a run; deleting what is absent is not an error.

        Args:
            workflow_name: The workflow.
            run_id: The run.

        Raises:
            OutcomeUnknownError: The connection broke after sending; deleting again is safe.
        """
        key = self._key(workflow_name, run_id)
        found = (await self._place.read([key]))[0] if self._place.keeps_orders else None
        old = found if isinstance(found, Item) else None
        await self._place.apply([Change(key=key, old=old, new=None)])

    # --- helpers -------------------------------------------------------------------------------

    def _key(self, workflow_name: str, run_id: str) -> Any:
        name, run = required(workflow_name, "workflowName"), required(run_id, "runId")
        return RUNS, compound_id(name, run, self._place.capabilities.max_id_bytes)

    async def _modify(
        self,
        operation: str,
        workflow_name: str,
        run_id: str,
        changed: Callable[[JsonObject], JsonObject | None],
    ) -> JsonObject | None:
        """Change a snapshot by a function; `None`: there is none, or it wants no change."""
        key = self._key(workflow_name, run_id)
        if not self._place.capabilities.conditional_write:
            raise UnsupportedOperationError(
                f"{operation} needs conditional_write, or changes of others would be lost; keep "
                "workflows in another provider: AgentStore(…, workflows=…)",
                collection=RUNS.collection,
                item_id=key[1],
            ).with_context(self._place.provider.name, operation)
        after: JsonObject | None = None

        def plan(known: Known) -> builtins.list[Change]:
            nonlocal after
            old = known[key]
            after = None if old is None else changed(_run(old).snapshot)
            if old is None or after is None:
                return []
            new = run_document(key[1], workflow_name, run_id, after)
            new = {**old.document, **new}
            if "status" not in after:
                new.pop("status", None)
            new["updatedAt"] = self._place.stamp(old.document.get("updatedAt"))
            return [Change(key=key, old=old, new=new)]

        await self._place.change([key], plan)
        return after


def run_document(item_id: str, workflow_name: str, run_id: str, snapshot: JsonObject) -> JsonObject:
    """What is stored of a run, but for its times and whose it is."""
    document: JsonObject = {
        "id": item_id,
        "workflowName": workflow_name,
        "runId": run_id,
        "snapshot": snapshot,
    }
    if isinstance(snapshot.get("status"), str):
        document["status"] = snapshot["status"]
    return document


def _merged(old: Any, new: JsonObject) -> JsonObject:
    """What a step gave, with what its branches gave before."""
    known = cast("dict[str, object]", old) if isinstance(old, dict) else {}
    before, after = _list(known.get("output")), _list(new.get("output"))
    if before is None or after is None:
        return new
    outputs = list(before)
    for at, value in enumerate(after):
        if at >= len(outputs):
            outputs.append(None)
        if value == {PENDING: True}:
            outputs[at] = None
        elif value is not None:
            outputs[at] = value
    return {**new, "output": outputs}


def _list(value: object) -> list[object] | None:
    return cast("list[object]", value) if isinstance(value, list) else None


def _run(item: Item | None) -> WorkflowRun:
    assert item is not None
    return record_of(WorkflowRun, item)


def _question(workflow_name: str | None, resource_id: str | None, status: str | None) -> Question:
    conditions: builtins.list[JsonObject] = [] if status is None else [{"status": status}]
    if resource_id is not None:
        order, name = RUNS.order("resource"), required(resource_id, "resourceId")
        if workflow_name is not None:
            conditions.append({"workflowName": workflow_name})
    elif workflow_name is not None:
        order, name = RUNS.order("workflow"), required(workflow_name, "workflowName")
    else:
        order, name = RUNS.order("created"), ""
    where = {"$and": conditions} if conditions else None
    return Question(table=RUNS, order=order, lists=(name,), where=where)
