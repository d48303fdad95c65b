"""The conformance suite of the agent store: what it does on a provider, as tests.

Subclass `AgentStoreConformance` and give it one fixture, `backend`, as for `ProviderConformance`:

```python
class TestMyProvider(AgentStoreConformance):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return MyBackend(tmp_path)
```

Needs: `pip install 'storage-providers[testing]'`.
"""

from __future__ import annotations

import pytest

_MODULES = ("harness", "threads", "messages", "listing", "workflows", "traces", "tables")
pytest.register_assert_rewrite(*(f"storage_providers.testing._agents_{name}" for name in _MODULES))

from storage_providers.testing._agents_harness import at, said  # noqa: E402
from storage_providers.testing._agents_listing import ListingCases  # noqa: E402
from storage_providers.testing._agents_messages import MessageCases  # noqa: E402
from storage_providers.testing._agents_tables import TableCases  # noqa: E402
from storage_providers.testing._agents_threads import ResourceCases, ThreadCases  # noqa: E402
from storage_providers.testing._agents_traces import ScoreCases, TraceCases  # noqa: E402
from storage_providers.testing._agents_workflows import WorkflowCases  # noqa: E402
from storage_providers.testing.conformance import Backend, count_cases  # noqa: E402

__all__ = ["AgentStoreConformance", "at", "count_cases", "said"]


class AgentStoreConformance(
    ListingCases,
    MessageCases,
    ResourceCases,
    ScoreCases,
    TableCases,
    ThreadCases,
    TraceCases,
    WorkflowCases,
):
    """Every case of the agent store; a subclass supplies the fixture `backend`."""

    @pytest.fixture
    def backend(self) -> Backend:
        """An empty place for one case."""
        raise NotImplementedError("override the fixture 'backend'; it returns your Backend")
