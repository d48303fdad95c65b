"""Prints the oldest accepted release of every dependency of some extras, as pip constraints.

Usage: scripts/floors.py EXTRA …
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path


def floors(pyproject: Path, extras: Sequence[str]) -> list[str]:
    """`name==floor` for each dependency of the package and of these extras, sorted.

    Raises:
        KeyError: There is no such extra.
        ValueError: A dependency has no floor.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    wanted: list[str] = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    pins: list[str] = []
    for requirement in wanted:
        # A constraint may not name extras: `moto[server]>=5` gives `moto==5`.
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9.]+)", requirement)
        if match is None:
            raise ValueError(f"{requirement!r} has no floor; write name>=version")
        pins.append(f"{match[1]}=={match[2]}")
    return sorted(pins)


if __name__ == "__main__":
    print("\n".join(floors(Path(__file__).parent.parent / "pyproject.toml", sys.argv[1:])))
