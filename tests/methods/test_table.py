"""The tables of methods: no method without a row, no row without a method."""

import ast
from pathlib import Path

import pytest

import dalib.methods
from dalib.core.checks import InputError
from dalib.methods import METHODS, SETTINGS, TEST_TIME, TestTime
from dalib.methods.classic import CLASSIC
from dalib.run.cli.catalogue import rows
from experiments.digits import Digits, experiments


def test_the_settings_of_methods_are_known_and_all_used():
    found = {make().needs.setting for make in METHODS.values()} | {TestTime("", None, None, None).needs.setting}
    assert found == SETTINGS.keys()


def test_every_method_has_a_row_and_a_paper():
    table = {row.name: row for row in rows()}
    others = {"test_time": TEST_TIME, "classic": CLASSIC}
    assert list(table) == [*METHODS, *(f"{kind}.{name}" for kind, names in others.items() for name in names)]
    assert all(row.setting and row.level and row.what for row in table.values())
    assert [name for name, row in table.items() if not row.paper] == ["source_only"]


def test_every_function_that_makes_a_method_is_in_a_table():
    makers = set()
    for path in Path(dalib.methods.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name):
                if node.returns.id in ("Method", "TestTime") and not node.name.startswith("_"):
                    takes = {a.annotation.id for a in node.args.args if isinstance(a.annotation, ast.Name)}
                    # Those that take a method make one out of others.
                    makers |= set() if "Method" in takes or node.args.vararg else {node.name}
    parts = {"term", "spectral_penalty", "adversarial_head", "two_heads"}  # methods are made with these
    assert makers - parts == METHODS.keys() | TEST_TIME.keys()


@pytest.mark.parametrize("name", ["m3sda", "osbp", "mme", "dd", "pada"])
def test_the_closed_set_command_refuses_other_settings(name):
    with pytest.raises(InputError, match=f"{name}, which is for: {METHODS[name]().needs.setting}"):
        experiments(Digits(method=(name,)))
