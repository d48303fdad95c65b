"""Buckets from URLs and settings, and providers that are confined to one user."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_providers import _urls
from storage_providers._secrets import Secret
from storage_providers._settings_table import SETTINGS
from storage_providers.base import Provider
from storage_providers.cloudflare.client import CloudflareClient
from storage_providers.errors import ConfigurationError, StorageError
from storage_providers.layers import Scope
from storage_providers.providers.d1 import D1Provider
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.providers.r2 import CloudflareR2Provider
from storage_providers.resilience import RetryPolicy
from storage_providers.settings import StorageSettings, open_provider

if TYPE_CHECKING:
    from tests.servers.emulator import Emulator
    from tests.servers.moto import MotoS3

SECRET = "hunter2-token"
ACCOUNT = "0123456789abcdef" * 2
KEYS = {"CLOUDFLARE_R2_ACCESS_KEY_ID": "key", "CLOUDFLARE_R2_SECRET_ACCESS_KEY": SECRET}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no variable of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.delenv("STORAGE_PROVIDERS_SETTINGS_FILE", raising=False)
    return tmp_path


class Asked(InMemoryProvider):
    """Takes what a provider of a bucket takes, and keeps it."""

    last: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        account_id: str | None = None,
        jurisdiction: str | None = None,
        endpoint_url: str | None = None,
        access_key_id: Secret | str | None = None,
        secret_access_key: Secret | str | None = None,
        session_token: Secret | str | None = None,
        region: str = "auto",
        concurrency: int = 4,
        retry: RetryPolicy | None = None,
        client: object = None,
    ) -> None:
        super().__init__()
        given = {name: value for name, value in locals().items() if name[:1] not in ("_", "s")}
        given["secret_access_key"], given["session_token"] = secret_access_key, session_token
        Asked.last = {name: value for name, value in given.items() if value is not None}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> type[Asked]:
    """In the place of the provider of R2."""
    scheme = _urls.SCHEMES["r2"]
    fake = _urls.Scheme(
        factory=f"{__name__}:Asked",
        example=scheme.example,
        place=scheme.place,
        secrets=scheme.secrets,
    )
    monkeypatch.setattr(_urls, "SCHEMES", {**_urls.SCHEMES, "r2": fake})
    return Asked


def set_variables(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Set environment variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def refusal(target: Any = None, **options: Any) -> str:
    """The message of the ConfigurationError, which never shows the secret."""
    with pytest.raises(ConfigurationError) as caught:
        open_provider(target, **options)
    assert SECRET not in str(caught.value) + repr(caught.value) + repr(caught.value.__context__)
    return str(caught.value)


# --- buckets by URL ------------------------------------------------------------------------------


def test_a_bucket_by_url(asked: type[Asked], monkeypatch: pytest.MonkeyPatch) -> None:
    """Bucket, prefix and options from the URL, credentials and the place from the settings."""
    set_variables(monkeypatch, **KEYS, CLOUDFLARE_ACCOUNT_ID=ACCOUNT)
    open_provider("r2://my-bucket/a/b%20c/?concurrency=2&jurisdiction=eu")
    assert asked.last == {
        "bucket": "my-bucket",
        "prefix": "a/b c",
        "concurrency": 2,
        "jurisdiction": "eu",
        "account_id": ACCOUNT,
        "access_key_id": Secret("key"),
        "secret_access_key": Secret(SECRET),
        "region": "auto",
    }
    set_variables(
        monkeypatch,
        CLOUDFLARE_R2_SESSION_TOKEN="session",
        CLOUDFLARE_R2_ENDPOINT="https://other.example",
        CLOUDFLARE_R2_REGION="weur",
    )
    open_provider("R2://my-bucket")
    assert (asked.last["prefix"], asked.last["endpoint_url"]) == ("", "https://other.example")
    assert (asked.last["session_token"], asked.last["region"]) == (Secret("session"), "weur")
    assert "account_id" not in asked.last


def test_what_belongs_together_comes_from_one_place(
    asked: type[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that are passed are not mixed with those of the settings, nor is the endpoint."""
    set_variables(
        monkeypatch,
        **KEYS,
        CLOUDFLARE_R2_SESSION_TOKEN="session",
        CLOUDFLARE_R2_ENDPOINT="https://other.example",
        CLOUDFLARE_ACCOUNT_ID=ACCOUNT,
    )
    open_provider("r2://b", access_key_id="mine", secret_access_key=Secret("mine"))
    assert (asked.last["access_key_id"], "session_token" in asked.last) == ("mine", False)
    for url, place in (
        (f"r2://b?account_id={'f' * 32}", {"account_id": "f" * 32}),
        ("r2://b?endpoint_url=https://x.example", {"endpoint_url": "https://x.example"}),
        ("r2://b?jurisdiction=eu", {"account_id": ACCOUNT, "jurisdiction": "eu"}),
        ("r2://b", {"endpoint_url": "https://other.example"}),
    ):
        open_provider(url)
        given = ("account_id", "endpoint_url", "jurisdiction")
        assert {name: asked.last[name] for name in given if name in asked.last} == place


