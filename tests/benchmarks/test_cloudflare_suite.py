"""The suite `cloudflare` runs, in small, and prints the rows it promises. No figure is judged."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.__main__ import main


def test_the_suite_cloudflare_prints_every_promised_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Calls at once have a goal; the other rows are for information."""
    assert main(["cloudflare", "--quick", "--json"]) == 0
    rows = msgspec.json.decode(capsys.readouterr().out)["rows"]
    assert [row["goal"] for row in rows] == [0.4, None, None, None, None]
    assert rows[0]["name"] == "a call of 1 KB, 16 at once"
    for row in rows:
        assert row["value"] > 0
        assert row["ratio"] > 0
        assert row["unit"] == "ms"
        assert row["reference"]
