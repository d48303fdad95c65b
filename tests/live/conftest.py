"""Tests against real accounts run only when they are asked for by their mark."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the live tests out, by name and with the reason, unless `-m` names them."""
    if "live" in config.option.markexpr:
        return
    reason = "calls a real account: run it by 'pytest -m live tests/live'"
    for item in items:
        if item.get_closest_marker("live") is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
