"""Intervals against scipy and by hand, selection rules on known curves, and groups that must not be averaged."""

import json
import math

import numpy as np
import pytest
import scipy.stats

from dalib.core.checks import InputError
from dalib.report import (
    Interval,
    group_runs,
    last_step_pick,
    load_runs,
    mean_interval,
    oracle_pick,
    source_validated_pick,
    validator_pick,
)
from dalib.report.statistics import compare, stack_curves, validators
from tests.report.synthetic import write_run


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_interval_is_scipys(n, level):
    x = np.random.default_rng(n).normal(0.7, 0.05, n)
    mean, half_width = mean_interval(x, level=level)
    low, high = scipy.stats.t.interval(level, n - 1, loc=x.mean(), scale=scipy.stats.sem(x))
    np.testing.assert_allclose([mean - half_width, mean + half_width], [low, high], rtol=1e-12)


def test_interval_by_hand():
    # s = 0.02, t(0.975, 2) = 4.302653: 4.302653 · 0.02 / √3
    assert mean_interval([0.78, 0.80, 0.82]) == pytest.approx((0.8, 0.0496827), abs=1e-6)
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.0)


def test_a_single_value_has_no_interval():
    mean, half_width = mean_interval([0.5])
    assert mean == 0.5 and math.isnan(half_width)


@pytest.mark.parametrize("values", [[], [0.1, float("nan")], [[0.1, 0.2]], 0.3])
def test_interval_refuses(values):
    with pytest.raises(InputError, match="values"):
        mean_interval(values)


def test_interval_refuses_level():
    with pytest.raises(InputError, match="level"):
        mean_interval([1.0, 2.0], level=95)


def test_compare_needs_disjoint_known_intervals():
    reference = Interval(0.5, 0.1)
    assert compare(Interval(0.75, 0.1), reference) == 1
    assert compare(Interval(0.25, 0.1), reference) == -1
    assert compare(Interval(0.65, 0.1), reference) == 0
    assert compare(Interval(0.9, float("nan")), reference) == 0
    assert compare(reference, Interval(0.9, float("nan"))) == 0


def test_three_selection_rules(tmp_path):
    write_run(tmp_path, target_accuracy=[0.5, 0.9, 0.7, 0.6], source_accuracy=[0.8, 0.9, 0.95, 0.95])
    (run,) = load_runs(tmp_path)
    assert last_step_pick(run) == (400, 0.6)
    assert source_validated_pick(run) == (400, 0.6)  # a tie between steps 300 and 400 goes to the later
    assert oracle_pick(run) == (200, 0.9)


def test_source_validated_pick_follows_the_source_alone(tmp_path):
    write_run(tmp_path, target_accuracy=[0.5, 0.3, 0.9], source_accuracy=[0.8, 0.96, 0.95])
    assert source_validated_pick(load_runs(tmp_path)[0]) == (200, 0.3)


def unlabelled(folder, scores, domain="optdigits"):
    """Adds evaluations at steps 100, 200 … whose scores were made without labels."""
    with open(folder / "record.jsonl", "a") as file:
        for i, metrics in enumerate(scores, 1):
            event = {"event": "evaluate", "step": 100 * i, "domain": domain, "split": "unlabelled", "oracle": False}
            file.write(json.dumps({**event, "metrics": metrics}) + "\n")
    return folder


def test_a_validator_picks_by_its_own_score_alone(tmp_path):
    folder = write_run(tmp_path, target_accuracy=[0.5, 0.3, 0.9], source_accuracy=[0.8, 0.96, 0.95])
    scores = [{"im": 1.0, "snd": None}, {"im": 2.0, "snd": 1.0}, {"im": 2.0, "snd": None}]
    (run,) = load_runs(unlabelled(folder, scores))
    assert validators([run]) == ["im", "snd"]
    assert validator_pick(run, "im") == (300, 0.9)  # a tie goes to the later step
    assert validator_pick(run, "snd") == (200, 0.3)  # what is not finite is no candidate
    assert validator_pick(run, "bnm") is None
    assert last_step_pick(run) == (300, 0.9) and source_validated_pick(run) == (200, 0.3)


