"""The step is traced before a run folder is made, and frozen layers with moving statistics are warned about."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import from_arrays
from dalib.data.readers.places import Raw
from dalib.methods import term
from dalib.run.config import Experiment, Recipe
from dalib.run.own.batch import check_batch, training_rows
from dalib.run.own.options import Own
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


def test_a_batch_is_held_against_the_domains_before_features_are_extracted(tmp_path, monkeypatch):
    from dalib.run.own import read
    from tests.run.own_data import call, images

    monkeypatch.setattr(read, "pretrained", lambda *_: None)
    monkeypatch.setattr(read, "arrays", lambda *_: pytest.fail("examples were decoded"))
    places = [images(tmp_path / name, n=15, seed=seed) for seed, name in enumerate(("photos", "sketches"))]
    command = ["--source", places[0], "--target", places[1], "--encoder", "mobilenet_v2", "--weights", "default"]
    with monkeypatch.context() as patched:
        patched.setattr(read, "_plain", lambda *_: None)
        assert call(*command, "--frozen-features", "--no-report", "--out", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("labels", "holdout", "rows"), [(list("aab" * 5), 0.2, 12), (list("ab" * 5), 0.0, 10)])
def test_what_a_held_out_share_leaves_to_train_on(labels, holdout, rows):
    assert training_rows(labels, holdout) == rows


def test_a_batch_that_is_too_large_is_told_what_fits():
    raw = [Raw("vectors", np.zeros((29, 2)), list("ab" * 14) + ["a"]), Raw("vectors", np.zeros((40, 2)), None)]
    options = Own(source=("a",), target="b")
    with pytest.raises(InputError, match="(?s)batch-size: got 32, for 23 training examples.*at most 23.*batch-size 16"):
        check_batch(options, ["dann"], raw[:1], raw[1])
    check_batch(replace(options, batch_size=16), ["dann"], raw[:1], raw[1])
