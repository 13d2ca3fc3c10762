"""How processes find each other, and what is the same while a process is alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.train import make_mesh, put_batch
from dalib.train.devices.processes import (
    Processes,
    any_process,
    asked_for,
    first_host,
    from_each,
    from_slurm,
    initialize,
    leader_first,
    leaders,
    leads,
    local,
    process_count,
    replicate,
    run_mesh,
)
from dalib.train.devices.sharding import check_rows

SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "gpu[003-007,9],cpu1",
    "SLURM_NTASKS": "6",
    "SLURM_PROCID": "5",
}


@pytest.mark.parametrize(
    "nodes, host",
    [
        ("node001", "node001"),
        ("node001,other2", "node001"),
        ("node[001-015],other2", "node001"),
        ("node[001,007-015]", "node001"),
        ("a-b[7,9-10].cluster.org", "a-b7.cluster.org"),
        ("a-1.b,c[1-2]", "a-1.b"),
    ],
)
def test_the_first_host_of_a_list(nodes, host):
    assert first_host(nodes) == host


@pytest.mark.parametrize("nodes", ["", "node[", "node[1-2", "[]", "a b"])
def test_lists_of_another_form(nodes):
    with pytest.raises(InputError, match="SLURM_STEP_NODELIST"):
        first_host(nodes)


def test_slurm():
    assert from_slurm(SLURM) == Processes("gpu003:61441", 6, 5)
    assert asked_for({**SLURM, "DALIB_DISTRIBUTED": "slurm"}) == Processes("gpu003:61441", 6, 5)
    # Being in a job is no request, and a job step is needed for one.
    assert asked_for(SLURM) is None
    with pytest.raises(InputError, match="without SLURM_STEP_NODELIST, SLURM_PROCID"):
        from_slurm({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2"})
    with pytest.raises(InputError, match="SLURM_NTASKS"):
        from_slurm({**SLURM, "SLURM_PROCID": "6"})


def test_variables():
    given = {"DALIB_COORDINATOR": "host:1234", "DALIB_PROCESSES": "2", "DALIB_PROCESS": "1"}
    assert asked_for({}) is None
    assert asked_for({"DALIB_DISTRIBUTED": "off"}) is None
    assert asked_for({"DALIB_DISTRIBUTED": "tpu"}) == "tpu"
    assert asked_for(given) == Processes("host:1234", 2, 1)
    assert asked_for({**SLURM, **given, "DALIB_DISTRIBUTED": "slurm"}) == Processes("host:1234", 2, 1)
    wrong = {"DALIB_COORDINATOR": "host", "DALIB_PROCESSES": "0", "DALIB_PROCESS": "2"}
    for name, value in wrong.items():
        with pytest.raises(InputError, match="host:port"):
            asked_for({**given, name: value})
        with pytest.raises(InputError, match="DALIB_COORDINATOR"):
            asked_for({k: v for k, v in given.items() if k != name})
    with pytest.raises(InputError, match="one of off, tpu, slurm"):
        asked_for({"DALIB_DISTRIBUTED": "mpi"})


def test_a_process_stays_alone_unless_it_is_asked():
    initialize(environment=SLURM)
    assert not jax.distributed.is_initialized()
    with pytest.raises(InputError, match="coordinator, processes, process: got host:1, None, None"):
        initialize("host:1")


def test_alone():
    assert leads() and process_count() == 1
    assert from_each(1 / 3) == [1 / 3] and leaders(True) == 1
    assert any_process(True) and not any_process(False)
    assert leader_first(lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        leader_first(lambda: 1 // 0)


def test_the_mesh_of_a_run():
    assert run_mesh({"DALIB_DEVICES": "1"}) is None
    assert run_mesh({"DALIB_DEVICES": "3"}).size == 3
    assert list(run_mesh({}).devices) == jax.devices()
    for bad in ("0", "9", "two"):
        with pytest.raises(InputError, match="a number from 1 to 8"):
            run_mesh({"DALIB_DEVICES": bad})


def test_batches_must_divide():
    mesh = make_mesh()
    check_rows(16, mesh)
    check_rows(7, None)
    with pytest.raises(InputError, match="a multiple of 8, such as 16 or 24"):
        check_rows(20, mesh)
    with pytest.raises(InputError, match="such as 8"):
        check_rows(4, mesh)


def test_devices_of_a_process_lie_together():
    shuffled = [jax.devices()[i] for i in (3, 1, 7, 0)]
    assert [device.id for device in make_mesh(shuffled).devices] == [0, 1, 3, 7]


def test_replicated_and_back():
    mesh = make_mesh(jax.devices()[:4])
    tree = {"x": jnp.arange(6.0), "key": jax.random.key(3), "y": np.arange(3), "flag": jnp.asarray(True)}
    assert replicate(tree, None) is tree
    spread = replicate(tree, mesh)
    assert all(len(x.sharding.device_set) == 4 for x in jax.tree.leaves(spread))
    assert replicate(spread, mesh)["x"] is spread["x"]
    rows = put_batch(np.arange(8.0), mesh)
    back = local({**spread, "rows": rows, "host": 1})
    assert all(len(x.sharding.device_set) == 1 for x in jax.tree.leaves(back) if isinstance(x, jax.Array))
    np.testing.assert_array_equal(back["rows"], np.arange(8.0))
    assert jax.random.key_data(back["key"]).tolist() == jax.random.key_data(tree["key"]).tolist()
