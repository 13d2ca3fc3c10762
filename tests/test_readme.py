"""The README's code runs, and its commands are those that CI and this project use."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.S | re.M)


def test_python_blocks_run_in_order(capsys):
    assert len(BLOCKS) >= 2
    space = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), space)
    accuracy = float(re.search(r"target accuracy ([\d.]+)", capsys.readouterr().out).group(1))
    assert accuracy > 0.7


def test_it_is_short():
    assert len(TEXT.splitlines()) < 150


@pytest.mark.slow
def test_its_code_has_right_types(tmp_path):
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    (tmp_path / "readme.py").write_text("\n".join(BLOCKS), encoding="utf-8")
    cache = str(tmp_path / "cache")
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--follow-imports", "silent", "--cache-dir", cache]
    told, _, status = api.run([*options, str(tmp_path / "readme.py")])
    assert status == 0, told


def test_a_method_of_ones_own_takes_a_dozen_lines():
    lines = [line for line in BLOCKS[0].splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 12


@pytest.mark.parametrize("command", ["-m experiments.digits", "-m pytest"])
def test_two_lines_do_their_own_set_up(command):
    lines = [line for line in TEXT.splitlines() if line.endswith(command) and line.startswith("python3")]
    assert len(lines) == 1 and "python3 -m venv .venv && .venv/bin/pip install -e '.[demo" in lines[0]


def test_ci_runs_the_readmes_test_command():
    script = (ROOT / ".ci" / "run").read_text()
    assert "-m pytest" in script and ".[demo,test" in script


def test_nothing_in_it_breaks_on_an_index_page():
    """A page of a package index shows no picture and follows no link that is relative to a clone."""
    assert not re.findall(r"\]\((?!https://)[^)]*\)", TEXT)


def test_files_that_it_speaks_of_exist():
    found = re.findall(r"`((?:docs|experiments|dalib|third_party_weights)/[\w./-]*|LICENSE|CONTRIBUTING\.md)`", TEXT)
    assert len(found) > 5
    for target in found:
        assert (ROOT / target).exists(), target
