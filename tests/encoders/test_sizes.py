"""The numbers of ``dalib encoders`` are on record; here they are compared with the nets."""

import subprocess
import sys

import pytest

from dalib.encoders import ENCODERS
from dalib.run.cli.encoders import recorded, row_of, traced


def test_every_encoder_is_on_record_in_the_same_order():
    assert list(recorded()) == list(ENCODERS)


@pytest.mark.parametrize("name", ["mlp", "lenet", "series_cnn", "bert_tiny"])
def test_the_record_is_what_a_trace_gives(name):
    assert list(traced(name)) == recorded()[name]
    assert row_of(name) == row_of(name, trace=True)


@pytest.mark.slow
def test_the_whole_record():
    assert {name: list(traced(name)) for name in ENCODERS} == dict(recorded())


def test_the_names_come_without_jax():
    code = "import sys; from dalib.__main__ import main; main(['encoders', '--names']); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *names, imported = done.stdout.split()
    assert set(names) >= set(ENCODERS) and imported == "False"
