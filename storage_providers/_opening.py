"""From a URL or settings to a provider: what a service needs of the settings, and whose part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from storage_providers import _urls
from storage_providers._settings_table import DEFAULT, PROVIDERS
from storage_providers.errors import (
    ConfigurationError,
    InvalidArgumentError,
    UnsupportedOperationError,
)

if TYPE_CHECKING:
    from storage_providers.base import Provider
    from storage_providers.settings import StorageSettings

__all__ = ["from_settings", "from_url"]

_CREDENTIALS: Final = ("access_key_id", "secret_access_key", "session_token")
_PLACE: Final = ("account_id", "jurisdiction", "endpoint_url")
_ELSEWHERE: Final = ("client", "binding")
"""Options with which a provider needs nothing of the settings."""

_OVER_THE_API: Final = {"d1": "d1_database_id", "kv": "kv_namespace_id"}
"""Schemes of Cloudflare's REST API, with the setting that says which thing of the account."""


def from_url(
    url: str, options: Mapping[str, Any], settings: Callable[[], StorageSettings]
) -> Provider:
    """Make the provider of a URL.

    Args:
        url: The URL.
        options: Options of the constructor.
        settings: Reads the settings, if credentials are needed.

    Raises:
        ConfigurationError: The URL, an option or a setting is wrong or missing.
        UnsupportedOperationError: This version has no provider for the scheme.
    """
    name, arguments, texts = _urls.parse_url(url)
    own: dict[str, Any] = {}
    if _urls.SCHEMES[name].sides:
        texts, options = _with_sides(name, texts, options, settings)
        return _urls.build(name, arguments, texts, options)
    if not _is_reached(options):
        if name == "r2":
            own = _r2_options(settings(), {*texts, *options})
        elif name in _OVER_THE_API:
            own = _api_options(name, settings(), set(options))
    return _urls.build(name, arguments, texts, {**own, **options})


def from_settings(settings: StorageSettings, options: Mapping[str, Any]) -> Provider:
    """Make the provider that settings name, confined to `user_id` if there is one.

    Args:
        settings: The settings.
        options: Options of the constructor.

    Raises:
        ConfigurationError: Settings are missing, wrong or contradict each other.
        UnsupportedOperationError: This version has no such provider.
    """
    if settings.url is not None:
        settings.check()
        return _confined(from_url(settings.url, options, lambda: settings), settings)
    name = PROVIDERS[settings.provider]
    _urls.scheme_named(name)
    if not _is_reached(options):
        settings.check()
    if name == "hybrid":
        return _hybrid(settings, options)
    arguments: tuple[Any, ...] = ()
    own: dict[str, Any] = {}
    if name == "file":
        arguments, own = (settings.data_path,), {"enable_backup": settings.enable_backup}
    elif name == "sqlite":
        arguments = (str(Path(settings.data_path) / "storage.db"),)
    elif name == "r2":
        if "prefix" in options:
            raise ConfigurationError("the prefix is the setting key_prefix; leave out 'prefix'")
        arguments, own = (settings.bucket_name,), {"prefix": settings.resolved_key_prefix()}
        if options.get("client") is None:
            own |= _r2_options(settings, set(options))
        return _urls.build(name, arguments, {}, {**own, **options})
    elif name in _OVER_THE_API and options.get("binding") is None:
        which = _OVER_THE_API[name]
        own = {which.partition("_")[2]: getattr(settings, which)}
        if not _is_reached(options):
            own |= _api_options(name, settings, set(options))
    return _confined(_urls.build(name, arguments, {}, {**own, **options}), settings)


def _with_sides(
    name: str,
    texts: Mapping[str, str],
    options: Mapping[str, Any],
    settings: Callable[[], StorageSettings],
) -> tuple[dict[str, str], dict[str, Any]]:
    """The options of two providers as one, with both made, which may be given as URLs.

    Raises:
        ConfigurationError: A side or another part is missing, or something is wrong with it.
    """
    texts, options = dict(texts), dict(options)
    scheme, urls = _urls.SCHEMES[name], dict[str, str]()
    missing = f"'{name}:' has no {{}}; write {scheme.example}, each percent-encoded, or pass it as "
    missing += "an argument"
    for side in scheme.sides:
        if side in texts and side in options:
            raise ConfigurationError(
                f"the option {side!r} is given in the URL and as an argument; give it once"
            )
        if isinstance(given := texts.pop(side, options.get(side)), str):
            urls[side] = given
        elif given is None:
            raise ConfigurationError(missing.format(side))
    for part in scheme.parts:
        if part not in texts and options.get(part) is None:
            raise ConfigurationError(missing.format(part))
    if len(urls) == 2 and len({*urls.values()}) == 1:
        raise ConfigurationError(f"{' and '.join(urls)} are the same place; use two")
    for side, url in urls.items():
        options[side] = _side(side, url, settings)
    return texts, options


