"""Addresses of providers: which class each scheme stands for, and its options as text."""

from __future__ import annotations

import importlib
import inspect
import re
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Union, cast, get_args, get_origin
from urllib.parse import parse_qsl, unquote

import msgspec

from storage_providers.errors import ConfigurationError, UnsupportedOperationError

if TYPE_CHECKING:
    from storage_providers.base import Provider

__all__ = ["SCHEMES", "Scheme", "build", "parse_url", "scheme_named", "takes"]

Arguments = tuple[Any, ...]
Place = tuple[Arguments, dict[str, str]]


class Scheme(msgspec.Struct, frozen=True, kw_only=True):
    """One URL scheme.

    Attributes:
        factory: The provider's class as `module:name`, imported when first used; `None`: this
            version knows the scheme but has no such provider.
        example: A URL to show in errors.
        place: Turns what follows the scheme, without the query, into the constructor's positional
            arguments, and options as text.
        secrets: Options that are never taken from a URL.
        unnamed: Options that come from the settings or as arguments, and never from a URL.
        sides: Options that are themselves URLs of providers.
        parts: Other options that can't be left out.
    """

    factory: str | None
    example: str
    place: Callable[[str], Place]
    secrets: frozenset[str] = frozenset()
    unnamed: frozenset[str] = frozenset()
    sides: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


def _nothing(rest: str) -> Place:
    if rest.strip("/"):
        raise ConfigurationError("'memory:' takes nothing after the colon")
    return (), {}


def _file(rest: str) -> Place:
    """The path of `file:relative`, `file:/absolute` or `file:///absolute`, unescaped."""
    if "#" in rest:
        raise ConfigurationError("a path in a URL can't hold '#' as it is; write %23")
    path = rest
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise ConfigurationError(
                "two slashes begin the name of a host; write file:./folder for a relative path "
                "and file:///folder for an absolute one"
            )
        path = slash + path
    path = _unescaped(path)
    if not path or "\x00" in path:
        raise ConfigurationError("the URL names no path, or one with U+0000")
    if path == "~" or path.startswith("~/"):
        try:
            path = str(Path(path).expanduser())
        except RuntimeError:
            raise ConfigurationError("the home folder that '~' stands for is not known") from None
    return (path,), {}


def _bucket(rest: str) -> Place:
    """The bucket and the prefix of `//bucket/prefix`, unescaped."""
    host, _, prefix = rest.removeprefix("//").partition("/")
    if "@" in host:
        raise ConfigurationError(
            "the URL holds credentials; they go into CLOUDFLARE_R2_ACCESS_KEY_ID and "
            "CLOUDFLARE_R2_SECRET_ACCESS_KEY, in the environment or in .env"
        )
    if not rest.startswith("//") or not host:
        raise ConfigurationError("the URL names no bucket; write r2://bucket or r2://bucket/prefix")
    if not re.fullmatch(r"[a-z0-9.-]+", host):
        # Not repeated: it may be the beginning of credentials.
        raise ConfigurationError(
            "the URL names no bucket between // and /: names have 3 to 63 lower-case letters, "
            "digits and hyphens"
        )
    if "#" in rest:
        raise ConfigurationError("a prefix in a URL can't hold '#' as it is; write %23")
    path = _unescaped(prefix.removesuffix("/"))
    return (host,), {"prefix": path} if path else {}


def _database(rest: str) -> Place:
    """The database of `//id` or `//name`."""
    name = rest.removeprefix("//").removesuffix("/")
    if not rest.startswith("//") or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        # Not repeated: it may be the beginning of credentials.
        raise ConfigurationError(
            "the URL names no database behind //: its id, or its name of letters, digits, - and _; "
            "the token goes into CLOUDFLARE_API_TOKEN, in the environment or in .env"
        )
    return (), {"database_id" if _UUID.fullmatch(name) else "database_name": name}


_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _namespace(rest: str) -> Place:
    """The namespace and the prefix of `//id/prefix` or `//title/prefix`."""
    name, _, prefix = rest.removeprefix("//").partition("/")
    if not rest.startswith("//") or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", name):
        # Not repeated: it may be the beginning of credentials.
        raise ConfigurationError(
            "the URL names no namespace behind //: its id, or its title of letters, digits, '_', "
            "'.' and '-'; the token goes into CLOUDFLARE_API_TOKEN, in the environment or in .env"
        )
    which = "namespace_id" if re.fullmatch(r"[0-9a-f]{32}", name) else "namespace_title"
    path = _unescaped(prefix.removesuffix("/"))
    return (), {which: name} | ({"prefix": path} if path else {})


