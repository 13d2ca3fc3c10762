"""Starts some processes of one program on this machine."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.conftest import CACHE

ROOT = Path(__file__).parents[2]


def start(count, devices, module, *arguments, **variables):
    """``count`` processes of ``python -m module``, each with ``devices`` virtual CPU devices, that find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    common |= {"JAX_COMPILATION_CACHE_DIR": str(CACHE), **variables}
    common.pop("DALIB_DEVICES", None)
    if count > 1:
        common |= {"DALIB_COORDINATOR": f"127.0.0.1:{port}", "DALIB_PROCESSES": str(count)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            env={**common, "DALIB_PROCESS": str(i)} if count > 1 else common,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for i in range(count)
    ]


def finish(processes, timeout=300):
    """Waits for all; an error shows what they said."""
    errors = []
    for process in processes:
        try:
            errors.append(process.communicate(timeout=timeout)[1])
        except subprocess.TimeoutExpired:
            for other in processes:
                other.kill()
            errors.append(process.communicate()[1] + "\n(timed out)")
    assert all(process.returncode == 0 for process in processes), "\n---\n".join(e[-1500:] for e in errors)
