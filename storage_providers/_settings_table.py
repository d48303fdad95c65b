"""Every setting there is: its variable, its place in settings.json, its default, its form."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from storage_providers._hosts import is_loopback
from storage_providers._secrets import MASK, Secret
from storage_providers.conflicts import POLICIES

__all__ = ["DEFAULT", "PROVIDERS", "SETTINGS", "Setting", "display"]

DEFAULT: Final = "default"
"""Origin of a setting that nobody set."""

PROVIDERS: Final = {
    "local": "file",
    "sqlite": "sqlite",
    "memory": "memory",
    "cloudflare-r2": "r2",
    "cloudflare-kv": "kv",
    "cloudflare-d1": "d1",
    "hybrid": "hybrid",
}
"""Values of the setting `provider`, with the URL scheme of each."""

SIDES: Final = tuple(name for name in PROVIDERS if name != "hybrid")
"""What either side of a hybrid may be."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting.

    Attributes:
        name: Name of the argument and attribute.
        variable: Name of the environment variable, the same in `.env`.
        path: Dotted path inside the `storage` section of settings.json, if it has one.
        default: What holds if nobody sets it.
        parse: Turns text, or a value of settings.json or an argument, into the setting's type;
            raises `ValueError` with words that do not hold the value.
        secret: Whether the value is never shown.
    """

    name: str
    variable: str
    parse: Callable[[Any], Any]
    path: str | None = None
    default: Any = None
    secret: bool = False


def display(setting: Setting, value: Any) -> str:
    """A value as reports show it; secrets, and the options of a URL, are masked."""
    if value is None:
        return "not set"
    if setting.secret:
        return MASK
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if setting.name == "url" and "?" in text:
        return f"{text.partition('?')[0]}?{MASK}"
    return text


# --- forms -------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is not text, or is empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("holds a control character")
    return value.strip()


def _secret(value: Any) -> Secret:
    if isinstance(value, Secret):
        return Secret(_text(value.reveal()))
    return Secret(_text(value))


def _path(value: Any) -> str:
    text: object = value
    if isinstance(value, os.PathLike):
        text = os.fspath(cast("os.PathLike[str]", value))
    if not isinstance(text, str) or not text or "\x00" in text:
        raise ValueError("is not a path")
    return text


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError("is neither true nor false")


def _whole(least: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"\s*\+?\d{1,18}\s*", value, re.ASCII):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"is not a whole number of at least {least}")
        return value

    return parse


def _number(value: Any) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except ValueError:
        number = -1.0
    if isinstance(value, bool) or not 0 <= number < float("inf"):
        raise ValueError("is not a number of at least 0")
    return number


def _one_of(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"is none of {', '.join(words)}")
        return value

    return parse


def _endpoint(value: Any) -> str:
    text = _text(value).rstrip("/")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError("is not a URL such as https://ACCOUNT.r2.cloudflarestorage.com")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds credentials; they go into variables of their own")
    if parts.path or parts.query or parts.fragment:
        raise ValueError("has something after the host; the bucket is a setting of its own")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("is plain http, which is refused except to this machine; use https")
    return text


def _base_url(value: Any) -> str:
    text = _text(value).rstrip("/")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError("is not a URL such as https://api.cloudflare.com/client/v4")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("holds more than scheme, host, port and path")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("is plain http, which is refused except to this machine; use https")
    return text


def _key_prefix(value: Any) -> str:
    if value == "":
        return ""
    text = _text(value).strip("/")
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError("has a part that is empty, '.' or '..'")
    unknown = sorted({name for name in _PLACEHOLDER.findall(text) if name != "userId"})
    if unknown or "{" in _PLACEHOLDER.sub("", text) or "}" in _PLACEHOLDER.sub("", text):
        raise ValueError("has a placeholder other than {userId}")
    return text


def _user_id(value: Any) -> str:
    text = _text(value)
    if text != value:
        # Cut off, two ids would be one user.
        raise ValueError("begins or ends with a space")
    if "/" in text or text in (".", "..") or not text.isprintable():
        raise ValueError("may not hold '/' or be '.' or '..'")
    if unicodedata.normalize("NFC", text) != text:
        # R2 takes two spellings of a letter for one.
        raise ValueError("is not in Unicode's NFC form")
    return text


def _url(value: Any) -> str:
    text = _text(value)
    if ":" not in text:
        raise ValueError("has no scheme; write for instance file:./valet-data")
    authority = text.partition("?")[0].partition("://")[2].partition("/")[0]
    if "@" in authority:
        raise ValueError("holds credentials; they go into variables of their own")
    return text


# --- the table ---------------------------------------------------------------------------------

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(name="url", variable="STORAGE_PROVIDERS_URL", parse=_url),
    Setting(
        name="provider",
        variable="STORAGE_PROVIDERS_PROVIDER",
        path="provider",
        parse=_one_of(*PROVIDERS),
        default="local",
    ),
    Setting(
        name="data_path",
        variable="STORAGE_PROVIDERS_DATA_PATH",
        path="local.dataPath",
        parse=_path,
        default="./valet-data",
    ),
    Setting(
        name="enable_backup",
        variable="STORAGE_PROVIDERS_ENABLE_BACKUP",
        path="local.enableBackup",
        parse=_flag,
        default=False,
    ),
    Setting(
        name="hybrid_primary",
        variable="STORAGE_PROVIDERS_HYBRID_PRIMARY",
        path="hybrid.primary",
        parse=_one_of(*SIDES),
        default="cloudflare-r2",
    ),
    Setting(
        name="hybrid_fallback",
        variable="STORAGE_PROVIDERS_HYBRID_FALLBACK",
        path="hybrid.fallback",
        parse=_one_of(*SIDES),
        default="local",
    ),
    Setting(
        name="hybrid_journal",
        variable="STORAGE_PROVIDERS_HYBRID_JOURNAL",
        path="hybrid.journal",
        parse=_path,
    ),
    Setting(
        name="hybrid_policy",
        variable="STORAGE_PROVIDERS_HYBRID_POLICY",
        path="hybrid.policy",
        parse=_one_of(*POLICIES),
        default="merge",
    ),
    Setting(
        name="hybrid_degraded_writes",
        variable="STORAGE_PROVIDERS_HYBRID_DEGRADED_WRITES",
        path="hybrid.degradedWrites",
        parse=_one_of("unconditional", "journal"),
        default="unconditional",
    ),
    Setting(
        name="hybrid_retry_seconds",
        variable="STORAGE_PROVIDERS_HYBRID_RETRY_SECONDS",
        path="hybrid.retrySeconds",
        parse=_number,
        default=5.0,
    ),
    Setting(
        name="endpoint",
        variable="CLOUDFLARE_R2_ENDPOINT",
        path="cloudflare.endpoint",
        parse=_endpoint,
    ),
    Setting(
        name="access_key_id", variable="CLOUDFLARE_R2_ACCESS_KEY_ID", parse=_secret, secret=True
    ),
    Setting(
        name="secret_access_key",
        variable="CLOUDFLARE_R2_SECRET_ACCESS_KEY",
        parse=_secret,
        secret=True,
    ),
    Setting(
        name="session_token", variable="CLOUDFLARE_R2_SESSION_TOKEN", parse=_secret, secret=True
    ),
    Setting(name="region", variable="CLOUDFLARE_R2_REGION", parse=_text, default="auto"),
    Setting(
        name="bucket_name",
        variable="CLOUDFLARE_R2_BUCKET_NAME",
        path="cloudflare.bucketName",
        parse=_text,
        default="mcp-server-valet-storage",
    ),
    Setting(
        name="key_prefix",
        variable="STORAGE_PROVIDERS_KEY_PREFIX",
        path="cloudflare.keyPrefix",
        parse=_key_prefix,
        default="valet",
    ),
    Setting(name="user_id", variable="STORAGE_PROVIDERS_USER_ID", parse=_user_id),
    Setting(
        name="enable_sync",
        variable="STORAGE_PROVIDERS_ENABLE_SYNC",
        path="cloudflare.enableSync",
        parse=_flag,
        default=False,
    ),
    Setting(
        name="sync_interval_ms",
        variable="STORAGE_PROVIDERS_SYNC_INTERVAL",
        path="cloudflare.syncInterval",
        parse=_whole(1),
        default=30_000,
    ),
    Setting(name="api_token", variable="CLOUDFLARE_API_TOKEN", parse=_secret, secret=True),
    Setting(name="account_id", variable="CLOUDFLARE_ACCOUNT_ID", parse=_text),
    Setting(name="api_base_url", variable="CLOUDFLARE_API_BASE_URL", parse=_base_url),
    Setting(name="d1_database_id", variable="CLOUDFLARE_D1_DATABASE_ID", parse=_text),
    Setting(name="kv_namespace_id", variable="CLOUDFLARE_KV_NAMESPACE_ID", parse=_text),
    Setting(name="vectorize_index", variable="CLOUDFLARE_VECTORIZE_INDEX", parse=_text),
    Setting(name="content_bucket", variable="CLOUDFLARE_R2_BUCKET", parse=_text),
    Setting(
        name="embedding_model",
        variable="CLOUDFLARE_EMBEDDING_MODEL",
        parse=_text,
        default="@cf/baai/bge-base-en-v1.5",
    ),
    Setting(
        name="large_content_threshold_bytes",
        variable="CLOUDFLARE_LARGE_CONTENT_THRESHOLD",
        parse=_whole(0),
        default=1_048_576,
    ),
    Setting(name="max_retries", variable="CLOUDFLARE_MAX_RETRIES", parse=_whole(0), default=3),
    Setting(
        name="base_delay_seconds", variable="CLOUDFLARE_BASE_DELAY", parse=_number, default=1.0
    ),
    Setting(name="memory_backend", variable="MCP_MEMORY_STORAGE_BACKEND", parse=_text),
    Setting(name="log_level", variable="LOG_LEVEL", parse=_text, default="INFO"),
)
"""All settings, in the order in which reports show them."""
