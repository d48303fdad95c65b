"""Cases: scores and traces."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from storage_providers.agents import Retention, Score, ScoreSummary, Span
from storage_providers.errors import InvalidArgumentError, InvalidDocumentError
from storage_providers.testing._agents_harness import NOON, Stage, agent_case, at, ids


def span(trace: str, name: str = "root", begin: float = 0, **more: Any) -> Span:
    """A span; a root unless it has a parent."""
    more = {"span_id": f"{trace}-{name}", "name": name, "started_at": at(begin), **more}
    return Span(trace_id=trace, **more)


class ScoreCases:
    """Scores."""

    @agent_case()
    async def test_a_score_comes_back(self, stage: Stage) -> None:
        """With what was judged."""
        saved = await stage.store.scores.save(
            Score(
                scorer_id="s",
                score=0.25,
                reason="17",
                run_id="r",
                input={"text": "[1]"},
                output=["x", None],
                metadata={"a": 1},
                extra={"newField": True},
            )
        )
        assert saved.id
        assert await stage.store.scores.get(saved.id) == saved
        assert (saved.input, saved.output, saved.reason) == ({"text": "[1]"}, ["x", None], "17")
        assert await stage.store.scores.get("absent") is None

    @agent_case()
    async def test_saving_a_score_again_keeps_its_first_time(self, stage: Stage) -> None:
        """The rest is replaced."""
        scores = stage.store.scores
        first = await scores.save(Score(id="x", scorer_id="s", score=1, created_at=at(0)))
        again = await scores.save(Score(id="x", scorer_id="s", score=0, created_at=at(5)))
        assert (again.created_at, again.score) == (first.created_at, 0)
        assert (await scores.list(scorer_id="s", total=True)).total == 1

    @agent_case()
    async def test_listing_scores(self, stage: Stage) -> None:
        """Newest first: by scorer, run, entity and span, in pages."""
        await stage.store.scores.save_many(
            Score(
                id=f"x{n}",
                scorer_id=f"s{n % 2}",
                score=n,
                run_id=f"r{n % 3}",
                entity_id=f"e{n % 2}",
                entity_type="AGENT" if n < 4 else "WORKFLOW",
                trace_id=f"t{n % 2}",
                span_id="p",
                created_at=at(n),
            )
            for n in range(8)
        )
        scores = stage.store.scores
        by_scorer = await scores.list(scorer_id="s1", per_page=3, total=True)
        assert (ids(by_scorer.items), by_scorer.total) == (["x7", "x5", "x3"], 4)
        assert by_scorer.has_more
        assert ids((await scores.list(run_id="r0")).items) == ["x6", "x3", "x0"]
        assert ids((await scores.list(entity_id="e0", entity_type="AGENT")).items) == ["x2", "x0"]
        assert ids((await scores.list(trace_id="t1", span_id="p")).items) == [
            "x7",
            "x5",
            "x3",
            "x1",
        ]
        both = await scores.list(run_id="r0", scorer_id="s0", total=True)
        assert (ids(both.items), both.total) == (["x6", "x0"], 2)
        assert len((await scores.list()).items) == 8

    @agent_case()
    async def test_scores_are_counted_up(self, stage: Stage) -> None:
        """By scorer and day."""
        values = [("s", 0, 1.0), ("s", 1, 0.5), ("s", 2 * 86400, 0.0), ("q", 0, 1.0)]
        await stage.store.scores.save_many(
            Score(scorer_id=scorer, score=score, created_at=at(seconds))
            for scorer, seconds, score in values
        )
        first = ScoreSummary(
            scorer_id="s", day="2026-01-31", count=2, mean=0.75, least=0.5, most=1.0
        )
        summary = await stage.store.scores.summary()
        assert [(each.scorer_id, each.day) for each in summary] == [
            ("q", "2026-01-31"),
            ("s", "2026-01-31"),
            ("s", "2026-02-02"),
        ]
        assert await stage.store.scores.summary("s", until=at(100)) == [first]
        (later,) = await stage.store.scores.summary("s", since=at(100))
        assert (later.count, later.mean) == (1, 0.0)

    @agent_case()
    async def test_deleting_scores(self, stage: Stage) -> None:
        """And no others."""
        scores = stage.store.scores
        await scores.save_many(Score(id=f"x{n}", scorer_id="s", score=n) for n in range(3))
        await scores.delete(["x1", "absent"])
        assert await scores.get("x1") is None
        assert {*ids((await scores.list(scorer_id="s")).items)} == {"x0", "x2"}


class TraceCases:
    """Traces."""

    @agent_case()
    async def test_a_span_comes_back(self, stage: Stage) -> None:
        """With dates as dates, to the millisecond."""
        saved = span(
            "t",
            scope="app",
            span_type="agent_run",
            attributes={"model": "m", "n": 17},
            input={"text": "[1]"},
            output="17",
            tags=["a"],
            ended_at=at(1.5),
            extra={"newField": [1]},
        )
        await stage.store.traces.save(saved)
        found = await stage.store.traces.get_span("t", "t-root")
        assert found is not None
        assert (found.started_at, found.ended_at) == (NOON, at(1.5))
        assert (found.status, found.duration_seconds) == ("SUCCESS", 1.5)
        assert (found.attributes, found.input, found.output) == (
            {"model": "m", "n": 17},
            {"text": "[1]"},
            "17",
        )
        assert (found.scope, found.tags, found.extra) == ("app", ["a"], {"newField": [1]})
        assert await stage.store.traces.get_span("t", "absent") is None

    @agent_case()
    async def test_a_trace_is_its_spans(self, stage: Stage) -> None:
        """By their beginning, as a tree; a parent may come later, or never."""
        await stage.store.traces.save(
            [
                span("t", "b", 2, parent_span_id="t-root"),
                span("t", "c", 3, parent_span_id="t-b"),
                span("other"),
                span("t", "a", 1, parent_span_id="t-root"),
                span("t", "lost", 4, parent_span_id="gone"),
            ]
        )
        await stage.store.traces.save(span("t"))
        trace = await stage.store.traces.get("t")
        assert trace is not None
        assert [each.name for each in trace.spans] == ["root", "a", "b", "c", "lost"]
        assert trace.root is not None
        assert trace.root.name == "root"
        assert [each.name for each in trace.children("t-root")] == ["a", "b"]
        assert [each.name for each in trace.children(None)] == ["root", "lost"]
        assert await stage.store.traces.get("absent") is None

    @agent_case()
    async def test_spans_are_updated(self, stage: Stage) -> None:
        """Singly and in batches; what is absent is passed over."""
        traces = stage.store.traces
        await traces.save([span("t"), span("t", "a", 1, parent_span_id="t-root"), span("u")])
        assert (await traces.list(status="RUNNING", total=True)).total == 2
        ended = await traces.update("t", "t-root", {"endedAt": at(3), "output": {"ok": None}})
        assert ended is not None
        assert (ended.status, ended.duration_seconds, ended.output) == ("SUCCESS", 3, {"ok": None})
        changes: dict[tuple[str, str], dict[str, Any]] = {
            ("t", "t-a"): {"error": {"message": "no"}},
            ("u", "u-root"): {"endedAt": at(1), "error": "broken"},
            ("u", "absent"): {"error": "x"},
        }
        assert len(await traces.update_many(changes)) == 2
        assert [each.trace_id for each in (await traces.list(status="ERROR")).items] == ["u"]
        assert [each.trace_id for each in (await traces.list(status="SUCCESS")).items] == ["t"]
        assert (await traces.list(status="RUNNING")).items == []
        assert await traces.update("t", "absent", {"name": "x"}) is None
        with pytest.raises(InvalidDocumentError):
            await traces.update("t", "t-root", {"startedAt": "soon"})

    @agent_case()
    async def test_saving_a_span_again_keeps_its_first_time(self, stage: Stage) -> None:
        """It is there once."""
        traces = stage.store.traces
        await traces.save(span("t"))
        first = await traces.get_span("t", "t-root")
        await traces.save([span("t", ended_at=at(1)), span("v")])
        again = await traces.get_span("t", "t-root")
        assert first is not None
        assert again is not None
        assert (again.created_at, again.ended_at) == (first.created_at, at(1))
        assert (await traces.list(total=True)).total == 2

    @agent_case()
    async def test_listing_traces(self, stage: Stage) -> None:
        """Roots only, those that began last first, in pages."""
        traces = stage.store.traces
        await traces.save([span(f"t{n}", begin=n) for n in range(5)])
        await traces.save([span("t0", "child", 9, parent_span_id="t0-root")])
        found: list[str] = []
        for page in range(3):
            listed = await traces.list(page=page, per_page=2, total=True)
            assert (listed.total, listed.has_more) == (5, page < 2)
            found += [each.trace_id for each in listed.items]
        assert found == ["t4", "t3", "t2", "t1", "t0"]
        oldest = await traces.list(order_by="startedAt", per_page=2)
        assert [each.trace_id for each in oldest.items] == ["t0", "t1"]

    @agent_case()
    async def test_listing_by_end(self, stage: Stage) -> None:
        """Those that have not ended come first, or last."""
        traces = stage.store.traces
        await traces.save(
            [span("a", ended_at=at(5)), span("b"), span("c", ended_at=at(9)), span("d", begin=3)]
        )
        latest = await traces.list(order_by="-endedAt")
        names = [each.trace_id for each in latest.items]
        assert ({*names[:2]}, names[2:]) == ({"b", "d"}, ["c", "a"])
        first = await traces.list(order_by="endedAt", since=at(0), until=at(3))
        assert [each.trace_id for each in first.items] == ["a", "c", "b"]
        await traces.update("b", "b-root", {"endedAt": at(7)})
        latest = await traces.list(order_by="-endedAt", total=True)
        assert [each.trace_id for each in latest.items] == ["d", "c", "b", "a"]
        assert latest.total == 4

    @agent_case()
    async def test_filters_of_traces(self, stage: Stage) -> None:
        """By name, scope, type, attributes, metadata and time, together."""
        traces = stage.store.traces
        await traces.save(
            [
                span(
                    f"t{n}",
                    name=f"n{n % 2}",
                    scope=f"s{n % 3}",
                    begin=n,
                    span_type="agent_run" if n < 4 else "workflow_run",
                    attributes={"a.b": n % 2, "text": "1"},
                    metadata={"even": n % 2 == 0},
                )
                for n in range(8)
            ]
        )

        async def names(**filters: Any) -> list[str]:
            listed = await traces.list(total=True, **filters)
            assert listed.total == len(listed.items)
            return [each.trace_id for each in listed.items]

        assert await names(name="n1") == ["t7", "t5", "t3", "t1"]
        assert await names(scope="s0", name="n0") == ["t6", "t0"]
        assert await names(span_type="agent_run", attributes={"a.b": 1}) == ["t3", "t1"]
        assert await names(attributes={"text": 1}) == []
        assert await names(metadata={"even": True}, since=at(2), until=at(6)) == ["t4", "t2"]

    @agent_case()
    async def test_deleting_traces(self, stage: Stage) -> None:
        """With all their spans, and no others."""
        traces = stage.store.traces
        for name in "abc":
            children = [span(name, f"c{n}", n, parent_span_id=f"{name}-root") for n in range(3)]
            await traces.save([span(name), *children])
        assert await traces.delete(["a", "absent", "c"]) == 8
        assert await traces.get("a") is None
        assert [each.trace_id for each in (await traces.list()).items] == ["b"]
        trace = await traces.get("b")
        assert trace is not None
        assert len(trace.spans) == 4

    @agent_case()
    async def test_old_traces_are_pruned(self, stage: Stage) -> None:
        """Whole; so many of the newest stay whatever their age."""
        traces, day = stage.store.traces, 86_400
        now = stage.scene.clock.seconds
        ages = [0, 1, 2, 3, 4]
        for age in ages:
            begin = now - age * day - NOON.timestamp() - 1
            name = f"d{age}"
            await traces.save(
                [span(name, begin=begin), span(name, "c", begin + 1, parent_span_id=f"{name}-root")]
            )
        prune = stage.store.prune
        told: list[tuple[str, int]] = []

        def tell(table: str, count: int) -> None:
            told.append((table, count))

        rule = Retention(older_than=timedelta(days=2), keep=4)
        deleted = await prune({"spans": rule}, on_progress=tell)
        assert (deleted, told) == ({"spans": 2}, [("spans", 2)])
        assert await prune({"spans": Retention(older_than=timedelta(days=2))}) == {"spans": 4}
        assert [each.trace_id for each in (await traces.list()).items] == ["d0", "d1"]
        assert await traces.prune(keep=1) == 2
        assert await traces.get("d1") is None
        with pytest.raises(InvalidArgumentError, match="clear_table"):
            await prune({"spans": Retention()})

    @agent_case()
    async def test_old_spans_without_a_root_are_pruned(self, stage: Stage) -> None:
        """Those whose root is there, although it is younger, stay."""
        traces = stage.store.traces
        await traces.save(
            [
                span("lost", "a", 0, parent_span_id="gone"),
                span("lost", "b", 1, parent_span_id="gone"),
                span("young", "c", 2, parent_span_id="gone"),
                span("whole", "d", 0, parent_span_id="whole-root"),
                span("whole", begin=9),
            ]
        )
        assert await traces.prune(older_than=at(2)) == 2
        assert await traces.get("lost") is None
        assert await traces.get("young") is not None
        whole = await traces.get("whole")
        assert whole is not None
        assert len(whole.spans) == 2
