"""The command ``dalib``: help, unknown names, missing extras, what is imported when."""

import json
import subprocess
import sys

import pytest

import dalib
from dalib.__main__ import main
from dalib.core.checks import InputError
from dalib.run.cli import commands, extras
from dalib.run.cli.commands import COMMANDS, help_text, run
from dalib.run.cli.demo import Demo, demo
from dalib.run.cli.encoders import USUAL, row_of
from dalib.run.cli.extras import EXTRAS, as_missing, require
from dalib.run.cli.main import typed


def test_help_fits_a_screen():
    lines = help_text().splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in COMMANDS)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["adpt"]])
def test_help_version_and_errors_import_no_jax(words):
    code = f"import sys; from dalib.__main__ import main; main({words!r}); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dalib {dalib.__version__}\n"


def test_no_command_is_the_help(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: dalib COMMAND")


def test_an_unknown_command_is_one_error_with_the_near_names(capsys):
    assert main(["adpat", "--method", "dann"]) == 2
    error = capsys.readouterr().err
    assert "got 'adpat'" in error and "did you mean adapt" in error and "preflight" in error


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_that_names_it(name, capsys):
    with pytest.raises(SystemExit) as end:
        run([name, "--help"])
    assert end.value.code == 0
    assert f"usage: dalib {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["adapt", "--source", "no-such-file.npz", "--target", "nor-this.npz"],
        ["adapt", "--source", "no_such_set:a", "--target", "no_such_set:b"],
        ["adapt", "--source", "a", "--target", "b", "--method", "no.such:method"],
        ["adapt", "--source", "a", "--target", "b", "--encoder", "no.such:net"],
        ["demo", "--method", "no.such:method"],
        ["demo", "--source", "usps"],
        ["report", "no-such-folder"],
        ["methods", "--method", "no_such_method"],
        ["encoders", "--encoder", "no.such:net"],
        ["weights", "fetch", "no-such-weights"],
        ["data", "check", "no_such_set"],
        ["preflight", "--encoder", "no_such_net", "--topology", "local:1"],
        ["preflight", "--method", "no.such:method", "--topology", "local:1"],
    ],
    ids=" ".join,
)
def test_bad_input_is_status_2_without_a_traceback(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    error = capsys.readouterr().err
    assert "expected" in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_records_and_usage_say_what_was_typed():
    before = sys.argv
    seen = []
    with commands.named("dalib adapt", ["--method", "a b"]):
        seen.append(typed("somewhere.else"))
    assert seen == ["dalib adapt --method 'a b'"]
    assert sys.argv is before and typed("somewhere.else").startswith("python -m somewhere.else")


def test_a_missing_extra_names_it(monkeypatch):
    monkeypatch.setitem(EXTRAS, "no_such_module_of_an_extra", "report")
    with pytest.raises(InputError, match=r"pip install 'dalib-jax\[report\]', or pass --no-report"):
        require("json", "no_such_module_of_an_extra", for_what="the report", otherwise="--no-report")
    assert as_missing(ModuleNotFoundError(name="jax_of_another_name")) is None


@pytest.mark.parametrize("missing", ["mlxtend", "matplotlib"])
def test_the_demo_says_so_before_it_trains(missing, tmp_path, monkeypatch, capsys):
    """Without a package of its extra the demo ends at once with status 2."""
    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == missing else real(name))
    monkeypatch.delitem(sys.modules, missing, raising=False)
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--steps", "1"]) == 2
    assert f"pip install 'dalib-jax[{EXTRAS[missing]}]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_command_that_lacks_a_module_at_import_says_so(monkeypatch, capsys):
    def lost(rest):
        raise ModuleNotFoundError("No module named 'sklearn.svm'", name="sklearn.svm")

    monkeypatch.setattr("dalib.report.__main__.cli", lost)
    assert run(["report", "runs"]) == 2
    assert "pip install 'dalib-jax[report]'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_runs(tmp_path, monkeypatch, capsys):
    options = Demo(method=("source_only",), source="mnist", target="optdigits", seeds=1, steps=2, oracle=False)
    monkeypatch.chdir(tmp_path)
    assert demo(options) is None
    assert "mnist → optdigits" in capsys.readouterr().out
    (report,) = tmp_path.glob("runs/digits-2-*/report.html")
    assert "LeNet" in report.read_text() or "lenet" in report.read_text()


def test_encoders_are_read_off_the_code(capsys):
    assert row_of("mlp")[1:4] == (USUAL["mlp"][0], 256, 82_432)
    assert row_of("bert_tiny").width == 128 and "bert_tiny" in row_of("bert_tiny").weights
    assert run(["encoders", "--encoder", "mlp", "lenet", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in table["encoders"]] == ["mlp", "lenet"]
    assert set(table["heads"]) >= {"linear", "mlp"} and "width" in table["bottlenecks"]["linear-bn"]
