"""The local Cloudflare answers as the service's documentation says, and does what tests ask."""

from __future__ import annotations

import asyncio
import http.client
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import pytest

from tests.servers.emulator import Emulator

ROOT = Path(__file__).parents[2]


class Answer(msgspec.Struct, frozen=True):
    """An answer, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The envelope."""
        return msgspec.json.decode(self.body)

    @property
    def result(self) -> Any:
        """What the envelope holds; the call succeeded."""
        assert self.status == 200, self.body
        return self.json["result"]

    @property
    def code(self) -> int:
        """The error's number."""
        number: int = self.json["errors"][0]["code"]
        return number


class Api:
    """The REST API of the emulator, below one account."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.headers = {"Authorization": f"Bearer {emulator.known.token}"}

    def __call__(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        known = self.emulator.known
        place = urlsplit(known.api)
        assert place.hostname is not None
        content = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
        try:
            target = f"{place.path}/accounts/{known.account}{path}"
            sent = self.headers if headers is None else headers
            connection.request(method, target, content, sent)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        finally:
            connection.close()


@pytest.fixture
def api(cloudflare: Emulator) -> Api:
    """The REST API."""
    return Api(cloudflare)


@pytest.fixture
def kv(api: Api) -> Iterator[str]:
    """The path of an empty KV namespace."""
    known = api.emulator.known
    yield f"/storage/kv/namespaces/{known.namespaces[-1]}"
    api.emulator.empty_namespace(known.namespaces[-1])


@pytest.fixture
def d1(api: Api) -> Iterator[str]:
    """The path of an empty D1 database."""
    known = api.emulator.known
    yield f"/d1/database/{known.databases[-1]}"
    api.emulator.empty_database(known.databases[-1])


# --- the API as a whole ------------------------------------------------------------------------


def test_credentials_are_checked(api: Api) -> None:
    """Missing and wrong tokens are told apart."""
    missing = api("GET", "", headers={})
    wrong = api("GET", "", headers={"Authorization": "Bearer wrong"})
    assert (missing.status, missing.code) == (400, 9106)
    assert (wrong.status, wrong.code) == (403, 10000)


def test_answers_carry_the_headers_of_the_service(api: Api) -> None:
    """Every answer says what is left of the rate; unknown paths have no route."""
    answer = api("GET", "/nothing/here")
    assert (answer.status, answer.code) == (404, 7003)
    assert {"cf-ray", "x-ratelimit-limit", "x-ratelimit-remaining"} <= answer.headers.keys()


def test_faults_strike_before_or_after_the_call(api: Api, kv: str) -> None:
    """An injected answer stands for the service's own, whether it acted or not, and is logged."""
    api.emulator.clear_log()
    api.emulator.fault("PUT .*/values/", status=500, after=True)
    api.emulator.fault("GET .*/values/", status=429, code=10000, headers={"retry-after": "3"})
    assert api("PUT", f"{kv}/values/a", b"1").status == 500
    limited = api("GET", f"{kv}/values/a")
    assert (limited.status, limited.headers["retry-after"]) == (429, "3")
    assert api("GET", f"{kv}/values/a").body == b"1"
    logged = [(each.method, each.status, each.injected) for each in api.emulator.log()]
    assert logged == [("PUT", 500, True), ("GET", 429, True), ("GET", 200, False)]


# --- KV ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["plain", "a/b c", "é:ü!%3F", "..x", "q?x=1&y#z", "+plus", "日本"])
def test_kv_keeps_any_key_and_any_bytes(api: Api, kv: str, key: str) -> None:
    """Keys come back however they are spelt, values byte by byte."""
    value = b"\x00\xff" + key.encode()
    assert api("PUT", f"{kv}/values/{quote(key, safe='')}", value).json["success"]
    assert api("GET", f"{kv}/values/{quote(key, safe='')}").body == value
    assert [each["name"] for each in api("GET", f"{kv}/keys").result] == [key]


def test_kv_keeps_metadata_and_expiry(api: Api, kv: str) -> None:
    """Metadata has a route of its own; the expiry is a header and stands in listings."""
    form = (
        b'--x\r\nContent-Disposition: form-data; name="value"\r\n\r\nv\r\n'
        b'--x\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{"n":1}\r\n--x--\r\n'
    )
    headers = {**api.headers, "Content-Type": "multipart/form-data; boundary=x"}
    api("PUT", f"{kv}/values/m?expiration_ttl=120", form, headers)
    read = api("GET", f"{kv}/values/m")
    assert read.body == b"v"
    assert api("GET", f"{kv}/metadata/m").result == {"n": 1}
    (listed,) = api("GET", f"{kv}/keys").result
    assert listed["metadata"] == {"n": 1}
    assert str(listed["expiration"]) == read.headers["expiration"]


