"""Declarations as files beside the documents, which people may read and mend."""

from __future__ import annotations

import msgspec

from storage_providers.errors import CorruptItemError
from storage_providers.protocol import CollectionSpec
from storage_providers.providers._files.writer import os_error

__all__ = ["read_declaration", "render_declaration"]


def render_declaration(spec: CollectionSpec) -> bytes:
    """What the file of a declaration holds.

    Args:
        spec: The declaration.
    """
    return msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n"


def read_declaration(path: str, collection: str) -> CollectionSpec | None:
    """Read what is declared about a collection; `None`: nothing.

    Args:
        path: The file.
        collection: Name of the collection, whatever the file says.

    Raises:
        CorruptItemError: The file holds no declaration.
        StorageError: It can't be read.
    """
    try:
        with open(path, "rb") as file:
            spec = msgspec.json.decode(file.read(), type=CollectionSpec)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise os_error(error, path) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptItemError(
            f"the declaration {path} can't be read ({error}); mend or delete it and declare "
            "the collection again",
            collection=collection,
            source=path,
        ) from error
    return msgspec.structs.replace(spec, collection=collection)
