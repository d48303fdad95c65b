"""What the live tests stand on, tried on a local server: spacing, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from storage_providers._clock import SYSTEM_CLOCK
from storage_providers.testing.conformance import ProviderConformance
from tests.servers.moto import MotoS3

FILE = Path(__file__).parent / "test_live_r2.py"


@pytest.fixture
def live(moto: MotoS3, moto_bucket: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the live tests, led to a local bucket."""
    monkeypatch.setenv("CLOUDFLARE_R2_ENDPOINT", moto.endpoint)
    monkeypatch.setenv("CLOUDFLARE_R2_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("CLOUDFLARE_R2_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("LIVE_R2_BUCKET", moto_bucket)
    spec = importlib.util.spec_from_file_location("live_r2", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_stays_in_the_bucket(live: ModuleType, moto: MotoS3, moto_bucket: str) -> None:
    """Documents, declarations and planted bytes of a case go at its end; what was there stays."""
    moto.plant(moto_bucket, {"mine.json": b"{}", "live/mine.json": b"{}"})
    backend = live.LiveBackend(f"{live.RUN}/a")

    async def play() -> list[str]:
        provider = await backend.open(SYSTEM_CLOCK)
        async with provider:
            await provider.put_item("todos", {"id": "a"})
            await backend.plant("todos", "b", b"[")
        keys = moto.keys(moto_bucket)
        await backend.close()
        return keys

    assert asyncio.run(play())[:2] == [f"{live.RUN}/a/todos/a.json", f"{live.RUN}/a/todos/b.json"]
    assert moto.keys(moto_bucket) == ["live/mine.json", "mine.json"]


def test_nothing_else_is_ever_removed(live: ModuleType) -> None:
    """A prefix that is not of this run is refused."""
    with pytest.raises(AssertionError):
        asyncio.run(live.empty(None, "user-7/"))


def test_writes_of_one_key_are_spaced(live: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second write of a key waits its second, another key does not wait."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    class Store:
        async def put(self, objects: list[object]) -> list[str]:
            return ["1" for _ in objects]

    monkeypatch.setattr(live.asyncio, "sleep", sleep)
    monkeypatch.setattr(live.time, "monotonic", lambda: 100.0)
    spaced = live.Spaced(Store())
    puts = {name: live.ObjectPut(key=name) for name in ("a", "b")}
    with asyncio.Runner() as runner:
        for name in ("a", "a", "b", "a"):
            runner.run(spaced.put([puts[name]]))
    assert waits == pytest.approx([0.0, 1.1, 0.0, 2.2])


def test_cases_that_are_left_out_are_there(live: ModuleType) -> None:
    """The names of the crowded cases are names of cases."""
    assert set(dir(ProviderConformance)) >= live.CROWDS