@pytest.mark.parametrize(
    ("method", "path", "size", "status"),
    [
        ("GET", "/values/none", 0, 404),
        ("GET", "/keys?limit=5", 0, 400),
        ("PUT", "/values/t?expiration_ttl=10", 1, 400),
        ("PUT", "/values/" + "k" * 513, 1, 414),
        ("PUT", "/values/big", 25 * 1024 * 1024 + 1, 413),
    ],
)
def test_kv_refuses(api: Api, kv: str, method: str, path: str, size: int, status: int) -> None:
    """What the service refuses is refused."""
    assert api(method, kv + path, b"x" * size if size else None).status == status


def test_kv_in_bulk(api: Api, kv: str) -> None:
    """Many pairs are written, listed in pages, read and deleted by few calls."""
    pairs = [{"key": f"k{n:04}", "value": f"{n}", "metadata": {"n": n}} for n in range(1200)]
    written = api("PUT", f"{kv}/bulk", pairs).result
    assert written == {"successful_key_count": 1200, "unsuccessful_keys": []}
    first = api("GET", f"{kv}/keys?prefix=k")
    cursor = first.json["result_info"]["cursor"]
    last = api("GET", f"{kv}/keys?prefix=k&cursor={quote(cursor)}")
    names = [each["name"] for each in [*first.result, *last.result]]
    assert names == [pair["key"] for pair in pairs]
    assert last.json["result_info"]["cursor"] == ""
    read = api("POST", f"{kv}/bulk/get", {"keys": ["k0007", "no"], "withMetadata": True}).result
    assert read == {"values": {"k0007": {"value": "7", "metadata": {"n": 7}}, "no": None}}
    many = {"keys": [f"{n}" for n in range(101)]}
    assert api("POST", f"{kv}/bulk/get", many).status == 400
    assert api("POST", f"{kv}/bulk/delete", names).result["successful_key_count"] == 1200
    assert api("GET", f"{kv}/keys").result == []


def test_kv_reads_are_stale_until_the_clock_turns(api: Api, kv: str) -> None:
    """With staleness set, absence and values are answered again for a while, in every read."""
    api.emulator.configure(kvStaleMs=60_000)
    assert api("GET", f"{kv}/values/a").status == 404
    api("PUT", f"{kv}/values/a", b"1")
    assert api("GET", f"{kv}/values/a").status == 404
    assert api("POST", f"{kv}/bulk/get", {"keys": ["a"]}).result == {"values": {"a": None}}
    api.emulator.advance(60)
    assert api("GET", f"{kv}/values/a").body == b"1"


def test_kv_takes_one_write_a_second_per_key(api: Api, kv: str) -> None:
    """With the limit set, a second write of a key is refused until the clock turns."""
    api.emulator.configure(kvWriteLimitMs=1000)
    statuses = [api("PUT", f"{kv}/values/{key}", b"1").status for key in "aab"]
    assert statuses == [200, 429, 200]
    pairs = [{"key": key, "value": "2"} for key in "abc"]
    assert api("PUT", f"{kv}/bulk", pairs).result["unsuccessful_keys"] == ["a", "b"]
    api.emulator.advance(1)
    assert api("PUT", f"{kv}/values/a", b"3").status == 200


def test_kv_namespaces_are_made_and_removed(api: Api) -> None:
    """A namespace is made once under one title, and is gone after it was deleted."""
    path = "/storage/kv/namespaces"
    made = api("POST", path, {"title": "mine"}).result
    assert api("POST", path, {"title": "mine"}).code == 10014
    assert made in api("GET", f"{path}?per_page=100").result
    assert api("DELETE", f"{path}/{made['id']}").status == 200
    assert api("GET", f"{path}/{made['id']}").code == 10013


# --- D1 ----------------------------------------------------------------------------------------


