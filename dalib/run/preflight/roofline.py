"""Estimate of a step's time from published peaks, and its assumptions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dalib.run.preflight.chips import Chip

ASSUMPTIONS = (
    "peaks are the published ones: {flops:.0f} TFLOP/s on bfloat16 operands, {hbm:.0f} GB/s of HBM, {ici:.0f} GB/s of "
    "links a chip",
    "float32 products count at the bfloat16 peak: on a TPU XLA rounds their operands unless a higher precision is "
    "asked for (then six passes)",
    "memory time is what operations read from and write to HBM by their layouts, tiles filled up; fusions that slice "
    "inside count whole operands",
    "collectives go round a ring over all chips: 2 (n−1)/n of the bytes of an all-reduce, (n−1)/n of an all-gather, "
    "(n−1) shards of a reduce-scatter, over all links at once; latencies are left out",
    "between 'overlapped' (the longest of the three) and 'one after the other' (their sum); input pipeline left out",
    "the compiler's FLOPs count a loop's body once",
)


class Roofline(NamedTuple):
    """Seconds of a step.

    Attributes:
        compute, memory, links: at the chip's peaks.
        examples: of both domains together, in a step.
    """

    compute: float
    memory: float
    links: float
    examples: int

    @property
    def overlapped(self) -> float:
        return max(self.compute, self.memory, self.links)

    @property
    def in_turn(self) -> float:
        return self.compute + self.memory + self.links

    @property
    def bound(self) -> str:
        """Name the resource that the step waits for."""
        times = {"compute": self.compute, "memory": self.memory, "links": self.links}
        return max(times, key=lambda name: times[name])

    def summary(self) -> dict[str, Any]:
        """Give the estimate in JSON's types."""
        return {
            "seconds_compute": self.compute,
            "seconds_memory": self.memory,
            "seconds_links": self.links,
            "bound": self.bound,
            "seconds_overlapped": self.overlapped,
            "seconds_in_turn": self.in_turn,
            "examples_per_second": [self.examples / self.in_turn, self.examples / self.overlapped],
        }


def link_bytes(collectives: Mapping[str, Mapping[str, int]], devices: int) -> float:
    """Count the bytes that a chip sends in a step, by the ring's theory."""
    share = (devices - 1) / devices
    factors = {
        "all-reduce": 2 * share,
        "all-gather": share,
        "reduce-scatter": devices - 1,
        "all-to-all": share,
        "collective-permute": 1,
    }
    return float(sum(factors[kind] * found["bytes"] for kind, found in collectives.items()))


def roofline(answer: Mapping[str, Any], chip: Chip, batch: int) -> Roofline:
    """Estimate the roofline of a compiled plan.

    Args:
        answer: of :func:`dalib.run.preflight.compile.compile_plan`, of a program that fits.
        chip: its chip.
        batch: examples of each domain in a step.
    """
    sent = link_bytes(answer["collectives"], answer["devices"])
    return Roofline(
        compute=(answer["flops"] or 0) / chip.flops,
        memory=answer["bytes_main_memory"] / chip.hbm_bandwidth,
        links=sent / chip.ici_bandwidth,
        examples=2 * batch,
    )


def assumptions(chip: Chip) -> list[str]:
    """List a roofline's assumptions, with this chip's figures."""
    figures = {
        "flops": chip.flops / 1e12,
        "hbm": chip.hbm_bandwidth / 1e9,
        "ici": chip.ici_bandwidth / 1e9,
    }
    return [text.format(**figures) for text in ASSUMPTIONS]
