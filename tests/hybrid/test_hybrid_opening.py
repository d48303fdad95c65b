"""A hybrid by URL and by settings: its sides, its journal, whose documents it reaches."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest

from storage_providers._settings_table import SETTINGS
from storage_providers.base import Provider
from storage_providers.errors import ConfigurationError
from storage_providers.layers import Scope
from storage_providers.providers.hybrid import HybridProvider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.local_file import LocalFileProvider
from storage_providers.providers.r2 import CloudflareR2Provider
from storage_providers.providers.sqlite import SQLiteProvider
from storage_providers.settings import StorageSettings, open_provider

if TYPE_CHECKING:
    from tests.servers.moto import MotoS3

SECRET = "hunter2-token"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no variable of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.delenv("STORAGE_PROVIDERS_SETTINGS_FILE", raising=False)
    return tmp_path


def hybrid_of(target: Any = None, **options: Any) -> HybridProvider:
    """What is opened, which is a hybrid."""
    provider = open_provider(target, **options)
    assert isinstance(provider, HybridProvider)
    return provider


def url_of(**options: Any) -> str:
    """A URL with every option percent-encoded."""
    return "hybrid:?" + urlencode(options, quote_via=quote)


def refusal(target: Any = None, **options: Any) -> str:
    """The message of the ConfigurationError, which never shows the secret."""
    with pytest.raises(ConfigurationError) as caught:
        open_provider(target, **options)
    assert SECRET not in str(caught.value) + repr(caught.value.__context__)
    return str(caught.value)


# --- by URL ------------------------------------------------------------------------------------


def test_a_hybrid_by_url() -> None:
    """Both sides by their own URLs with their own options, and the hybrid's as text."""
    hybrid = hybrid_of(
        url_of(
            primary="sqlite:a b.db?synchronous=NORMAL&busy_timeout_seconds=2",
            fallback="file:./copies",
            journal="j/journal.db",
            policy="newest",
            degraded_writes="journal",
            retry_seconds="0.5",
        )
    )
    assert isinstance(hybrid.primary, SQLiteProvider)
    assert Path(hybrid.primary.path).name == "a b.db"
    assert isinstance(hybrid.fallback, LocalFileProvider)
    assert hybrid.journal == "j/journal.db"
    assert hybrid._replay._policy == "newest"
    assert hybrid._degraded._takes_conditions
    assert hybrid._link._retry_seconds == 0.5


def test_it_works_and_makes_what_it_needs(folder: Path) -> None:
    """The folder of the journal too; plain URLs need no encoding."""

    async def play() -> None:
        url = "hybrid:?primary=sqlite:main.db&fallback=file:./copies&journal=deep/down/journal.db"
        async with open_provider(url) as provider:
            await provider.put_item("todos", {"id": "a"})
        async with open_provider(url) as provider:
            assert await provider.read_item("todos", "a") is not None

    asyncio.run(play())
    assert (folder / "copies" / "todos" / "a.json").is_file()
    assert (folder / "deep" / "down" / "journal.db").is_file()


