"""Preflight: what is read off compiled programs, the arithmetic on it, and the command."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.core.platform import platform, tracing_for
from dalib.run.preflight import compile as module
from dalib.run.preflight.chips import CHIPS, GIB, parse_topology, slices
from dalib.run.preflight.compile import compile_plan, out_of_memory
from dalib.run.preflight.find_batch import find_batch
from dalib.run.preflight.memory import bytes_on_one
from dalib.run.preflight.plan import Plan, build, experiment_of, inputs_of
from dalib.run.preflight.program_text import Collective, collectives, main_memory_bytes, parse, sizes
from dalib.run.preflight.roofline import link_bytes, roofline
from dalib.run.preflight.sweep import GLOBAL, PER_CHIP, Row, deviations
from dalib.run.preflight.table import shortage
from dalib.run.program import make_parts, wants_split
from dalib.train import make_mesh

# Written by hand after the forms that XLA prints for TPUs and CPUs.
PROGRAM = """\
HloModule jit_step, is_scheduled=true, entry_computation_layout={(f32[4,8]{1,0:T(8,128)})->f32[4,8]{1,0:T(8,128)}}

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %add.1 = f32[]{:T(128)} add(%a, %b)
}

%scattering.1 (p: f32[64,128]) -> f32[4,128] {
  %p = f32[64,128]{1,0:T(8,128)} parameter(0)
  ROOT %reduce-scatter.9 = f32[4,128]{1,0:T(8,128)S(1)} reduce-scatter(%p), channel_id=7, dimensions={0}, to_apply=%sum
}