def _unescaped(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError("the URL's %-escapes are not UTF-8") from None


def _two(example: str) -> Callable[[str], Place]:
    def place(rest: str) -> Place:
        if rest:
            name = example.partition(":")[0]
            raise ConfigurationError(
                f"'{name}:' takes nothing between the colon and '?'; write {example}, each "
                "percent-encoded"
            )
        return (), {}

    return place


_OF_THE_API: Final = frozenset({"account_id", "base_url"})
"""What a URL must not name, since it says where the token is sent and whose things are used."""

_HYBRID: Final = "hybrid:?primary=URL&fallback=URL&journal=PATH"
_DUAL_WRITE: Final = "dual-write:?source=URL&target=URL"

SCHEMES: Final[Mapping[str, Scheme]] = {
    "file": Scheme(
        factory="storage_providers.providers.local_file:LocalFileProvider",
        example="file:./valet-data",
        place=_file,
    ),
    "sqlite": Scheme(
        factory="storage_providers.providers.sqlite:SQLiteProvider",
        example="sqlite:agents.db",
        place=_file,
    ),
    "memory": Scheme(
        factory="storage_providers.providers.in_memory:InMemoryProvider",
        example="memory:",
        place=_nothing,
    ),
    "r2": Scheme(
        factory="storage_providers.providers.r2:CloudflareR2Provider",
        example="r2://bucket/prefix",
        place=_bucket,
        secrets=frozenset({"access_key_id", "secret_access_key", "session_token"}),
    ),
    "kv": Scheme(
        factory="storage_providers.providers.kv:CloudflareKVProvider",
        example="kv://namespace/prefix",
        place=_namespace,
        secrets=frozenset({"token"}),
        unnamed=_OF_THE_API,
    ),
    "d1": Scheme(
        factory="storage_providers.providers.d1:D1Provider",
        example="d1://database",
        place=_database,
        secrets=frozenset({"token"}),
        unnamed=_OF_THE_API,
    ),
    "hybrid": Scheme(
        factory="storage_providers.providers.hybrid:HybridProvider",
        example=_HYBRID,
        place=_two(_HYBRID),
        sides=("primary", "fallback"),
        parts=("journal",),
    ),
    "dual-write": Scheme(
        factory="storage_providers.providers.dual_write:DualWriteProvider",
        example=_DUAL_WRITE,
        place=_two(_DUAL_WRITE),
        sides=("source", "target"),
    ),
}
"""Every scheme. `factory=None` stands for a provider that another version has."""


def scheme_named(name: str) -> Scheme:
    """Look a scheme up.

    Raises:
        ConfigurationError: There is no such scheme.
        UnsupportedOperationError: This version has no provider for it.
    """
    available = ", ".join(known.example for known in SCHEMES.values() if known.factory)
    scheme = SCHEMES.get(name)
    if scheme is None:
        # The name itself may be the beginning of a secret, so only short words are repeated.
        what = f"{name!r} is not" if name.isalnum() and len(name) <= 16 else "that is not"
        raise ConfigurationError(f"{what} the scheme of a provider; write for instance {available}")
    if scheme.factory is None:
        raise UnsupportedOperationError(
            f"this version has no provider for '{name}:' yet; it has {available}"
        )
    return scheme


def parse_url(url: str) -> tuple[str, Arguments, dict[str, str]]:
    """Split a URL into its scheme, the constructor's positional arguments and the options.

    No error repeats the URL, which may hold a secret.

    Raises:
        ConfigurationError: It has no scheme, an unknown one, or is malformed.
        UnsupportedOperationError: This version has no provider for its scheme.
    """
    name, colon, rest = url.partition(":")
    if not colon:
        raise ConfigurationError(
            "where the documents are begins with a scheme; for a folder write file:./folder"
        )
    if len(name) == 1 and rest[:1] in ("\\", "/"):
        raise ConfigurationError("for a folder on a drive write file:///C:/folder")
    scheme = scheme_named(name.lower())
    place, question, query = rest.partition("?")
    arguments, options = scheme.place(place)
    if question:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
        except ValueError:
            raise ConfigurationError("what follows '?' is not of the form name=value&…") from None
        for option, text in pairs:
            if option in scheme.secrets:
                raise ConfigurationError(
                    f"{option!r} is no option of a URL, which is shown and stored where secrets "
                    "must not be; set its variable in the environment or in .env"
                )
            if option in scheme.unnamed:
                raise ConfigurationError(
                    f"{option!r} is no option of a URL; set its variable in the environment or "
                    "in .env, or pass it as an argument"
                )
            if option in options:
                raise ConfigurationError(f"the option {option!r} is given twice in the URL")
            options[option] = text
    return name.lower(), arguments, options


def build(
    name: str, arguments: Arguments, texts: Mapping[str, str], options: Mapping[str, Any]
) -> Provider:
    """Make the provider of a scheme.

    Args:
        name: The scheme.
        arguments: Positional arguments of its constructor.
        texts: Options as text, from a URL.
        options: Options as values.

    Raises:
        ConfigurationError: An option is unknown, given twice, or not of its type.
        UnsupportedOperationError: This version has no provider for the scheme.
    """
    factory, parameters = _constructor(name)
    sides = scheme_named(name).sides
    texts_known = [*sides]
    texts_known += [option for option, kind in parameters.items() if _readable(kind)]
    for given, known in ((texts, texts_known), (options, list(parameters))):
        unknown = [option for option in given if option not in known]
        if unknown:
            raise ConfigurationError(
                f"'{name}:' has no option {', '.join(map(repr, unknown))}; "
                f"known: {', '.join(known) or 'none'}{_OF_A_SIDE if sides else ''}"
            )
    twice = [option for option in texts if option in options]
    if twice:
        raise ConfigurationError(
            f"the option {twice[0]!r} is given in the URL and as an argument; give it once"
        )
    values = {option: _value(option, text, parameters[option]) for option, text in texts.items()}
    return factory(*arguments, **values, **options)


_OF_A_SIDE: Final = "; percent-encode the URL of a side that has options itself"


def takes(name: str, option: str) -> bool:
    """Whether the constructor of a scheme's provider has an option.

    Raises:
        ConfigurationError: There is no such scheme.
        UnsupportedOperationError: This version has no provider for it.
    """
    return option in _constructor(name)[1]


def _constructor(name: str) -> tuple[Callable[..., Provider], dict[str, Any]]:
    """The class of a scheme's provider, and its options with their types."""
    module_name, _, attribute = cast(str, scheme_named(name).factory).partition(":")
    module = importlib.import_module(module_name)
    factory: Callable[..., Provider] = getattr(module, attribute)
    return factory, {
        parameter.name: _resolved(parameter.annotation, vars(module))
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def _resolved(annotation: Any, names: dict[str, Any]) -> Any:
    """What an annotation stands for; `object` if its types are imported for checkers alone."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, names)  # noqa: S307 - our own source, as `inspect` does it
    except NameError:
        return object


def _kinds(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(kind for kind in get_args(annotation) if kind is not type(None))
    return (annotation,)


def _readable(annotation: Any) -> bool:
    """Whether an option of this type can be written as text."""
    return any(
        kind in (bool, int, float, str) or get_origin(kind) is Literal
        for kind in _kinds(annotation)
    )


def _value(option: str, text: str, annotation: Any) -> Any:
    """An option's text as a value of its type; the error does not repeat the text."""
    wanted: list[str] = []
    if type(None) in get_args(annotation) and str not in get_args(annotation):
        if text.lower() == "none":
            return None
        wanted.append("none")
    for kind in _kinds(annotation):
        if get_origin(kind) is Literal:
            if text in get_args(kind):
                return text
            wanted.append(" or ".join(str(choice) for choice in get_args(kind)))
        elif kind is bool:
            if text.lower() in _FLAGS:
                return _FLAGS[text.lower()]
            wanted.append("true or false")
        elif kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                wanted.append("a whole number" if kind is int else "a number")
        elif kind is str:
            return text
    raise ConfigurationError(f"the option {option!r} is {' or '.join(wanted)}")


_FLAGS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
