"""Pairs of sides in each phase of a migration."""

from __future__ import annotations

from typing import Any

import msgspec

from storage_providers._clock import Clock
from storage_providers.base import Provider
from storage_providers.providers._dual.state import Phase, StateStore

FIELDS: dict[Phase, dict[str, Any]] = {
    "source": {"phase": "source", "leader": "source"},
    "dual": {"phase": "dual", "leader": "source"},
    "target": {"phase": "target", "leader": "target"},
    "done": {"phase": "done", "leader": "target"},
}


async def set_phase(source: Provider, target: Provider, phase: Phase, clock: Clock) -> None:
    """Put two open sides into a phase, as a migration of which nobody writes would."""
    states = StateStore(source, target, clock)
    seen = await states.read()
    if phase == seen.state.phase:
        return
    new = msgspec.structs.replace(seen.state, migration="m", **FIELDS[phase])
    await states.change(seen, new)
