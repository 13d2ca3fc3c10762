"""Collectives of a compiled program, read from its HLO text: kinds, counts and bytes.

Bytes are those of a result on one device: the reduced array of an all-reduce, the whole array that an all-gather makes,
the shard that a reduce-scatter leaves, what an all-to-all or a permute receives. A collective that is split into a
``-start`` and a ``-done`` counts once, at its start. TPU compilers fuse some into ``kCustom`` fusions and ``async``
computations; the instruction stands in the body there and is counted there, once for every call of the body.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
REDEALS = ("all-to-all", "collective-permute")
"""Kinds that move examples between devices and have no place in a step whose losses are sums over the batch."""
BITS = {"pred": 8, "token": 0, "s4": 4, "u4": 4, "s2": 2, "u2": 2, "s1": 1, "u1": 1, "f4e2m1fn": 4}

_COMPUTATION = re.compile(r"^(ENTRY\s+)?%?([\w.\-]+)\s*\(.*->.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT\s+)?%?[\w.\-]+\s*=\s*(.*)$")
_OPERATION = re.compile(r"^([a-z][\w\-]*)\(")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"(?:branch_computations|called_computations|calls)=\{([^}]*)\}")


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

    def __add__(self, other: "Collective") -> "Collective":  # type: ignore[override]
        return Collective(*(a + b for a, b in zip(self, other, strict=True)))


class _Instruction(NamedTuple):
    operation: str
    result: str
    text: str


def collectives(hlo: str) -> dict[str, Collective]:
    """The collectives of a program by kind; kinds that do not occur are left out.

    Args:
        hlo: the text of an optimised HLO module, ``compiled.as_text()``.
    """
    computations, entry = _computations(hlo)
    found: dict[str, Collective] = {}
    for instruction, in_loop in _reached(computations, entry, in_loop=False):
        kind = instruction.operation.removesuffix("-start")
        if kind in KINDS:
            one = Collective(1, result_bytes(instruction), int(in_loop))
            found[kind] = found.get(kind, Collective()) + one
    return {kind: found[kind] for kind in KINDS if kind in found}


def result_bytes(instruction: _Instruction) -> int:
    """Bytes of what a collective gives, without the operands and counters that a ``-start`` carries along."""
    result = instruction.result
    if instruction.operation in ("all-gather-start", "collective-permute-start", "all-to-all-start"):
        # (operands, results, counters …): the second member is what comes out.
        members = _members(result)
        result = members[1] if len(members) > 1 else result
    return sum(_bytes(kind, sizes) for kind, sizes in _ARRAY.findall(_plain(result)))


def _bytes(kind: str, sizes: str) -> int:
    elements = 1
    for size in filter(None, sizes.split(",")):
        elements *= int(size)
    width = re.search(r"\d+", kind)
    bits = BITS.get(kind, int(width.group()) if width else 0)
    return -(-elements * bits // 8)


def _plain(result: str) -> str:
    """A result's type without layouts, whose tilings look like shapes to no one but are in the way."""
    return re.sub(r"\{[^{}]*\}", "", result)


def _members(result: str) -> list[str]:
    """The members of a tuple type, ``(a, (b, c), d)`` to ``a``, ``(b, c)``, ``d``."""
    text = _plain(result).strip()
    if not text.startswith("("):
        return [text]
    members, depth, start = [], 0, 1
    for i, sign in enumerate(text):
        depth += (sign in "([") - (sign in ")]")
        if (sign == "," and depth == 1) or (sign == ")" and depth == 0):
            members.append(text[start:i].strip())
            start = i + 1
    return members


def _split_result(text: str) -> tuple[str, str]:
    """``(result type, rest)`` of what stands behind an instruction's ``=``."""
    if not text.startswith("("):
        result, _, rest = text.partition(" ")
        return result, rest.strip()
    depth = 0
    for i, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return text[: i + 1], text[i + 1 :].strip()
    return text, ""


def _computations(hlo: str) -> tuple[dict[str, list[_Instruction]], str]:
    found: dict[str, list[_Instruction]] = {}
    name = entry = ""
    for line in hlo.splitlines():
        if header := _COMPUTATION.match(line):
            name = header.group(2)
            found[name] = []
            entry = name if header.group(1) else entry
        elif name and (match := _INSTRUCTION.match(line)):
            result, rest = _split_result(match.group(1))
            if operation := _OPERATION.match(rest):
                found[name].append(_Instruction(operation.group(1), result, rest))
    return found, entry or name


def _reached(
    computations: Mapping[str, list[_Instruction]], name: str, *, in_loop: bool
) -> Iterator[tuple[_Instruction, bool]]:
    """Every instruction that runs, with whether it stands in a loop; reductions' own little computations too."""
    for instruction in computations.get(name, ()):
        yield instruction, in_loop
        if instruction.operation.removesuffix("-start") in KINDS or instruction.operation.endswith(
            ("-done", "-update")
        ):
            continue
        called = _CALLED.findall(instruction.text)
        for group in _BRANCHES.findall(instruction.text):
            called += [part.strip().lstrip("%") for part in group.split(",")]
        for callee in called:
            yield from _reached(computations, callee, in_loop=in_loop or instruction.operation == "while")
