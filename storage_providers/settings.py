"""From a URL, the environment, `.env` and settings.json to a provider.

`open_provider("file:./valet-data")` makes a provider from a URL and needs nothing else.
`open_provider()` asks the settings: explicit arguments count more than the environment, that more
than `.env`, that more than the `storage` section of settings.json, and that more than defaults.
pydantic-settings is imported when settings are read, not before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import quote, urlsplit

import msgspec

from storage_providers import _opening
from storage_providers import _settings_sources as sources
from storage_providers._secrets import Secret
from storage_providers._settings_sources import FileReport, SettingReport, SettingsReport
from storage_providers._settings_table import DEFAULT, SETTINGS, display
from storage_providers.errors import ConfigurationError

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = [
    "FileReport",
    "Secret",
    "SettingReport",
    "SettingsReport",
    "StorageSettings",
    "explain_settings",
    "open_provider",
]

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_ARGUMENT = "argument"

R2_HOST_SUFFIX = ".r2.cloudflarestorage.com"
"""Hosts of R2's S3 endpoint, after the account id. Source: Cloudflare docs, r2/api/s3 (2026-11)."""


class StorageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, checked. Made by `load`, or directly from values.

    Attributes:
        url: Where the documents are, as a URL; it replaces `provider` and what that needs.
        provider: `local`, `sqlite`, `memory`, `cloudflare-r2`, `cloudflare-kv`, `cloudflare-d1`
            or `hybrid`.
        data_path: Folder of the local providers.
        enable_backup: Whether the local provider keeps replaced and deleted documents.
        hybrid_primary: The side of a hybrid that counts: one of the other values of `provider`.
        hybrid_fallback: The side that stands in, likewise.
        hybrid_journal: Folder of the journals of hybrids; without, `data_path` with `-journal`
            behind it. Each user has one of their own in it.
        hybrid_policy: What settles conflicts: `merge`, `newest`, `primary`, `fallback` or
            `keep_both`.
        hybrid_degraded_writes: Which writes an outage takes: `unconditional` or all (`journal`).
        hybrid_retry_seconds: How long a primary that failed is left alone, seconds.
        endpoint: R2's S3 endpoint; without it, made from `account_id`.
        access_key_id: R2's access key.
        secret_access_key: R2's secret key.
        session_token: Belongs to R2's temporary credentials.
        region: R2's region.
        bucket_name: R2's bucket for documents.
        key_prefix: What keys in the bucket begin with; `{userId}` stands for `user_id`.
        user_id: Whose documents they are. Every provider is confined to them: in a bucket by the
            prefix, elsewhere by a scope of the same name.
        enable_sync: Whether devices are synchronised.
        sync_interval_ms: How often, milliseconds.
        api_token: Token of the Cloudflare API.
        account_id: Cloudflare's account.
        api_base_url: Where the Cloudflare API is, if elsewhere than usual; `wrangler` reads the
            same variable.
        d1_database_id: The D1 database.
        kv_namespace_id: The KV namespace.
        vectorize_index: The Vectorize index of semantic memory.
        content_bucket: R2's bucket for large contents of semantic memory.
        embedding_model: The Workers AI model of semantic memory.
        large_content_threshold_bytes: Larger contents go to `content_bucket`, bytes.
        max_retries: Retries of a call of the API.
        base_delay_seconds: The first retry waits about this long, seconds.
        memory_backend: What semantic memory stands on.
        log_level: What is logged.
        origins: Where each setting came from; what is not named has its default.
        files: The files that were looked at.

    Raises:
        ConfigurationError: A value is not of its form; the message does not repeat it.
    """

    url: str | None = None
    provider: str = "local"
    data_path: str = "./valet-data"
    enable_backup: bool = False
    hybrid_primary: str = "cloudflare-r2"
    hybrid_fallback: str = "local"
    hybrid_journal: str | None = None
    hybrid_policy: str = "merge"
    hybrid_degraded_writes: str = "unconditional"
    hybrid_retry_seconds: float = 5.0
    endpoint: str | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    region: str = "auto"
    bucket_name: str = "mcp-server-valet-storage"
    key_prefix: str = "valet"
    user_id: str | None = None
    enable_sync: bool = False
    sync_interval_ms: int = 30_000
    api_token: Secret | None = None
    account_id: str | None = None
    api_base_url: str | None = None
    d1_database_id: str | None = None
    kv_namespace_id: str | None = None
    vectorize_index: str | None = None
    content_bucket: str | None = None
    embedding_model: str = "@cf/baai/bge-base-en-v1.5"
    large_content_threshold_bytes: int = 1_048_576
    max_retries: int = 3
    base_delay_seconds: float = 1.0
    memory_backend: str | None = None
    log_level: str = "INFO"
    origins: Mapping[str, str] = {}
    files: tuple[FileReport, ...] = ()

    _requirements: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "cloudflare-r2": ("access_key_id", "secret_access_key"),
        "cloudflare-kv": ("api_token", "account_id", "kv_namespace_id"),
        "cloudflare-d1": ("api_token", "account_id", "d1_database_id"),
    }

    def __post_init__(self) -> None:
        problems: list[str] = []
        for setting in SETTINGS:
            value = getattr(self, setting.name)
            if value is None:
                msgspec.structs.force_setattr(self, setting.name, setting.default)
            if value is None or value == setting.default:
                continue
            try:
                msgspec.structs.force_setattr(self, setting.name, setting.parse(value))
            except ValueError as error:
                problems.append(f"{setting.name} {error}")
        _refuse(problems)

    def __repr__(self) -> str:
        shown = (f"{name}={text}" for name, text in self.__rich_repr__())
        return f"StorageSettings({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own, which rich prefers to the repr, would show the options of the URL.
        return [
            (setting.name, display(setting, value))
            for setting in SETTINGS
            if (value := getattr(self, setting.name)) != setting.default
        ]

    @classmethod
    def load(
        cls,
        *,
        env_file: str | os.PathLike[str] | None = None,
        settings_file: str | os.PathLike[str] | None = None,
        **arguments: Any,
    ) -> Self:
        """Read the settings from everywhere.

        Args:
            env_file: The `.env` file; by default `.env` in the current folder, if it is there.
            settings_file: The settings.json; by default the one that
                `STORAGE_PROVIDERS_SETTINGS_FILE` names, else `settings.json` in the current
                folder, if it is there.
            arguments: Settings that count more than all files and variables; `None`: not given.

        Returns:
            The settings in force.

        Raises:
            ConfigurationError: A value is not of its form, a key of the `storage` section is
                unknown, a file that was named is missing or broken, or settings contradict each
                other. All problems are named at once, with variable and origin, without values.
        """
        found = sources.collect(arguments, env_file, settings_file)
        _refuse([*found.problems, *_place_problems(found)])
        return cls(**found.values, origins=found.origins, files=tuple(found.files))

    def explain(self) -> SettingsReport:
        """Every setting with its masked value and its origin, and what `check` would say."""
        found = sources.Found(
            values={setting.name: getattr(self, setting.name) for setting in SETTINGS},
            origins={setting.name: self.origin(setting.name) for setting in SETTINGS},
            files=list(self.files),
            problems=self._problems(),
        )
        return found.report()

    def require(self, *names: str) -> None:
        """Check that settings have a value.

        Args:
            names: The settings.

        Raises:
            ConfigurationError: Some have none; the message names all their variables.
        """
        _refuse(self.missing(*names))

    def missing(self, *names: str) -> list[str]:
        """What `require` would say, as a list.

        Args:
            names: The settings.
        """
        variables = [_BY_NAME[name].variable for name in names if getattr(self, name) is None]
        if not variables:
            return []
        return [f"set {' and '.join(variables)} in the environment or in .env"]

    def check(self) -> None:
        """Check that the chosen provider has what it needs and nothing contradicts it.

        Raises:
            ConfigurationError: The message names every missing variable, and for settings that
                contradict each other where both came from.
        """
        _refuse(self._problems())

    @property
    def r2_endpoint(self) -> str | None:
        """R2's S3 endpoint: the one that is set, or the account's."""
        if self.endpoint is not None or self.account_id is None:
            return self.endpoint
        return f"https://{quote(self.account_id, safe='')}{R2_HOST_SUFFIX}"

    def resolved_key_prefix(self) -> str:
        """The prefix of keys, with `{userId}` replaced.

        Raises:
            ConfigurationError: `user_id` is missing, or given without a place in `key_prefix`.
        """
        _refuse(self._prefix_problems())
        return self.key_prefix.replace("{userId}", self.user_id or "")

    def origin(self, name: str) -> str:
        """Where a setting came from: `environment`, a file with its path, `argument`, `default`.

        Args:
            name: The setting.
        """
        if name in self.origins:
            return self.origins[name]
        return DEFAULT if getattr(self, name) == _BY_NAME[name].default else _ARGUMENT

    def of_side(self, side: str) -> Self:
        """The same settings for one side of a hybrid alone.

        Args:
            side: `primary` or `fallback`.
        """
        return msgspec.structs.replace(self, provider=getattr(self, f"hybrid_{side}"))

    # --- helpers -------------------------------------------------------------------------------

    def _problems(self) -> list[str]:
        own = self._prefix_problems() if self.user_id is not None else []
        if self.url is not None:
            return own
        if self.provider == "hybrid":
            return self._hybrid_problems()
        problems = self.missing(*self._requirements.get(self.provider, ()))
        if self.provider == "cloudflare-r2":
            if self.r2_endpoint is None:
                problems.append(
                    "set CLOUDFLARE_R2_ENDPOINT, or CLOUDFLARE_ACCOUNT_ID to have it made"
                )
            return problems + self._account_problems() + self._prefix_problems()
        return problems + own

    def _hybrid_problems(self) -> list[str]:
        primary, fallback = _BY_NAME["hybrid_primary"], _BY_NAME["hybrid_fallback"]
        if self.hybrid_primary == self.hybrid_fallback:
            return [
                f"{primary.variable} ({self.origin(primary.name)}) and {fallback.variable} "
                f"({self.origin(fallback.name)}) are the same; use two"
            ]
        sides = (self.of_side(side) for side in ("primary", "fallback"))
        return list(dict.fromkeys(problem for side in sides for problem in side._problems()))

    def _account_problems(self) -> list[str]:
        host = urlsplit(self.endpoint or "").hostname or ""
        if self.account_id is None or not host.endswith(R2_HOST_SUFFIX):
            return []
        if host.partition(".")[0] == self.account_id.lower():
            return []
        return [
            f"CLOUDFLARE_R2_ENDPOINT ({self.origin('endpoint')}) is of another account than "
            f"CLOUDFLARE_ACCOUNT_ID ({self.origin('account_id')}); remove or change one"
        ]

    def _prefix_problems(self) -> list[str]:
        prefix, user = _BY_NAME["key_prefix"].variable, _BY_NAME["user_id"].variable
        has_place = "{userId}" in self.key_prefix
        if has_place and self.user_id is None:
            return [
                f"storage.cloudflare.keyPrefix ({self.origin('key_prefix')}) holds {{userId}}: "
                f"pass user_id or set {user}"
            ]
        if self.user_id is not None and not has_place:
            return [
                f"user_id ({self.origin('user_id')}) has no place in keyPrefix "
                f"({self.origin('key_prefix')}), so users would share their documents; set "
                f"{prefix} to something like user-{{userId}}, or remove {user}"
            ]
        return []


def explain_settings(
    *,
    env_file: str | os.PathLike[str] | None = None,
    settings_file: str | os.PathLike[str] | None = None,
    **arguments: Any,
) -> SettingsReport:
    """What `StorageSettings.load` would find, with its problems as data instead of an error.

    Args:
        env_file: As in `load`.
        settings_file: As in `load`.
        arguments: As in `load`.

    Returns:
        Every setting with its masked value and origin, the files looked at, and all problems.
    """
    found = sources.collect(arguments, env_file, settings_file)
    problems = [*found.problems, *_place_problems(found)]
    if not problems:
        return StorageSettings(
            **found.values, origins=found.origins, files=tuple(found.files)
        ).explain()
    found.problems = problems
    return found.report()


def open_provider(target: str | StorageSettings | None = None, /, **options: Any) -> Provider:
    """Make a provider; it is not connected yet.

    ```python
    async with open_provider("file:./valet-data?enable_backup=true") as provider:
        ...
    ```

    Args:
        target: A URL (`file:./folder`, `file:///folder`, `sqlite:agents.db`, `sqlite::memory:`,
            `memory:`, `r2://bucket/prefix`, `kv://namespace/prefix`, `d1://database`,
            `hybrid:?primary=URL&fallback=URL&journal=PATH`, `dual-write:?source=URL&target=URL`),
            with options of the provider's constructor behind `?`; or settings; or nothing: then
            settings are read from everywhere, as `StorageSettings.load` does. Credentials never
            stand in a URL, they come from there too.
        options: Options of the provider's constructor. Without `target` also settings, and
            `env_file` and `settings_file`.

    Returns:
        The provider, to be used with `async with`. From settings with a `user_id` it is that
        user's part alone.

    Raises:
        ConfigurationError: The URL or an option is wrong, or settings are missing, wrong or
            contradict each other; the message names what to change and never a value.
        UnsupportedOperationError: The scheme is known, but this version has no such provider.
    """
    if target is None:
        own = {*_BY_NAME, "env_file", "settings_file"}
        given = {name: value for name, value in options.items() if name in own}
        options = {name: value for name, value in options.items() if name not in own}
        target = StorageSettings.load(**given)
    if isinstance(target, StorageSettings):
        return _opening.from_settings(target, options)
    if not isinstance(target, str):
        raise ConfigurationError(
            f"a provider is opened from a URL or StorageSettings, not {type(target).__name__}"
        )
    return _opening.from_url(target, options, lambda: StorageSettings.load(url=target))


def _place_problems(found: sources.Found) -> list[str]:
    """Settle whether `url` or the settings it replaces count: the stronger source wins.

    Named by the same source they contradict each other. What loses is taken out of `found`.
    """
    if "url" not in found.values:
        return []
    url_rank = found.ranks["url"]
    for name in ("provider", "data_path", "enable_backup"):
        rank = found.ranks.get(name)
        if rank == url_rank:
            return [
                f"{_BY_NAME['url'].variable} and {_BY_NAME[name].variable} (both from "
                f"{found.origins[name]}) say where the documents are; keep one of them"
            ]
        if rank is not None and rank < url_rank:
            del found.values["url"], found.origins["url"]
            return []
    return []


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigurationError("; ".join(problems))
