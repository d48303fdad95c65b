"""Readers and writers of data that other programs left."""

from storage_providers.transfer.legacy.valet import ValetFolder
from storage_providers.transfer.legacy.valet_archived import archived_journal, archived_planner
from storage_providers.transfer.legacy.valet_export import ValetExport, export_valet

__all__ = [
    "ValetExport",
    "ValetFolder",
    "archived_journal",
    "archived_planner",
    "export_valet",
]
