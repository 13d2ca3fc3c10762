"""Collectives of a compiled program, read from its HLO text: kinds, counts and bytes.

Bytes are those of a result on one device: the reduced array of an all-reduce, the whole array that an all-gather makes,
the shard that a reduce-scatter leaves, what an all-to-all or a permute receives. A collective that is split into a
``-start`` and a ``-done`` counts once, at its start. TPU compilers put some into fusions or ``async`` computations;
there they are counted in the body, once for every call of it.
"""

from typing import NamedTuple

from experiments.preflight.hlo import Program, arrives, reached, sizes

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
REDEALS = ("all-to-all", "collective-permute")
"""Kinds that move examples between devices and have no place in a step whose losses are sums over the batch."""
MOVES = "examples change their device in this step"
MOVES_OR_RINGS = (
    "parameters and gradients on their way around a ring, a part a turn (products that gather or reduce meanwhile), or "
    "examples that change their device: the program does not tell them apart"
)
"""What these kinds mean where the state is replicated, and where it is split."""


class Collective(NamedTuple):
    """One kind of collective in a program.

    Attributes:
        instructions: how many there are.
        bytes: of their results, on one device.
        in_loops: how many of them stand in the body of a loop, where they run once a turn and are counted once here.
    """

    instructions: int = 0
    bytes: int = 0
    in_loops: int = 0


def collectives(program: Program) -> dict[str, Collective]:
    """The collectives of a program by kind; kinds that do not occur are left out."""
    found: dict[str, Collective] = {}
    for instruction, in_loop in reached(program):
        kind = instruction.operation.removesuffix("-start")
        if kind in KINDS:
            old = found.get(kind, Collective())
            size = sum(size for size, _ in sizes(arrives(instruction)))
            found[kind] = Collective(old.instructions + 1, old.bytes + size, old.in_loops + in_loop)
    return {kind: found[kind] for kind in KINDS if kind in found}
