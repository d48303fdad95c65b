"""Where settings come from: arguments, the environment, `.env`, settings.json, defaults."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from storage_providers._settings_table import DEFAULT, SETTINGS, Setting, display

__all__ = ["FileReport", "Found", "SettingReport", "SettingsReport", "collect"]

SETTINGS_FILE_VARIABLE = "STORAGE_PROVIDERS_SETTINGS_FILE"
SECTION = "storage"


class SettingReport(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as it is in force.

    Attributes:
        name: The setting.
        value: Its value as text; secrets are masked, `not set` if there is none.
        origin: Where it came from: `argument`, `environment`, `.env` or settings.json with their
            path, or `default`.
        variable: The environment variable that sets it.
        path: Its place in settings.json, if it has one.
    """

    name: str
    value: str
    origin: str
    variable: str
    path: str | None = None


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """One file that was looked at for settings.

    Attributes:
        path: The file, absolute.
        status: `read`, `not there` or `unreadable`.
    """

    path: str
    status: str


class SettingsReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is set, where it came from, and what is wrong with it.

    Attributes:
        settings: Every setting.
        files: The files that were looked at.
        problems: What is wrong, a sentence each; settings with a problem show their default.
    """

    settings: tuple[SettingReport, ...]
    files: tuple[FileReport, ...]
    problems: tuple[str, ...]


class Found(msgspec.Struct, kw_only=True):
    """What the sources gave.

    Attributes:
        values: Parsed values of the settings that somebody set.
        origins: Where each of them came from.
        ranks: How much each origin counts: 0 for arguments, more for weaker ones.
        files: The files looked at.
        problems: What is wrong.
    """

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    ranks: dict[str, int] = {}
    files: list[FileReport] = []
    problems: list[str] = []

    def report(self) -> SettingsReport:
        """The findings as data to show."""
        return SettingsReport(
            settings=tuple(
                SettingReport(
                    name=setting.name,
                    value=display(setting, self.values.get(setting.name, setting.default)),
                    origin=self.origins.get(setting.name, DEFAULT),
                    variable=setting.variable,
                    path=None if setting.path is None else f"{SECTION}.{setting.path}",
                )
                for setting in SETTINGS
            ),
            files=tuple(self.files),
            problems=tuple(self.problems),
        )


def collect(
    arguments: Mapping[str, Any],
    env_file: str | os.PathLike[str] | None,
    settings_file: str | os.PathLike[str] | None,
) -> Found:
    """Ask every source, strongest first, and parse what they say.

    Args:
        arguments: Settings by name; `None` means not given.
        env_file: The `.env` file; `None`: `.env` in the current folder, if it is there.
        settings_file: The settings.json; `None`: what `STORAGE_PROVIDERS_SETTINGS_FILE` says,
            else `settings.json` in the current folder, if it is there.
    """
    found = Found()
    known = {setting.name for setting in SETTINGS}
    for name in arguments:
        if name not in known:
            found.problems.append(
                f"there is no setting {name!r}; known: {', '.join(sorted(known))}"
            )
    given = {name: value for name, value in arguments.items() if value is not None}
    env_path = Path(".env" if env_file is None else env_file).absolute()
    variables = {setting.variable.lower(): setting for setting in SETTINGS}
    model = _variables_model([*variables, SETTINGS_FILE_VARIABLE.lower()])
    environment = _environment(model)
    dotenv = _dotenv(found, model, env_path, required=env_file is not None)
    for rank, (origin, source) in enumerate(
        (("environment", environment), (f".env {env_path}", dotenv)), start=1
    ):
        for variable, text in source.items():
            if variable in variables:
                _take(found, variables[variable], text, origin, rank)
    for setting in SETTINGS:
        if setting.name in given:
            _take(found, setting, given[setting.name], "argument", 0)
    named = settings_file
    if named is None:
        chosen = SETTINGS_FILE_VARIABLE.lower()
        named = environment.get(chosen, dotenv.get(chosen))
    json_path = Path("settings.json" if named is None else named).absolute()
    section = _settings_json(found, json_path, required=named is not None)
    _take_section(found, section, f"settings.json {json_path}")
    return found


def _take(found: Found, setting: Setting, value: Any, origin: str, rank: int) -> None:
    """Note a value unless a stronger source has one; a broken value is a problem either way."""
    place = setting.name if rank == 0 else setting.variable
    if rank == 3:
        place = f"{SECTION}.{setting.path}"
    try:
        parsed = setting.parse(value)
    except ValueError as error:
        found.problems.append(f"{place} ({origin}) {error}")
        return
    if rank < found.ranks.get(setting.name, 9):
        found.values[setting.name] = parsed
        found.origins[setting.name] = origin
        found.ranks[setting.name] = rank


# --- environment and .env ----------------------------------------------------------------------


def _variables_model(names: list[str]) -> Any:
    """A pydantic-settings class with one text field per variable."""
    import pydantic
    import pydantic_settings

    fields: dict[str, Any] = dict.fromkeys(names, (str | None, None))
    return pydantic.create_model("Variables", __base__=pydantic_settings.BaseSettings, **fields)


def _environment(model: Any) -> dict[str, str]:
    import pydantic_settings

    return dict(pydantic_settings.EnvSettingsSource(model, env_ignore_empty=True)())


def _dotenv(found: Found, model: Any, path: Path, *, required: bool) -> dict[str, str]:
    import pydantic_settings

    status = _status(path)
    values: dict[str, Any] = {}
    if status == "read":
        # dotenv logs lines that it can't parse; that they are there is told below.
        quiet = logging.getLogger("dotenv.main")
        lines = _Lines()
        quiet.addFilter(lines)
        try:
            source = pydantic_settings.DotEnvSettingsSource(
                model, env_file=path, env_file_encoding="utf-8", env_ignore_empty=True
            )
            values = dict(source())
        except (OSError, ValueError) as error:
            status = "unreadable"
            found.problems.append(f"{path} can't be read ({type(error).__name__})")
        finally:
            quiet.removeFilter(lines)
        found.problems.extend(
            f"{path} line {line} is not of the form NAME=value" for line in lines.broken
        )
    elif required:
        found.problems.append(f"the .env file {path} is {status}")
    found.files.append(FileReport(path=str(path), status=status))
    return {name: text for name, text in values.items() if isinstance(text, str)}


class _Lines(logging.Filter):
    """Collects the numbers of the lines that dotenv complains about."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: list[int] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and record.args and isinstance(record.args[0], int):
            if record.args[0] not in self.broken:
                self.broken.append(record.args[0])
            return False
        return True


