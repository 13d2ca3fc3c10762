"""Compiles the real training step for TPUs that are not there (or for this host) and says whether it fits.

    dalib preflight --topology v5e:16x16 --encoder resnet50 --method dann --batch 8192 --image-size 224
    dalib preflight --topology v4:4x4x4 --encoder bert_large --batch 512 --fsdp --optimizer adamw
    dalib preflight --topology v5e:16x16 --batch 8192 --dtype bf16 --find-batch
    dalib preflight --topology v5e:16x16 --batch 1024 --sweep --keep preflight-answers
    dalib preflight --topology local:8 --encoder lenet --image-size 28 --batch 64

The step is the one that runs take: net, method, BatchNorm convention and optimiser are made by ``dalib.run.program``
from an experiment, on shapes alone. TPU programs need the extra ``preflight`` (libtpu, 684 MB installed) and no device;
nothing is downloaded. Every compilation is a process of its own. The last line is one JSON object.

What it cannot say: speed and numbers. It compiles; nothing runs. The roofline is a bound from published peaks.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dalib.core.checks import input_error
from dalib.run.cli.main import main as command_line
from dalib.run.config import method_options
from dalib.run.preflight.chips import Topology, parse_topology, slices
from dalib.run.preflight.compile import compile_apart, require_compiler
from dalib.run.preflight.find_batch import find_batch
from dalib.run.preflight.plan import Plan, check
from dalib.run.preflight.roofline import roofline
from dalib.run.preflight.sweep import GLOBAL, PER_CHIP, Row, deviations, sweep_lines
from dalib.run.preflight.table import shortage, table


@dataclass(frozen=True)
class Options:
    """What to compile, and for what."""

    topology: str = "v5e:16x16"
    """v4:4x4x4, v5e:16x16, v5p:4x4x4, v6e:16x16 …; local for this host's devices, local:8 for 8 virtual CPU devices."""
    encoder: str = "resnet50"
    """Name of the encoder."""
    method: str = "dann"
    """Name of the method."""
    batch: int = 8192
    """Examples of each domain in a step, over all devices together: a step sees twice as many."""
    image_size: int = 224
    """Pixels a side, for nets of images."""
    channels: int = 3
    """Of images and series."""
    length: int = 128
    """Tokens a text, steps a series, samples a waveform, or the width of vectors."""
    dtype: str = "fp32"
    """fp32 or bf16: what encoder and bottleneck compute in; parameters and losses stay float32."""
    fsdp: bool = False
    """Split parameters and optimiser state over the devices instead of a copy on each."""
    optimizer: str = "sgd"
    """sgd (with momentum), adam or adamw."""
    bottleneck: str = "linear-bn-relu"
    """Between encoder and head."""
    classes: int = 31
    """Number of classes."""
    target_size: int = 10_000
    """Examples in the target's training split, for methods that keep something for each of them."""
    options: tuple[str, ...] = ()
    """Hyper-parameters of the method, method.name=value."""
    find_batch: bool = False
    """Also find the largest batch that fits: doubling, then bisection."""
    granule: int = 1
    """With --find-batch: examples a device below which the search stops."""
    limit: int = 65536
    """With --find-batch: no batch above it is tried."""
    sweep: bool = False
    """Also compile for 4 to 256 chips, with the batch of a chip and with the global batch fixed."""
    effort: str = "auto"
    """full; quick: the compiler spends the least on speed (about six times faster to compile, memory up to a quarter
    less); auto: full for the table, quick for --sweep and --find-batch (its find is then compiled in full)."""
    keep: str = ""
    """Folder for the compiler's answers: the same program is not compiled twice, and a long sweep can be broken off."""


def plan_of(options: Options) -> Plan:
    """Make the plan that a command line asks for; mistakes raise an InputError."""
    method = method_options(options.options)
    for name in method:
        if name != options.method:
            raise input_error("options", got=f"hyper-parameters of {name}", expected=f"those of {options.method}")
    same = ("topology", "encoder", "method", "batch", "dtype", "fsdp", "bottleneck", "optimizer", "classes")
    more = ("image_size", "channels", "length", "target_size")
    plan = Plan(**{name: getattr(options, name) for name in same + more}, method_options=method.get(options.method, {}))
    if options.effort != "auto":
        plan = plan._replace(effort=options.effort)
    check(plan)
    return plan


