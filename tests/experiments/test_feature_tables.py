"""Feature tables: reading .npz and .mat, one error for all faults, and the command on small tables."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data.readers.tabular.tables import Source, read_tables
from dalib.data.readers.user_files import place_of
from dalib.report import load_runs
from dalib.run.cli.main import main
from experiments.feature_tables import FeatureTables, check, experiments, feature_tables, sources
from tests.run.own_data import blobs


def source(text, **names):
    return Source(place_of("table", str(text)), **names)


def test_npz_and_mat_are_the_same_table(tmp_path):
    from scipy.io import savemat

    x, y = blobs()
    np.savez(tmp_path / "a.npz", x=x, y=y)
    savemat(tmp_path / "b.mat", {"fts": x.astype(np.float64), "labels": y[:, None].astype(np.float64)})
    np.savez(tmp_path / "both.npz", here_x=x, here_y=y.astype(str))
    found = read_tables([source(tmp_path / "a.npz"), source(tmp_path / "b.mat")])
    named = read_tables([source(f"c={tmp_path}/both.npz", x_name="here_x", y_name="here_y")])
    for table in (found["b"], named["c"]):
        np.testing.assert_array_equal(table.x, found["a"].x)
        assert table.labels == found["a"].labels and table.x.dtype == np.float32


def test_faults_of_all_tables_come_at_once(tmp_path):
    x, y = blobs()
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez(tmp_path / "short.npz", x=x[:, :4], y=y)
    np.savez(tmp_path / "few.npz", x=x, y=y % 2)
    np.savez(tmp_path / "bare.npz", z=x)
    np.savez(tmp_path / "nan.npz", x=np.where(x > 3, np.nan, x), y=y)
    np.savez(tmp_path / "half.npz", x=x, y=y + 0.5)
    (tmp_path / "c.csv").write_text("")
    (tmp_path / "broken.mat").write_bytes(b"MATLAB")
    names = ("a.npz", "short.npz", "few.npz", "bare.npz", "nan.npz", "half.npz", "c.csv", "broken.mat", "gone.npz")
    with pytest.raises(InputError) as error:
        read_tables([source(tmp_path / name) for name in names])
    for message in (
        *("a 5, short 4", "classes of a and few differ in 2", "arrays z", "NaN, infinity", "whole numbers or texts"),
        *("a file c.csv", "broken.mat", "gone.npz", "no such file"),
    ):
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": ("a.npz",)}, "two domains"),
        ({"closed_form": ("kliep",)}, "svm or logreg"),
        ({"closed_form": ("coril",)}, "did you mean 'coral'"),
        ({"oracle": True}, "would be tested on the rows that it learnt"),
        ({"stated": ("variant",)}, "name=value"),
        ({"scale": "z"}, "scale"),
        ({"method": ("none",), "closed_form": ("none",)}, "one kind or the other"),
    ],
)
def test_commands_that_contradict_themselves(options, message):
    with pytest.raises(InputError, match=message):
        check(FeatureTables(**{"table": ("a.npz", "b.npz"), **options}))


def test_domains_in_one_file(tmp_path):
    both = FeatureTables(table=("s.npz",), domains=("a", "w"), x_name="s_{domain}_x", y_name="s_{domain}_y")
    assert [(s.place.name, s.x_name, s.y_name) for s in sources(both)] == [
        ("a", "s_a_x", "s_a_y"),
        ("w", "s_w_x", "s_w_y"),
    ]
    with pytest.raises(InputError, match="{domain}"):
        sources(FeatureTables(table=("s.npz",), domains=("a", "w")))
    runs = experiments(FeatureTables(name="surf", stated=("variant=v",), options=("tca.dim=2",)), ("a", "w"), ("tca",))
    assert {run.benchmark for run in runs} == {"surf"} and dict(runs[0].protocol)["variant"] == "v"
    assert {run.task for run in runs} == {"a → w", "w → a"}


def test_closed_form_methods_alone(tmp_path):
    for name, shift in (("a", 0.0), ("b", 0.5)):
        x, y = blobs(shift=shift)
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    tables = [f"--table={tmp_path}/{name}.npz" for name in "ab"]
    out = ["--out", str(tmp_path / "out"), "--no-report"]
    assert main(feature_tables, FeatureTables, "", [*tables, "--method", "none", "--closed-form", "coral", *out]) == 0
    runs = load_runs(tmp_path / "out")
    assert {(run.name, run.task) for run in runs} == {
        (name, task) for name in ("source_only+1nn", "coral+1nn") for task in ("a → b", "b → a")
    }


@pytest.mark.slow
def test_the_command(tmp_path):
    for name, shift, seed in (("a", 0.0, 0), ("b", 0.5, 1)):
        x, y = blobs(shift=shift, seed=seed)
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    tables = [f"--table {tmp_path}/{name}.npz".split() for name in "ab"]
    small = "--steps 4 --batch-size 4 --seeds 2 --log-every 2 --evaluate-every 2 --save-every 4 --method dann"
    closed = "--closed-form tca --options tca.dim=2 dann.hidden=[8]"
    arguments = [*sum(tables, []), *small.split(), *closed.split(), "--out", str(tmp_path / "out")]
    assert main(feature_tables, FeatureTables, "", arguments) == 0
    runs = load_runs(tmp_path / "out")
    names = {run.name for run in runs}
    assert names == {"dann", "source_only+1nn", "tca+1nn"} and all(run.finished for run in runs)
    assert sum(run.name == "dann" for run in runs) == 4 and sum(run.name == "tca+1nn" for run in runs) == 2
    assert "tca+1nn" in (tmp_path / "out" / "report.html").read_text()
