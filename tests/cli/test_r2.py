"""The command line on a bucket: made, checked, used, kept in order."""

from __future__ import annotations

import json
import signal
import threading

import pytest
from typer.testing import CliRunner

from storage_providers.cli._app import app
from storage_providers.providers._objects.provider import ObjectProvider
from tests.cli.conftest import Cli
from tests.servers.fault_proxy import FaultProxy, Stall
from tests.servers.moto import MotoS3
from tests.servers.r2 import s3_error


@pytest.fixture
def cli(moto: MotoS3, moto_bucket: str, environment: pytest.MonkeyPatch) -> Cli:
    """The command line on a prefix of an empty bucket, with nothing set but credentials."""
    lead_to(environment, moto.endpoint)
    return Cli(f"r2://{moto_bucket}/kept")


@pytest.fixture
def absent(moto: MotoS3, environment: pytest.MonkeyPatch) -> Cli:
    """The command line on a bucket that is not there."""
    lead_to(environment, moto.endpoint)
    return Cli("r2://not-yet-there/kept")


def lead_to(environment: pytest.MonkeyPatch, endpoint: str) -> None:
    """Set what a provider needs to reach a server."""
    environment.setenv("CLOUDFLARE_R2_ENDPOINT", endpoint)
    environment.setenv("CLOUDFLARE_R2_ACCESS_KEY_ID", "a-key-id")
    environment.setenv("CLOUDFLARE_R2_SECRET_ACCESS_KEY", "very-secret-key")


def bucket_of(cli: Cli) -> str:
    """The bucket in a URL."""
    return cli.url.removeprefix("r2://").partition("/")[0]


# --- documents ---------------------------------------------------------------------------------


def test_documents(cli: Cli, moto: MotoS3) -> None:
    """The usual commands work on a bucket, and the documents lie where they should."""
    cli("put", "todos", '{"id": "a", "status": "open"}')
    cli("put", "user-7/todos", '{"id": "b"}')
    assert json.loads(cli("get", "todos", "a").out)["status"] == "open"
    cli("update", "todos", "a", '{"status": "done"}')
    assert cli("count", "todos", "--where", '{"status": "done"}').out == "1\n"
    assert [json.loads(line)["collection"] for line in cli("ls").out.splitlines()] == [
        "todos",
        "user-7/todos",
    ]
    assert moto.keys(bucket_of(cli)) == ["kept/todos/a.json", "kept/user-7/todos/b.json"]
    cli("rm", "todos", "a", "--yes")
    assert cli("count", "todos").out == "0\n"


def test_explain(cli: Cli) -> None:
    """What a query costs is said in requests; the provider tells its plan."""
    cli("put", "todos", stdin="".join(f'{{"id":"{number}"}}\n' for number in range(5)))
    found = json.loads(cli("query", "todos", "--where", '{"n": 1}', "--explain").out)
    assert (found["items"], found["full_scan"], found["documents_read"]) == (0, True, 5)
    assert found["requests"] >= 6
    assert found["plan"]


# --- provision ---------------------------------------------------------------------------------


def test_provision(absent: Cli, moto: MotoS3) -> None:
    """A dry run makes nothing, a run makes the bucket and tries it, the next changes nothing."""
    dry = json.loads(absent("provision", "--dry-run", "--json").out)
    assert [each["state"] for each in dry["provisions"]] == ["missing"]
    assert dry["checks"] == []
    with pytest.raises(KeyError):
        moto.keys("not-yet-there")
    try:
        first = json.loads(absent("provision", "--json").out)
        assert [each["state"] for each in first["provisions"]] == ["made"]
        assert all(check["ok"] for check in first["checks"])
        assert moto.keys("not-yet-there") == []
        again = absent("provision", absent.url)
        assert "there" in again.out
        assert "0 made, 1 there already" in again.err
    finally:
        moto.drop_bucket("not-yet-there")


def test_provision_without_the_right(
    absent: Cli, moto_proxy: FaultProxy, environment: pytest.MonkeyPatch
) -> None:
    """A token that may not make buckets is told which one may."""
    lead_to(environment, moto_proxy.endpoint)
    moto_proxy.break_next(s3_error(403, "AccessDenied"), method="PUT")
    result = absent("provision", code=6)
    assert "Admin Read & Write" in result.err
    assert "very-secret-key" not in result.err


# --- doctor ------------------------------------------------------------------------------------


def checks_of(cli: Cli, *arguments: str, code: int = 0) -> dict[str, dict[str, object]]:
    """The checks that `doctor` reports, by name."""
    report = json.loads(cli("doctor", "--json", *arguments, code=code).out)
    return {check["name"]: check for check in report["checks"]}


def test_doctor(cli: Cli, moto: MotoS3) -> None:
    """Each right by itself, the clock, the circuit, the indexes; nothing stays behind."""
    cli("put", "todos", '{"id": "a"}')
    before = moto.keys(bucket_of(cli))
    checks = checks_of(cli)
    assert list(checks) == [
        *("connect", "bucket", "clock", "list", "read"),
        *("write", "conditions", "delete", "indexes", "circuit"),
    ]
    assert all(check["ok"] for check in checks.values())
    assert moto.keys(bucket_of(cli)) == before
    text = cli("doctor").out
    assert "very-secret-key" not in text
    assert "write" not in checks_of(cli, "--no-write")


