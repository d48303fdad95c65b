"""Text that shows itself only when asked."""

from __future__ import annotations

import hmac
from typing import Final

__all__ = ["MASK", "Secret"]

MASK: Final = "**********"
"""What stands in place of a secret; its length says nothing about the secret's."""


class Secret:
    """A password, token or key that no repr, `str`, format or error shows.

    Two secrets are equal when their texts are; comparing takes the same time wherever they differ.

    Args:
        text: The secret.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, to hand to the service it is for."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, specification: str) -> str:
        return format(MASK, specification)