%turn (t: (s32[], bf16[2,8])) -> (s32[], bf16[2,8]) {
  %t = (s32[]{:T(128)}, bf16[2,8]{1,0:T(8,128)(2,1)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%t), index=0
  %x = bf16[2,8]{1,0:T(8,128)(2,1)} get-tuple-element(%t), index=1
  %all-to-all.2 = bf16[2,8]{1,0:T(8,128)(2,1)} all-to-all(%x), channel_id=9, dimensions={0}
  ROOT %tuple.1 = (s32[]{:T(128)}, bf16[2,8]{1,0:T(8,128)(2,1)}) tuple(%i, %all-to-all.2)
}

%more (t: (s32[], bf16[2,8])) -> pred[] {
  %t = (s32[]{:T(128)}, bf16[2,8]{1,0:T(8,128)(2,1)}) parameter(0)
  ROOT %less = pred[]{:T(512)} constant(true)
}

ENTRY %main.1_spmd (p0: f32[4,8]) -> f32[4,8] {
  %p0 = f32[4,8]{1,0:T(8,128)} parameter(0), metadata={op_name="an all-reduce( in a name is not one"}
  %all-reduce.436 = (f32[64]{0:T(128)S(1)}, f32[64]{0:T(128)S(1)}) all-reduce(%q, %r), channel_id=2, to_apply=%sum
  %all-gather-start.1 = (f32[4,8]{1,0:T(8,128)}, f32[32,8]{1,0:T(8,128)}) all-gather-start(%p0), dimensions={0}
  %all-gather-done.1 = f32[32,8]{1,0:T(8,128)} all-gather-done(%all-gather-start.1)
  %collective-permute-start.3 = (f32[4,8]{1,0}, f32[4,8]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%p0)
  %collective-permute-done.3 = f32[4,8]{1,0:T(8,128)} collective-permute-done(%collective-permute-start.3)
  %all-reduce-start.5 = bf16[10]{0:T(256)(128)(2,1)} all-reduce-start(%s), channel_id=3, to_apply=%sum
  %all-reduce-done.5 = bf16[10]{0:T(256)(128)(2,1)} all-reduce-done(%all-reduce-start.5)
  %fusion.7 = f32[4,128]{1,0:T(8,128)} fusion(%big), kind=kCustom, calls=%scattering.1
  %while.1 = (s32[]{:T(128)}, bf16[2,8]{1,0:T(8,128)(2,1)}) while(%init), condition=%more, body=%turn
  ROOT %copy.1 = f32[4,8]{1,0:T(8,128)} copy(%p0)
}
"""


def test_collectives_of_a_program():
    assert collectives(parse(PROGRAM)) == {
        "all-reduce": Collective(2, 2 * 64 * 4 + 10 * 2),
        "all-gather": Collective(1, 32 * 8 * 4),
        "reduce-scatter": Collective(1, 4 * 128 * 4),
        "all-to-all": Collective(1, 2 * 8 * 2, in_loops=1),
        "collective-permute": Collective(1, 4 * 8 * 4),
    }
    assert collectives(parse(PROGRAM.split("ENTRY")[0])) == {}


TRAFFIC = """\
ENTRY %main (p: f32[4,8]) -> f32[4,8] {
  %p = f32[4,8]{1,0:T(8,128)} parameter(0)
  %copy-start = (f32[4,8]{1,0:T(8,128)S(1)}, f32[4,8]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%p)
  %copy-done = f32[4,8]{1,0:T(8,128)S(1)} copy-done(%copy-start)
  %slice-start = ((f32[4,8]{1,0:T(8,128)}), f32[2,8]{1,0:T(2,128)S(1)}, s32[]{:S(2)}) slice-start(%p), slice={[0:2]}
  %fusion = (f32[4,8]{1,0:T(8,128)}, f32[4,8]{0,1:T(8,128)S(1)}) fusion(%copy-done, %p), kind=kLoop, calls=%body
  ROOT %get = f32[4,8]{1,0:T(8,128)} get-tuple-element(%fusion), index=0
}
"""


def test_traffic_of_main_memory_by_hand():
    """Read by the copy 8 · 128 floats, by the slice 2 · 128; the fusion reads one operand and writes one result."""
    assert main_memory_bytes(parse(TRAFFIC)) == 4 * (8 * 128 + 2 * 128 + 2 * 8 * 128)
    assert main_memory_bytes(parse(TRAFFIC), padded=False) == 4 * (4 * 8 + 2 * 8 + 2 * 4 * 8)
    assert sizes("bf16[3,5,130]{2,0,1:T(8,128)(2,1)}", padded=True) == [(2 * 8 * 5 * 256, 0)]
    assert sizes("bf16[3,5,130]{2,0,1:T(8,128)(2,1)S(1)}") == [(2 * 3 * 5 * 130, 1)]


def test_collectives_of_what_xla_prints():
    """A sum over rows that eight devices hold, and the rows themselves, are one all-reduce and one all-gather."""
    mesh = make_mesh()
    rows, whole = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in (("data",), ()))
    x = jax.ShapeDtypeStruct((16, 4), jnp.float32)
    compiled = jax.jit(lambda x: (x.sum(0), x), in_shardings=rows, out_shardings=whole).lower(x).compile()
    assert collectives(parse(compiled.as_text())) == {
        "all-reduce": Collective(1, 4 * 4),
        "all-gather": Collective(1, 16 * 4 * 4),
    }


def test_roofline_by_hand():
    chip = CHIPS["v5e"]
    sent = {"all-reduce": {"bytes": 100}, "reduce-scatter": {"bytes": 10}, "collective-permute": {"bytes": 7}}
    assert link_bytes(sent, 4) == 2 * 0.75 * 100 + 3 * 10 + 7
    answer = {
        "flops": 2 * chip.flops,
        "bytes_main_memory": chip.hbm_bandwidth / 2,
        "collectives": {"all-gather": {"bytes": 4 * chip.ici_bandwidth}},
        "devices": 4,
    }
    found = roofline(answer, chip, batch=30)
    assert (found.compute, found.memory, found.links) == pytest.approx((2, 0.5, 3))
    assert found.bound == "links"
    assert found.summary()["examples_per_second"] == pytest.approx([60 / 5.5, 60 / 3])


@pytest.mark.parametrize("largest", [3, 16, 37, 200])
def test_the_largest_batch_is_found(largest):
    """Memory bends upwards, as a compiler's that recomputes does not; the search only needs that it grows."""
    tried = []

    def compile_batch(batch):
        tried.append(batch)
        peak = int(batch**1.2)
        return {"fits": batch <= 8 * largest, "hbm": int((8 * largest + 4) ** 1.2), "memory": {"peak": peak, "code": 0}}

    found = find_batch(compile_batch, 8, start=64)
    assert (found.batch, found.too_large) == (8 * largest, 8 * largest + 8)
    assert len(set(tried)) == len(tried) == len(found.tried) <= 14
    coarse = find_batch(compile_batch, 8, start=64, granule=4)
    assert coarse.batch == largest // 4 * 32


def test_the_search_stops_at_the_limit_and_says_when_nothing_fits():
    roomy = {"fits": True, "hbm": 100, "memory": {"peak": 1, "code": 0}}
    found = find_batch(lambda batch: roomy, 8, start=64, limit=500)
    assert (found.batch, found.too_large) == (256, None)
    none = find_batch(lambda batch: {"fits": False}, 8, start=64)
    assert (none.batch, none.too_large, none.answer) == (0, 8, None)
    with pytest.raises(InputError, match="granule"):
        find_batch(lambda batch: roomy, 8, start=64, granule=100, limit=500)


def answer(state=100.0, batch=10.0, temporaries=50.0, reduced=80.0, gathered=0.0, moved=0.0):
    scale = 2**20
    sent = {"all-reduce": reduced, "all-gather": gathered, "all-to-all": moved}
    memory = {"parameters": state * scale, "optimizer": 0, "statistics": 0, "batch": batch * scale}
    return {
        "hbm": GIB,
        "memory": {**memory, "temporaries": temporaries * scale, "peak": (state + batch + temporaries) * scale},
        "collectives": {kind: {"bytes": b * scale, "instructions": 1} for kind, b in sent.items() if b},
    }


def test_a_sweep_that_grows_as_theory_says_has_no_deviations():
    chips = (4, 16, 64, 256)
    rows = [Row(PER_CHIP, n, 8 * n, answer(temporaries=50 + n / 8, gathered=n / 4)) for n in chips]
    rows += [Row(GLOBAL, n, 2048, answer(batch=640 / n, temporaries=30 + 999 / n, gathered=64)) for n in chips]
    assert deviations(rows, split=False) == []


def test_deviations_are_found_and_explained():
    chips = (4, 16, 64, 256)
    rows = [Row(GLOBAL, n, 256, answer(batch=640 / n, temporaries=1000 / n + (10 if n == 256 else 0))) for n in chips]
    small = deviations(rows, split=False)
    assert {(d.quantity, d.chips) for d in small} >= {("temporaries", 256)}
    assert any("1 examples of a domain a chip do not fill" in str(d) for d in small)
    filled = [
        Row(GLOBAL, n, 2**13, answer(batch=640 / n, temporaries=9e3 / n * (1 + n // 64)) | {"bytes_main_memory": 100})
        for n in chips
    ]
    for row in filled:
        row.answer["bytes_unpadded"] = 100 if row.chips < 64 else 50
    assert any(
        "50% of the bytes it moves fill up tiles, between 0% on 4" in str(d) for d in deviations(filled, split=False)
    )
    moved = [Row(PER_CHIP, n, 8 * n, answer(moved=1.0)) for n in chips]
    assert [d.quantity for d in deviations(moved, split=False)] == ["re-dealt rows"] * 4
    split = [Row(PER_CHIP, n, 8 * n, answer(state=800 / n + 3, reduced=8 + 80 / n, gathered=200)) for n in chips]
    assert deviations(split, split=True) == []
    assert {d.quantity for d in deviations(split, split=False)} >= {"state", "reduced"}


def test_topologies():
    assert parse_topology("v5e:16x16").devices == 256
    assert parse_topology("v4:4x4x4").chip is CHIPS["v4"]
    assert [part.devices for part in slices(parse_topology("v5p:4x4x4"))] == [4, 8, 16, 32, 64, 128, 256]
    assert parse_topology("local:8") == ("local:8", "local", 8)
    for name, said in [
        ("v5:4x4", "did you mean 'v5"),
        ("v5e:4x4x4", "2 numbers of chips"),
        ("v4:4x4", "3 numbers of chips"),
        ("v6e:axb", "2 numbers"),
        ("local:0", "a number of devices"),
    ]:
        with pytest.raises(InputError, match=said):
            parse_topology(name)


def test_mistakes_name_what_would_do():
    mesh = make_mesh()
    with pytest.raises(InputError, match="nearest is --batch 96"):
        build(Plan("local:8", "lenet", "dann", 100, image_size=28), mesh)
    with pytest.raises(InputError, match="dtype: got 'fp16'"):
        build(Plan("local:8", "lenet", "dann", 64, dtype="fp16"), mesh)
    with pytest.raises(InputError, match="takes none of these inputs"):
        build(Plan("local:8", "lenet", "dann", 64, image_size=4), mesh)


def test_the_compilers_word_on_memory():
    said = "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
    said += "Used 23.50G of 15.75G hbm. Exceeded hbm capacity by 7.75G."
    assert out_of_memory(said) == (int(23.5 * GIB), int(15.75 * GIB))
    said = "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (18.33G) "
    assert out_of_memory(said + "exceeds available HBM (15.75G).") == (int(18.33 * GIB), int(15.75 * GIB))
    assert out_of_memory("RESOURCE_EXHAUSTED: no room") == (0, 0)
    assert shortage({"needs": 3 * GIB, "limit": 2 * GIB}).startswith("the compiler needs 3.00 GiB of the 2.00")
    assert "does not say" in shortage({"needs": 0, "limit": 0})
    assert out_of_memory("INTERNAL: something else") is None


def test_inputs_by_what_the_net_takes():
    def shape_of(**fields):
        plan = Plan("local:8", batch=8, method="dann", **fields)

        found = inputs_of(plan, make_parts(experiment_of(plan), 3).net)
        return found.shape, found.dtype

    assert shape_of(encoder="lenet", image_size=28, channels=1) == ((8, 28, 28, 1), np.float32)
    assert shape_of(encoder="mlp", length=40) == ((8, 40), np.float32)
    assert shape_of(encoder="bert_tiny", length=16) == ((8, 16), np.int32)


def test_functions_are_traced_for_another_platform():
    """Convolution and pool take the library's forms; the parameters are those of the host's forms."""
    plan = Plan("local:8", "resnet18", "source_only", 8, image_size=32)

    net = make_parts(experiment_of(plan), 3).net
    x = jnp.zeros((2, 32, 32, 3))
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), x))

    def text():
        return str(jax.make_jaxpr(lambda v: net.apply(v["params"], v.get("batch_stats", {}), x)[0].features)(shapes))

    assert platform() == "cpu"
    home = text()
    with tracing_for("tpu"):
        assert platform() == "tpu"
        abroad = text()
    # A host's convolution of this size is a product of patches.
    assert "conv_general_dilated" not in home and "reduce_window_max" not in home
    assert "conv_general_dilated" in abroad and "reduce_window_max" in abroad and "_canonical" not in abroad
    assert text() == home, "the context leaves nothing behind"


def test_a_split_state_is_counted_in_shards():
    plan = Plan("local:8", "mlp", "dann", 16, length=64, bottleneck="none", classes=3)
    mesh = make_mesh()
    whole, split = (build(plan._replace(fsdp=fsdp), mesh) for fsdp in (False, True))

    sizes = [bytes_on_one(step.state.params, step.state_places.params) for step in (whole, split)]
    assert sizes[0] == sum(x.size * 4 for x in jax.tree.leaves(whole.state.params))
    assert sizes[0] / 8 < sizes[1] < sizes[0] / 4


def test_answers_are_kept(tmp_path):
    """The second call looks the answer up; another program has another name."""
    plan = Plan("local:8", "mlp", "source_only", 16, length=8, bottleneck="none", classes=3)
    first = compile_plan(plan, make_mesh(), folder=str(tmp_path))
    assert len(list(tmp_path.glob("*.json"))) == 1
    again = compile_plan(plan, make_mesh(), folder=str(tmp_path))
    assert again == json.loads(json.dumps(first))
    assert first["memory"]["donated"] and first["collectives"].keys() == {"all-reduce"}
    next(tmp_path.glob("*.json")).write_text('{"half')
    assert compile_plan(plan, make_mesh(), folder=str(tmp_path))["memory"] == first["memory"]


def test_runs_split_their_state_when_asked_to():

    assert not wants_split({}) and not wants_split({"DALIB_FSDP": ""}) and wants_split({"DALIB_FSDP": "1"})
    with pytest.raises(InputError, match="DALIB_FSDP: got 'yes'"):
        wants_split({"DALIB_FSDP": "yes"})


def preflight(*arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_PLATFORMS", "XLA_FLAGS")} | {
        "JAX_PLATFORMS": "cpu"
    }
    command = [sys.executable, "-m", "dalib.run.preflight", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_the_command_on_this_host():
    small = ("--encoder", "lenet", "--image-size", "16", "--batch", "16", "--effort", "quick")
    done = preflight("--topology", "local:8", *small, "--options", "dann.hidden=[16]")
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["fits"] and last["devices"] == 8 and last["memory"]["donated"]
    assert last["collectives"].keys() == {"all-reduce"}
    params = last["memory"]["parameters"]
    assert params - 4096 < last["collectives"]["all-reduce"]["bytes"] < params + 4096, "gradients, each once"
    for said in ("fits: peak", "donation took effect", "all-reduce", "no roofline"):
        assert said in done.stdout


@pytest.mark.slow
def test_mistakes_of_the_command(monkeypatch):
    done = preflight("--topology", "v5:4x4")
    assert done.returncode == 2 and "did you mean" in done.stderr

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"dalib-jax\[preflight\]"):
        module.require_compiler(parse_topology("v5e:4x4"))
    module.require_compiler(SimpleNamespace(chip=None))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs the extra preflight (libtpu)")
@pytest.mark.parametrize("fsdp", [False, True])
def test_a_tpu_program(fsdp):
    """Compiled for 16 chips: it fits, the state is updated in place, no example changes its device."""
    wide = ("--options", "dann.hidden=[1024,1024]") if fsdp else ("--options", "dann.hidden=[64]")
    size = ("--topology", "v5e:4x4", "--encoder", "lenet", "--image-size", "28", "--batch", "512", "--effort", "quick")
    done = preflight(*size, *wide, *(("--fsdp",) if fsdp else ()))
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["fits"] and last["memory"]["donated"]
    assert last["memory"]["peak"] < GIB
    assert not {"all-to-all", "collective-permute"} & last["collectives"].keys()
    assert last["roofline"]["seconds_overlapped"] > 0
    if fsdp:
        assert "all-gather" in last["collectives"]
        assert last["memory"]["parameters"] < 2**20, "the discriminator's largest matrix alone has 4 MiB"
