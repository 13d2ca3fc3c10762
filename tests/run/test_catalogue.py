"""The columns of ``dalib methods`` that say what tests hold a method to."""

import json

import pytest

from dalib.run.cli.catalogue import Options, Row, rows, show
from dalib.run.cli.main import main
from tests.golden.methods import CHECKS


@pytest.mark.slow
def test_status_is_that_of_the_tests_own_tables(capsys):
    table = {row.name: row for row in rows()}
    assert {check.method for check in CHECKS} == {name for name, row in table.items() if row.golden}
    for check in CHECKS:
        assert check.case in table[check.method].golden.split(", ")
    assert {row.contract.split(":")[0] for row in table.values()} == {"default", "slow"}
    assert table["mixstyle"].contract == "slow: no weight, order matters"
    assert main(show, Options, "", ["--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(table)
    assert main(show, Options, "", ["--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(table)
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(Row._fields) + 1}
