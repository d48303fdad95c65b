"""The calls that the checkpoint saver takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from langgraph.checkpoint.conformance.test_utils import generate_config

from storage_providers.agents.adapters.langgraph import ProviderSaver
from tests.adapters.counting import Counted, counted_d1
from tests.adapters.saving import everything, put


def test_calls_on_d1(tmp_path: Path) -> None:
    """Each operation's calls do not depend on how much there is, but for pages of 1,000 or 50."""

    async def main() -> None:
        async with counted_d1(tmp_path) as (provider, cost):
            saver = ProviderSaver(provider)
            parent = await put(saver, "t", {"a": [0]})
            for number in range(120):
                values = {"a": [number], "b": ["x" * 5000], "c": number}
                fresh = put(saver, "t", values, parent=parent, version=str(number), run_id="r")
                assert await cost(fresh) == 1
                stored = await saver.aget_tuple(generate_config("t"))
                assert stored is not None
                parent = stored.config
            assert await cost(saver.aput_writes(parent, [("a", 1), ("b", 2)], "task")) == 1
            assert await cost(saver.aget_tuple(generate_config("t"))) == 2
            assert await cost(saver.aget_tuple(parent)) == 2
            assert await cost(saver.aget_tuple(generate_config("other"))) == 1
            assert await cost(everything(saver, generate_config("t"), limit=10)) == 2
            assert await cost(everything(saver, generate_config("t"))) == 6
            assert await cost(saver.acopy_thread("t", "u")) <= 2 * (1 + 3 + 5)
            assert await cost(saver.adelete_thread("u")) == 2
            assert await cost(saver.aprune(["t"])) <= 9
            assert await cost(saver.adelete_for_runs(["r"])) <= 8

    asyncio.run(main())


def test_requests_on_r2(r2_counted: Counted) -> None:
    """A put sends what changed and the checkpoint; reading lists twice and reads what belongs."""

    async def main() -> None:
        async with r2_counted as (provider, cost):
            saver = ProviderSaver(provider)
            parent = await put(saver, "t", {"a": [0]})
            await saver.aput_writes(parent, [("a", 0)], "first")
            await saver.aget_tuple(generate_config("t"))
            for number in range(5):
                values = {"a": [number], "b": [number], "c": number}
                fresh = put(saver, "t", values, parent=parent, version=str(number))
                assert await cost(fresh) == {"PUT": 3}
            found = await saver.aget_tuple(generate_config("t"))
            assert found is not None
            assert await cost(saver.aput_writes(found.config, [("a", 1)] * 5, "task")) == {"PUT": 1}
            assert await cost(saver.aget_tuple(generate_config("t"))) == {"GET": 4, "LIST": 3}
            assert await cost(saver.aget_tuple(found.config)) == {"GET": 4, "LIST": 2}
            assert await cost(saver.aget_tuple(generate_config("none"))) == {"LIST": 1}
            assert await cost(everything(saver, generate_config("t"))) == {"GET": 18, "LIST": 13}
            # 6 checkpoints, 10 values and 2 writes: a listing of plain and one of other names each.
            copied = await cost(saver.acopy_thread("t", "u"))
            assert copied == {"LIST": 6, "GET": 18, "PUT": 18}
            deleted = await cost(saver.adelete_thread("u"))
            assert deleted == {"LIST": 6, "GET": 18, "DELETE_MANY": 3}

    asyncio.run(main())
