"""Compilation of one plan in its own process: ``python -m dalib.run.preflight.compile`` reads it from its input.

A TPU's compiler (libtpu) is loaded once a process, for one purpose. The answer is one line of JSON.
"""

import json
import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from dalib.core.checks import InputError, input_error
from dalib.core.platform import tracing_for
from dalib.run.preflight.answers import keep, kept, key_of
from dalib.run.preflight.chips import Topology, parse_topology
from dalib.run.preflight.memory import memory_of
from dalib.run.preflight.plan import EFFORTS, Plan, build
from dalib.run.preflight.program_text import collectives, main_memory_bytes, parse

QUIET = {"TPU_ACCELERATOR_TYPE": "v5litepod-16", "TPU_WORKER_HOSTNAMES": "localhost"}
TPU_COMPILER = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", **QUIET}
_TOO_LARGE = (
    re.compile(r"[Uu]sed ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm"),
    re.compile(r"\(([\d.]+)([KMGT])\) exceeds available HBM \(([\d.]+)([KMGT])\)"),
)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def require_compiler(topology: Topology) -> None:
    """Raise an InputError that names the extra when a TPU is asked for and libtpu is not installed."""
    if topology.chip is not None and find_spec("libtpu") is None:
        raise input_error(
            "topology",
            got=f"{topology.name}, and no TPU compiler on this machine",
            expected="the package libtpu that belongs to this version of jax",
            todo="pip install 'dalib-jax[preflight]', or take --topology local:8 for this host's own compiler",
        )


def mesh_of(topology: Topology) -> Mesh:
    """Make a mesh of a topology's devices: descriptions of TPU chips, or this host's own.

    Raises:
        InputError: for a slice that the compiler does not know, or more devices than this host has.
    """
    if topology.chip is None:
        devices = jax.devices()
        if topology.devices > len(devices):
            raise input_error("topology", got=topology.name, expected=f"at most {len(devices)} of this host's devices")
        devices = devices[: topology.devices or None]
        return Mesh(np.array(devices), ("data",))
    from jax.experimental import topologies

    # Descriptions of chips are enough to compile for them; no device is touched.
    options: dict[str, Any] = dict(topology.chip.options)
    try:
        found = topologies.get_topology_desc(topology.name, platform="tpu", **options).devices
    except Exception as error:
        raise input_error(
            "topology",
            got=topology.name,
            expected="a slice that exists",
            todo=f"the TPU compiler says: {str(error).splitlines()[0][:200]}",
        ) from error
    if len(found) != topology.devices:
        raise input_error("topology", got=f"{len(found)} devices for {topology.name}", expected="one device a chip")
    return Mesh(np.array(found), ("data",))


def compile_plan(plan: Plan, mesh: Mesh | None = None, *, folder: str = "") -> dict[str, Any]:
    """Lower and compile a plan's step.

    Args:
        plan: what to compile.
        mesh: of devices to take instead of the plan's topology.
        folder: where answers are kept and looked up, so that the same program is not compiled twice; "" for nowhere.

    Returns:
        A dict in JSON's types: ``fits`` (False where the compiler gave up for want of memory: then only ``needs`` and
        ``limit`` in bytes are known), ``memory``, ``collectives``, ``flops``, ``bytes_accessed`` (the compiler's),
        ``bytes_main_memory`` and ``bytes_unpadded`` (the same without what fills up tiles) of one device and step,
        ``seconds`` of lowering and compiling, ``devices``, ``versions``.

    Raises:
        InputError: as :func:`~dalib.run.preflight.plan.build` does.
    """
    topology = parse_topology(plan.topology)
    mesh = mesh_of(topology) if mesh is None else mesh
    platform = mesh.devices.flat[0].platform
    start = time.perf_counter()
    with tracing_for(platform):
        step = build(plan, mesh)
        lowered = step.step.lower(step.state, step.batch)
    lowering = time.perf_counter() - start
    found: dict[str, Any] = {
        "devices": mesh.size,
        "device_kind": mesh.devices.flat[0].device_kind,
        "platform": platform,
        "hbm": host_memory(mesh, topology),
        "versions": versions(),
    }
    key = key_of(f"{topology.name} {plan.effort}", found["versions"], lowered.as_text()) if folder else ""
    if (known := kept(folder, key)) is not None:
        return known
    start = time.perf_counter()
    # Traced as if on the target: kernels pick their form by the platform.
    try:
        compiled = lowered.compile(compiler_options=EFFORTS[plan.effort])
    except jax.errors.JaxRuntimeError as error:
        needs = out_of_memory(str(error))
        if needs is None:
            raise
        seconds = {"lower": lowering, "compile": time.perf_counter() - start}
        answer = {**found, "fits": False, "needs": needs[0], "limit": needs[1], "seconds": seconds}
        keep(folder, key, answer)
        return answer
    seconds = {"lower": lowering, "compile": time.perf_counter() - start}
    # The lowered program is the key, so a change of the code is a new compilation and a change of words is none.
    costs = compiled.cost_analysis() or {}
    memory = memory_of(step, compiled)
    program = parse(compiled.as_text() or "")
    answer = {
        **found,
        "fits": memory.peak + memory.code <= found["hbm"] if found["hbm"] else True,
        # Too little memory is an answer, with the compiler's own numbers; all other errors are errors.
        "memory": {**memory._asdict(), "donated": memory.donated},
        "collectives": {kind: c._asdict() for kind, c in collectives(program).items()},
        "flops": costs.get("flops"),
        "bytes_accessed": costs.get("bytes accessed"),
        "bytes_main_memory": main_memory_bytes(program),
        "bytes_unpadded": main_memory_bytes(program, padded=False),
        "seconds": seconds,
    }
    keep(folder, key, answer)
    return answer


