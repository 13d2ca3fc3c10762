"""Options out of their range over every door: status 2, our message, nothing written, nothing trained."""

import contextlib
import io
import shlex

import jax.numpy as jnp
import numpy as np
import pytest

import dalib.data as data
import dalib.discrepancy as discrepancy
import dalib.methods as methods
import dalib.train as train
from dalib.core.checks import InputError
from dalib.encoders import MLP, Classifier
from dalib.encoders.registry import make_bottleneck, make_head
from dalib.run import registry
from dalib.run.cli.catalogue import command as show_methods
from dalib.run.cli.main import main
from dalib.tasks import classification
from experiments.digits import Digits, digits
from tests.run.own_data import archive, blobs, call

NAN, INF = float("nan"), float("inf")

# dalib adapt: one row a command, after what names data and length.

SHORT = "--no-report --seeds 1 --steps 2 --batch-size 4 --log-every 2 --evaluate-every 2 --save-every 2 --no-baseline"

METHODS = """
dann.weight=abc  dann.weight=nan  dann.weight=NaN  dann.weight=Infinity  dann.weight=[1]  dann.weight=-1
dann.weight=true  dann.weight=null  dann.weight="0.5"  dann.weight={}  dann.hidden=[0]  dann.hidden=100
dann.hidden=[1.5]  dann.hidden=abc  dann.hidden=[[1]]  dann.hidden=[-3]  dann.norm=1  dann.norm=yes  dann.dropout=1
dann.dropout=-0.1  dann.reversal=x  dann.reversal=-1  dann.reversal=NaN  dann.wieght=1  dann.  dann  .weight=1  dann=1
fixmatch.threshold=x  fixmatch.threshold=2  fixmatch.weak=flip  uda.temperature=0  uda.form=papre
cc_loss.confusion=-1  adamatch.window=0  adamatch.source_decay=1.5  mean_teacher.decay=NaN  mean_teacher.evaluate=both
mean_teacher.ramp=x  ddc.weight=x  dan.estimator=5  dan.estimator=unbias  jan.adversarial=maybe
deep_coral.layer=hidden  log_coral.epsilon=0  cmd.order=0  cmd.order=2.5  cmd.squash=relu  cmd.interval=5
cmd.interval=[1]  homm.order=0  homm.threshold=-1  swd.num_directions=0  swd.heads=2  deepjdot.epsilon=0
deepjdot.max_iterations=0  dsan.ramp=x  adda.variant=tllb  adda.layer=5  cdan.randomized=0  cdan.randomized=x
cdan.normalisation=none  cdan.entropy=0.5  mcd.repeats=4.0  mcd.repeats=0  mcd.balance=-1  mdd.margin=0  mdd.shift=x
wdgrl.critic_steps=0  wdgrl.gradient_penalty=x  bsp.count=0  bsp.count=100  bsp.adversary=cdan  bsp.strength=NaN
confusion.hidden=[0]  entmin.epsilon=-1  im.diversity=x  mcc.temperature=-1  bnm.scale=row  bnm.fast=1  afn.step=NaN
pseudo_label.threshold=1.01  vat.radius=-1  vat.iterations=0  vada.adversarial=x  shot.min_count=-1
shot.refresh_every=0  shot.beta=[0.1]  pada.divide_by=maximum  pada.warmup_refreshes=-1  iwan.adversary=x
osbp.boundary=1  ovanet.entropy=-1  m3sda.sources=0  mfsan.sources=1  irm.form=squared  vrex.sources=x
groupdro.rate=-1  mixstyle.alpha=0  mixstyle.probability=2  coral_dg.layer=x  rsd.bases_weight=x
dare_gram.threshold=2  tent.learning_rate=x  tent.learning_rate=0  tent.skip=5  tent.skip=["("]  tent.iterations=0
tent.apply=x  tent.optimizer=sgd  bn_norm.prior=-1  bn_norm.collapse_share=2  sar.radius=x  tca.dim=x  tca.dim=0
tca.kernel=x  tca.unit_rows=5  coral.epsilon=x  coral.epsilon=-1  ot.plan=x  jda.iterations=0  jda.classify=x
nothing.weight=1
"""
"""Texts of ``--options``; the method is the part before the dot."""

