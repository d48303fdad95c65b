"""Settings from every source, and providers opened from URLs and settings."""

from __future__ import annotations

import asyncio
import io
import json
import pickle
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from storage_providers import _urls
from storage_providers._hosts import is_loopback
from storage_providers._secrets import MASK, Secret
from storage_providers._settings_table import PROVIDERS, SETTINGS
from storage_providers.errors import ConfigurationError, UnsupportedOperationError
from storage_providers.providers.in_memory import InMemoryProvider
from storage_providers.settings import (
    SettingReport,
    SettingsReport,
    StorageSettings,
    explain_settings,
    open_provider,
)

SECRET = "hunter2-token"

R2_VARIABLES = {
    "CLOUDFLARE_R2_ENDPOINT": "https://acc.r2.cloudflarestorage.com",
    "CLOUDFLARE_R2_ACCESS_KEY_ID": SECRET,
    "CLOUDFLARE_R2_SECRET_ACCESS_KEY": SECRET,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and no variable of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.delenv("STORAGE_PROVIDERS_SETTINGS_FILE", raising=False)
    return tmp_path


def write_settings(folder: Path, storage: Any, name: str = "settings.json") -> Path:
    """Write a settings.json with this `storage` section, among others."""
    path = folder / name
    path.write_text(json.dumps({"version": "1.0.0", "user": {"name": "x"}, "storage": storage}))
    return path


def set_variables(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Set environment variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def entry(report: SettingsReport, name: str) -> SettingReport:
    """One setting of a report."""
    return next(setting for setting in report.settings if setting.name == name)


def refusal(action: Any, *arguments: Any, **options: Any) -> str:
    """The message of the ConfigurationError, which never shows the secret in any form."""
    with pytest.raises(ConfigurationError) as caught:
        action(*arguments, **options)
    shown = "".join(traceback.format_exception(caught.value)).split("ConfigurationError")[-1]
    assert SECRET not in shown
    assert SECRET not in repr(caught.value)
    assert SECRET not in repr(caught.value.__context__)
    return str(caught.value)


# --- sources -----------------------------------------------------------------------------------


def test_defaults() -> None:
    """Without any source the documented defaults hold, and say that they are defaults."""
    settings = StorageSettings.load()
    assert settings.provider == "local"
    assert settings.data_path == "./valet-data"
    assert settings.bucket_name == "mcp-server-valet-storage"
    assert settings.key_prefix == "valet"
    assert settings.region == "auto"
    assert settings.embedding_model == "@cf/baai/bge-base-en-v1.5"
    assert settings.large_content_threshold_bytes == 1_048_576
    assert settings.max_retries == 3
    assert settings.base_delay_seconds == 1.0
    assert settings.sync_interval_ms == 30_000
    assert settings.enable_sync is settings.enable_backup is False
    report = settings.explain()
    assert {setting.origin for setting in report.settings} == {"default"}
    assert [file.status for file in report.files] == ["not there", "not there"]
    assert report.problems == ()


def test_table_and_settings_agree() -> None:
    """The defaults of the class are those of the table, and every setting has its attribute."""
    assert {setting.name for setting in SETTINGS} == set(StorageSettings.__struct_fields__) - {
        "origins",
        "files",
    }
    plain = StorageSettings()
    for setting in SETTINGS:
        assert getattr(plain, setting.name) == setting.default
    variables = [setting.variable for setting in SETTINGS]
    assert len(set(variables)) == len(variables)
    assert set(PROVIDERS.values()) == set(_urls.SCHEMES) - {"dual-write"}  # for a while, by URL


SAMPLES: dict[str, tuple[str, Any]] = {
    "url": ("memory:", "memory:"),
    "provider": ("sqlite", "sqlite"),
    "data_path": ("/data", "/data"),
    "enable_backup": ("YES", True),
    "hybrid_primary": ("cloudflare-d1", "cloudflare-d1"),
    "hybrid_fallback": ("sqlite", "sqlite"),
    "hybrid_journal": ("/journals", "/journals"),
    "hybrid_policy": ("newest", "newest"),
    "hybrid_degraded_writes": ("journal", "journal"),
    "hybrid_retry_seconds": ("0.5", 0.5),
    "endpoint": ("https://acc.r2.cloudflarestorage.com/", "https://acc.r2.cloudflarestorage.com"),
    "access_key_id": ("k", Secret("k")),
    "secret_access_key": ("s", Secret("s")),
    "session_token": ("t", Secret("t")),
    "region": ("weur", "weur"),
    "bucket_name": ("b", "b"),
    "key_prefix": ("user-{userId}", "user-{userId}"),
    "user_id": ("7", "7"),
    "enable_sync": ("1", True),
    "sync_interval_ms": ("500", 500),
    "api_token": ("t", Secret("t")),
    "account_id": ("acc", "acc"),
    "api_base_url": ("https://api.example/v4/", "https://api.example/v4"),
    "d1_database_id": ("d", "d"),
    "kv_namespace_id": ("n", "n"),
    "vectorize_index": ("i", "i"),
    "content_bucket": ("c", "c"),
    "embedding_model": ("@cf/other", "@cf/other"),
    "large_content_threshold_bytes": ("0", 0),
    "max_retries": ("0", 0),
    "base_delay_seconds": ("0.5", 0.5),
    "memory_backend": ("cloudflare", "cloudflare"),
    "log_level": ("DEBUG", "DEBUG"),
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_every_variable_in_environment_and_dotenv(
    setting: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each variable is read from `.env`, and the environment counts more."""
    text, value = SAMPLES[setting.name]
    (folder / ".env").write_text(f"# ours\nOTHER=1\n{setting.variable}='{text}'\n")
    settings = StorageSettings.load()
    assert getattr(settings, setting.name) == value
    assert settings.origins == {setting.name: f".env {folder / '.env'}"}
    monkeypatch.setenv(setting.variable, text)
    assert StorageSettings.load().origins == {setting.name: "environment"}
    monkeypatch.setenv(setting.variable, "")
    assert StorageSettings.load().origins[setting.name].startswith(".env"), "empty is not set"


def test_settings_json(folder: Path) -> None:
    """The `storage` section is read; other sections are none of ours."""
    path = write_settings(
        folder,
        {
            "provider": "cloudflare-r2",
            "cloudflare": {
                "endpoint": "https://acc.r2.cloudflarestorage.com",
                "bucketName": "valet-data",
                "keyPrefix": "user-{userId}",
                "enableSync": True,
                "syncInterval": 1000,
            },
            "local": {"dataPath": "./d", "enableBackup": True},
        },
    )
    settings = StorageSettings.load()
    assert settings.provider == "cloudflare-r2"
    assert settings.endpoint == "https://acc.r2.cloudflarestorage.com"
    assert settings.bucket_name == "valet-data"
    assert settings.key_prefix == "user-{userId}"
    assert settings.enable_sync is True
    assert settings.sync_interval_ms == 1000
    assert settings.data_path == "./d"
    assert settings.enable_backup is True
    assert set(settings.origins.values()) == {f"settings.json {path}"}


def test_precedence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments over environment over `.env` over settings.json over defaults."""
    write_settings(folder, {"cloudflare": {"bucketName": "json", "keyPrefix": "json"}})
    assert StorageSettings.load().bucket_name == "json"
    (folder / ".env").write_text("CLOUDFLARE_R2_BUCKET_NAME=dotenv\n")
    assert StorageSettings.load().bucket_name == "dotenv"
    monkeypatch.setenv("CLOUDFLARE_R2_BUCKET_NAME", "environment")
    assert StorageSettings.load().bucket_name == "environment"
    settings = StorageSettings.load(bucket_name="argument", region=None)
    assert settings.bucket_name == "argument"
    report = settings.explain()
    assert entry(report, "bucket_name").origin == "argument"
    assert entry(report, "bucket_name").path == "storage.cloudflare.bucketName"
    assert entry(report, "key_prefix").origin == f"settings.json {folder / 'settings.json'}"
    assert entry(report, "region").origin == "default"


def test_files_that_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was named must be there; the settings file may be named by a variable."""
    other = write_settings(folder, {"provider": "memory"}, "other.json")
    (folder / "my.env").write_text(f"STORAGE_PROVIDERS_SETTINGS_FILE={other}\n")
    settings = StorageSettings.load(env_file="my.env")
    assert settings.provider == "memory"
    assert [file.path for file in settings.files] == [str(folder / "my.env"), str(other)]
    assert [file.status for file in settings.files] == ["read", "read"]
    monkeypatch.setenv("STORAGE_PROVIDERS_SETTINGS_FILE", "absent.json")
    message = refusal(StorageSettings.load, env_file=folder / "absent.env")
    assert f"{folder / 'absent.env'} is not there" in message
    assert f"{folder / 'absent.json'} is not there" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"storage": {"provider": "hunter2-token",', "is not JSON: line 1, column"),
        (b'["hunter2-token"]', "no object"),
        (b'{"storage": "hunter2-token"}', "no object under 'storage'"),
        (b'{"storage": {"local": "hunter2-token"}}', "storage.local"),
        (b'{"storage": {"cloudflare": {"secretAccessKey": "hunter2-token"}}}', "go into the envir"),
        (b'{"storage": {"provider": "hunter2-token"}}', "none of local, sqlite, memory"),
        (b'{"storage": {"provider": {}}}', "none of local, sqlite, memory"),
        (b'{"storage": {"cloudflare": {"syncInterval": 0}}}', "whole number of at least 1"),
        (b'{"storage": {"cloudflare": {"syncInterval": true}}}', "whole number of at least 1"),
        (b'{"storage": {"local": {"enableBackup": "hunter2-token"}}}', "neither true nor false"),
        (b'{"storage": {"cloudflare": {"keyPrefix": "a/../hunter2-token"}}}', "or '..'"),
        (b'{"storage": "\xffhunter2-token"}', "can't be read"),
    ],
)
def test_broken_settings_json(folder: Path, content: bytes, words: str) -> None:
    """What is wrong with a settings file is said with its path and place, without its content."""
    (folder / "settings.json").write_bytes(content)
    message = refusal(StorageSettings.load)
    assert words in message
    assert str(folder / "settings.json") in message
    report = explain_settings()
    assert report.problems
    assert SECRET not in repr(report)


def test_broken_dotenv(folder: Path) -> None:
    """Lines that are no settings, and bytes that are no text, are named by line and file."""
    (folder / ".env").write_text(f"LOG_LEVEL=DEBUG\n{SECRET} x\n")
    assert f"{folder / '.env'} line 2 is not of the form" in refusal(StorageSettings.load)
    (folder / ".env").write_bytes(b"CLOUDFLARE_API_TOKEN=hunter2-token\xff\n")
    assert f"{folder / '.env'} can't be read (UnicodeDecodeError)" in refusal(StorageSettings.load)


def test_all_problems_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wrong value is named, by variable and origin, and the report goes on beside them."""
    (folder / ".env").write_text(f"CLOUDFLARE_BASE_DELAY={SECRET}\n")
    set_variables(
        monkeypatch,
        {
            "CLOUDFLARE_MAX_RETRIES": SECRET,
            "CLOUDFLARE_R2_ENDPOINT": f"http://{SECRET}.example.com",
            "CLOUDFLARE_API_TOKEN": SECRET,
        },
    )
    message = refusal(StorageSettings.load, sync_interval_ms="-1")
    assert "CLOUDFLARE_MAX_RETRIES (environment) is not a whole number of at least 0" in message
    assert f"CLOUDFLARE_BASE_DELAY (.env {folder / '.env'}) is not a number" in message
    assert "CLOUDFLARE_R2_ENDPOINT (environment) is plain http" in message
    assert "sync_interval_ms (argument) is not a whole number of at least 1" in message
    report = explain_settings(sync_interval_ms="-1")
    assert len(report.problems) == 4
    assert entry(report, "api_token").value == MASK
    assert entry(report, "api_token").origin == "environment"
    assert SECRET not in repr(report)
    assert "there is no setting 'buckett'" in refusal(StorageSettings.load, buckett="x")


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("http://example.com", "plain http"),
        ("http://127.0.0.1.example.com", "plain http"),
        ("https://user:hunter2-token@example.com", "holds credentials"),
        ("https://example.com/bucket", "after the host"),
        ("https://example.com?x=1", "after the host"),
        ("ftp://example.com", "not a URL"),
        ("example.com", "not a URL"),
        ("https://", "not a URL"),
        ("https://example.com:hunter2-token", "not a URL"),
        ("https://[::1", "not a URL"),
        (5, "not text"),
    ],
)
def test_endpoints_refused(endpoint: Any, words: str) -> None:
    """An endpoint is https, or this machine, and holds nothing but a host."""
    assert words in refusal(StorageSettings, endpoint=endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost:9000",
        "http://127.0.0.1:9000",
        "http://[::1]:9000",
        "http://r2.localhost",
        "https://acc.eu.r2.cloudflarestorage.com",
    ],
)
def test_endpoints_accepted(endpoint: str) -> None:
    """Plain http is for this machine alone."""
    assert StorageSettings(endpoint=endpoint).endpoint == endpoint


def test_loopback() -> None:
    """Only real loopback addresses and names count."""
    assert not is_loopback(None)
    assert not is_loopback("localhost.example.com")
    assert not is_loopback("10.0.0.1")
    assert is_loopback("127.8.9.10")


# --- secrets -----------------------------------------------------------------------------------


def test_secret_shows_itself_only_when_asked() -> None:
    """No repr, str, format or container shows a secret; it survives pickling and compares."""
    secret = Secret(SECRET)
    shown = f"{secret} {secret!r} {[secret]} {secret:>20} %s" % secret
    assert SECRET not in shown
    assert MASK in shown
    assert secret.reveal() == SECRET
    assert pickle.loads(pickle.dumps(secret)) == secret == Secret(SECRET)
    assert secret != Secret("other")
    assert secret != SECRET
    assert len({secret, Secret(SECRET)}) == 1
    assert not Secret("")
    assert not hasattr(secret, "__dict__")


def test_settings_mask_secrets_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings given as plain text are masked in repr and report, and survive pickling."""
    set_variables(monkeypatch, {"CLOUDFLARE_API_TOKEN": SECRET})
    loaded = StorageSettings.load(
        secret_access_key=SECRET, url=f"file:./x?option={SECRET}", access_key_id=Secret(SECRET)
    )
    direct = StorageSettings(api_token=SECRET, url=f"file:./x?o={SECRET}")  # type: ignore[arg-type]
    for settings in (loaded, direct):
        assert settings.api_token is not None
        assert settings.api_token.reveal() == SECRET
        assert SECRET not in repr(settings) + str(settings) + repr(settings.explain())
        console = Console(file=io.StringIO(), width=400)
        console.print(settings)
        assert SECRET not in cast(io.StringIO, console.file).getvalue()
        assert pickle.loads(pickle.dumps(settings)) == settings
    assert entry(direct.explain(), "api_token").origin == "argument"
    assert entry(loaded.explain(), "url").value == f"file:./x?{MASK}"
    with pytest.raises(AttributeError):
        loaded.provider = "memory"  # type: ignore[misc]


def test_urls_hold_no_credentials() -> None:
    """Credentials in a URL setting are refused: they would be shown with it."""
    assert "url holds credentials" in refusal(StorageSettings, url=f"r2://key:{SECRET}@bucket/x")
    assert StorageSettings(url="file:///a@b?c=d://e@f").url == "file:///a@b?c=d://e@f"


def test_the_documented_table_is_the_real_one() -> None:
    """The page on settings names every setting with its variable, place and default."""
    page = Path(__file__).parent.parent / "docs" / "how-to" / "settings.md"
    rows = re.findall(r"^\| (`\w+` \| `[A-Z0-9_]+` \|.*) ?\|$", page.read_text(), re.MULTILINE)
    documented = [tuple(cell.strip().strip("`") for cell in row.split("|")) for row in rows]
    expected = [
        (
            setting.name,
            setting.variable,
            setting.path or "",
            "made from the account" if setting.name == "endpoint" else _default(setting.default),
        )
        for setting in SETTINGS
    ]
    assert documented == expected


def _default(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- missing and contradicting -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "variables"),
    [
        (
            "cloudflare-r2",
            [
                "CLOUDFLARE_R2_ACCESS_KEY_ID",
                "CLOUDFLARE_R2_SECRET_ACCESS_KEY",
                "CLOUDFLARE_R2_ENDPOINT",
                "CLOUDFLARE_ACCOUNT_ID",
            ],
        ),
        (
            "cloudflare-kv",
            ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_KV_NAMESPACE_ID"],
        ),
        (
            "cloudflare-d1",
            ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_D1_DATABASE_ID"],
        ),
    ],
)
def test_missing_settings_are_named_together(provider: str, variables: list[str]) -> None:
    """All variables that a provider lacks are in one message."""
    settings = StorageSettings(provider=provider)
    message = refusal(settings.check)
    assert all(variable in message for variable in variables)
    assert settings.explain().problems
    complete = StorageSettings(
        provider=provider,
        access_key_id=Secret("k"),
        secret_access_key=Secret("s"),
        api_token=Secret("t"),
        account_id="acc",
        d1_database_id="d",
        kv_namespace_id="n",
    )
    complete.check()
    assert complete.r2_endpoint == "https://acc.r2.cloudflarestorage.com"


def test_require() -> None:
    """A part of the program asks for what it needs, by name."""
    settings = StorageSettings(account_id="a")
    message = refusal(settings.require, "account_id", "vectorize_index", "api_token")
    assert message == (
        "set CLOUDFLARE_VECTORIZE_INDEX and CLOUDFLARE_API_TOKEN in the environment or in .env"
    )
    settings.require("account_id")


def test_endpoint_of_another_account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint and account id must belong together; both origins are named."""
    set_variables(monkeypatch, R2_VARIABLES)
    (folder / ".env").write_text("CLOUDFLARE_ACCOUNT_ID=other\n")
    settings = StorageSettings.load(provider="cloudflare-r2")
    message = refusal(settings.check)
    assert "CLOUDFLARE_R2_ENDPOINT (environment)" in message
    assert f"CLOUDFLARE_ACCOUNT_ID (.env {folder / '.env'})" in message
    assert explain_settings(provider="cloudflare-r2").problems == (message,)
    StorageSettings.load(provider="cloudflare-r2", account_id="ACC").check()


def test_key_prefix_with_user_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """`{userId}` needs a user id, and a user id needs its place."""
    set_variables(monkeypatch, R2_VARIABLES)
    base = {"provider": "cloudflare-r2"}
    message = refusal(StorageSettings.load(**base, key_prefix="user-{userId}").check)
    assert "STORAGE_PROVIDERS_USER_ID" in message
    assert "user_id" in message
    settings = StorageSettings.load(**base, key_prefix="user-{userId}", user_id="7")
    settings.check()
    assert settings.resolved_key_prefix() == "user-7"
    message = refusal(StorageSettings.load(**base, user_id="7").check)
    assert "user_id (argument) has no place in keyPrefix (default)" in message
    assert StorageSettings().resolved_key_prefix() == "valet"
    assert StorageSettings(key_prefix="").resolved_key_prefix() == ""


@pytest.mark.parametrize(
    "prefix", ["{user}", "{userId", "a}b", "a//b", "..", "a/./b", "a\x00", "{}"]
)
def test_key_prefixes_refused(prefix: str) -> None:
    """Only `{userId}` is replaced, and a prefix stays inside its own."""
    assert "key_prefix" in refusal(StorageSettings, key_prefix=prefix)


@pytest.mark.parametrize(
    "user_id",
    [
        "a/b",
        "..",
        ".",
        "",
        " ",
        "a\nb",
        "\u202e",
        " a",
        "a ",
        "\u00a0a",
        "e\u0301",
        "a\x00",
        "a\x7f",
    ],
)
def test_user_ids_refused(user_id: str) -> None:
    """A user id can't reach into another user's prefix."""
    assert "user_id" in refusal(StorageSettings, user_id=user_id)


# --- opening -----------------------------------------------------------------------------------


def test_open_file(folder: Path) -> None:
    """The several forms of file URLs name the folders they seem to."""
    local_file = pytest.importorskip("storage_providers.providers.local_file")

    async def put_into(url: str, **options: Any) -> None:
        provider = open_provider(url, **options)
        assert isinstance(provider, local_file.LocalFileProvider)
        async with provider:
            await provider.put_item("todos", {"id": "1"})

    for url, root in (
        ("file:./valet-data", folder / "valet-data"),
        ("file:plain?enable_backup=true&rescan_seconds=2", folder / "plain"),
        (f"file://{folder}/abs%20olute", folder / "abs olute"),
        (f"file://localhost{folder}/local", folder / "local"),
        (f"FILE:{folder}/one", folder / "one"),
    ):
        asyncio.run(put_into(url))
        assert (root / "todos" / "1.json").is_file()
    asyncio.run(put_into("file:opt", enable_backup=True))


def test_open_sqlite_and_memory(folder: Path) -> None:
    """SQLite files, SQLite in memory, and memory."""
    from storage_providers.providers.sqlite import SQLiteProvider

    provider = open_provider("sqlite:agents.db?synchronous=NORMAL&busy_timeout_seconds=5")
    assert isinstance(provider, SQLiteProvider)
    assert Path(provider.path) == Path("agents.db")
    inside = open_provider("sqlite::memory:")
    assert isinstance(inside, SQLiteProvider)
    assert inside.path == ":memory:"

    async def use() -> None:
        async with provider, inside:
            for each in (provider, inside):
                await each.put_item("todos", {"id": "1"})
                assert await each.count_items("todos") == 1

    asyncio.run(use())
    assert (folder / "agents.db").is_file()
    assert not (folder / ":memory:").exists()
    assert isinstance(open_provider("memory:"), InMemoryProvider)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("./valet-data", "begins with a scheme"),
        ("hunter2-token", "begins with a scheme"),
        ("hunter2-token:x", "that is not the scheme"),
        ("postgres://x", "'postgres' is not the scheme"),
        ("C:\\data", "file:///C:/"),
        ("file:", "names no path"),
        ("file:a%00b", "U+0000"),
        ("file:a%ff", "not UTF-8"),
        ("file://host/x", "two slashes"),
        ("file:a#b", "%23"),
        ("file:a?x", "name=value"),
        ("memory:x", "nothing after the colon"),
        ("memory:?a=hunter2-token", "no option 'a'; known: none"),
        ("sqlite:a?synchronous=hunter2-token", "'synchronous' is "),
        ("sqlite:a?busy_timeout_seconds=hunter2-token", "a number"),
        ("sqlite:a?clock=x", "known: synchronous, busy_timeout_seconds"),
        ("sqlite:a?synchronous=FULL&synchronous=FULL", "twice"),
    ],
)
def test_urls_refused(url: str, words: str) -> None:
    """A malformed URL is refused with advice, without being repeated."""
    assert words in refusal(open_provider, url)


