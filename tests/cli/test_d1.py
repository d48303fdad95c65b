"""The command line on a D1 database: made, checked, used, and taken back in time."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from tests.cli.conftest import Cli
from tests.providers.d1.workerd import raw
from tests.servers.emulator import Emulator

QUESTION = b"Type its name to do it"


@pytest.fixture
def cli(cloudflare: Emulator, environment: pytest.MonkeyPatch) -> Cli:
    """The command line on an empty database, with nothing set but where it is."""
    known = cloudflare.known
    environment.setenv("CLOUDFLARE_API_BASE_URL", known.api)
    environment.setenv("CLOUDFLARE_ACCOUNT_ID", known.account)
    environment.setenv("CLOUDFLARE_API_TOKEN", known.token)
    cloudflare.empty_database(known.databases[0])
    return Cli(f"d1://{known.databases[0]}")


def tables(emulator: Emulator) -> set[str]:
    """The tables of the database."""
    ((*rows,),) = raw(emulator, ("SELECT name FROM sqlite_master WHERE type='table'", []))
    return {name for (name,) in rows if not name.startswith(("sqlite_", "_cf_"))}


# --- documents ---------------------------------------------------------------------------------


def test_documents(cli: Cli, cloudflare: Emulator) -> None:
    """The usual commands work on a database, by its id and by its name."""
    cli("put", "todos", '{"id": "a", "status": "open"}')
    cli("put", "user-7/todos", '{"id": "b"}')
    by_name = Cli("d1://database-1")
    assert json.loads(by_name("get", "todos", "a").out)["status"] == "open"
    assert by_name("count", "todos", "--where", '{"status": "open"}').out == "1\n"
    names = [json.loads(line)["collection"] for line in by_name("ls").out.splitlines()]
    assert names == ["todos", "user-7/todos"]
    found = json.loads(cli("query", "todos", "--where", '{"status": "open"}', "--explain").out)
    assert (found["items"], found["requests"]) == (1, 2)
    assert "c_todos" in tables(cloudflare)


# --- provision ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("cli")
def test_provision(cloudflare: Emulator) -> None:
    """A dry run makes nothing, a run makes the database and tries it, the next changes nothing."""
    new = Cli("d1://made-by-name")
    assert "provision d1://made-by-name" in new("ls", code=6).err
    dry = json.loads(new("provision", "--dry-run", "--json").out)
    assert dry == {
        "provisions": [{"what": "database made-by-name", "state": "missing", "detail": ""}],
        "checks": [],
    }
    first = json.loads(new("provision", "--json").out)
    (made,) = first["provisions"]
    try:
        assert (made["what"], made["state"]) == ("database made-by-name", "made")
        assert all(check["ok"] for check in first["checks"])
        by_id = Cli(f"d1://{made['detail'].removeprefix('id ')}")
        again = by_id("provision")
        assert "made-by-name" in again.out
        assert "0 made, 1 there already" in again.err
        assert "0 made, 1 there already" in new("provision", new.url).err
        assert new("ls").out == ""
    finally:
        identifier = made["detail"].removeprefix("id ")
        known = cloudflare.known
        headers = {"Authorization": f"Bearer {known.token}"}
        path = f"/client/v4/accounts/{known.account}/d1/database/{identifier}"
        cloudflare._send("DELETE", path, None, headers)


@pytest.mark.usefixtures("cli")
def test_provision_by_an_id_that_is_not_there() -> None:
    """The service chooses ids, so nothing can be made; the message says what is wrong."""
    absent = Cli("d1://ffffffff-0000-4000-8000-000000000001")
    assert "no such database" in absent("provision", "--dry-run", code=6).err
    assert "no such database" in absent("provision", code=6).err


def test_provision_without_the_right(cli: Cli, cloudflare: Emulator) -> None:
    """A token that may not make databases is told which one may; none of it is shown."""
    cloudflare.fault(r"^POST .*/d1/database$", status=403, code=10000, message="not allowed")
    cloudflare.fault(r"^POST .*/d1/database$", status=403, code=7403, message="not authorized")
    result = Cli("d1://another-one")("provision", code=6)
    assert cloudflare.known.token not in result.out + result.err
    assert "D1: Edit" in Cli("d1://another-one")("provision", code=6).err
    assert cli("ls").out == ""


# --- doctor ------------------------------------------------------------------------------------


def checks_of(cli: Cli, *arguments: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """The checks that `doctor` reports, by name."""
    report = json.loads(cli("doctor", "--json", *arguments, code=code).out)
    return {check["name"]: check for check in report["checks"]}


def test_doctor(cli: Cli, cloudflare: Emulator) -> None:
    """The token, the database, each right by itself, the circuit; nothing stays behind."""
    cli("put", "todos", '{"id": "a"}')
    before = tables(cloudflare)
    checks = checks_of(cli)
    assert list(checks) == [
        *("connect", "token", "database", "list", "read", "write", "delete", "circuit"),
    ]
    assert all(check["ok"] for check in checks.values())
    assert "database-1" in checks["database"]["detail"]
    assert tables(cloudflare) == before
    assert cloudflare.known.token not in cli("doctor").out
    assert "write" not in checks_of(cli, "--no-write")
    assert checks_of(Cli("d1://database-1"))["circuit"]["ok"]


@pytest.mark.usefixtures("cli")
def test_doctor_without_a_database() -> None:
    """One that is not there is one failed check that says what to do, not ten."""
    for url, words in (
        ("d1://no-such-name", "provision"),
        ("d1://ffffffff-0000-4000-8000-000000000001", "no such database"),
    ):
        checks = checks_of(Cli(url), code=6)
        assert [name for name, check in checks.items() if not check["ok"]] == ["database"]
        assert words in checks["database"]["detail"]


def test_doctor_with_a_wrong_token(cli: Cli, environment: pytest.MonkeyPatch) -> None:
    """Nothing else is tried, and the token is not shown."""
    environment.setenv("CLOUDFLARE_API_TOKEN", "wrong-secret")
    checks = checks_of(cli, code=6)
    assert [name for name, check in checks.items() if not check["ok"]] == ["token"]
    assert "database" not in checks
    assert "wrong-secret" not in json.dumps(checks)


def test_doctor_with_a_token_of_the_account(cli: Cli, cloudflare: Emulator) -> None:
    """Tokens that belong to an account are asked for there; an ended one is a failure."""
    cloudflare.fault(
        "GET .*/user/tokens/verify", status=401, code=1000, message="Invalid API Token"
    )
    assert checks_of(cli)["token"]["ok"]
    assert [call.path for call in cloudflare.log() if "verify" in call.path] == [
        "/client/v4/user/tokens/verify",
        f"/client/v4/accounts/{cloudflare.known.account}/tokens/verify",
    ]


def test_doctor_with_a_token_that_may_do_nothing(cli: Cli, cloudflare: Emulator) -> None:
    """Each right that is missing is said, and what the token needs."""
    cloudflare.fault(r"POST .*/raw", times=99, status=403, code=7403, message="not authorized")
    checks = checks_of(cli, code=6)
    assert checks["token"]["ok"]
    assert checks["database"]["ok"]
    for name in ("list", "read", "write", "delete"):
        assert checks[name]["error"] == "PermissionDeniedError"
    assert "D1: Edit" in checks["write"]["advice"]


# --- time travel -------------------------------------------------------------------------------


def test_there_and_back_again(cli: Cli) -> None:
    """A state is named and gone back to, and the bookmark that is printed leads back."""
    cli("put", "todos", '{"id": "a"}')
    mark = cli("d1", "bookmark").out.strip()
    named = json.loads(cli("d1", "bookmark", "--json").out)
    assert named["database"] == "database-1"
    assert named["bookmark"] > mark
    cli("rm", "todos", "a", "--yes")
    cli("put", "todos", '{"id": "b"}')
    result = cli("d1", "restore", mark, "--yes", "--name", "database-1")
    assert "every user" in result.err
    assert [json.loads(line)["id"] for line in cli("query", "todos").out.splitlines()] == ["a"]
    back = json.loads(
        cli("d1", "restore", result.out.strip(), "-y", "--name", "database-1", "--json").out
    )
    assert back["bookmark"] == result.out.strip()
    assert back["previous_bookmark"] > back["bookmark"]
    assert [json.loads(line)["id"] for line in cli("query", "todos").out.splitlines()] == ["b"]


def test_a_moment(cli: Cli, cloudflare: Emulator) -> None:
    """`--at` names the state of a moment; one that is no time is refused by the service."""
    mark = cli("d1", "bookmark").out
    assert cli("d1", "bookmark", "--at", "2999-01-01T00:00:00Z").out == mark
    refused = cli("d1", "restore", "nonsense", "-y", "--name", "database-1", code=2)
    assert "finds the request malformed" in refused.err
    (call,) = [call for call in cloudflare.log() if "timestamp" in call.query]
    assert unquote(call.query) == "?timestamp=2999-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        ("database-1\n", 0, "this leads back"),
        ("database-2\n", 1, "nothing was done"),
        ("yes\n", 1, "nothing was done"),
        ("\n", 1, "nothing was done"),
        ("\x03", 130, "interrupted"),
    ],
)
def test_the_name_is_typed(
    cli: Cli, cloudflare: Emulator, typed: str, code: int, words: str
) -> None:
    """Only the database's own name does it; anything else, and Ctrl-C, does nothing."""
    mark = cli("d1", "bookmark").out.strip()
    cloudflare.clear_log()
    result = cli.on_terminal("d1", "restore", mark, answers=[typed], question=QUESTION)
    assert result.code == code, result.out
    assert words in result.out
    assert "every user" in " ".join(result.out.split())
    restores = [call for call in cloudflare.log() if call.path.endswith("/restore")]
    assert len(restores) == (code == 0)


def test_yes_needs_the_name(cli: Cli, cloudflare: Emulator) -> None:
    """And the right one; where nobody can be asked nothing happens, and the answer says how."""
    mark = cli("d1", "bookmark").out.strip()
    assert "--yes needs --name" in cli("d1", "restore", mark, "--yes", code=2).err
    wrong = cli("d1", "restore", mark, "--yes", "--name", "database-2", code=2)
    assert "nothing was done" in wrong.err
    assert "--yes --name database-1" in cli("d1", "restore", mark, code=2).err
    assert not [call for call in cloudflare.log() if call.path.endswith("/restore")]


@pytest.mark.usefixtures("environment")
def test_other_providers_have_no_time_travel() -> None:
    """The answer names D1."""
    for arguments in (("bookmark",), ("restore", "x")):
        assert "d1://" in Cli("memory:")("d1", *arguments, code=2).err