RUNS = """
--encoder-options encoder.widths=abc            --encoder-options encoder.widths=[0]
--encoder-options encoder.widths=[-1]           --encoder-options encoder.widths=[1.5]
--encoder-options encoder.widths=8              --encoder-options encoder.nope=8
--encoder-options widths                        --encoder-options encoder.norm=3
--encoder-options encoder.dropout=2             --encoder-options encoder.dropout=x
--encoder-options encoder.dtype=5               --encoder lenet
--encoder resnt50                               --encoder nosuch:thing
--encoder lenet --encoder-options encoder.channels=[0,5]
--recipe.frozen (                               --recipe.frozen nothing
--recipe.learning-rate inf                      --recipe.learning-rate nan
--recipe.learning-rate 0                        --recipe.learning-rate x
--recipe.momentum 2                             --recipe.momentum nan
--recipe.momentum 1                             --recipe.weight-decay nan
--recipe.weight-decay -1                        --recipe.encoder-multiplier 0
--recipe.encoder-multiplier inf                 --recipe.gamma -1
--recipe.optimizer sgdd                         --recipe.schedule x
--recipe.label-smoothing 1                      --recipe.label-smoothing nan
--bottleneck lin     --batch-norm x             --batch-size 500
--batch-size 25      --batch-size 0             --batch-size 2.5
--steps 0            --steps -1                 --seeds 0
--log-every 0        --log-every 3              --evaluate-every 0
--save-every 3       --accumulate 0             --accumulate 3
--accumulate 2 --method dan                     --holdout 2
--holdout -1         --holdout nan              --size 0
--max-length 0       --rejection 2              --rejection nan
--population x       --population 0             --preset x
--scale x            --layout x                 --kind x
--relation x         --task x                   --method danm
--method rsd         --method mixstyle          --method mme
--method adabn       --method nosuch:thing      --method tests.run:nothing
--augment x          --augment flip             --classifier x
--weights x          --frozen-features          --protocol x
--scale-targets source                          --oracle
--adapter x          --adapter ia3              --adapter lora --adapter-options rank=x
--head x             --classifier-c x           --source-test nowhere.npz
--nope 1             --step 5                   --method
"""
"""Other options of the same command, two or three a line."""


def rows_of(text):
    """Commands of a table: parts of a line that are two blanks or more apart."""
    return [cell.strip() for line in text.strip().splitlines() for cell in line.split("   ") if cell.strip()]


OPTIONS = METHODS.split()
OTHERS = rows_of(RUNS)

GRID = [
    *(
        "--method danm",
        "--method",
        "--method dann --options dann.weight=abc",
        "--method dann --options dann.hidden=[0]",
    ),
    *("--method dan --options dann.weight=1", "--options dann", "--options dann.weight=-1", "--recipe.momentum 2"),
    *("--recipe.learning-rate inf", "--recipe.weight-decay nan", "--recipe.frozen (", "--recipe.optimizer x"),
    *(
        "--seeds 0",
        "--steps 0",
        "--batch-size 0",
        "--batch-size x",
        "--log-every 0",
        "--evaluate-every 30",
        "--array 5/2",
    ),
    *("--array x", "--population x", "--protocol x", "--geometry x", "--size 0", "--source x", "--target x"),
    *(
        "--source mnist --target mnist",
        "--encoder x",
        "--bottleneck x",
        "--batch-norm x",
        "--preset x",
        "--accumulate 0",
    ),
    *("--accumulate 5 --method source_only", "--preset tllib", "--protocol small --size 5", "--nope"),
]
"""Options of ``python -m experiments.digits``."""


def wrong(commands, run, folder):
    """Commands that do not end with status 2 and an error of ours, or that write something."""
    before, found = sorted(folder.rglob("*")), []
    for text in commands:
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
                status = run(shlex.split(text, posix='"' not in text))
        except SystemExit as end:  # of the parser: a flag or a type that is not known
            status, said = end.code, "error:"
        except BaseException as error:  # noqa: BLE001
            status, said = f"{type(error).__name__}: {error}", ""
        else:
            said = err.getvalue()
        if status != 2 or "error:" not in said or "Traceback" in said or sorted(folder.rglob("*")) != before:
            found.append((text, status, said[-200:]))
    return found


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    source = archive(folder / "here.npz", *blobs())
    target = archive(folder / "there.npz", *blobs(24, shift=0.5, seed=1))

    def run(arguments):
        more = [] if "--method" in arguments else ["--method", "dann"]
        return call("--source", source, "--target", target, *SHORT.split(), "--out", folder / "out", *more, *arguments)

    return folder, run