def test_d1_answers_by_rows_and_by_names(api: Api, d1: str) -> None:
    """`raw` keeps columns of equal names and the columns of no rows; `query` has named values."""
    api("POST", f"{d1}/query", {"sql": "CREATE TABLE t (a, b)"})
    inserted = api(
        "POST", f"{d1}/query", {"sql": "INSERT INTO t VALUES (?, ?)", "params": [1, "x"]}
    )
    assert inserted.result[0]["meta"]["changes"] == 1
    raw = api("POST", f"{d1}/raw", {"sql": "SELECT a, b, a FROM t"}).result[0]["results"]
    assert raw == {"columns": ["a", "b", "a"], "rows": [[1, "x", 1]]}
    none = api("POST", f"{d1}/raw", {"sql": "SELECT a FROM t WHERE 0"}).result[0]["results"]
    assert none == {"columns": ["a"], "rows": []}
    named = api("POST", f"{d1}/query", {"sql": "SELECT a, b FROM t"}).result[0]["results"]
    assert named == [{"a": 1, "b": "x"}]


def test_d1_batches_are_one_transaction(api: Api, d1: str) -> None:
    """One failure takes the whole batch back."""
    api("POST", f"{d1}/query", {"sql": "CREATE TABLE t (a UNIQUE)"})
    insert = {"sql": "INSERT INTO t VALUES (?)", "params": ["x"]}
    failed = api("POST", f"{d1}/query", {"batch": [insert, insert]})
    assert (failed.status, failed.code) == (400, 7500)
    assert b"UNIQUE" in failed.body
    count = api("POST", f"{d1}/query", {"sql": "SELECT count(*) AS n FROM t"})
    assert count.result[0]["results"] == [{"n": 0}]


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("SELECT 1; SELECT 2", 2),
        ("SELECT ';' || \"a;b\" FROM (SELECT 1 AS \"a;b\"); -- x;y\nSELECT 2 /* ; */;", 2),
        ("CREATE TABLE t (a); CREATE TRIGGER r AFTER INSERT ON t BEGIN "
         "INSERT INTO t VALUES (CASE WHEN new.a THEN ';' ELSE 'b' END); DELETE FROM t; END; "
         "SELECT 1", 3),
        ("CREATE TABLE [a;b] (`c;d`); SELECT 'it''s;' FROM [a;b]", 2),
    ],
)  # fmt: skip
def test_d1_splits_statements(api: Api, d1: str, sql: str, statements: int) -> None:
    """Several statements in one text run one after the other, whatever they hold."""
    assert len(api("POST", f"{d1}/query", {"sql": sql}).result) == statements


@pytest.mark.parametrize(
    "query",
    [
        {"sql": "SELEC"},
        {"sql": "BEGIN"},
        {"sql": "SELECT " + ",".join("?" * 101), "params": list(range(101))},
        {"sql": "SELECT '" + "x" * 100_000 + "'"},
        {"sql": "SELECT ?", "params": ["é" * 1_000_001]},
        {"sql": "SELECT 1; SELECT 2", "params": [1]},
        {"params": []},
    ],
    ids=["syntax", "BEGIN", "parameters", "statement", "value", "several", "no sql"],
)
def test_d1_refuses(api: Api, d1: str, query: dict[str, Any]) -> None:
    """What the service refuses is refused, with status 400."""
    assert api("POST", f"{d1}/query", query).status == 400


def test_d1_takes_what_is_just_within_its_limits(api: Api, d1: str) -> None:
    """A hundred parameters and a value of two million bytes are accepted."""
    parameters = {"sql": "SELECT " + ",".join("?" * 100), "params": list(range(100))}
    value = {"sql": "SELECT length(?)", "params": ["é" * 1_000_000]}
    assert [api("POST", f"{d1}/query", each).status for each in (parameters, value)] == [200, 200]


def test_d1_loses_no_concurrent_increment(api: Api, d1: str) -> None:
    """Statements of several connections run one after the other."""
    api("POST", f"{d1}/query", {"sql": "CREATE TABLE t (n); INSERT INTO t VALUES (0)"})
    bump = {"sql": "UPDATE t SET n = n + 1 RETURNING n"}

    async def run() -> list[Answer]:
        calls = (asyncio.to_thread(api, "POST", f"{d1}/raw", bump) for _ in range(20))
        return await asyncio.gather(*calls)

    numbers = [answer.result[0]["results"]["rows"][0][0] for answer in asyncio.run(run())]
    assert sorted(numbers) == list(range(1, 21))