def test_a_client_needs_no_settings(asked: type[Asked]) -> None:
    """Neither by URL nor by settings."""
    client = object()
    open_provider("r2://b/p", client=client)
    assert asked.last["client"] is client
    open_provider(provider="cloudflare-r2", bucket_name="b", client=client)
    assert (asked.last["bucket"], asked.last["prefix"]) == ("b", "valet")


def test_retries_of_the_settings_reach_the_provider(asked: type[Asked]) -> None:
    """If they are set, and the provider takes them; else it has its own."""
    base = {
        "provider": "cloudflare-r2",
        "access_key_id": "k",
        "secret_access_key": "s",
        "account_id": ACCOUNT,
    }
    open_provider(**base)
    assert "retry" not in asked.last
    open_provider(**base, max_retries=7, base_delay_seconds=20)
    assert asked.last["retry"].attempts == 8
    assert asked.last["retry"].base_delay_seconds == 20
    assert asked.last["retry"].max_delay_seconds == 20
    own = RetryPolicy(attempts=1)
    open_provider(**base, max_retries=7, retry=own)
    assert asked.last["retry"] is own


def test_retries_of_the_settings_reach_the_bucket() -> None:
    """They decide about every request of the provider of R2."""
    provider = open_provider(
        provider="cloudflare-r2",
        access_key_id="k",
        secret_access_key="s",
        account_id=ACCOUNT,
        max_retries=1,
    )
    assert isinstance(provider, CloudflareR2Provider)
    assert provider._store.resilience.retry.attempts == 2


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("r2:", "names no bucket"),
        ("r2:bucket", "names no bucket"),
        ("r2:///prefix", "names no bucket"),
        (f"r2://key:{SECRET}@bucket/x", "holds credentials"),
        (f"r2://{SECRET}@bucket", "holds credentials"),
        (f"r2://b?secret_access_key={SECRET}", "'secret_access_key' is no option of a URL"),
        (f"r2://b?access_key_id={SECRET}", "'access_key_id' is no option of a URL"),
        (f"r2://b?session_token={SECRET}", "'session_token' is no option of a URL"),
        ("r2://bucket/a#b", "%23"),
        ("r2://bucket/%ff", "not UTF-8"),
        ("r2://bucket/a?prefix=b", "'prefix' is given twice"),
        ("r2://Bucket_", "names no bucket between"),
        (f"r2://key:{SECRET}/x@bucket", "names no bucket between"),
        (f"r2://{SECRET}%40bucket", "names no bucket between"),
        ("r2://-a", "3 to 63"),
        ("r2://my-bucket/../x", "prefix"),
        ("r2://my-bucket/a//b", "prefix"),
        ("r2://my-bucket/a%2F..%2Fb", "prefix"),
        ("r2://my-bucket/%0a", "prefix"),
        ("r2://my-bucket?jurisdiction=moon", "is none or eu or fedramp or us"),
        ("r2://my-bucket?concurrency=many", "a whole number"),
        ("r2://my-bucket?client=x", "no option 'client'"),
        ("r2://my-bucket?endpoint_url=http://example.com", "plain http"),
        (f"r2://my-bucket?endpoint_url=https://u:{SECRET}@example.com", "holds credentials"),
    ],
)
def test_bucket_urls_refused(url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With advice, and without what may be a secret."""
    set_variables(monkeypatch, **KEYS, CLOUDFLARE_ACCOUNT_ID=ACCOUNT)
    assert words in refusal(url)


def test_what_a_bucket_lacks_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variables; what is there already is not asked for."""
    message = refusal("r2://bucket")
    for variable in (
        "CLOUDFLARE_R2_ACCESS_KEY_ID",
        "CLOUDFLARE_R2_SECRET_ACCESS_KEY",
        "CLOUDFLARE_R2_ENDPOINT",
        "CLOUDFLARE_ACCOUNT_ID",
    ):
        assert variable in message
    set_variables(monkeypatch, CLOUDFLARE_R2_ACCESS_KEY_ID="key")
    message = refusal("r2://bucket?jurisdiction=eu")
    assert message == (
        "set CLOUDFLARE_R2_SECRET_ACCESS_KEY in the environment or in .env; "
        "set CLOUDFLARE_ACCOUNT_ID in the environment or in .env"
    )
    message = refusal("r2://bucket?endpoint_url=https://x.example")
    assert message == "set CLOUDFLARE_R2_SECRET_ACCESS_KEY in the environment or in .env"
    assert "prefix" in refusal(provider="cloudflare-r2", client=object(), prefix="x")


def test_a_real_bucket_by_url(moto: MotoS3, moto_bucket: str, folder: Path) -> None:
    """Documents lie under the prefix; the repr shows the place and no key."""
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in KEYS.items()))
    provider = open_provider(f"r2://{moto_bucket}/team?endpoint_url={moto.endpoint}")
    assert isinstance(provider, CloudflareR2Provider)
    assert SECRET not in repr(provider)

    async def use() -> None:
        async with provider:
            await provider.put_item("todos", {"id": "1"})

    asyncio.run(use())
    assert moto.keys(moto_bucket) == ["team/todos/1.json"]


