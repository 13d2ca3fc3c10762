"""Growth of memory and communication with the number of chips, compared with theory.

Theory, for losses on the global batch and a state that is replicated:

=================== ============================ ===============================
quantity of a chip  batch of a chip fixed        global batch fixed
=================== ============================ ===============================
parameters,         flat                         flat
optimiser, state
batch               flat                         in proportion to 1/n
temporaries         a + b·n: b is 0 unless a     a + b/n
                    loss compares all examples
                    with one another
reductions          flat                         flat
gathered rows       in proportion to n, where a  flat
                    loss compares all examples
re-dealt rows       none                         none
=================== ============================ ===============================

With a split state parameters, optimiser and the gradients' reductions go with 1/n, and parameters are gathered whole
(flat).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dalib.run.preflight.chips import GIB
from dalib.run.preflight.program_text import MOVES, MOVES_OR_RINGS, REDEALS
from dalib.run.preflight.table import shortage

PER_CHIP, GLOBAL = "fixed per chip", "fixed global"
TOLERANCE = 0.05
ROWS_OF_A_TILE = 8


class Row(NamedTuple):
    """One compilation of a sweep: ``batch`` is that of each domain over all chips."""

    mode: str
    chips: int
    batch: int
    answer: dict[str, Any]


class Deviation(NamedTuple):
    """A quantity that does not grow as theory says, and why."""

    mode: str
    chips: int
    quantity: str
    found: float
    expected: float
    why: str

    def __str__(self) -> str:
        change = f"{self.found / self.expected - 1:+.0%}" if self.expected else f"{self.found:,.0f} where 0 is expected"
        return f"{self.mode}, {self.chips} chips: {self.quantity} {change}: {self.why}"


Law = Callable[[float], tuple[float, ...]]
"""Terms of a law for a number of chips; the quantity should be a non-negative combination of them."""

FLAT: Law = lambda n: (1.0,)  # noqa: E731
INVERSE: Law = lambda n: (1 / n,)  # noqa: E731
FLAT_AND_INVERSE: Law = lambda n: (1.0, 1 / n)  # noqa: E731
FLAT_AND_LINEAR: Law = lambda n: (1.0, n)  # noqa: E731


def laws(mode: str, *, split: bool) -> dict[str, Law]:
    """Return the theory's law of each quantity; ``split`` for a fully-sharded state."""
    growing = FLAT_AND_LINEAR if mode == PER_CHIP else FLAT
    return {
        "state": FLAT_AND_INVERSE if split else FLAT,
        "batch": FLAT if mode == PER_CHIP else INVERSE,
        "temporaries": growing if mode == PER_CHIP else FLAT_AND_INVERSE,
        "reduced": FLAT_AND_INVERSE if split else FLAT,
        "gathered": growing,
    }


def quantities(answer: Mapping[str, Any]) -> dict[str, float]:
    """Count the bytes of a chip by the names of :func:`laws`."""
    memory, sent = answer["memory"], answer["collectives"]

    def total(*kinds: str) -> float:
        return float(sum(sent[kind]["bytes"] for kind in kinds if kind in sent))

    return {
        "state": memory["parameters"] + memory["optimizer"] + memory["statistics"],
        "batch": memory["batch"],
        "temporaries": memory["temporaries"],
        "reduced": total("all-reduce", "reduce-scatter"),
        "gathered": total("all-gather"),
    }


def deviations(rows: Sequence[Row], *, split: bool) -> list[Deviation]:
    """List deviations of measured memory and traffic from theory, each with a probable cause."""
    found = []
    for mode in (PER_CHIP, GLOBAL):
        known = [row for row in rows if row.mode == mode and "memory" in row.answer]
        # One size fits any law: at least two compilations are needed to see growth.
        if len(known) < 2:
            continue
        chips = [float(row.chips) for row in known]
        for name, law in laws(mode, split=split).items():
            values = [quantities(row.answer)[name] for row in known]
            for row, value, theory in zip(known, values, fitted(chips, values, law), strict=True):
                # Small quantities round to whole tiles, so a share alone would flag them.
                if abs(value - theory) > TOLERANCE * max(theory, 1.0) and abs(value - theory) > 2**16:
                    found.append(Deviation(mode, row.chips, name, value, theory, explanation(name, row, known, split)))
        # Examples should not change their device at all, whatever the sizes.
        for row in known:
            moved = sum(row.answer["collectives"].get(kind, {"bytes": 0})["bytes"] for kind in REDEALS)
            if moved:
                why = MOVES_OR_RINGS if split else MOVES
                found.append(Deviation(mode, row.chips, "re-dealt rows", moved, 0, why))
    return found