def test_d1_is_emptied(api: Api, d1: str) -> None:
    """Emptying drops tables, views, triggers, search tables and references to one another."""
    schema = (
        "CREATE TABLE parent (id PRIMARY KEY); CREATE TABLE child (p REFERENCES parent (id));"
        "INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1);"
        "CREATE VIEW v AS SELECT * FROM child; CREATE INDEX i ON child (p);"
        "CREATE VIRTUAL TABLE words USING fts5 (body); INSERT INTO words VALUES ('a');"
        "CREATE TRIGGER r AFTER INSERT ON child BEGIN DELETE FROM words; END"
    )
    assert api("POST", f"{d1}/query", {"sql": schema}).status == 200
    api.emulator.empty_database(api.emulator.known.databases[-1])
    left = api("POST", f"{d1}/raw", {"sql": "SELECT name FROM sqlite_master"})
    assert [row for row in left.result[0]["results"]["rows"] if row[0][:4] != "_cf_"] == []
    assert api("POST", f"{d1}/query", {"sql": schema}).status == 200


# --- R2, Vectorize, Workers AI -----------------------------------------------------------------


def test_r2_keeps_objects(api: Api) -> None:
    """The REST API of R2 writes, reads, lists and deletes; buckets are emptied by prefix."""
    objects = f"/r2/buckets/{api.emulator.known.buckets[0]}/objects"
    api.emulator.empty_bucket(api.emulator.known.buckets[0])  # of what other tests left
    for key in ("x%2Fa", "x%2Fb", "y"):
        assert api("PUT", f"{objects}/{key}", b"1").result["size"] == "1"
    assert api("GET", f"{objects}/x%2Fa").body == b"1"
    api.emulator.empty_bucket(api.emulator.known.buckets[0], "x/")
    assert [each["key"] for each in api("GET", objects).result] == ["y"]
    api.emulator.empty_bucket(api.emulator.known.buckets[0])
    assert api("GET", f"{objects}/y").code == 10007


def test_the_fake_vectorize_applies_mutations_later(api: Api) -> None:
    """A vector is found, by its metadata too, once the clock has passed the delay."""
    path = "/vectorize/v2/indexes"
    api("POST", path, {"name": "ix", "config": {"dimensions": 2, "metric": "cosine"}})
    api("POST", f"{path}/ix/metadata_index/create", {"propertyName": "k", "indexType": "string"})
    api.emulator.configure(vectorizeDelayMs=5000)
    lines = b'{"id":"1","values":[1,0],"metadata":{"k":"a"}}\n{"id":"2","values":[0,1]}\n'
    headers = {**api.headers, "Content-Type": "application/x-ndjson"}
    mutation = api("POST", f"{path}/ix/upsert", lines, headers).result["mutationId"]
    query = {"vector": [1, 0], "filter": {"k": "a"}, "returnMetadata": "all"}
    assert api("POST", f"{path}/ix/query", query).result["count"] == 0
    api.emulator.advance(5)
    assert api("GET", f"{path}/ix/info").result["processedUpToMutation"] == mutation
    (match,) = api("POST", f"{path}/ix/query", query).result["matches"]
    assert (match["id"], match["score"], match["metadata"]) == ("1", 1, {"k": "a"})
    assert api("DELETE", f"{path}/ix").status == 200


def test_the_fake_workers_ai_embeds(api: Api) -> None:
    """Equal texts have equal embeddings of the model's length; the slash may be escaped."""
    for model in ("@cf/baai/bge-base-en-v1.5", "@cf%2Fbaai%2Fbge-base-en-v1.5"):
        result = api("POST", f"/ai/run/{model}", {"text": ["a b", "a b", "c"]}).result
        assert result["shape"] == [3, 768]
        assert result["data"][0] == result["data"][1] != result["data"][2]
    assert api("POST", "/ai/run/no-such", {"text": "a"}).code == 5007


# --- the process -------------------------------------------------------------------------------

START_AND_BE_KILLED = """
import os, signal
from tests.servers.emulator import Emulator

emulator = Emulator()
children = f"/proc/{emulator._process.pid}/task/{emulator._process.pid}/children"
print(emulator._process.pid, open(children).read(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_ends_with_the_tests_however_they_end() -> None:
    """When the process that started it is killed, neither Node nor workerd stays."""
    started = subprocess.run(
        [sys.executable, "-c", START_AND_BE_KILLED],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    assert started.returncode == -signal.SIGKILL, started.stderr
    node, workerd = (int(pid) for pid in started.stdout.split())
    for pid in (node, workerd):
        _wait_for_the_end(pid)


def _wait_for_the_end(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(handle)
        assert poll.poll(20_000), f"process {pid} is still there"
    finally:
        os.close(handle)
