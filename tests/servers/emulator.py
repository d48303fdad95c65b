"""The Cloudflare of tests/emulator as a process of its own, and what tests ask of it."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

__all__ = ["EMULATOR", "Emulator", "Known", "LoggedCall", "node"]

EMULATOR: Final = Path(__file__).parents[1] / "emulator"
ACCOUNT: Final = "a" * 32
INSTALLED: Final = EMULATOR / "node_modules" / "miniflare" / "package.json"
START_SECONDS: Final = 60.0
"""Longest start, seconds. It takes about one on a machine at rest."""
STOP_SECONDS: Final = 20.0


class Known(msgspec.Struct, frozen=True):
    """What the emulator says of itself once it is ready.

    Attributes:
        root: Its address.
        api: Base of the REST API, to `/client/v4`.
        s3: Endpoint of R2's S3 API.
        token: The API token it accepts.
        access_key_id: Of R2's S3 API.
        secret_access_key: Of R2's S3 API.
        namespaces: Ids of the KV namespaces.
        databases: Ids of the D1 databases.
        buckets: Names of the buckets.
    """

    root: str
    api: str
    s3: str
    token: str
    access_key_id: str
    secret_access_key: str
    namespaces: list[str]
    databases: list[str]
    buckets: list[str]

    @property
    def account(self) -> str:
        """An account id; the emulator takes any."""
        return ACCOUNT


class LoggedCall(msgspec.Struct, frozen=True):
    """One call of the REST API, as the emulator saw it."""

    method: str
    path: str
    query: str
    status: int
    injected: bool


class Emulator:
    """A running emulator.

    Args:
        options: More options of `start.mjs`.

    Attributes:
        known: Where it is and what is in it.

    Raises:
        RuntimeError: It is not installed or did not start.
    """

    def __init__(self, *options: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`.
        # A pipe as its input: when this process ends, however it does, the emulator ends as well.
        self._process = subprocess.Popen(
            [node(), str(EMULATOR / "start.mjs"), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        try:
            self.known = msgspec.json.decode(self._first_line(), type=Known)
        except BaseException:
            self.stop()
            raise

    def _first_line(self) -> bytes:
        assert self._process.stdout is not None
        timer = threading.Timer(START_SECONDS, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"the emulator did not start within {START_SECONDS:g} s: {said}")
        return line

    def stop(self) -> None:
        """End it, and the workerd it started."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            process.stdout.close()
            self._errors.close()

    # --- what tests ask of it ------------------------------------------------------------------

    def fault(self, match: str, *, times: int | None = 1, **answer: Any) -> None:
        """Answer calls with an error instead, or after carrying them out.

        Args:
            match: Regular expression that the call's `METHOD path` is searched for.
            times: How many calls; `None`: every one, until `clear_faults`.
            answer: `status`, `code`, `message`, `headers`, `raw`, `after`, see the README.
        """
        counted = {} if times is None else {"times": times}
        self.control("POST", "faults", [{"match": match, **counted, **answer}])

    def clear_faults(self) -> None:
        """Take all faults back."""
        self.control("DELETE", "faults")

    def configure(self, **settings: int) -> None:
        """Set `kvStaleMs`, `kvWriteLimitMs` or `vectorizeDelayMs`."""
        self.control("POST", "config", settings)

    def advance(self, seconds: float) -> None:
        """Turn the clock that staleness, write limits and delays run by."""
        self.control("POST", "clock", {"advance_ms": round(seconds * 1000)})

    def log(self) -> list[LoggedCall]:
        """The calls of the REST API since `clear_log`."""
        return msgspec.convert(self.control("GET", "log"), list[LoggedCall])

    def clear_log(self) -> None:
        """Forget the calls so far."""
        self.control("DELETE", "log")

    def reset(self) -> None:
        """Take back faults and settings and forget the calls; what is stored stays."""
        self.control("POST", "reset", {"kvStaleMs": 0, "kvWriteLimitMs": 0, "vectorizeDelayMs": 0})

    def empty_bucket(self, name: str, prefix: str = "") -> None:
        """Remove the objects of a bucket whose keys begin with `prefix`."""
        self.control("POST", "empty", {"kind": "bucket", "id": name, "prefix": prefix})

    def empty_namespace(self, namespace_id: str, prefix: str = "") -> None:
        """Remove the keys of a KV namespace that begin with `prefix`."""
        self.control("POST", "empty", {"kind": "namespace", "id": namespace_id, "prefix": prefix})

    def empty_database(self, database_id: str) -> None:
        """Drop all tables and views of a D1 database."""
        self.control("POST", "empty", {"kind": "database", "id": database_id})

    def put_object(self, bucket: str, key: str, data: bytes) -> None:
        """Put an object into a bucket, by the REST API."""
        target = f"/accounts/{ACCOUNT}/r2/buckets/{bucket}/objects/{quote(key, safe='')}"
        headers = {"Authorization": f"Bearer {self.known.token}"}
        self._send("PUT", f"/client/v4{target}", data, headers)

    def control(self, method: str, what: str, body: object = None) -> Any:
        """Send one control request; returns its result."""
        content = None if body is None else msgspec.json.encode(body)
        return self._send(method, f"/control/{what}", content, {})

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        place = urlsplit(self.known.root)
        assert place.hostname is not None
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=STOP_SECONDS)
        try:
            connection.request(method, path, body, headers)
            answer = msgspec.json.decode(connection.getresponse().read())
        finally:
            connection.close()
        if not answer["success"]:
            raise RuntimeError(f"{method} {path}: {answer['errors']}")
        return answer["result"]


def node() -> str:
    """The Node that the emulator brings, else the machine's."""
    if not INSTALLED.exists():
        raise RuntimeError("the emulator of Cloudflare is not installed: run `make emulator`")
    brought = EMULATOR / "node_modules" / ".bin" / "node"
    found = str(brought) if brought.exists() else shutil.which("node")
    if found is None:
        raise RuntimeError("the emulator of Cloudflare needs Node 22.12 or newer")
    return found
