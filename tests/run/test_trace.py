"""The step is traced before a run folder is made, and frozen layers with moving statistics are warned about."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import from_arrays
from dalib.methods import term
from dalib.run.config import Experiment, Recipe
from dalib.run.preflight.trace import moving_statistics
from dalib.run.program import make_program
from dalib.run.run import check_run, run_experiment

SMALL = Experiment(
    *("bench", "a", "b", "source_only", 0, 2, 4, "mlp", "none", "source", Recipe()),
    encoder_options=(("norm", True), ("widths", (4,))),
    log_every=2,
    evaluate_every=2,
    save_every=2,
)


def domains(shape=(5,)):
    rng = np.random.default_rng(0)
    splits = [{s: (rng.normal(size=(8, *shape)).astype(np.float32), np.arange(8) % 2) for s in ("train", "test")}]
    return from_arrays("a", splits[0]), from_arrays("b", {s: (x + 1, y) for s, (x, y) in splits[0].items()})


def test_a_method_that_cannot_be_traced_leaves_no_folder(tmp_path):
    broken = term("broken", lambda view: (view.source.features + view.target.features[:3]).sum())
    with pytest.raises(InputError, match="(?s)step of source_only on mlp: got TypeError while it is traced.*options"):
        run_experiment(SMALL, *domains(), tmp_path / "run", method=broken)
    assert not (tmp_path / "run").exists()


def test_data_that_do_not_fit_the_net_leave_no_folder(tmp_path):
    with pytest.raises(InputError, match="images"):
        run_experiment(replace(SMALL, encoder="lenet", encoder_options=()), *domains(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_frozen_parameters_with_moving_statistics_are_warned_about(tmp_path, capsys):
    def warning(frozen, convention="source"):
        e = replace(SMALL, recipe=Recipe(frozen=frozen), batch_norm=convention)
        program = make_program(e, 2)
        state = jax.eval_shape(program.init, jax.random.key(0), jax.ShapeDtypeStruct((4, 5), np.float32))
        return moving_statistics(state, e)

    said = warning(("^encoder",))
    assert said.startswith("frozen: encoder/") and "--batch-norm frozen" in said
    assert not warning(()) and not warning(("^head",)) and not warning(("^encoder",), "frozen")
    check_run(replace(SMALL, recipe=Recipe(frozen=("^encoder",))), *domains(), tmp_path / "run")
    assert "warning: frozen" in capsys.readouterr().err and not (tmp_path / "run").exists()