def host_memory(mesh: Mesh, topology: Topology) -> int:
    """Return the bytes that one device has: the chip's, the GPU's, or an even share of this host's."""
    if topology.chip is not None:
        return topology.chip.hbm
    device = mesh.devices.flat[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // mesh.size


def out_of_memory(message: str) -> tuple[int, int] | None:
    """Read ``(bytes needed, bytes available)`` from the compiler's message: zeros if unsaid, None for another error."""
    if "RESOURCE_EXHAUSTED" not in message and "Ran out of memory" not in message:
        return None
    match = next((found for form in _TOO_LARGE if (found := form.search(message))), None)
    if match is None:
        return 0, 0
    used, unit, limit, limit_unit = match.groups()
    return int(float(used) * _UNITS[unit]), int(float(limit) * _UNITS[limit_unit])


def versions() -> dict[str, str]:
    """List the versions that decide about a compiled program."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("jax", "jaxlib", "flax", "libtpu"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def compile_apart(plan: Plan, *, folder: str = "") -> dict[str, Any]:
    """Call :func:`compile_plan` in its own process.

    Raises:
        InputError: for faults that the process found in the plan.
        RuntimeError: when the compiler fails for another reason than memory; the end of its output is in the message.
    """
    topology = parse_topology(plan.topology)
    require_compiler(topology)
    environment = dict(os.environ)
    # The entry that an ahead-of-time compilation leaves in a cache can't be read back.
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    if topology.chip is not None:
        environment |= TPU_COMPILER
    done = subprocess.run(
        [sys.executable, "-m", "dalib.run.preflight.compile"],
        input=json.dumps({"plan": plan._asdict(), "folder": folder}),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    # Status 2 is a fault of the plan, told as an input error here too; all else is the compiler's.
    lines = done.stdout.strip().splitlines()
    if done.returncode == 2 and lines:
        raise InputError(json.loads(lines[-1])["error"])
    if done.returncode or not lines:
        raise RuntimeError(f"the compiler failed (exit status {done.returncode}):\n{done.stderr[-2000:]}")
    return json.loads(lines[-1])


def main() -> int:
    """Read a plan, compile it, write the answer."""
    request = json.load(sys.stdin)
    plan = Plan(**request["plan"])
    topology = parse_topology(plan.topology)
    if topology.chip is None and topology.devices:
        # More than one device of a host without an accelerator are virtual CPU devices.
        if os.environ.get("JAX_PLATFORMS", "cpu") == "cpu":
            jax.config.update("jax_num_cpu_devices", topology.devices)
    try:
        answer = compile_plan(plan, folder=request["folder"])
    except InputError as error:
        print(json.dumps({"error": str(error)}))
        return 2
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