def test_schemes_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known schemes without a provider say so, and what there is."""
    later = _urls.Scheme(factory=None, example="later:", place=lambda _: ((), {}))
    monkeypatch.setattr(_urls, "SCHEMES", {**_urls.SCHEMES, "later": later})
    with pytest.raises(
        UnsupportedOperationError, match=r"yet; it has file:.*sqlite:.*memory:"
    ) as e:
        open_provider("later:hunter2-token")
    assert SECRET not in str(e.value)


def test_options() -> None:
    """Options are given once, and unknown ones are refused with the known ones."""
    message = refusal(open_provider, "sqlite:a?synchronous=FULL", synchronous="FULL")
    assert "in the URL and as an argument" in message
    assert "'wal'" in refusal(open_provider, "sqlite:a", wal=True)
    assert "not int" in refusal(open_provider, 5)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (bool | None, "off", False),
        (int, "12", 12),
        (float | None, "2", 2.0),
        (float | None, "None", None),
        (str, "x", "x"),
    ],
)
def test_option_types(annotation: Any, text: str, value: Any) -> None:
    """Text becomes what the constructor takes."""
    assert _urls._value("option", text, annotation) == value


@pytest.mark.parametrize(("annotation", "text"), [(bool, "2"), (int, "1.5"), (float, "x")])
def test_option_texts_refused(annotation: Any, text: str) -> None:
    """Text that is not of the option's type is refused."""
    assert "'option' is" in refusal(_urls._value, "option", text, annotation)


