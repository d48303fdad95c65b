"""The client that a provider makes for itself, when none is lent to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage_providers.errors import ConfigurationError

if TYPE_CHECKING:
    from storage_providers._secrets import Secret
    from storage_providers.cloudflare.client import CloudflareClient
    from storage_providers.resilience import RetryPolicy

__all__ = ["own_client"]


def own_client(
    needed_by: str,
    *,
    account_id: str | None,
    token: Secret | str | None,
    base_url: str,
    retry: RetryPolicy | None,
) -> CloudflareClient:
    """Make a client; it is not connected yet.

    Args:
        needed_by: Name of the provider, for the message.
        account_id: The Cloudflare account.
        token: An API token.
        base_url: Where the API is.
        retry: How often and when to try again.

    Raises:
        ConfigurationError: Something is missing or malformed, or `httpx` is not installed.
    """
    if account_id is None or token is None:
        missing = "account_id" if account_id is None else "token"
        raise ConfigurationError(f"{missing} is missing; give it, a client or a binding")
    from storage_providers.cloudflare._http import need_httpx
    from storage_providers.cloudflare.client import CloudflareClient

    need_httpx(needed_by)
    return CloudflareClient(account_id=account_id, token=token, base_url=base_url, retry=retry)
