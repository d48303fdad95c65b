"""Cloudflare's own command line, wrangler, at the local Cloudflare."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.servers.emulator import EMULATOR, Emulator, node

__all__ = ["wrangler"]

PROGRAM: Final = EMULATOR / "node_modules" / "wrangler" / "bin" / "wrangler.js"
SECONDS: Final = 120.0
"""Longest run, seconds. One takes about two on a machine at rest."""


def wrangler(emulator: Emulator, folder: Path, *arguments: str) -> str:
    """Run a command of wrangler against the local Cloudflare, and nothing else.

    Args:
        emulator: The local Cloudflare.
        folder: Where it runs and keeps its settings.
        arguments: What follows `wrangler`; `--remote` is added.

    Returns:
        What it printed.
    """
    known = emulator.known
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "WRANGLER_LOG_PATH": str(folder),
        "CLOUDFLARE_API_BASE_URL": known.api,
        "CLOUDFLARE_API_TOKEN": known.token,
        "CLOUDFLARE_ACCOUNT_ID": known.account,
        # No question, and no call to anywhere else: the banner is what looks for updates.
        "CI": "true",
        "NO_COLOR": "1",
        "WRANGLER_HIDE_BANNER": "true",
        "WRANGLER_SEND_METRICS": "false",
        "WRANGLER_SEND_ERROR_REPORTS": "false",
        "npm_config_registry": "http://127.0.0.1:1",
    }
    done = subprocess.run(
        [node(), str(PROGRAM), *arguments, "--remote"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    said = done.stdout.decode()
    assert done.returncode == 0, f"wrangler {arguments[:3]}: {said}\n{done.stderr.decode()}"
    return said