# --- databases by URL ----------------------------------------------------------------------------

DATABASE = "01234567-89ab-cdef-0123-456789abcdef"
API = {"CLOUDFLARE_API_TOKEN": SECRET, "CLOUDFLARE_ACCOUNT_ID": ACCOUNT}


def d1_of(target: Any = None, **options: Any) -> D1Provider:
    """The provider of a database, whatever stands on it."""
    provider: Any = open_provider(target, **options)
    while isinstance(provider, Scope):
        provider = provider.inner
    assert isinstance(provider, D1Provider)
    return provider


def test_a_database_by_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its id or its name; token, account and the API's address come from the settings."""
    set_variables(monkeypatch, **API)
    place = d1_of(f"d1://{DATABASE}")._place
    assert (place.database_id, place.database_name) == (DATABASE, None)
    assert (place.account_id, place.token, place.base_url) == (ACCOUNT, Secret(SECRET), None)
    assert place.retry is None
    assert SECRET not in repr(place) + repr(d1_of(f"d1://{DATABASE}"))
    set_variables(
        monkeypatch,
        CLOUDFLARE_API_BASE_URL="https://gateway.example/v4",
        CLOUDFLARE_MAX_RETRIES="7",
        CLOUDFLARE_BASE_DELAY="20",
    )
    place = d1_of("d1://my-database/")._place
    assert (place.database_id, place.database_name) == (None, "my-database")
    assert place.base_url == "https://gateway.example/v4"
    assert place.retry is not None
    assert (place.retry.attempts, place.retry.base_delay_seconds) == (8, 20)
    place = d1_of("d1://my-database", token="mine", account_id="f" * 32)._place
    assert (place.token, place.account_id) == (Secret("mine"), "f" * 32)


