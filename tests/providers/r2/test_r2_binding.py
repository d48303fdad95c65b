"""The R2 provider inside a Worker, on an object that behaves as the runtime's `env.BUCKET` does.

What it does was seen of workerd's own binding: nothing comes back of a put whose condition does not
hold, `etagDoesNotMatch: "*"` creates, versions are the MD5 of the bytes, errors end in a number.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from storage_providers._clock import Clock
from storage_providers.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    RateLimitedError,
    StorageError,
    TransportError,
    UnsupportedOperationError,
)
from storage_providers.protocol import StorageProvider
from storage_providers.providers.r2 import CloudflareR2Provider
from storage_providers.resilience import RetryPolicy
from storage_providers.testing.conformance import Backend, ProviderConformance, count_cases
from tests.cloudflare.runtime import JsDict, JsException, worker
from tests.resilience.virtual import run


class Body(JsDict):
    """An object as `get` gives it."""

    async def arrayBuffer(self) -> memoryview:  # noqa: N802 - the runtime's name
        """Its bytes."""
        return memoryview(self["data"])


class Bucket:
    """`env.BUCKET`; `faults` befall the next calls, after they were carried out if so marked."""

    def __init__(self) -> None:
        self.stored: dict[str, Body] = {}
        self.calls: list[str] = []
        self.faults: list[tuple[str, bool]] = []

    async def _call(self, name: str, carry_out: Callable[[], Any]) -> Any:
        self.calls.append(name)
        text, after = self.faults.pop(0) if self.faults else ("", False)
        result = carry_out() if after or not text else None
        await asyncio.sleep(0)
        if text:
            raise JsException(text)
        return result

    async def get(self, key: str) -> Any:
        """An object with its bytes."""
        return await self._call("get", lambda: self.stored.get(key))

    async def head(self, key: str) -> Any:
        """An object without them."""
        return await self._call("head", lambda: self.stored.get(key))

    async def put(self, key: str, value: Any, options: Any = None) -> Any:
        """Store an object; nothing comes back where the condition does not hold."""
        return await self._call("put", lambda: self._put(key, bytes(value), options))

    def _put(self, key: str, data: bytes, options: dict[str, Any]) -> Any:
        condition, now = options.get("onlyIf", {}), self.stored.get(key)
        if "etagDoesNotMatch" in condition and now is not None:
            assert condition["etagDoesNotMatch"] == "*"
            return None
        if "etagMatches" in condition and (now is None or now.etag != condition["etagMatches"]):
            return None
        etag = hashlib.md5(data).hexdigest()
        kept = JsDict(options.get("customMetadata", {}))
        self.stored[key] = Body(key=key, etag=etag, size=len(data), data=data, customMetadata=kept)
        return self.stored[key]

    async def delete(self, keys: Any) -> None:
        """Remove up to 1,000 objects."""
        assert len(keys) <= 1000
        await self._call("delete", lambda: self._delete(keys))

    def _delete(self, keys: list[str]) -> None:
        for key in keys:
            self.stored.pop(key, None)

    async def list(self, options: Any = None) -> Any:
        """A page in the byte order of keys."""
        return await self._call("list", lambda: self._list(**options))

    def _list(
        self,
        prefix: str,
        limit: int,
        startAfter: str = "",  # noqa: N803 - the runtime's name
        cursor: str = "",
        delimiter: str = "",
    ) -> JsDict:
        begin = max(startAfter, cursor).encode()
        lines: dict[str, Body | None] = {}
        for key in sorted(self.stored, key=str.encode):
            if not key.startswith(prefix) or key.encode() <= begin:
                continue
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            folder = key[: end + 1]
            if end >= 0 and folder.encode() <= begin:
                continue
            lines.setdefault(folder if end >= 0 else key, None if end >= 0 else self.stored[key])
        page = list(lines.items())[:limit]
        more = len(lines) > limit
        return JsDict(
            objects=[body for _, body in page if body is not None],
            delimitedPrefixes=[name for name, body in page if body is None],
            truncated=more,
            **({"cursor": page[-1][0]} if more else {}),
        )


class BindingBackend(Backend):
    """A bucket of a Worker."""

    can_reopen = True
    can_share = True
    can_plant = True

    def __init__(self) -> None:
        self.bucket = Bucket()

    async def open(self, clock: Clock) -> StorageProvider:
        return CloudflareR2Provider(binding=self.bucket, prefix="p", clock=clock)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None:
        self.bucket._put(f"p/{collection}/{item_id}.json", raw, {})


class TestBinding(ProviderConformance):
    """The contract on a Worker's binding."""

    @pytest.fixture
    def backend(self) -> Backend:
        return BindingBackend()


