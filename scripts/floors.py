"""Prints the oldest accepted release of every dependency of a user, as pip constraints."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

EXTRAS = ("cli", "cloudflare", "testing")


def floors(pyproject: Path) -> list[str]:
    """`name==floor` for each dependency, sorted.

    Raises:
        ValueError: A dependency has no floor.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    wanted: list[str] = list(project["dependencies"])
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    pins: list[str] = []
    for requirement in wanted:
        match = re.match(r"([A-Za-z0-9._-]+)>=([0-9.]+)", requirement)
        if match is None:
            raise ValueError(f"{requirement!r} has no floor; write name>=version")
        pins.append(f"{match[1]}=={match[2]}")
    return sorted(pins)


if __name__ == "__main__":
    print("\n".join(floors(Path(__file__).parent.parent / "pyproject.toml")))
