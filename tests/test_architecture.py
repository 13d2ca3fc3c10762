"""The house's rules that a machine can check: one-way imports, a cheap import, target labels out of reach."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEAVES = {"types", "checks", "backend", "files", "host_memory", "plugins", "records", "run_folders"}
# encoders.load fetches and converts weights; it imports their room when it is called, since weights build on encoders.
LATE = {("encoders", "loading.py"): {"weights"}}
MAY_IMPORT = {
    "discrepancy": set(),
    "methods": {"discrepancy"},
    "encoders": set(),
    "weights": {"encoders", "data"},
    "data": set(),
    "train": {"encoders", "methods", "data"},
    "transfer": {"methods", "encoders", "data", "train", "discrepancy", "weights"},
    "validate": {"discrepancy", "data"},
    "report": set(),
    "run": {"methods", "encoders", "data", "train", "transfer", "validate", "report", "weights", "discrepancy"},
}
HEAVY = (
    *("equinox", "matplotlib", "mlxtend", "pandas", "scipy", "skimage", "sklearn", "tensorflow", "tensorflow_datasets"),
    "torch",
)


def imports(path):
    """Names of modules that a file imports, and whether each is at the top level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(tree.body)
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        for name in names:
            yield name, node in top


FILES = sorted((ROOT / "dalib").rglob("*.py"))


def test_rooms_are_known():
    rooms = {p.name for p in (ROOT / "dalib").iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert rooms <= MAY_IMPORT.keys()
    assert len(FILES) > 30


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    parts = path.relative_to(ROOT / "dalib").parts
    room = parts[0] if len(parts) > 1 else None
    for name, top in imports(path):
        assert not name.startswith(("experiments", "tests")), f"{path} imports {name}"
        assert not name.startswith("jax.experimental") or name == "jax.experimental.multihost_utils", name
        if top:
            assert name.split(".")[0] not in HEAVY, f"{path} imports {name} at the top"
        if not name.startswith("dalib."):
            continue
        other = name.split(".")[1]
        if room is None:
            door = path.name == "__main__.py" and not top and other == "run"
            assert door or other in LEAVES, f"{path} is a leaf and imports {name}"
        else:
            allowed = LEAVES | MAY_IMPORT[room] | (set() if top else LATE.get(parts, set()))
            assert other == room or other in allowed, f"{room} may not import {name} ({path})"


def test_nothing_in_training_or_selection_knows_the_oracle():
    for path in FILES:
        if path.name == "oracle.py":
            continue
        assert all("oracle" not in name for name, _ in imports(path)), path


def test_import_is_cheap():
    code = f"import sys, dalib; print(sorted(m for m in sys.modules if m.split('.')[0] in {(*HEAVY, 'flax')!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_modules_hold_one_idea():
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
