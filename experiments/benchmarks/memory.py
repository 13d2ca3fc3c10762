"""Peak memory of this process, or of its accelerator."""

from pathlib import Path

import jax


def reset_peak_memory() -> int:
    """Starts a new measurement of peak memory; returns the bytes in use now."""
    statistics = jax.devices()[0].memory_stats()
    if statistics:  # an accelerator counts from the process's start: the inputs alone are in use now
        return statistics["bytes_in_use"]
    Path("/proc/self/clear_refs").write_text("5")
    return status_bytes("VmRSS")


def peak_memory() -> int:
    """Bytes in use at the peak since :func:`reset_peak_memory`."""
    statistics = jax.devices()[0].memory_stats()
    return statistics["peak_bytes_in_use"] if statistics else status_bytes("VmHWM")


def status_bytes(field: str) -> int:
    """A memory field of this process, from Linux's own books."""
    for entry in Path("/proc/self/status").read_text().splitlines():
        if entry.startswith(field + ":"):
            return int(entry.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no field {field}")
