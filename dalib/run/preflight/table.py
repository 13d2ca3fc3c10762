"""Table of a compiled plan."""

from collections.abc import Mapping
from typing import Any

from dalib.run.preflight.chips import GIB, Topology
from dalib.run.preflight.plan import Plan
from dalib.run.preflight.program_text import MOVES, MOVES_OR_RINGS, REDEALS
from dalib.run.preflight.roofline import Roofline, assumptions, link_bytes

MB = 1e6


def heading(plan: Plan, answer: Mapping[str, Any]) -> str:
    """Write the heading: program, topology and versions."""
    versions = ", ".join(f"{name} {version}" for name, version in answer["versions"].items())
    own = plan.batch // answer["devices"]
    state = "split over the chips (fsdp)" if plan.fsdp else "replicated"
    return (
        f"{plan.method}, {plan.encoder}, {plan.dtype}, {plan.optimizer}, state {state}; {plan.effort} effort\n"
        f"batch {plan.batch} of each domain over all devices: {own} + {own} a device\n"
        f"{plan.topology}: {answer['devices']} × {answer['device_kind']}; {versions}"
    )


def shortage(answer: Mapping[str, Any]) -> str:
    """Quote the compiler on a program that does not fit."""
    if not answer["needs"]:
        return "the compiler does not say by how much"
    return (
        f"the compiler needs {answer['needs'] / GIB:.2f} GiB of the {answer['limit'] / GIB:.2f} that programs may use"
    )


def table(plan: Plan, topology: Topology, answer: Mapping[str, Any], estimate: Roofline | None) -> list[str]:
    """Write the table's lines; all figures are of one device and one step unless they say otherwise."""
    lines = [heading(plan, answer), ""]
    if "memory" not in answer:
        lines.append(f"DOES NOT FIT: {shortage(answer)}; it gave up after {answer['seconds']['compile']:.0f} s")
        return lines
    # Code is in the same memory and not part of the peak, so both together must fit.
    memory, whose = answer["memory"], "HBM" if topology.chip else "this device's memory"
    verdict = "fits" if answer["fits"] else "DOES NOT FIT"
    lines.append(f"{verdict}: peak {_share(memory['peak'] + memory['code'], answer['hbm'])} of {whose}")
    kinds = {
        "parameters": memory["parameters"],
        "optimiser": memory["optimizer"],
        "batch statistics, method's state": memory["statistics"],
        "batch": memory["batch"],
        "padding of these": memory["padding"],
        "activations, gradients, temporaries": memory["temporaries"],
        "peak": memory["peak"],
        "the program itself": memory["code"],
    }
    lines += [f"  {name:<38}{size / MB:>12,.1f} MB" for name, size in kinds.items()]
    # Without donation a step holds the state twice, which no other figure here would show.
    took = "took effect" if memory["donated"] else "DID NOT TAKE EFFECT"
    in_place = f"{memory['aliased'] / MB:,.1f} of {memory['state'] / MB:,.1f} MB of state in place"
    lines.append(f"  donation {took}: {in_place}")
    lines += ["", f"{'collectives':<22}{'count':>7}{'MB':>12}{'in loops':>10}"]
    for kind, found in answer["collectives"].items():
        lines.append(f"  {kind:<20}{found['instructions']:>7}{found['bytes'] / MB:>12,.2f}{found['in_loops']:>10}")
    if not answer["collectives"]:
        lines.append("  none")
    if any(kind in answer["collectives"] for kind in REDEALS):
        lines.append(f"  {' and '.join(REDEALS)}: {MOVES_OR_RINGS if plan.fsdp else MOVES}")
    if answer["flops"]:
        total = answer["flops"] * answer["devices"]
        lines += ["", f"FLOPs: {answer['flops'] / 1e9:,.1f} G a device, {total / 1e9:,.0f} G in all"]
    seconds = answer["seconds"]
    lines.append(f"compilation: {seconds['lower']:.1f} s to trace and lower, {seconds['compile']:.1f} s to compile")
    return lines + ["", *_roofline_lines(topology, answer, estimate)]


def _roofline_lines(topology: Topology, answer: Mapping[str, Any], estimate: Roofline | None) -> list[str]:
    if estimate is None or topology.chip is None:
        return ["no roofline: this host's peaks are not known (experiments.speed.step measures them)"]
    slow, fast = (estimate.examples / seconds for seconds in (estimate.in_turn, estimate.overlapped))
    sent = link_bytes(answer["collectives"], answer["devices"])
    return [
        f"roofline, bound by {estimate.bound}: compute {estimate.compute * 1e3:.2f} ms, memory "
        f"{estimate.memory * 1e3:.2f} ms, links {estimate.links * 1e3:.2f} ms ({sent / MB:,.1f} MB sent)",
        f"  a step takes {estimate.overlapped * 1e3:.2f} ms (if all three overlap) to "
        f"{estimate.in_turn * 1e3:.2f} ms (one after the other): {fast:,.0f} to {slow:,.0f} examples/s of both domains",
        "  assumptions:",
        *(f"  - {text}" for text in assumptions(topology.chip)),
    ]


def _share(size: float, whole: float) -> str:
    return f"{size / GIB:.2f} of {whole / GIB:.0f} GiB ({size / whole:.0%})"