def test_sides_as_arguments() -> None:
    """As providers or as URLs, instead of in the URL."""
    side = InMemoryProvider()
    hybrid = hybrid_of("hybrid:", primary=side, fallback="sqlite:x.db", journal=Path("j.db"))
    assert hybrid.primary is side
    assert isinstance(hybrid.fallback, SQLiteProvider)
    assert hybrid.journal == "j.db"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hybrid:", "has no primary"),
        ("hybrid:?primary=memory:", "has no fallback"),
        ("hybrid:?primary=memory:&fallback=sqlite:x.db", "has no journal"),
        ("hybrid:?primary=memory:&fallback=sqlite:x.db&journal=", "names no file"),
        ("hybrid:x?primary=memory:", "nothing between"),
        ("hybrid://host", "nothing between"),
        ("hybrid:?primary=&fallback=memory:&journal=j", "primary: where the documents are begins"),
        (url_of(primary="memory:", fallback="memory:", journal="j"), "same place"),
        (url_of(primary="hybrid:", fallback="memory:", journal="j"), "can't be a hybrid"),
        (url_of(primary="memory:", fallback="HYBRID:?x=1", journal="j"), "can't be a hybrid"),
        (url_of(primary="nope:x", fallback="memory:", journal="j"), "primary: 'nope' is not"),
        (
            url_of(primary=f"r2://k:{SECRET}@b", fallback="memory:", journal="j"),
            "primary: the URL holds credentials",
        ),
        (
            url_of(primary="memory:", fallback=f"d1://x?token={SECRET}", journal="j"),
            "fallback: 'token' is no option",
        ),
        (
            url_of(primary="r2://my-bucket", fallback="memory:", journal="j"),
            "primary: set CLOUDFLARE_R2_ACCESS_KEY_ID",
        ),
        (url_of(primary="memory:", fallback="sqlite:x", journal="j", policy="oldest"), "'policy'"),
        (
            url_of(primary="memory:", fallback="sqlite:x", journal="j", degraded_writes="all"),
            "unconditional or journal",
        ),
        (url_of(primary="memory:", fallback="sqlite:x", journal="j", retry_seconds="x"), "number"),
        (url_of(primary="memory:", fallback="sqlite:x", journal="j", retry_seconds="-1"), "least"),
        (url_of(primary="memory:", fallback="sqlite:x", journal="j", retry_seconds="nan"), "least"),
        (url_of(primary="memory:", fallback="sqlite:x", journal=":memory:"), "names no file"),
        (
            url_of(primary="memory:", fallback="sqlite:x", journal="j", on_event="x"),
            "known: primary, fallback, journal, policy, degraded_writes, retry_seconds",
        ),
        (
            "hybrid:?primary=sqlite:a?synchronous=NORMAL&busy_timeout_seconds=2&fallback=memory:"
            "&journal=j",
            "percent-encode",
        ),
        (
            "hybrid:?primary=memory:&primary=sqlite:x&fallback=memory:&journal=j",
            "'primary' is given twice",
        ),
    ],
)
def test_urls_refused(url: str, words: str) -> None:
    """With the side's name and advice, and without what may be a secret."""
    assert words in refusal(url)


def test_what_is_given_twice_or_wrong_as_an_argument() -> None:
    """The URL and an argument don't both name a side."""
    url = url_of(primary="memory:", fallback="sqlite:x", journal="j")
    assert "in the URL and as an argument" in refusal(url, primary="sqlite:y")
    assert "in the URL and as an argument" in refusal(url, journal="k")


def test_a_journal_that_is_something_else_is_refused(folder: Path) -> None:
    """A database of another program, or of a side, is no journal, and stays as it is."""

    async def play() -> None:
        async with open_provider("sqlite:main.db") as provider:
            await provider.put_item("todos", {"id": "a"})
        before = (folder / "main.db").read_bytes()
        url = url_of(primary="memory:", fallback="file:copies", journal="main.db")
        with pytest.raises(ConfigurationError, match="database of something else"):
            await open_provider(url).connect()
        assert (folder / "main.db").read_bytes() == before

    asyncio.run(play())


# --- by settings -------------------------------------------------------------------------------


def r2_settings(moto: MotoS3, bucket: str, **more: Any) -> StorageSettings:
    """The settings of a hybrid whose primary is a bucket."""
    values: dict[str, Any] = {
        "provider": "hybrid",
        "bucket_name": bucket,
        "endpoint": moto.endpoint,
        "access_key_id": "k",
        "secret_access_key": SECRET,
        **more,
    }
    return StorageSettings(**values)


def test_a_bucket_with_files_beside_it(moto: MotoS3, moto_bucket: str, folder: Path) -> None:
    """The usual pair: documents where either provider alone would have them."""

    async def play() -> None:
        hybrid = hybrid_of(r2_settings(moto, moto_bucket), policy="newest")
        assert isinstance(hybrid.primary, CloudflareR2Provider)
        assert isinstance(hybrid.fallback, LocalFileProvider)
        assert hybrid._replay._policy == "newest"
        assert SECRET not in repr(hybrid)
        async with hybrid:
            await hybrid.put_item("todos", {"id": "a"})

    asyncio.run(play())
    assert moto.keys(moto_bucket) == ["valet/todos/a.json"]
    assert (folder / "valet-data" / "todos" / "a.json").is_file()
    assert (folder / "valet-data-journal" / "journal.db").is_file()


