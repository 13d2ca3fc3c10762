"""Indices of shards that are no index: deep, long, or of another form."""

import json

import pytest

from dalib.core.checks import InputError
from dalib.encoders.checkpoints import array_files
from dalib.encoders.checkpoints.reading import read_arrays


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"weight_map": ' + "[" * 100_000, "an index with a weight_map"),
        ("[" * 100_000, "an index with a weight_map"),
        ("9" * 5000, "an index with a weight_map"),
        ("[]", "an index with a weight_map"),
        (json.dumps({"weight_map": {"a": 3}}), "from names of arrays to names of files"),
        (json.dumps({"weight_map": {"a": "x" * 10_000 + "/y"}}), "files beside the index"),
        (json.dumps({"weight_map": {f"array{i}": "none.safetensors" for i in range(10_000)}}), "that exists"),
    ],
)
def test_an_index_that_is_none_is_our_error_of_a_screen(tmp_path, content, message):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_arrays(tmp_path)
    assert len(str(error.value)) < 1000


def test_long_lists_of_missing_arrays_are_cut_and_huge_indices_unread(tmp_path, monkeypatch):
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"array0": np.ones(2, np.float32)}, tmp_path / "one.safetensors")
    names = {f"array{i}": "one.safetensors" for i in range(5000)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(InputError, match=r"without array1, .* … \(4999 in all\)") as error:
        read_arrays(tmp_path)
    assert len(str(error.value)) < 1000
    monkeypatch.setattr(array_files, "LARGEST_INDEX", 1000)
    with pytest.raises(InputError, match="an index of at most"):
        read_arrays(tmp_path)