def _side(side: str, url: str, settings: Callable[[], StorageSettings]) -> Provider:
    """One side of two from its URL."""
    scheme = _urls.SCHEMES.get(url.partition(":")[0].lower())
    if scheme is not None and scheme.sides:
        raise ConfigurationError(f"{side}: a side can't be a hybrid or a dual write itself")
    try:
        return from_url(url, {}, settings)
    except (ConfigurationError, UnsupportedOperationError) as error:
        raise type(error)(f"{side}: {error.message}") from None


def _hybrid(settings: StorageSettings, options: Mapping[str, Any]) -> Provider:
    """The two sides that settings name, each confined as it would be by itself.

    Both are confined to the user, so the journal is one user's too.
    """
    own: dict[str, Any] = {
        "journal": _journal_path(settings),
        "policy": settings.hybrid_policy,
        "degraded_writes": settings.hybrid_degraded_writes,
        "retry_seconds": settings.hybrid_retry_seconds,
    }
    for side in _urls.SCHEMES["hybrid"].sides:
        if side not in options:
            own[side] = from_settings(settings.of_side(side), {})
    return _urls.build("hybrid", (), {}, {**own, **options})


def _journal_path(settings: StorageSettings) -> str:
    """A file in the folder of journals, of its own for each user, whatever the user is called."""
    from storage_providers.providers._files.names import folder_name

    folder = Path(settings.hybrid_journal or f"{settings.data_path.rstrip('/')}-journal")
    if settings.user_id is not None:
        for part in settings.resolved_key_prefix().split("/"):
            folder /= folder_name(part)
    return str(folder / "journal.db")


def _confined(provider: Provider, settings: StorageSettings) -> Provider:
    """The user's part of a provider, if the settings say whose; the prefix becomes its scope."""
    if settings.user_id is None:
        return provider
    from storage_providers.layers import Scope

    try:
        for part in settings.resolved_key_prefix().split("/"):
            provider = Scope(part).wrap(provider)
    except InvalidArgumentError as error:
        raise ConfigurationError(f"keyPrefix with user_id is no scope: {error.message}") from None
    return provider


def _is_reached(options: Mapping[str, Any]) -> bool:
    return any(options.get(name) is not None for name in _ELSEWHERE)


def _api_options(name: str, settings: StorageSettings, given: set[str]) -> dict[str, Any]:
    """What a provider over the REST API takes from the settings, beside what it is given anyway."""
    wanted = {"token": "api_token", "account_id": "account_id", "base_url": "api_base_url"}
    wanted = {option: setting for option, setting in wanted.items() if option not in given}
    settings.require(*(setting for setting in wanted.values() if setting != "api_base_url"))
    own = {option: getattr(settings, setting) for option, setting in wanted.items()}
    return own | _retry_option(name, settings, given)


def _r2_options(settings: StorageSettings, given: set[str]) -> dict[str, Any]:
    """What an R2 provider takes from the settings, beside what it is given anyway.

    Credentials that belong together are taken together or not at all, and so is the place.
    """
    own: dict[str, Any] = {}
    problems: list[str] = []
    if not given.intersection(_CREDENTIALS):
        problems += settings.missing(*_CREDENTIALS[:2])
        own |= {name: getattr(settings, name) for name in _CREDENTIALS}
    if not given.intersection(_PLACE) and settings.endpoint is not None:
        own["endpoint_url"] = settings.endpoint
    elif not given.intersection(("account_id", "endpoint_url")):
        own["account_id"] = settings.account_id
        if settings.account_id is None and "jurisdiction" in given:
            problems += settings.missing("account_id")
        elif settings.account_id is None:
            problems.append("set CLOUDFLARE_R2_ENDPOINT, or CLOUDFLARE_ACCOUNT_ID to have it made")
    if problems:
        raise ConfigurationError("; ".join(problems))
    if "region" not in given:
        own["region"] = settings.region
    return own | _retry_option("r2", settings, given)


def _retry_option(name: str, settings: StorageSettings, given: set[str]) -> dict[str, Any]:
    is_set = any(settings.origin(each) != DEFAULT for each in ("max_retries", "base_delay_seconds"))
    if is_set and "retry" not in given and _urls.takes(name, "retry"):
        return {"retry": _retry(settings)}
    return {}


def _retry(settings: StorageSettings) -> Any:
    from storage_providers.resilience import RetryPolicy

    base = settings.base_delay_seconds
    longest = max(base, RetryPolicy().max_delay_seconds)
    return RetryPolicy(
        attempts=settings.max_retries + 1, base_delay_seconds=base, max_delay_seconds=longest
    )
