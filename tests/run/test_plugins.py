"""Methods, encoders and data sets of other packages: by ``package.module:attribute``, by entry point, as objects."""

import importlib
import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core import plugins
from dalib.core.checks import InputError
from dalib.data import from_arrays
from dalib.data.readers.user_files import place_of
from dalib.encoders import MLP, Classifier
from dalib.methods import dan, term
from dalib.run.config import Experiment, Recipe, method_options
from dalib.run.own.adapt import command
from dalib.run.program import Given, make_program
from dalib.run.registry import DATASETS, ENCODERS, METHODS, make_encoder, origins
from dalib.run.run import run_experiment

CODE = '''
import flax.linen as nn
import numpy as np
from dalib.data import from_arrays
from dalib.methods import term
from dalib.core.types import Outputs

CONSTANT = 3

def means(*, weight=1.0):
    """Distance of means."""
    gap = lambda view: ((view.source.features.mean(0) - view.target.features.mean(0)) ** 2).sum()
    return term("means", gap, weight=weight)

def wrong():
    return [1]

def fails():
    raise OSError("the disk is on fire")

class Net(nn.Module):
    width: int = 5

    @nn.compact
    def __call__(self, inputs, *, train=False):
        return Outputs(nn.relu(nn.Dense(self.width)(inputs)), None, {})

def empty(data_dir):
    return {}

def toys(data_dir):
    found = {}
    for shift, name in enumerate(("here", "there")):
        rng = np.random.default_rng(shift)
        x, y = rng.normal(size=(40, 3)).astype("float32"), np.arange(40) % 2
        x[:, 0] += 3 * y + shift
        found[name] = from_arrays(name, {"train": (x, y), "test": (x[:20], y[:20])}, class_names=("no", "yes"))
    return found
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the working folder, called as nothing else is."""
    name = f"door_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(CODE)
    (tmp_path / f"{name}_broken.py").write_text("import numpy\nimport no_such_package_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    importlib.invalidate_caches()
    return name


@pytest.fixture
def package(module, tmp_path):
    """An installed package with entry points to that module: what an installer leaves in an environment."""
    install(tmp_path, module, "door-toys", {"means_of_toys": "means", "dann": "means"})
    plugins.installed.cache_clear()
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    yield module
    plugins.installed.cache_clear()


def install(folder, module, name, points):
    info = folder / f"{name.replace('-', '_')}-0.7.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.7\n")
    (info / "RECORD").write_text(f"{module}.py,,\n")
    (info / "top_level.txt").write_text(f"{module}\n")
    text = "[dalib.methods]\n" + "".join(f"{key} = {module}:{value}\n" for key, value in points.items())
    text += f"[dalib.encoders]\ntoy_net = {module}:Net\n[dalib.datasets]\ntoys = {module}:toys\n"
    (info / "entry_points.txt").write_text(text)


def test_a_spec_is_imported_from_the_working_folder(module):
    method = METHODS[f"{module}:means"](weight=0.5)
    assert method.name == "means" and len(method.penalties) == 1
    assert make_encoder(f"{module}:Net", width=9).width == 9
    assert set(DATASETS[f"{module}:toys"](None)) == {"here", "there"}
    assert METHODS["dan"] is dan  # dalib's own are handed out as they are


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("no_such_module_here:f", "there is no module 'no_such_module_here'"),
        ("MODULE.deeper:f", "there is no module"),
        ("MODULE_broken:f", "ModuleNotFoundError: No module named 'no_such_package_at_all'"),
        ("MODULE:means_", "has no 'means_'"),
        ("MODULE:CONSTANT", "a int"),
        ("MODULE:wrong", "returned a list"),
        ("MODULE:fails", "OSError: the disk is on fire"),
        ("MODULE:", "package.module:attribute"),
        ("__import__('os'):system", "package.module:attribute"),
        ("MODULE:means()", "package.module:attribute"),
    ],
)
def test_what_is_wrong_with_a_spec_is_one_error(module, spec, said):
    with pytest.raises(InputError, match="method: got") as error:
        METHODS[spec.replace("MODULE", module)]()
    assert said in str(error.value)


def test_the_error_of_their_code_names_their_file_and_line(module, tmp_path):
    line = CODE.split("\n").index('    raise OSError("the disk is on fire")') + 1
    with pytest.raises(InputError, match=f"{tmp_path}/{module}.py, line {line}"):
        METHODS[f"{module}:fails"]()


def test_options_are_held_against_the_factory_s_signature(module):
    name = f"{module}:means"
    assert method_options([f"{name}.weight=0.5", "dan.weight=2"], METHODS) == {
        name: {"weight": 0.5},
        "dan": {"weight": 2},
    }
    with pytest.raises(InputError, match="did you mean 'weight'"):
        method_options([f"{name}.wight=0.5"], METHODS)
    with pytest.raises(InputError, match="signature"):
        METHODS[name](wight=1)


def test_an_encoder_must_be_a_net_and_a_data_set_domains(module):
    with pytest.raises(InputError, match="encoder: got .*returned a list"):
        make_encoder(f"{module}:wrong")
    with pytest.raises(InputError, match="dataset: got .*returned a dict"):
        DATASETS._wrap("empty", plugins.Origin(f"{module}:empty", ""))(None)
    with pytest.raises(InputError, match="whose arguments can be read"):
        METHODS["builtins:dict"]


def test_entry_points_name_what_installed_packages_bring(package):
    assert "means_of_toys" in METHODS and "means_of_toys" in list(METHODS)
    assert METHODS["means_of_toys"](weight=2.0).name == "means"
    assert isinstance(ENCODERS["toy_net"](), importlib.import_module(package).Net)
    assert set(DATASETS["toys"](None)) == {"here", "there"}
    found = origins(method="means_of_toys", encoder="mlp")
    assert found == {"method": {"spec": f"{package}:means", "distribution": "door-toys 0.7"}}


def test_a_name_that_two_have_is_an_error_only_for_who_asks_for_it(package, tmp_path):
    with pytest.raises(InputError, match="'dann', which 2 packages claim: .*door-toys 0.7, dalib itself"):
        METHODS["dann"]
    assert METHODS["dan"] is dan
    install(tmp_path, package, "door-twins", {"means_of_toys": "wrong"})
    plugins.installed.cache_clear()
    importlib.invalidate_caches()
    with pytest.raises(InputError, match=f"write it as package.module:attribute, for example {package}:means"):
        METHODS["means_of_toys"]


@pytest.mark.slow
def test_adapt_runs_their_method_net_and_data(package, tmp_path, capsys):
    words = ["--source", "toys:here", "--target", "toys:there", "--method", "means_of_toys", f"{package}:means"]
    words += ["--encoder", "toy_net", "--options", f"{package}:means.weight=0.1", "--out", str(tmp_path / "out")]
    words += ["--steps", "20", "--batch-size", "8", "--evaluate-every", "20", "--seeds", "1", "--no-report"]
    assert command(words) == 0, capsys.readouterr().err
    (base,) = (tmp_path / "out").iterdir()
    assert {folder.name for folder in base.iterdir()} == {"source_only", "means_of_toys", f"{package}.means"}
    config = json.loads((base / f"{package}.means" / "seed-0" / "config.json").read_text())
    assert config["experiment"]["method"] == config["name"] == f"{package}:means"
    assert config["experiment"]["method_options"] == [["weight", 0.1]]
    origin = {"spec": f"{package}:means", "distribution": "door-toys 0.7"}
    net = {"spec": f"{package}:Net", "distribution": "door-toys 0.7"}
    assert config["plugins"] == {"method": origin, "encoder": net}
    plain = json.loads((base / "means_of_toys" / "seed-0" / "config.json").read_text())
    assert plain["plugins"]["method"] == origin
    assert command([*words[:4], "--method", f"{package}:gone", "--no-report"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_place_is_a_path_before_it_is_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_of("source", "toys:here").dataset == ("toys", "here")
    assert place_of("source", "x=own.data:load:here")[::2] == ("x", ("own.data:load", "here"))
    (tmp_path / "toys:here").mkdir()
    assert place_of("source", "toys:here").dataset is None


def experiment(**changes):
    usual = {"benchmark": "toy", "source": "here", "target": "there", "method": "dan", "seed": 0, "steps": 20}
    usual |= {"batch_size": 8, "encoder": "mlp", "bottleneck": "none", "batch_norm": "joint", "recipe": Recipe()}
    return Experiment(**{**usual, "log_every": 10, "evaluate_every": 20, "save_every": 20, **changes})


def domains():
    found = []
    for shift, name in enumerate(("here", "there")):
        x = np.random.default_rng(shift).normal(size=(40, 3)).astype("float32")
        found.append(from_arrays(name, {"train": (x, np.arange(40) % 2), "test": (x[:20], np.arange(20) % 2)}))
    return found


def weights(folder):
    return (folder / "weights.safetensors").read_bytes()


def test_objects_run_as_the_names_do(tmp_path):
    """The same method and net by name, as an encoder and as a whole classifier: the same bits."""
    by_name = run_experiment(experiment(), *domains(), tmp_path / "name")
    mine = experiment(method="mine", encoder="mine")
    given = run_experiment(mine, *domains(), tmp_path / "object", method=dan(), net=MLP())
    whole = run_experiment(mine, *domains(), tmp_path / "whole", method=dan(), net=Classifier(MLP(), 2))
    assert weights(by_name) == weights(given) == weights(whole)
    config = json.loads((given / "config.json").read_text())
    assert config["name"] == "mine" and config["plugins"]["encoder"]["object"].endswith(":MLP")
    assert "plugins" not in json.loads((by_name / "config.json").read_text())


def test_a_method_object_is_the_one_that_trains(tmp_path):
    heavy = term("heavy", lambda view: jnp.square(view.source.features).sum(), weight=10.0)
    plain = run_experiment(experiment(), *domains(), tmp_path / "plain")
    other = run_experiment(experiment(), *domains(), tmp_path / "heavy", method=heavy)
    assert weights(plain) != weights(other)
    assert '"loss/heavy"' in (other / "record.jsonl").read_text()


def test_bad_objects_are_refused(tmp_path):
    with pytest.raises(InputError, match="returned a function"):
        run_experiment(experiment(), *domains(), tmp_path / "a", method=dan)
    with pytest.raises(InputError, match=r"net: got logits of shape \(8, 5\)"):
        run_experiment(experiment(), *domains(), tmp_path / "b", net=Classifier(MLP(), 5))
    with pytest.raises(InputError, match="weights: got 'default' for mine"):
        run_experiment(experiment(encoder="mine", weights="default"), *domains(), tmp_path / "c", net=MLP())


def test_runs_with_the_same_objects_share_a_program():
    method, net = dan(), MLP()
    first = make_program(experiment(), 2, Given(method, net))
    assert make_program(experiment(seed=3), 2, Given(method, net)) is first
    assert make_program(experiment(), 2, Given(dan(), net)) is not first
