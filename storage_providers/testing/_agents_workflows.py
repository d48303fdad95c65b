"""Cases: runs of workflows, and the changes that several processes make to them at once."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from storage_providers.agents import PENDING
from storage_providers.errors import InvalidArgumentError, UnsupportedOperationError
from storage_providers.testing._agents_harness import AWKWARD, Stage, agent_case, agent_cases, at

SNAPSHOT: Final[dict[str, Any]] = {
    "status": "running",
    "context": {"input": {"text": "17", "list": [1, None, {"a": []}]}},
    "nothing": None,
    "suspendedPaths": {},
    "value": 2**53 + 1,
    "half": 0.5,
}


class WorkflowCases:
    """Runs of workflows."""

    @agent_case()
    async def test_a_snapshot_comes_back(self, stage: Stage) -> None:
        """Deeply equal, null and empty values too."""
        await stage.store.workflows.persist("w", "r", SNAPSHOT)
        assert await stage.store.workflows.load("w", "r") == SNAPSHOT
        assert await stage.store.workflows.load("w", "absent") is None

    @agent_case()
    async def test_a_snapshot_is_replaced_whole(self, stage: Stage) -> None:
        """The run keeps its first time, and its resource unless another is given."""
        workflows = stage.store.workflows
        first = await workflows.persist("w", "r", SNAPSHOT, resource_id="u", created_at=at(0))
        again = await workflows.persist("w", "r", {"status": "success"}, created_at=at(9))
        assert await workflows.load("w", "r") == {"status": "success"}
        assert (again.created_at, again.resource_id) == (first.created_at, "u")
        assert again.updated_at is not None
        assert first.updated_at is not None
        assert again.updated_at > first.updated_at
        other = await workflows.persist("w", "r", {}, resource_id="v")
        assert (other.resource_id, other.status) == ("v", None)

    @agent_case("share", "strongly_consistent")
    async def test_a_snapshot_of_another_process_is_replaced(self, stage: Stage) -> None:
        """Nobody has to know of the other."""
        other = await stage.another()
        await stage.store.workflows.persist("w", "r", {"n": 1}, resource_id="u")
        await other.workflows.persist("w", "r", {"n": 2})
        run = await stage.store.workflows.persist("w", "r", {"n": 3})
        assert run.resource_id == "u"
        assert await other.workflows.load("w", "r") == {"n": 3}

    @agent_cases(AWKWARD)
    async def test_names_are_not_mixed_up(self, stage: Stage, value: str) -> None:
        """Of workflows and runs."""
        workflows = stage.store.workflows
        pairs = [(f"a:{value}", "b"), ("a", f"{value}:b"), (value, "b"), ("b", value)]
        for n, (workflow, run) in enumerate(pairs):
            await workflows.persist(workflow, run, {"n": n})
        for n, (workflow, run) in enumerate(pairs):
            assert await workflows.load(workflow, run) == {"n": n}
        assert len((await workflows.list()).items) == 4

    @agent_case()
    async def test_listing_runs(self, stage: Stage) -> None:
        """Newest first; paged only when both numbers are given; the total is of all."""
        workflows = stage.store.workflows
        for n in range(6):
            await workflows.persist(
                f"w{n % 2}",
                f"r{n}",
                {"status": "running" if n < 3 else "success"},
                resource_id=f"u{n % 3}",
                created_at=at(n),
            )
        everything = await workflows.list(total=True, per_page=2)
        assert ([run.run_id for run in everything.items], everything.total) == (
            ["r5", "r4", "r3", "r2", "r1", "r0"],
            6,
        )
        page = await workflows.list(page=1, per_page=2, total=True)
        assert ([run.run_id for run in page.items], page.total) == (["r3", "r2"], 6)
        of = await workflows.list(workflow_name="w1", total=True)
        assert ([run.run_id for run in of.items], of.total) == (["r5", "r3", "r1"], 3)
        running = await workflows.list(workflow_name="w1", status="running")
        assert [run.run_id for run in running.items] == ["r1"]
        whose = await workflows.list(resource_id="u2", workflow_name="w1")
        assert [run.run_id for run in whose.items] == ["r5"]
        some = await workflows.list(from_date=at(1), to_date=at(3), total=True)
        assert ([run.run_id for run in some.items], some.total) == (["r3", "r2", "r1"], 3)
        with pytest.raises(InvalidArgumentError, match="page must be >= 0"):
            await workflows.list(page=-1, per_page=1)

    @agent_case()
    async def test_a_run_by_its_id(self, stage: Stage) -> None:
        """With its workflow, or without."""
        workflows = stage.store.workflows
        await workflows.persist("w", "r", {"status": "running"}, created_at=at(0))
        await workflows.persist("x", "r", {"status": "failed"}, created_at=at(1))
        newest = await workflows.get("r")
        assert newest is not None
        assert (newest.workflow_name, newest.status) == ("x", "failed")
        named = await workflows.get("r", workflow_name="w")
        assert named is not None
        assert (named.workflow_name, named.created_at) == ("w", at(0))
        assert await workflows.get("absent") is None
        assert await workflows.get("r", workflow_name="absent") is None

    @agent_case()
    async def test_deleting_a_run(self, stage: Stage) -> None:
        """And no other; it is no longer listed."""
        workflows = stage.store.workflows
        await workflows.persist("w", "r", {})
        await workflows.persist("w", "s", {})
        await workflows.delete("w", "r")
        await workflows.delete("w", "r")
        assert await workflows.load("w", "r") is None
        assert [run.run_id for run in (await workflows.list()).items] == ["s"]
        await workflows.persist("w", "r", {"new": True})
        assert await workflows.load("w", "r") == {"new": True}

    @agent_case("conditional_write")
    async def test_results_of_steps(self, stage: Stage) -> None:
        """They join the context; what was asked is merged shallowly."""
        workflows = stage.store.workflows
        assert await workflows.update_results("w", "absent", "s", {"output": 1}) == {}
        await workflows.persist(
            "w", "r", {"status": "running", "requestContext": {"a": {"x": 1}, "b": 1}}
        )
        context = await workflows.update_results(
            "w", "r", "s1", {"status": "success", "output": 1}, request_context={"a": {"y": 2}}
        )
        assert context == {"s1": {"status": "success", "output": 1}}
        context = await workflows.update_results("w", "r", "s2", {"output": "17"})
        assert context == {"s1": {"status": "success", "output": 1}, "s2": {"output": "17"}}
        snapshot = await workflows.load("w", "r")
        assert snapshot == {
            "status": "running",
            "requestContext": {"a": {"y": 2}, "b": 1},
            "context": context,
        }

    @agent_case("conditional_write")
    async def test_results_of_branches(self, stage: Stage) -> None:
        """Two lists are merged place by place: null keeps, the marker makes null."""
        workflows = stage.store.workflows
        await workflows.persist("w", "r", {})
        for output, wanted in (
            ([1, 2, None], [1, 2, None]),
            ([None, 3, None], [1, 3, None]),
            ([{PENDING: True}, None, 4, 5], [None, 3, 4, 5]),
            ([7], [7, 3, 4, 5]),
            ("text", "text"),
            ([1], [1]),
        ):
            context = await workflows.update_results("w", "r", "s", {"output": output})
            assert context["s"]["output"] == wanted

    @agent_case("conditional_write")
    async def test_results_of_different_steps_at_once(self, stage: Stage) -> None:
        """All survive."""
        workflows = stage.store.workflows
        await workflows.persist("w", "r", {"status": "running"})
        async with asyncio.TaskGroup() as group:
            for n in range(6):
                group.create_task(workflows.update_results("w", "r", f"s{n}", {"output": n}))
        snapshot = await workflows.load("w", "r")
        assert snapshot is not None
        assert snapshot["context"] == {f"s{n}": {"output": n} for n in range(6)}

    @agent_case("conditional_write")
    async def test_changing_the_state(self, stage: Stage) -> None:
        """If the status is what is expected; otherwise nothing changes."""
        workflows = stage.store.workflows
        assert await workflows.update_state("w", "absent", {"status": "x"}) is None
        await workflows.persist("w", "r", {"status": "suspended", "value": 1})
        refused = await workflows.update_state(
            "w", "r", {"status": "running"}, expected_status="running"
        )
        assert refused is None
        assert await workflows.load("w", "r") == {"status": "suspended", "value": 1}
        changed = await workflows.update_state(
            "w", "r", {"status": "running", "extra": [1]}, expected_status=["suspended", "waiting"]
        )
        assert changed == {"status": "running", "value": 1, "extra": [1]}
        assert await workflows.load("w", "r") == changed
        listed = await workflows.list(status="running")
        assert len(listed.items) == 1
        assert await workflows.update_state("w", "r", {"status": "done"}) is not None

    @agent_case("conditional_write")
    async def test_one_of_several_wins(self, stage: Stage) -> None:
        """Of those that expect the same at the same moment."""
        workflows = stage.store.workflows
        for _ in range(3):
            await workflows.persist("w", "r", {"status": "suspended"})
            tries = (
                workflows.update_state(
                    "w", "r", {"status": "running", "by": n}, expected_status="suspended"
                )
                for n in range(4)
            )
            results = await asyncio.gather(*tries)
            won = [result for result in results if result is not None]
            assert len(won) == 1
            assert await workflows.load("w", "r") == won[0]

    @agent_case(lacks=["conditional_write"])
    async def test_what_would_lose_changes_is_refused(self, stage: Stage) -> None:
        """Before anything is sent, with what to do."""
        workflows = stage.store.workflows
        await workflows.persist("w", "r", {"status": "running"})
        with pytest.raises(UnsupportedOperationError, match="conditional_write"):
            await workflows.update_state("w", "r", {}, expected_status="running")
        with pytest.raises(UnsupportedOperationError, match="workflows="):
            await workflows.update_results("w", "r", "s", {})
        assert await workflows.load("w", "r") == {"status": "running"}
