"""What runs had in memory is released with them."""

import gc
import weakref
from dataclasses import replace

import jax

from dalib.data import from_arrays
from dalib.run.cli.progress import Progress
from dalib.run.config import ClosedForm, Experiment, Recipe
from dalib.run.own.closed_form import run_classic
from dalib.run.population.members import Job, run_jobs
from tests.run.own_data import blobs

PLAN = Experiment(
    benchmark="own",
    source="a",
    target="b",
    method="dan",
    seed=0,
    steps=2,
    batch_size=4,
    encoder="mlp",
    bottleneck="none",
    batch_norm="joint",
    recipe=Recipe(),
    encoder_options=(("widths", (8,)),),
    log_every=2,
    evaluate_every=2,
    save_every=2,
)


def domain(name, seed):
    return from_arrays(name, {"train": blobs(30, seed=seed), "test": blobs(12, seed=seed + 7)})


def test_domains_and_populations_are_released(tmp_path):
    quiet = Progress(lambda *a: None, lambda *a: None, lambda text: None)

    def work():
        source, target = domain("a", 0), domain("b", 1)
        jobs = [Job(replace(PLAN, seed=s), source, target, tmp_path / str(s)) for s in range(2)]
        run_jobs(jobs, quiet, members=None)
        closed = ClosedForm(benchmark="own", source="a", target="b", method="sa", classifier="1nn")
        run_classic(closed, source, target, tmp_path / "closed")
        return [weakref.ref(x) for d in (source, target) for x in (d, *d.splits.values())]

    before = {id(x) for x in jax.live_arrays()}
    held = work()
    gc.collect()
    assert [reference() for reference in held] == [None] * len(held)
    assert [x.shape for x in jax.live_arrays() if id(x) not in before and x.size > 8] == []