def test_no_case_disappears_unnoticed() -> None:
    """As many cases run as over S3, before any is left out there."""
    counts = count_cases(TestBinding, BindingBackend())
    assert counts.run == 696
    assert counts.run + sum(counts.not_applicable.values()) == 744


# --- faults ------------------------------------------------------------------------------------


@pytest.fixture
def in_worker() -> Iterator[None]:
    """As in a Worker, whose errors are JavaScript's."""
    with worker():
        yield


def on_bucket(
    bucket: Bucket, test: Callable[[CloudflareR2Provider], Awaitable[None]], **options: Any
) -> None:
    """Play a test on a loop whose waits take no time."""

    async def play() -> None:
        async with CloudflareR2Provider(binding=bucket, **options) as provider:
            await provider.declared("things")
            bucket.calls.clear()
            await test(provider)

    run(play())


@pytest.mark.usefixtures("in_worker")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_broken_put_is_sent_again_and_recognised(after: bool) -> None:
    """Whether it landed or not: the document is there once, and its writer knows."""
    bucket = Bucket()

    async def test(provider: CloudflareR2Provider) -> None:
        bucket.faults = [("put: We encountered an internal error. (10001)", after)]
        item = await provider.create_item("things", {"id": "a", "n": 1})
        assert item == await provider.read_item("things", "a")
        assert bucket.calls == ["put", "put", *(["head"] if after else []), "get"]

    on_bucket(bucket, test)


@pytest.mark.usefixtures("in_worker")
def test_what_can_not_be_known_is_said() -> None:
    """Each answer is lost, and the look at what became of it too."""
    bucket = Bucket()

    async def test(provider: CloudflareR2Provider) -> None:
        bucket.faults = [("put: internal error (10001)", False)] * 20
        with pytest.raises(OutcomeUnknownError):
            await provider.put_item("things", {"id": "a"})

    on_bucket(bucket, test, retry=RetryPolicy(attempts=2))


@pytest.mark.usefixtures("in_worker")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("get: too many requests (10058)", RateLimitedError),
        ("get: We encountered an internal error. Please try again. (10001)", TransportError),
        ("the runtime said something of its own about secret-key", TransportError),
    ],
)
def test_errors_of_the_runtime(text: str, expected: type[StorageError]) -> None:
    """They are ours, by the number at their end, and quote nothing."""
    bucket = Bucket()

    async def test(provider: CloudflareR2Provider) -> None:
        bucket.faults = [(text, False)] * 20
        with pytest.raises(expected) as caught:
            await provider.read_item("things", "a")
        shown = str(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__)
        assert "secret-key" not in shown

    on_bucket(bucket, test)


# --- making it ---------------------------------------------------------------------------------


def test_a_binding_says_all_there_is_to_say() -> None:
    """What it says already is refused beside it, and only the prefix is shown."""
    with pytest.raises(ConfigurationError, match="bucket and access_key_id must not be"):
        CloudflareR2Provider("bucket", access_key_id="k", binding=Bucket())
    provider = CloudflareR2Provider(binding=Bucket(), prefix="x")
    assert repr(provider) == "CloudflareR2Provider('binding', prefix='x/')"
    with pytest.raises(UnsupportedOperationError, match="wrangler"):
        asyncio.run(provider.provision())


def test_it_can_be_checked() -> None:
    """Each right is tried on a scratch key, and nothing stays behind."""
    bucket = Bucket()

    async def test(provider: CloudflareR2Provider) -> None:
        checks = await provider.checks()
        assert [check.name for check in checks if not check.ok] == []
        assert bucket.stored == {}

    on_bucket(bucket, test)


def test_a_batch_is_removed_by_thousands() -> None:
    """As many calls as the runtime needs."""
    bucket = Bucket()

    async def test(provider: CloudflareR2Provider) -> None:
        await provider.put_items("things", ({"id": f"{n}"} for n in range(1500)))
        bucket.calls.clear()
        await provider.clear_collection("things")
        assert bucket.stored == {}
        assert bucket.calls.count("delete") == 2

    on_bucket(bucket, test)
