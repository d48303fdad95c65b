"""Readers and writers of data that other programs left."""

from storage_providers.transfer.legacy._kinds import (
    LEGACY_KINDS,
    LegacyKind,
    count_records,
    fitting_kinds,
    import_legacy_data,
    legacy_kind,
)
from storage_providers.transfer.legacy.mastra import MastraD1, MastraFile
from storage_providers.transfer.legacy.mastra_kv import MastraKV
from storage_providers.transfer.legacy.valet import ValetFolder
from storage_providers.transfer.legacy.valet_archived import archived_journal, archived_planner
from storage_providers.transfer.legacy.valet_export import ValetExport, export_valet

__all__ = [
    "LEGACY_KINDS",
    "LegacyKind",
    "MastraD1",
    "MastraFile",
    "MastraKV",
    "ValetExport",
    "ValetFolder",
    "archived_journal",
    "archived_planner",
    "count_records",
    "export_valet",
    "fitting_kinds",
    "import_legacy_data",
    "legacy_kind",
]