def test_there_are_enough_of_them():
    assert len(set(OPTIONS)) + len(set(OTHERS)) + len(set(GRID)) + len(DOORS) > 300


@pytest.mark.parametrize("part", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2))])
def test_bad_options_of_methods(own, part, monkeypatch):
    folder, run = own
    monkeypatch.chdir(folder)

    def one(arguments):
        (text,) = arguments
        name = text.partition(".")[0]
        known = name in registry.ALL_METHODS and name != "nothing"
        return run(["--method", name if known else "dann", "--options", text])

    assert not wrong(OPTIONS[part::3], one, folder)


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_bad_options_of_runs(own, part, monkeypatch):
    folder, run = own
    monkeypatch.chdir(folder)
    assert not wrong(OTHERS[part::2], run, folder)


def test_bad_options_of_an_experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = ["--out", str(tmp_path / "out"), "--no-report", "--seeds", "1"]
    assert not wrong(GRID, lambda arguments: main(digits, Digits, "", [*short, *arguments]), tmp_path)


def test_a_typo_blocks_no_folder(own, monkeypatch):
    folder, run = own
    monkeypatch.chdir(folder)
    for text in ("--method bsp --options bsp.count=9", "--method cmd --options cmd.interval=[1,0] cmd.squash=none"):
        assert not wrong([text], run, folder)


def test_every_option_is_listed_with_its_range(capsys):
    assert show_methods(["dann", "tent", "coral"]) == 0
    text = capsys.readouterr().out
    assert "dann.dropout = 0.0    a number in [0, 1)" in text and "widths of the discriminator" in text
    assert "tent.skip = []    a list, each entry a regular expression" in text and "coral.epsilon = 1.0" in text
    assert show_methods(["dan", "nothing"]) == 2


# The doors of the library.

X, Y = jnp.ones((4, 3)), jnp.ones((5, 3))
ROWS, LABELS = np.ones((6, 3), np.float32), np.arange(6) % 2
NET = Classifier(MLP((4,)), 2)


def domain(name):
    return data.from_arrays(name, {"train": (ROWS, LABELS), "test": (ROWS, LABELS)})


def step(*pieces, **settings):
    pieces = pieces or (methods.dann(), train.make_forward(NET, "joint"), train.make_optimizer(learning_rate=0.1))
    return train.make_step(*pieces, **{"total_steps": 5, "task": classification(2), **settings})


def arrays(x=ROWS, y=LABELS, **options):
    return data.from_arrays("mine", {"train": (x, y)}, **options)


def each(name, call, usual, bad):
    """One door's bad arguments as ``{text: call}``."""
    return {
        f"{name} {argument}={value!r}"[:80]: lambda a=argument, v=value: call(**{**usual, a: v})
        for argument, values in bad.items()
        for value in values
    }


