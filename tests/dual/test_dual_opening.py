"""A dual write by URL: its sides, its options, and what is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from storage_providers._settings_table import SETTINGS
from storage_providers.errors import ConfigurationError
from storage_providers.layers import Scope
from storage_providers.providers.dual_write import DualWriteProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.r2 import CloudflareR2Provider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.settings import open_provider

SECRET = "hunter2-token"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no variable of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.delenv("STORAGE_PROVIDERS_SETTINGS_FILE", raising=False)
    return tmp_path


def url_of(**options: str) -> str:
    """A URL with every option percent-encoded."""
    return "dual-write:?" + urlencode(options, quote_via=quote)


def test_it_works() -> None:
    """Both sides by their own URLs with their own options, and the pair's as text."""
    url = url_of(
        source="file:./data?enable_backup=true",
        target="sqlite:new data.db?synchronous=NORMAL",
        follower_writes="all_or_report",
        shadow_reads="0.5",
        lease_seconds="2.5",
    )
    provider = open_provider(url)
    assert isinstance(provider, DualWriteProvider)
    assert isinstance(provider.source, LocalFileProvider)
    assert isinstance(provider.target, SQLiteProvider)
    assert provider.lease_seconds == 2.5

    async def use() -> None:
        async with provider:
            await provider.put_item("todos", {"id": "a"})
            assert await provider.count_items("todos") == 1
            assert (await provider.status()).phase == "source"
        async with open_provider("file:./data") as source:
            assert await source.count_items("todos") == 1

    asyncio.run(use())


def test_credentials_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A side in a bucket takes them from where it takes them by itself."""
    monkeypatch.setenv("CLOUDFLARE_R2_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("CLOUDFLARE_R2_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a" * 32)
    provider = open_provider("dual-write:?source=file:./data&target=r2://valet-data/moved")
    assert isinstance(provider, DualWriteProvider)
    assert isinstance(provider.target, CloudflareR2Provider)
    assert SECRET not in repr(provider)


def test_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the URL of the settings, and then confined to their user."""
    monkeypatch.setenv("STORAGE_PROVIDERS_URL", url_of(source="memory:", target="sqlite:x.db"))
    assert isinstance(open_provider(), DualWriteProvider)
    confined = open_provider(user_id="7", key_prefix="user-{userId}")
    assert isinstance(confined, Scope)
    assert isinstance(confined.inner, DualWriteProvider)


def test_sides_as_arguments() -> None:
    """Providers, or URLs, instead of options in the URL."""
    side = InMemoryProvider()
    provider = open_provider("dual-write:", source=side, target="sqlite:x.db")
    assert isinstance(provider, DualWriteProvider)
    assert provider.source is side
    assert isinstance(provider.target, SQLiteProvider)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("dual-write:", "has no source; write dual-write:?source=URL&target=URL"),
        ("dual-write:?source=memory:", "has no target"),
        ("dual-write:x?source=memory:", "nothing between"),
        (url_of(source="memory:", target="memory:"), "source and target are the same place"),
        (url_of(source="dual-write:", target="memory:"), "source: a side can't be"),
        (url_of(source="memory:", target="hybrid:?primary=memory:"), "target: a side can't be"),
        (
            url_of(source="memory:", target=f"r2://k:{SECRET}@b"),
            "target: the URL holds credentials",
        ),
        (url_of(source="memory:", target="sqlite:x", lease_seconds="0"), "more than 0"),
        (url_of(source="memory:", target="sqlite:x", shadow_reads="2"), "from 0 to 1"),
        (url_of(source="memory:", target="sqlite:x", follower_writes="no"), "primary_first or all"),
        (
            url_of(source="memory:", target="sqlite:x", journal="j"),
            "known: source, target, follower_writes, shadow_reads, lease_seconds; percent-encode",
        ),
    ],
)
def test_urls_refused(url: str, words: str) -> None:
    """With the side's name and advice, and without what may be a secret."""
    with pytest.raises(ConfigurationError) as caught:
        open_provider(url)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value) + repr(caught.value.__context__)