async def _use(provider: Provider, user: str) -> list[str]:
    async with provider:
        await provider.put_item("todos", {"id": "1", "user": user})
        return [item.document["user"] async for item in provider.find_items("todos")]


def test_each_user_has_a_part_of_both_sides(moto: MotoS3, moto_bucket: str, folder: Path) -> None:
    """And a journal of their own, so that nobody replays what another wrote into their part."""
    users = ("7", "70", "u", "U", "a.b", "con", "é")
    for user in users:
        settings = r2_settings(
            moto, moto_bucket, user_id=user, key_prefix="teams/user-{userId}", data_path="data/"
        )
        assert asyncio.run(_use(open_provider(settings), user)) == [user]
    assert sorted(moto.keys(moto_bucket)) == sorted(
        f"teams/user-{user}/todos/1.json" for user in users
    )

    async def everything() -> list[str]:
        async with open_provider("file:data") as provider:
            return await provider.collections()

    assert asyncio.run(everything()) == sorted(f"teams/user-{user}/todos" for user in users)
    journals = list((folder / "data-journal").rglob("journal.db"))
    assert len({str(path).casefold() for path in journals}) == len(users)


def test_a_user_has_a_part_of_a_hybrid_by_url(folder: Path) -> None:
    """Where the URL is a setting, a scope stands on the whole."""
    url = url_of(primary="sqlite:main.db", fallback="file:copies", journal="j.db")
    for user in ("7", "8"):
        settings = StorageSettings(url=url, user_id=user, key_prefix="user-{userId}")
        provider = open_provider(settings)
        assert isinstance(provider, Scope)
        assert asyncio.run(_use(provider, user)) == [user]
    assert sorted(path.name for path in (folder / "copies").iterdir() if path.name[0] != ".") == [
        "user-7",
        "user-8",
    ]


def test_other_sides_by_settings(folder: Path) -> None:
    """Any two that settings can name, with the hybrid's own options."""
    settings = StorageSettings.load(
        provider="hybrid",
        hybrid_primary="sqlite",
        hybrid_fallback="memory",
        hybrid_journal="journals",
        hybrid_policy="keep_both",
        hybrid_degraded_writes="journal",
        hybrid_retry_seconds=2,
        data_path=str(folder),
    )
    hybrid = hybrid_of(settings)
    assert isinstance(hybrid.primary, SQLiteProvider)
    assert isinstance(hybrid.fallback, InMemoryProvider)
    assert hybrid.journal == str(Path("journals") / "journal.db")
    assert hybrid._replay._policy == "keep_both"
    assert hybrid._degraded._takes_conditions
    assert hybrid._link._retry_seconds == 2


def test_what_settings_lack_is_named_at_once() -> None:
    """Of both sides together, each once."""
    message = refusal(provider="hybrid")
    assert message.count("CLOUDFLARE_R2_ACCESS_KEY_ID") == 1
    assert "CLOUDFLARE_R2_ENDPOINT" in message
    message = refusal(provider="hybrid", hybrid_fallback="cloudflare-d1")
    for variable in ("CLOUDFLARE_R2_ACCESS_KEY_ID", "CLOUDFLARE_D1_DATABASE_ID"):
        assert variable in message
    message = refusal(provider="hybrid", hybrid_primary="local")
    assert "STORAGE_PROVIDERS_HYBRID_PRIMARY (argument)" in message
    assert "are the same" in message
    assert "is none of" in refusal(provider="hybrid", hybrid_primary="hybrid")
    assert "has no place in keyPrefix" in refusal(
        StorageSettings(
            provider="hybrid", hybrid_primary="sqlite", hybrid_fallback="memory", user_id="7"
        )
    )