def summary(plan: Plan, topology: Topology, answer: dict[str, Any]) -> dict[str, Any]:
    """Return the last line's facts of one compilation."""
    found: dict[str, Any] = {**plan._asdict(), **answer}
    if topology.chip is not None and "memory" in answer:
        found["roofline"] = roofline(answer, topology.chip, plan.batch).summary()
    return found


def run(options: Options) -> None:
    """Compile, print the tables and, last, the JSON line."""
    plan, topology = plan_of(options), parse_topology(options.topology)
    require_compiler(topology)
    answer = compile_apart(plan, folder=options.keep)
    estimate = roofline(answer, topology.chip, plan.batch) if topology.chip and "memory" in answer else None
    print("\n".join(table(plan, topology, answer, estimate)), flush=True)
    last = summary(plan, topology, answer)
    if options.effort == "auto":
        plan = plan._replace(effort="quick")
    if options.find_batch:
        last["find_batch"] = _find(options, plan, answer["devices"])
    if options.sweep:
        last["sweep"] = _sweep(options, plan, topology, answer["devices"])
    print(json.dumps(last))


def _find(options: Options, plan: Plan, devices: int) -> dict[str, Any]:
    def compile_batch(batch: int) -> dict[str, Any]:
        answer = compile_apart(plan._replace(batch=batch), folder=options.keep)
        if "memory" in answer:
            detail = f"peak {answer['memory']['peak'] / 2**30:.2f} GiB"
        else:
            detail = shortage(answer)
        verdict = "fits" if answer["fits"] else "does not fit"
        print(f"  batch {batch}: {verdict}, {detail}, {answer['seconds']['compile']:.0f} s", flush=True)
        return answer

    print(f"\nlargest batch that fits (compiled with {plan.effort} effort)", flush=True)
    found = find_batch(compile_batch, devices, start=plan.batch, granule=options.granule, limit=options.limit)
    if found.batch:
        end = f"{found.too_large} does not" if found.too_large else f"nothing above --limit {options.limit} was tried"
        print(f"  {found.batch} of each domain ({found.batch // devices} a device) fit, {end}", end="; ")
    else:
        print(f"  not even {found.granule} of each domain fit", end="; ")
    print(f"{len(found.tried)} compilations", flush=True)
    # The search used quick effort, which may use up to a quarter less memory: its answer is confirmed in full.
    summary = {**found._asdict(), "answer": None, "compilations": len(found.tried)}
    if found.batch and options.effort == "auto":
        full = compile_apart(plan._replace(batch=found.batch, effort="full"), folder=options.keep)
        verdict = "fits as well" if full["fits"] else "DOES NOT FIT: take fewer"
        print(f"  compiled with full effort, {found.batch} {verdict}", flush=True)
        summary["fits_in_full"] = full["fits"]
    return summary


def _sweep(options: Options, plan: Plan, topology: Topology, devices: int) -> dict[str, Any]:
    own = max(plan.batch // devices, 1)
    rows, seen = [], {}
    print(f"\nscaling (compiled with {plan.effort} effort)", flush=True)
    for mode in (PER_CHIP, GLOBAL):
        for part in slices(topology):
            # With the batch of a chip fixed the work of a chip stays the same; with the global one it shrinks.
            batch = own * part.devices if mode == PER_CHIP else plan.batch
            if batch % part.devices:
                print(f"  {mode}, {part.devices} devices: left out, {batch} does not divide", flush=True)
                continue
            # Both modes meet at the topology's own size, and a compilation takes minutes.
            if (part.name, batch) not in seen:
                seen[part.name, batch] = compile_apart(
                    plan._replace(topology=part.name, batch=batch), folder=options.keep
                )
            rows.append(Row(mode, part.devices, batch, seen[part.name, batch]))
            print("\n".join(sweep_lines(rows)[-2 if len(rows) == 1 else -1 :]), flush=True)
    found = deviations(rows, split=plan.fsdp)
    print(f"deviations from theory: {len(found) or 'none'}")
    for deviation in found:
        print(f"  {deviation}")
    return {
        "rows": [{**row._asdict(), "answer": {k: v for k, v in row.answer.items() if k != "versions"}} for row in rows],
        "deviations": [deviation._asdict() for deviation in found],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    try:
        return command_line(run, Options, __doc__ or "", arguments)
    except RuntimeError as error:
        print(f"\nstopped: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