@pytest.mark.parametrize(("start", "picked"), [(None, 100), ({"run": "source_only/seed-0", "sha256": "0"}, 0)])
def test_an_untrained_net_is_no_candidate(tmp_path, start, picked):
    """Step 0 scores best by every rule here; it counts where the run starts from a trained net, or has nothing else."""
    folder = write_run(tmp_path, target_accuracy=[0.5, 0.3], source_accuracy=[0.8, 0.7])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "start": start}))
    record = unlabelled(folder, [{"snd": 2.0}, {"snd": 1.0}]) / "record.jsonl"
    events = [json.loads(line) for line in record.read_text().splitlines()]
    zero = [{**e, "step": 0, "metrics": {name: 9.0 for name in e["metrics"]}} for e in events if e.get("step") == 100]
    zero = [e for e in zero if e["event"] == "evaluate"]
    record.write_text("".join(json.dumps(e) + "\n" for e in [*zero, *events]))
    (run,) = load_runs(tmp_path)
    assert [validator_pick(run, "snd").step, source_validated_pick(run).step, oracle_pick(run).step] == [picked] * 3
    assert last_step_pick(run) == (200, 0.3)
    alone = run._replace(evaluations=tuple(e for e in run.evaluations if e.step == 0))
    assert oracle_pick(alone).step == source_validated_pick(alone).step == 0


def test_scores_of_the_source_or_of_an_oracle_pick_nothing(tmp_path):
    unlabelled(write_run(tmp_path / "a"), [{"im": 1.0}], domain="mnist")
    unlabelled(write_run(tmp_path / "b", "oracle", role="oracle"), [{"im": 1.0}])
    assert [validator_pick(run, "im") for run in load_runs(tmp_path)] == [None, None]
    assert validators(load_runs(tmp_path / "a")) == ["im"]


def test_picks_that_do_not_apply(tmp_path):
    write_run(tmp_path / "a", "oracle", role="oracle")
    assert source_validated_pick(load_runs(tmp_path / "a")[0]) is None
    folder = write_run(tmp_path / "b")
    (folder / "record.jsonl").write_text('{"event": "end", "step": 5, "seconds": 1}\n')
    (run,) = load_runs(tmp_path / "b")
    assert last_step_pick(run) is oracle_pick(run) is source_validated_pick(run) is None


def test_scores_on_other_splits_are_not_mistaken_for_the_test_split(tmp_path):
    folder = write_run(tmp_path, finished=False)
    with open(folder / "record.jsonl", "a") as file:
        for split in ("train", "validation"):
            event = f'"step": 400, "domain": "optdigits", "split": "{split}", "oracle": true'
            file.write(f'{{"event": "evaluate", {event}, "metrics": {{"accuracy": 1.0}}}}\n')
    assert last_step_pick(load_runs(tmp_path)[0]) == (300, 0.8)


def test_groups_differ_by_seed_alone(tmp_path):
    for name in ("dan", "source_only"):
        for seed in (0, 1):
            write_run(tmp_path, name, seed=seed, experiment={"out": f"runs/{name}-{seed}", "data": {"seed": seed}})
    groups = group_runs(load_runs(tmp_path))
    assert [name for _, name in groups] == ["source_only", "dan"]
    assert [[run.seed for run in members] for members in groups.values()] == [[0, 1], [0, 1]]


def test_groups_refuse_other_configurations(tmp_path):
    write_run(tmp_path, seed=0)
    write_run(tmp_path, seed=1, experiment={"encoder": {"name": "resnet", "width": 16}})
    with pytest.raises(InputError, match=r"encoder\.name = 'lenet' and 'resnet'"):
        group_runs(load_runs(tmp_path))


def test_groups_refuse_a_seed_twice_but_not_an_unfinished_twin(tmp_path):
    write_run(tmp_path / "a", seed=3)
    write_run(tmp_path / "b", seed=3, finished=False)
    assert [len(members) for members in group_runs(load_runs(tmp_path)).values()] == [2]
    write_run(tmp_path / "c", seed=3)
    with pytest.raises(InputError, match="two runs of dan, mnist → optdigits with seed 3"):
        group_runs(load_runs(tmp_path))


def test_curves_are_aligned_on_common_steps():
    curve = stack_curves([{0: 1.0, 10: 2.0, 20: 3.0}, {20: 5.0, 10: 4.0, 30: 6.0}])
    np.testing.assert_array_equal(curve.steps, [10, 20])
    np.testing.assert_array_equal(curve.values, [[2, 3], [4, 5]])
    assert stack_curves([{}, {1: 1.0}]).values.shape == (2, 0)