# --- settings.json -----------------------------------------------------------------------------


def _settings_json(found: Found, path: Path, *, required: bool) -> dict[str, Any]:
    status = _status(path)
    section: Any = None
    if status == "read":
        try:
            whole: Any = json.loads(path.read_bytes())
            is_object = isinstance(whole, dict)
            section = cast("dict[str, Any]", whole).get(SECTION) if is_object else None
            if not is_object or not isinstance(section, dict | None):
                found.problems.append(f"{path} has no object, or no object under '{SECTION}'")
        except json.JSONDecodeError as error:
            status = "unreadable"
            found.problems.append(
                f"{path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
            )
        except (OSError, ValueError) as error:
            status = "unreadable"
            found.problems.append(f"{path} can't be read ({type(error).__name__})")
    elif required:
        found.problems.append(f"the settings file {path} is {status}")
    found.files.append(FileReport(path=str(path), status=status))
    return cast("dict[str, Any]", section) if isinstance(section, dict) else {}


def _take_section(found: Found, section: dict[str, Any], origin: str) -> None:
    """Note the settings of the `storage` section; keys that it does not have are problems."""
    paths = {setting.path: setting for setting in SETTINGS if setting.path is not None}
    groups = {path.partition(".")[0] for path in paths if "." in path}
    flat: dict[str, Any] = {}
    for key, value in section.items():
        if key in groups and isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            flat |= {f"{key}.{inner}": member for inner, member in members.items()}
        else:
            flat[key] = value
    for path, value in flat.items():
        if path in paths:
            if value is not None:
                _take(found, paths[path], value, origin, 3)
        elif path in groups:
            found.problems.append(f"{SECTION}.{path} ({origin}) is not an object")
        else:
            found.problems.append(
                f"{SECTION}.{path} ({origin}) is not a setting; known: {', '.join(paths)}; "
                "credentials go into the environment or .env"
            )


def _status(path: Path) -> str:
    try:
        return "read" if path.is_file() else "not there"
    except OSError:
        return "unreadable"
