"""The built wheel in a fresh environment, outside the clone: every command, and the documents' own examples."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
LEFT_OUT = (".git", ".*cache*", ".venv", "__pycache__", "*.egg-info", "runs")
QUICK = "--steps 20 --seeds 1 --batch-size 8 --evaluate-every 20"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def checked(*command, cwd):
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A folder with the source distribution, and the wheel built from it."""
    work = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT, work / "tree", ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    checked(sys.executable, "-m", "venv", work / "builder", cwd=work)
    checked(work / "builder/bin/pip", "install", "-q", "build", cwd=work)
    checked(work / "builder/bin/python", "-m", "build", "--outdir", work / "dist", work / "tree", cwd=work)
    return work / "dist"


@pytest.fixture(scope="session")
def environment(built, tmp_path_factory):
    """The bin folder of a fresh environment with the wheel and its extras demo, report and text."""
    folder = tmp_path_factory.mktemp("environment")
    (wheel,) = built.glob("*.whl")
    checked(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    extras = f"dalib-jax[demo,report,text] @ file://{wheel}"
    checked(folder / "venv/bin/pip", "install", "-q", "-c", ROOT / "constraints.txt", extras, cwd=folder)
    return folder / "venv/bin"


@pytest.fixture
def shell(environment, tmp_path):
    """Runs a line of bash in the environment, in a folder outside the clone; gives status, output and errors."""
    keep = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    keep |= {"JAX_PLATFORMS": "cpu", "PATH": f"{environment}:{os.environ['PATH']}"}

    def run(line, status=0):
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=keep, capture_output=True, text=True)
        assert done.returncode == status, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


def examples(document, kind, heading=""):
    """The code blocks of one kind in a document, or below one heading, without the indentation of a list."""
    text = (ROOT / document).read_text(encoding="utf-8")
    text = text.split(f"## {heading}\n")[1].split("\n## ")[0] if heading else text
    blocks = re.findall(rf"^( *)```{kind}\n(.*?)^ *```", text, re.S | re.M)
    return [re.sub(rf"^{indent}", "", block, flags=re.M) for indent, block in blocks]


def write(folder, blocks):
    """Writes blocks that begin with a comment that names their file."""
    for block in blocks:
        if name := re.match(r"# (\w+\.\w+)\n", block):
            (folder / name[1]).write_text(block, encoding="utf-8")


def domains(folder):
    """Two small domains, ``here.npz`` and ``there.npz``, and the first as ``.csv`` texts."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 8)).astype("float32"), np.arange(120) % 2
    x[:, 0] += 3 * y
    np.savez(folder / "here.npz", x=x, y=y)
    np.savez(folder / "there.npz", x=x + 1, y=y)
    for name, word in (("here", "plain"), ("there", "other")):
        rows = [f"{word} {'good' if label else 'bad'} thing {i},{label}" for i, label in enumerate(y)]
        (folder / f"{name}.csv").write_text("text,label\n" + "\n".join(rows) + "\n")


def test_the_distributions_hold_what_they_should(built):
    (source,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("tests/test_wheel.py", "experiments/digits.py", "experiments/RESULTS.md", "CONTRIBUTING.md", "docs"):
        assert name in names
    inside = zipfile.ZipFile(wheel).namelist()
    assert "dalib/__main__.py" in inside and "dalib/run/cli/commands.py" in inside
    assert not [name for name in inside if name.startswith(("tests/", "experiments/"))]


def test_every_command_has_its_help(shell):
    help_text = shell("dalib --help")
    commands = re.findall(r"^  (\w+)  ", help_text, re.M)
    assert {"demo", "adapt", "preflight"} <= set(commands)
    assert shell("python -m dalib --help") == help_text
    for name in commands:
        assert f"usage: dalib {name}" in shell(f"dalib {name} --help")


def test_the_tables_are_printed(shell):
    assert "mean_teacher" in shell("dalib methods")
    assert "23,508,032" in shell("dalib encoders --encoder resnet50")
    assert "office31" in shell("dalib data list")
    assert "mobilenet_v2" in shell("dalib weights list")


def test_preflight_names_its_extra_and_runs_on_this_host(shell):
    assert "pip install 'dalib-jax[preflight]'" in shell("dalib preflight --topology v5e:4x4 --encoder lenet", 2)
    plan = "--topology local:2 --encoder lenet --image-size 28 --batch 8 --classes 4"
    assert '"fits": true' in shell(f"dalib preflight {plan}")


def test_the_demo_runs(shell, tmp_path):
    told = shell("dalib demo --steps 50 --seeds 1 --method dann --source mnist --target optdigits")
    assert "mnist → optdigits" in told
    (report,) = tmp_path.glob("runs/*/report.html")
    assert report.stat().st_size > 10_000


def test_adapt_on_files_and_report(shell, tmp_path):
    domains(tmp_path)
    shell(f"dalib adapt --source here.npz --target there.npz --method dann coral {QUICK} --out vectors --no-report")
    shell(f"dalib adapt --source here.csv --target there.csv --method dan {QUICK} --out texts")
    assert "here → there" in shell("dalib report vectors --out both.html")
    assert "different configurations" in shell("dalib report vectors texts", 2)
    assert "coral" in (tmp_path / "both.html").read_text()
    assert "got 'dan_'" in shell("dalib adapt --source here.npz --target there.npz --method dan_", 2)
    assert "did you mean adapt" in shell("dalib adpat", 2)


def test_own_method_net_and_data_set_in_a_package(shell, tmp_path):
    page = "docs/howto/package.md"
    write(tmp_path, examples(page, "python") + examples(page, "toml"))
    domains(tmp_path)
    first, second = examples(page, "bash")
    told = shell(f"set -e\n{first}")
    assert "my_methods:mean_matching" in told and "my_nets:Wide" in told
    try:
        elsewhere = "mkdir elsewhere; cd elsewhere; dalib methods --method mean_matching; dalib data list"
        told = shell(f"set -e\n{second}\n{elsewhere}")
        assert "my-package 0.1" in told
        configs = [path.read_text() for path in tmp_path.glob("runs/**/config.json")]
        assert any('"distribution": "my-package 0.1"' in text for text in configs)
    finally:
        shell("pip uninstall -q -y my-package")


def test_contributings_recipe_for_a_method(shell, tmp_path):
    """Literally as it is written, with fewer steps and seeds."""
    write(tmp_path, examples("CONTRIBUTING.md", "python", "Add a method"))
    (command,) = examples("CONTRIBUTING.md", "bash", "Add a method")
    told = shell(f"{command.strip()} --steps 20 --seeds 1 --evaluate-every 20")
    assert "mean_matching:mean_matching" in told and "source-only" in told