DOORS = {
    **each(
        "make_optimizer",
        train.make_optimizer,
        {"learning_rate": 0.1},
        {
            "learning_rate": ("abc", NAN, INF, -1, 0, None, [0.1], True),
            "kind": ("x", 5, None),
            "momentum": (2, "x", NAN, -0.1),
            "weight_decay": (-1, NAN, "x"),
            "nesterov": (3, "yes"),
            "schedule": ("cosine", 5),
            "multipliers": ({"encoder": 0}, {"encoder": NAN}, {"encoder": INF}, {"encoder": "x"}, [1]),
            "frozen": (("(",), (5,), "^encoder", 5),
            "lr": (1,),
        },
    ),
    **each(
        "make_step",
        step,
        {},
        {
            "total_steps": (0, "x", 1.5, None),
            "accumulate": (0, "x", True),
            "cached": ("x", 2),
            "task": ("classification", 5),
            "mesh": ("x",),
            "bogus": (1,),
        },
    ),
    **each(
        "mk_mmd",
        lambda **options: discrepancy.mk_mmd(X, Y, **options),
        {},
        {
            "estimator": ("x", 5, ["biased"], None),
            "bandwidth": ("x", 0, -1.0, NAN, INF, [1.0], None),
            "multipliers": ((), "abc", 5, (1.0, -1.0), (NAN,)),
            "tile": ("x", -1, 1.5),
            "tllib_offset": (True,),
        },
    ),
    **each(
        "paired_stream",
        lambda **options: data.paired_stream(**{"source": domain("a"), "target": domain("b"), **options}),
        {"batch_size": 2, "seed": 0},
        {
            "source": ("a", None, [], [1]),
            "target": ("b", None),
            "batch_size": (0, 100, "x", 1.5, None),
            "target_batch_size": (0, "x"),
            "seed": (-1, "x", 1.5),
            "split": ("x", 5),
            "remainder": ("x", 5, ["wrap"]),
            "process_index": (3, "x", -1),
            "process_count": (0, "x"),
            "source_transform": ("flip", 5),
            "shots": ("x",),
            "shots_batch_size": (0, "x"),
        },
    ),
    **each(
        "from_arrays",
        arrays,
        {},
        {
            "x": (None, 5, ROWS[:0], ROWS[:3], ROWS * NAN, ROWS * 1j, np.array(["a"] * 6), [[1], [1, 2]]),
            "y": (LABELS - 9, LABELS + 0.5, ["a"] * 6, np.ones((6, 2), int), None, 5),
            "class_names": ("ab", ["a"], 5, [0, 1]),
        },
    ),
    "from_arrays empty": lambda: data.from_arrays("a", {}),
    "from_arrays list": lambda: data.from_arrays("a", [ROWS, LABELS]),
    "from_arrays name": lambda: data.from_arrays(5, {"train": (ROWS, LABELS)}),
    "make_step name": lambda: step("dann", train.make_forward(NET, "joint"), train.make_optimizer(learning_rate=0.1)),
    "make_step factory": lambda: step(methods.dann, train.make_forward(NET, "joint"), None),
    "mk_mmd list": lambda: discrepancy.mk_mmd([[1.0]], Y),
    "mk_mmd rank": lambda: discrepancy.mk_mmd(X[0], Y),
    "mk_mmd width": lambda: discrepancy.mk_mmd(X[:, :2], Y),
    "mk_mmd integers": lambda: discrepancy.mk_mmd(X.astype(int), Y),
    "mk_mmd no rows": lambda: discrepancy.mk_mmd(X[:0], Y),
    "mk_mmd one row": lambda: discrepancy.mk_mmd(X[:1], Y),
    "METHODS": lambda: methods.METHODS["danm"],
    "METHODS 5": lambda: methods.METHODS[5],
    "METHODS typo": lambda: methods.METHODS["dann"](wieght=1),
    "METHODS weight": lambda: methods.METHODS["dann"](weight="x"),
    "METHODS nan": lambda: methods.METHODS["dann"](weight=NAN),
    "TEST_TIME": lambda: methods.TEST_TIME["tents"],
    "registry method": lambda: registry.METHODS["danm"],
    "registry encoder": lambda: registry.ENCODERS["resnt50"],
    "encoder width": lambda: registry.make_encoder("mlp", widths=(0,)),
    "encoder channels": lambda: registry.make_encoder("lenet", channels="x"),
    "bottleneck width": lambda: make_bottleneck("linear-bn", width=0),
    "head dropout": lambda: make_head("mlp", 3, dropout=2),
    "forward": lambda: train.make_forward(NET, "x"),
    "forward net": lambda: train.make_forward("x", "joint"),
    "forward 5": lambda: train.make_forward(NET, 5),
    "combine": lambda: methods.combine(),
    "combine 5": lambda: methods.combine(5),
    "averaged": lambda: methods.averaged(methods.dann(), decay=2),
    "averaged name": lambda: methods.averaged("dann"),
    "sharp": lambda: methods.sharp(methods.dann(), radius=-1),
    "scheduled": lambda: methods.scheduled(methods.dann(), "x"),
    "rejection": lambda: methods.with_rejection(methods.dann(), threshold=2),
    "term": lambda: methods.term("x", 5),
    "task": lambda: classification(0),
    "task smoothing": lambda: classification(3, smoothing=2),
}


@pytest.mark.parametrize("part", range(2))
def test_bad_arguments_of_the_library(part):
    found = {}
    for name, door in list(DOORS.items())[part::2]:
        try:
            door()
            found[name] = "no error"
        except InputError:
            pass
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    assert not found
