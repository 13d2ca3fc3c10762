"""The house's rules that a machine can check: one-way imports, a cheap import, target labels out of reach."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# core → discrepancy, data, encoders → methods, evaluate → tasks, transfer → train → run → the faces of the package.
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "discrepancy": {"core"},
    "data": {"core"},
    "encoders": {"core"},
    "report": {"core"},
    "methods": {"core", "discrepancy", "data", "encoders"},
    "evaluate": {"core", "discrepancy", "data", "encoders"},
}
MAY_IMPORT["tasks"] = {*MAY_IMPORT, "methods", "evaluate"} - {"report"}
MAY_IMPORT["transfer"] = MAY_IMPORT["tasks"]
MAY_IMPORT["train"] = {*MAY_IMPORT["tasks"], "tasks", "transfer"}
MAY_IMPORT["run"] = {*MAY_IMPORT["train"], "train", "report"}
HEAVY = (
    "tensorflow",
    "torch",
    "matplotlib",
    "sklearn",
    "skimage",
    "mlxtend",
    "tensorflow_datasets",
    "scipy",
    "pandas",
    "equinox",
)
EXPERIMENTAL = ("jax.experimental.multihost_utils", "jax.experimental.topologies")
# The oracle and the one module that asks it, for records that say so.
ORACLE = {Path("evaluate/oracle.py"), Path("run/evaluation.py")}


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
            module = node.module or ""
            # `from package import module` imports the module, `from module import name` that module.
            inner = [f"{module}.{alias.name}" for alias in node.names]
            names = [n if n in MODULES or module == "jax.experimental" else module for n in inner]
        for name in names:
            yield name, node in top


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = sorted((ROOT / "dalib").rglob("*.py"))
MODULES = {module_of(path) for path in FILES}


def test_rooms_are_known():
    rooms = {p.name for p in (ROOT / "dalib").iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert rooms <= MAY_IMPORT.keys()
    assert len(FILES) > 30


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    parts = path.relative_to(ROOT / "dalib").parts
    room = parts[0] if len(parts) > 1 else None  # a file outside the rooms is a face of the package and may use all
    for name, top in imports(path):
        assert not name.startswith(("experiments", "tests")), f"{path} imports {name}"
        assert not name.startswith("jax.experimental") or name in EXPERIMENTAL, name
        if top:
            face = parts == ("estimators.py",) and name.startswith("sklearn")  # who imports it asks for scikit-learn
            assert face or name.split(".")[0] not in HEAVY, f"{path} imports {name} at the top"
        if room is not None and name.startswith("dalib."):
            other = name.split(".")[1]
            assert other in {room, *MAY_IMPORT[room]}, f"{room} may not import {name} ({path})"


def test_no_module_imports_itself_in_a_circle():
    graph = {module_of(path): {n for n, _ in imports(path) if n in MODULES} - {module_of(path)} for path in FILES}
    while graph:
        free = {module for module, needs in graph.items() if not needs & graph.keys()}
        assert free, f"circles among {sorted(graph)}"
        graph = {module: needs for module, needs in graph.items() if module not in free}


def test_nothing_in_training_or_selection_knows_the_oracle():
    for path in FILES:
        if path.relative_to(ROOT / "dalib") not in ORACLE:
            assert all("oracle" not in name for name, _ in imports(path)), path


def test_import_is_cheap():
    code = f"import sys, dalib; print(sorted(m for m in sys.modules if m.split('.')[0] in {(*HEAVY, 'flax')!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


def test_modules_hold_one_idea():
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