def fitted(chips: Sequence[float], values: Sequence[float], law: Law) -> list[float]:
    """Return the values of the law's best non-negative combination (least squares of relative errors)."""
    import numpy as np
    from scipy.optimize import nnls

    scale = np.maximum(np.asarray(values, np.float64), 1.0)
    terms = np.array([law(n) for n in chips])
    weights, _ = nnls(terms / scale[:, None], np.asarray(values) / scale)
    return list(terms @ weights)


def explanation(name: str, row: Row, rows: Sequence[Row], split: bool) -> str:
    """Give a deviation's probable cause from the compilations; say so where none is known."""
    own = row.batch // row.chips
    kinds = {kind: c["instructions"] for kind, c in row.answer["collectives"].items()}
    first = {kind: c["instructions"] for kind, c in rows[0].answer["collectives"].items()}
    # Causes in the order of their likelihood; the vaguer ones are asked only where none was found.
    reasons = []
    if name in ("temporaries", "batch") and own < ROWS_OF_A_TILE:
        reasons.append(f"{own} examples of a domain a chip do not fill the {ROWS_OF_A_TILE} rows of a tile")
    if name in ("reduced", "gathered") and kinds.keys() != first.keys():
        reasons.append(
            f"other kinds of collectives ({describe(kinds)}) than on {rows[0].chips} chips ({describe(first)})"
        )
    if name == "reduced" and split and not reasons:
        reasons.append("small leaves and gradients of leaves that the chips do not divide are reduced whole")
    if name == "temporaries" and not reasons:
        used = row.answer["memory"]["peak"] / row.answer["hbm"]
        if used > 0.8:
            reasons.append(f"{used:.0%} of the memory is used: the compiler recomputes and reorders to fit")
        shares = {other.chips: padding(other.answer) for other in rows}
        least, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
        if shares[most] - shares[least] > TOLERANCE:
            reasons.append(
                f"{shares[row.chips]:.0%} of the bytes it moves fill up tiles, between {shares[least]:.0%} on {least} "
                f"chips and {shares[most]:.0%} on {most}"
            )
    return "; ".join(reasons) or "not explained by the program: the compiler laid out or fused other operations"


def padding(answer: Mapping[str, Any]) -> float:
    """Return the share of moved bytes that only fill up tiles: axes of 64 in tiles of 128 make it a half."""
    moved = answer.get("bytes_main_memory", 0)
    return 1 - answer.get("bytes_unpadded", moved) / moved if moved else 0.0


def describe(counts: Mapping[str, int]) -> str:
    """Write counts as ``all-reduce × 101, all-gather × 2``."""
    return ", ".join(f"{kind} × {count}" for kind, count in counts.items()) or "none"


def sweep_lines(rows: Sequence[Row]) -> list[str]:
    """Write the sweep as a table."""
    head = (
        f"{'batch':<14} {'chips':>5} {'global':>7} {'a chip':>6} | {'state':>7} {'temporaries':>11} {'peak':>7} GiB | "
    )
    lines = [head + f"{'collectives, MB a chip':<40} | compile s"]
    for row in rows:
        left = f"{row.mode:<14} {row.chips:>5} {row.batch:>7} {row.batch / row.chips:>6g} | "
        if "memory" not in row.answer:
            lines.append(f"{left}does not fit: {shortage(row.answer)}")
            continue
        parts = quantities(row.answer)
        memory = row.answer["memory"]
        sent = ", ".join(
            f"{kind} {c['bytes'] / 1e6:.1f} (× {c['instructions']})" for kind, c in row.answer["collectives"].items()
        )
        lines.append(
            left
            + f"{parts['state'] / GIB:>7.3f} {parts['temporaries'] / GIB:>11.3f} {memory['peak'] / GIB:>7.3f}     | "
            + f"{sent:<40} | {row.answer['seconds']['compile']:.0f}"
        )
    return lines