def test_doctor_without_a_bucket(absent: Cli) -> None:
    """A bucket that is not there is one failed check that says what to do, not ten."""
    checks = checks_of(absent, code=6)
    assert [name for name, check in checks.items() if not check["ok"]] == ["bucket"]
    assert "provision" in str(checks["bucket"])


def test_doctor_with_a_token_that_only_reads(
    cli: Cli, moto_proxy: FaultProxy, environment: pytest.MonkeyPatch
) -> None:
    """Writing fails, reading does not, and both are said."""
    lead_to(environment, moto_proxy.endpoint)
    moto_proxy.break_next(s3_error(403, "AccessDenied"), method="PUT", times=99)
    checks = checks_of(cli, code=6)
    assert checks["read"]["ok"]
    assert checks["list"]["ok"]
    assert checks["write"]["error"] == "PermissionDeniedError"


# --- indexes -----------------------------------------------------------------------------------


def test_an_index_is_declared_built_and_used(cli: Cli, environment: pytest.MonkeyPatch) -> None:
    """`declare` says that it is building, `--wait` makes it ready, queries use it."""
    cli("put", "todos", stdin='{"id": "a", "n": 1}\n{"id": "b", "n": 2}\n')
    assert "index n: building" in cli("declare", "todos", "--index", "n").err
    environment.setattr(ObjectProvider, "settle_seconds", 0.0)
    assert "index n: ready" in cli("declare", "todos", "--wait").err
    found = json.loads(cli("query", "todos", "--where", '{"n": 2}', "--explain").out)
    assert (found["index"], found["items"], found["documents_read"]) == ("n", 1, 1)


def test_documents_of_other_programs(
    cli: Cli, moto: MotoS3, environment: pytest.MonkeyPatch
) -> None:
    """`reindex` finds what another program put there, `gc` what nobody needs any more."""
    environment.setattr(ObjectProvider, "settle_seconds", 0.0)
    cli("put", "todos", '{"id": "a", "n": 1}')
    cli("declare", "todos", "--index", "n", "--wait")
    moto.plant(bucket_of(cli), {"kept/todos/b.json": b'{"n": 1}'})
    question = ("query", "todos", "--where", '{"n": 1}')
    assert len(cli(*question).out.splitlines()) == 1
    assert json.loads(cli("reindex", "--json").out) == [{"collection": "todos", "documents": 2}]
    assert len(cli(*question).out.splitlines()) == 2
    (report,) = json.loads(cli("gc", "todos", "--json").out)
    assert report["collection"] == "todos"
    assert report["entries_removed"] == 0
    assert "entries_removed" in cli("gc").out


@pytest.mark.parametrize(
    ("command", "where"), [("reindex", r"/todos/5\.json"), ("gc", r"list-type=2.*indexes")]
)
def test_ctrl_c_and_again(
    cli: Cli,
    moto_proxy: FaultProxy,
    environment: pytest.MonkeyPatch,
    command: str,
    where: str,
) -> None:
    """Interrupted in the middle it ends with 130, and the next run does what is left."""
    environment.setattr(ObjectProvider, "settle_seconds", 0.0)
    cli("put", "todos", stdin="".join(f'{{"id":"{number}","n":1}}\n' for number in range(9)))
    cli("declare", "todos", "--index", "n", "--wait")
    lead_to(environment, moto_proxy.endpoint)
    moto_proxy.break_next(Stall(), path=where)
    child = cli.start(command, "todos")
    while not any(each.broken for each in moto_proxy.seen):
        assert child.poll() is None, "it ended before it came there"
        threading.Event().wait(0.02)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=60)[1] == b"storage-providers: interrupted\n"
    assert child.returncode == 130
    moto_proxy.release()
    (report,) = json.loads(cli(command, "todos", "--json").out)
    assert 9 in report.values()
    assert cli("count", "todos", "--where", '{"n": 1}').out == "9\n"


def test_a_users_part_of_a_bucket(cli: Cli, moto: MotoS3, environment: pytest.MonkeyPatch) -> None:
    """With a user id the same commands keep that user's indexes, and say their names."""
    environment.setattr(ObjectProvider, "settle_seconds", 0.0)
    environment.setenv("STORAGE_PROVIDERS_URL", cli.url)
    environment.setenv("STORAGE_PROVIDERS_KEY_PREFIX", "user-{userId}")
    environment.setenv("STORAGE_PROVIDERS_USER_ID", "7")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, result.stderr
        return result.stdout + result.stderr

    run("put", "todos", '{"id": "a", "n": 1}')
    assert moto.keys(bucket_of(cli)) == ["kept/user-7/todos/a.json"]
    assert "index n: ready" in run("declare", "todos", "--index", "n", "--wait")
    question = ("query", "todos", "--where", '{"n": 1}', "--explain")
    assert json.loads(run(*question))["plan"]["index"] == "n"
    assert json.loads(run("reindex", "--json")) == [{"collection": "todos", "documents": 1}]
    assert json.loads(run("gc", "--json"))[0]["entries_seen"] == 1
    assert "ok      write" in run("doctor")
