"""Published figures of TPU chips, and the names of their slices."""

import math
from typing import NamedTuple

from dalib.core.checks import choose, input_error

GIB, GB = 2**30, 10**9


class Chip(NamedTuple):
    """Published figures of one chip (docs.cloud.google.com/tpu/docs, November 2026).

    Attributes:
        hbm: bytes of memory.
        flops: peak FLOP/s of matrix products on bfloat16 operands, which is also how XLA multiplies float32 ones there
            unless a higher precision is asked for.
        hbm_bandwidth: bytes/s.
        ici_bandwidth: bytes/s that a chip sends to its neighbours over all links together.
        dimensions: of the torus.
        options: of ``get_topology_desc``; v4's two cores a chip are one device in the megacore configuration.
    """

    hbm: int
    flops: float
    hbm_bandwidth: float
    ici_bandwidth: float
    dimensions: int
    options: dict[str, str] = {}


CHIPS = {
    "v4": Chip(32 * GIB, 275e12, 1200 * GB, 300 * GB, 3, {"chip_config_name": "megacore"}),
    "v5e": Chip(16 * GIB, 197e12, 819 * GB, 200 * GB, 2),
    "v5p": Chip(95 * GIB, 459e12, 2765 * GB, 600 * GB, 3),
    "v6e": Chip(32 * GIB, 918e12, 1600 * GB, 400 * GB, 2),
}
LOCAL = "local"

SLICES = {
    2: {4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"},
    3: {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8"},
}
"""Offered slices, by the torus' dimensions and the number of chips."""


class Topology(NamedTuple):
    """A slice, or this host's own devices.

    Attributes:
        name: as on the command line.
        family: of :data:`CHIPS`, or "local".
        devices: chips; 0 for all that this host has.
    """

    name: str
    family: str
    devices: int

    @property
    def chip(self) -> Chip | None:
        """The chip's figures; None for this host's own devices, which have no published peaks here."""
        return CHIPS.get(self.family)


def parse_topology(name: str) -> Topology:
    """Parse ``v5e:16x16``, ``v4:4x4x4`` …, ``local``, or ``local:8`` for eight virtual CPU devices.

    Raises:
        InputError: for an unknown chip (with the nearest names), a shape of another form or of other dimensions.
    """
    family, colon, shape = name.strip().partition(":")
    choose("topology", family, {**CHIPS, LOCAL: None})
    if family == LOCAL:
        if not colon:
            return Topology(name, family, 0)
        if not (shape.isdecimal() and int(shape) >= 1):
            raise input_error("topology", got=repr(name), expected="local, or local:8 with a number of devices ≥ 1")
        return Topology(name, family, int(shape))
    chip = CHIPS[family]
    # The shape must have as many numbers as the chip's torus has dimensions.
    sizes = shape.split("x")
    if len(sizes) != chip.dimensions or not all(size.isdecimal() and int(size) >= 1 for size in sizes):
        offered = ", ".join(f"{family}:{text}" for text in SLICES[chip.dimensions].values())
        raise input_error(
            "topology",
            got=repr(name),
            expected=f"{family}: and {chip.dimensions} numbers of chips with x between them",
            todo=f"take for example one of {offered}",
        )
    return Topology(name, family, math.prod(int(size) for size in sizes))


def slices(topology: Topology, least: int = 4, most: int = 256) -> list[Topology]:
    """List the slices of the same chip with ``least`` to ``most`` chips; of this host, so many virtual devices."""
    if topology.chip is None:
        counts = [n for n in (1, 2, 4, 8, 16) if n <= (topology.devices or 8)]
        return [Topology(f"{LOCAL}:{n}", LOCAL, n) for n in counts]
    offered = SLICES[topology.chip.dimensions]
    return [
        Topology(f"{topology.family}:{shape}", topology.family, count)
        for count, shape in offered.items()
        if least <= count <= most
    ]
