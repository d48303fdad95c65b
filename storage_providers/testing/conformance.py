"""The conformance suite: what every provider does, as tests for its author.

Subclass `ProviderConformance` and give it one fixture, `backend`, that makes an empty place:

```python
class MyBackend(Backend):
    can_reopen = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def open(self, clock: Clock) -> StorageProvider:
        return MyProvider(self.folder, clock=clock)

    async def plant(self, collection: str, item_id: str, raw: bytes) -> None: ...


class TestMyProvider(ProviderConformance):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return MyBackend(tmp_path)
```

Cases are chosen by what the provider declares in its `capabilities` and the backend in `can_…`;
for what is not declared there are cases that it is refused. Cases that do not apply are reported
by pytest as skipped with the reason; `count_cases` tells how many there are, to hold them fixed.

Needs: `pip install 'storage-providers[testing]'`. Plain pytest runs it, without any plugin.
"""

from __future__ import annotations

import pytest

_MODULES = (
    "batches",
    "concurrency",
    "conditions",
    "corrupt",
    "crud",
    "declare",
    "encoding",
    "expiry",
    "lifetime",
    "paging",
    "privacy",
    "queries",
    "scopes",
    "text",
    "values",
    "harness",
)
pytest.register_assert_rewrite(*(f"storage_providers.testing._{name}" for name in _MODULES))

from storage_providers.testing._batches import BatchCases  # noqa: E402
from storage_providers.testing._concurrency import ConcurrencyCases  # noqa: E402
from storage_providers.testing._conditions import ConditionCases  # noqa: E402
from storage_providers.testing._corrupt import CorruptCases  # noqa: E402
from storage_providers.testing._crud import CrudCases  # noqa: E402
from storage_providers.testing._declare import DeclareCases  # noqa: E402
from storage_providers.testing._encoding import EncodingCases  # noqa: E402
from storage_providers.testing._expiry import ExpiryCases  # noqa: E402
from storage_providers.testing._harness import (  # noqa: E402
    Backend,
    CaseCounts,
    ManualClock,
    Scene,
    case,
    cases,
    count_cases,
)
from storage_providers.testing._lifetime import LifetimeCases  # noqa: E402
from storage_providers.testing._paging import PagingCases  # noqa: E402
from storage_providers.testing._privacy import LegacyCases, PrivacyCases  # noqa: E402
from storage_providers.testing._queries import QueryCases  # noqa: E402
from storage_providers.testing._scopes import ScopeCases  # noqa: E402
from storage_providers.testing._text import TextCases  # noqa: E402
from storage_providers.testing._values import ValueCases  # noqa: E402

__all__ = [
    "Backend",
    "CaseCounts",
    "ManualClock",
    "ProviderConformance",
    "Scene",
    "case",
    "cases",
    "count_cases",
]


class ProviderConformance(
    BatchCases,
    ConcurrencyCases,
    ConditionCases,
    CorruptCases,
    CrudCases,
    DeclareCases,
    EncodingCases,
    ExpiryCases,
    LifetimeCases,
    PagingCases,
    LegacyCases,
    PrivacyCases,
    QueryCases,
    ScopeCases,
    TextCases,
    ValueCases,
):
    """Every case of the contract; a subclass supplies the fixture `backend`."""

    @pytest.fixture
    def backend(self) -> Backend:
        """An empty place for one case."""
        raise NotImplementedError("override the fixture 'backend'; it returns your Backend")