def test_a_database_by_settings() -> None:
    """The id is a setting as well; a client or a binding needs none but it."""
    base: dict[str, Any] = {
        "provider": "cloudflare-d1",
        "api_token": "t",
        "account_id": ACCOUNT,
        "d1_database_id": DATABASE,
    }
    assert d1_of(**base)._place.database_id == DATABASE
    own = RetryPolicy(attempts=1)
    assert d1_of(**base, max_retries=7, retry=own)._place.retry is own
    retry = d1_of(**base, max_retries=0)._place.retry
    assert retry == RetryPolicy(attempts=1, base_delay_seconds=1.0)
    client = CloudflareClient(account_id=ACCOUNT, token="t")
    place = d1_of(provider="cloudflare-d1", d1_database_id=DATABASE, client=client)._place
    assert (place.client, place.token, place.database_id) == (client, None, DATABASE)
    assert d1_of(f"d1://{DATABASE}", client=client)._place.client is client
    assert d1_of(provider="cloudflare-d1", binding=object())._place.database_id is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("d1:", "names no database"),
        ("d1://", "names no database"),
        ("d1:database", "names no database"),
        ("d1://a/b", "names no database"),
        ("d1://a b", "names no database"),
        ("d1://%61", "names no database"),
        (f"d1://{SECRET}@database", "names no database"),
        (f"d1://x?token={SECRET}", "'token' is no option of a URL"),
        (f"d1://x?account_id={ACCOUNT}", "'account_id' is no option of a URL"),
        ("d1://x?base_url=https://elsewhere.example", "'base_url' is no option of a URL"),
        ("d1://x?database_id=y", "database_id and database_name"),
        ("d1://x?database_name=y", "given twice"),
        ("d1://x?retry=5", "no option 'retry'"),
        ("d1://x?client=5", "no option 'client'"),
    ],
)
def test_database_urls_refused(url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With advice; nothing that a URL says makes the token go elsewhere."""
    set_variables(monkeypatch, **API)
    assert words in refusal(url)


def test_what_a_database_lacks_is_named_at_once() -> None:
    """By its variables."""
    message = refusal("d1://x")
    assert "CLOUDFLARE_API_TOKEN" in message
    assert "CLOUDFLARE_ACCOUNT_ID" in message
    message = refusal(provider="cloudflare-d1", api_token="t", account_id=ACCOUNT)
    assert "CLOUDFLARE_D1_DATABASE_ID" in message


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://api.example/client/v4", "plain http"),
        (f"https://u:{SECRET}@api.example", "more than scheme"),
        (f"https://api.example/v4?key={SECRET}", "more than scheme"),
        ("api.example/v4", "is not a URL"),
    ],
)
def test_the_address_of_the_api_is_checked(
    address: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the token could go there."""
    set_variables(monkeypatch, **API, CLOUDFLARE_API_BASE_URL=address)
    message = refusal("d1://x")
    assert words in message
    assert "CLOUDFLARE_API_BASE_URL" in message


def test_each_user_has_a_part_of_a_database(
    cloudflare: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by the prefix, in the database that the settings name; a name is an address as well."""
    known = cloudflare.known
    cloudflare.empty_database(known.databases[1])
    set_variables(
        monkeypatch,
        CLOUDFLARE_API_TOKEN=known.token,
        CLOUDFLARE_ACCOUNT_ID=known.account,
        CLOUDFLARE_API_BASE_URL=known.api,
        STORAGE_PROVIDERS_KEY_PREFIX="teams/user-{userId}",
    )

    async def play() -> list[str]:
        for user in ("7", "70"):
            provider = open_provider(
                provider="cloudflare-d1", d1_database_id=known.databases[1], user_id=user
            )
            assert isinstance(provider, Scope)
            assert await fill(provider, user) == [user]
        async with open_provider("d1://database-2") as everything:
            return await everything.collections()

    assert asyncio.run(play()) == ["teams/user-7/todos", "teams/user-70/todos"]


# --- one user's part -----------------------------------------------------------------------------


def settings_of(kind: str, user_id: str | None, folder: Path, **more: Any) -> StorageSettings:
    """Settings of a kind of provider, with a place for the user."""
    values: dict[str, Any] = {
        "local": {"provider": "local", "data_path": str(folder / "data")},
        "sqlite": {"provider": "sqlite", "data_path": str(folder)},
        "url": {"url": f"sqlite:{folder / 'url.db'}"},
        "file url": {"url": f"file:{folder / 'data'}"},
    }[kind]
    return StorageSettings(key_prefix="teams/user-{userId}", user_id=user_id, **values, **more)


async def fill(provider: Provider, text: str) -> list[str]:
    """Put a document and list everything."""
    async with provider:
        await provider.put_item("todos", {"id": "1", "text": text})
        return [
            str(item.document["text"])
            for name in await provider.collections()
            async for item in provider.find_items(name)
        ]


@pytest.mark.parametrize("kind", ["local", "sqlite", "url", "file url"])
def test_each_user_has_a_part_of_every_provider(kind: str, folder: Path) -> None:
    """Named by the prefix; whoever opens it without a user sees everything."""
    users = ("7", "70", "u", "U", "\u00e9", "e", "%2e", "*", "a.b", "{userId}", "con", "8 8")
    for _ in range(2):
        for user in users:
            seen = asyncio.run(fill(open_provider(settings_of(kind, user, folder)), user))
            assert seen == [user]

    async def everything() -> list[str]:
        async with open_provider(settings_of(kind, None, folder)) as provider:
            return await provider.collections()

    assert asyncio.run(everything()) == sorted(f"teams/user-{user}/todos" for user in users)


def test_each_user_has_a_prefix_of_a_bucket(moto: MotoS3, moto_bucket: str) -> None:
    """The provider itself is confined; nothing above it needs to be."""
    base: dict[str, Any] = {
        "provider": "cloudflare-r2",
        "bucket_name": moto_bucket,
        "endpoint": moto.endpoint,
        "access_key_id": Secret("k"),
        "secret_access_key": Secret("s"),
        "key_prefix": "teams/user-{userId}",
    }

    async def play() -> None:
        for user in ("7", "70", "%41", "A"):
            provider = open_provider(StorageSettings(**base, user_id=user))
            assert isinstance(provider, CloudflareR2Provider)
            assert await fill(provider, user) == [user]
        base["url"] = f"r2://{moto_bucket}/shared"
        provider = open_provider(StorageSettings(**base, user_id="7"))
        assert isinstance(provider, Scope)
        assert await fill(provider, "shared") == ["shared"]

    asyncio.run(play())
    assert sorted(moto.keys(moto_bucket)) == sorted(
        [
            *(f"teams/user-{user}/todos/1.json" for user in ("7", "70", "%41", "A")),
            "shared/teams/user-7/todos/1.json",
        ]
    )


def test_a_user_needs_a_place_in_every_provider() -> None:
    """Without one, users would share their documents, whatever they lie in."""
    kinds: list[dict[str, Any]] = [
        {"provider": "local"},
        {"provider": "memory"},
        {"url": "memory:"},
    ]
    for values in kinds:
        message = refusal(StorageSettings(user_id="7", **values))
        assert "user_id (argument) has no place in keyPrefix (default)" in message
    assert isinstance(open_provider(StorageSettings(key_prefix="u-{userId}")), Provider)
    long = StorageSettings(provider="memory", key_prefix="{userId}", user_id="x" * 257)
    assert "257 bytes" in refusal(long)


def test_a_url_that_is_passed_is_opened_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings do not narrow it."""
    set_variables(
        monkeypatch, STORAGE_PROVIDERS_USER_ID="7", STORAGE_PROVIDERS_KEY_PREFIX="{userId}"
    )
    assert isinstance(open_provider("memory:"), InMemoryProvider)
    assert isinstance(open_provider(provider="memory"), Scope)


@given(st.text(max_size=8), st.text(max_size=8))
def test_no_user_id_reaches_another(one: str, other: str) -> None:
    """Whatever text it is: it is refused, or its prefix is nobody else's and in nobody's."""
    prefixes: list[str] = []
    for user in {one, other, one.strip(), f"{one}/", f"{one}/x"}:
        try:
            settings = StorageSettings(provider="memory", key_prefix="u/{userId}", user_id=user)
            open_provider(settings)
        except StorageError:
            continue
        prefixes.append(settings.resolved_key_prefix() + "/")
    assert len(set(prefixes)) == len(prefixes)
    assert not [a for a in prefixes for b in prefixes if a != b and a.startswith(b)]
    assert all(prefix.count("/") == 2 for prefix in prefixes)