def test_open_from_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a URL the settings decide; with settings, those."""
    from storage_providers.providers.sqlite import SQLiteProvider

    assert isinstance(open_provider(provider="memory"), InMemoryProvider)
    monkeypatch.setenv("STORAGE_PROVIDERS_PROVIDER", "memory")
    assert isinstance(open_provider(), InMemoryProvider)
    provider = open_provider(StorageSettings(provider="sqlite", data_path=str(folder)))
    assert isinstance(provider, SQLiteProvider)
    assert Path(provider.path) == folder / "storage.db"
    tuned = open_provider(provider="sqlite", data_path=folder, synchronous="NORMAL")
    assert isinstance(tuned, SQLiteProvider)
    assert isinstance(open_provider(StorageSettings(url="memory:")), InMemoryProvider)


def test_open_local_from_settings_json(folder: Path) -> None:
    """The `local` section of settings.json opens the folder it names."""
    local_file = pytest.importorskip("storage_providers.providers.local_file")
    write_settings(folder, {"provider": "local", "local": {"dataPath": "./mine"}})
    provider = open_provider()
    assert isinstance(provider, local_file.LocalFileProvider)

    async def use() -> None:
        async with provider:
            await provider.put_item("todos", {"id": "1"})

    asyncio.run(use())
    assert (folder / "mine" / "todos" / "1.json").is_file()


def test_url_and_provider(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL replaces settings of weaker sources, gives way to stronger, and contradicts equals."""
    from storage_providers.providers.sqlite import SQLiteProvider

    write_settings(folder, {"provider": "cloudflare-r2"})
    monkeypatch.setenv("STORAGE_PROVIDERS_URL", "memory:")
    assert isinstance(open_provider(), InMemoryProvider)
    assert isinstance(open_provider(provider="sqlite"), SQLiteProvider)
    assert StorageSettings.load(provider="sqlite").url is None
    monkeypatch.setenv("STORAGE_PROVIDERS_DATA_PATH", "./x")
    message = refusal(open_provider)
    assert "STORAGE_PROVIDERS_URL and STORAGE_PROVIDERS_DATA_PATH" in message
    assert explain_settings().problems == (message,)


def test_imports_stay_small() -> None:
    """The module and URLs need no pydantic; reading settings does."""
    code = (
        "import sys\n"
        "from storage_providers.settings import open_provider, StorageSettings\n"
        "open_provider('memory:')\n"
        "open_provider('sqlite:x.db')\n"
        "assert not [name for name in sys.modules if 'pydantic' in name]\n"
        "StorageSettings.load()\n"
        "assert 'pydantic_settings' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
