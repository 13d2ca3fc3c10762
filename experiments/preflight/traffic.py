"""Bytes that a compiled program moves through a device's main memory, read from its HLO text.

The compiler's own "bytes accessed" counts on-chip memory too, and more of it the better a program uses that memory.
Here an operation reads its operands and writes its results, each where its layout says that it lies, and only main
memory counts. Axes are filled up to whole tiles. A slice counts as large as it is, not as what it is cut from, but a
fusion that slices inside counts the whole operand; what a loop does counts once. Where a program keeps nothing on the
chip (ResNet-50 and DANN with quick effort) the two counts agreed to 0.01 %: 20.35 GB.
"""

from collections.abc import Mapping

from experiments.preflight.hlo import Instruction, Program, arrives, called, sizes

NAMES_ONLY = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "partition-id", "after-all", "while")
"""Operations that move nothing themselves."""
SLICES = ("slice", "dynamic-slice", "slice-start", "dynamic-slice-start")


def main_memory_bytes(program: Program, *, padded: bool = True) -> int:
    """Bytes read from and written to main memory by one run of the program on one device.

    Args:
        program: as parsed.
        padded: count axes filled up to whole tiles, as they lie in memory; False counts the elements alone.
    """
    total, waiting = 0, [program.entry]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        computation = program.computations.get(name, [])
        results = {instruction.name: instruction.result for instruction in computation}
        for instruction in computation:
            total += _moved(instruction, results, padded)
            if instruction.operation in ("while", "conditional", "call"):
                waiting += called(instruction)
    return total


def _moved(instruction: Instruction, results: Mapping[str, str], padded: bool) -> int:
    operation = instruction.operation
    if operation in NAMES_ONLY or operation.endswith(("-done", "-update")):
        return 0
    if operation == "custom-call" and '"ConcatBitcast"' in instruction.text:
        return 0
    written = sizes(arrives(instruction), padded=padded)
    operands = [part for name in instruction.operands for part in sizes(results.get(name, ""), padded=padded)]
    if operation in SLICES:
        space = operands[0][1] if operands else 0
        operands = [(size, space) for size, _ in written]
    return sum(size for size, space in [*written, *operands] if space == 0)
