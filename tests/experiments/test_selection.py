"""Scores without labels in the record: which rows they see, and that no label takes part."""

import numpy as np
import pytest

from dalib.data import UNLABELLED, from_arrays, unlabelled_batches
from dalib.report.statistics import UNLABELLED as SPLIT_OF_REPORT
from dalib.report.statistics import VALIDATORS
from dalib.types import Outputs
from dalib.validate import TARGET_SCORES
from experiments.selection import ROWS, SPLIT, keeping, unlabelled_events, unlabelled_scores


def test_report_and_record_speak_of_the_same():
    assert SPLIT == SPLIT_OF_REPORT and VALIDATORS == TARGET_SCORES


def test_padding_is_left_off_and_labels_are_not_read():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(7, 3)).astype(np.float32)
    x = np.arange(7, dtype=np.float32)[:, None]
    known, unknown = (
        from_arrays("t", {name: (x, y) for name in ("train", "test")}, class_names=("a", "b", "c"))
        for y in (np.arange(7) % 3, None)
    )
    assert (unknown.labels("test") == UNLABELLED).all()
    found = []
    for domain in (known, unknown):
        predict, kept = keeping(lambda inputs: Outputs(inputs, logits[np.asarray(inputs[:, 0], int)]))
        for batch in unlabelled_batches(domain, "test", 4):
            np.testing.assert_array_equal(predict(batch.inputs), logits[np.asarray(batch.inputs[:, 0], int)])
        assert sum(map(len, kept)) == 8  # the second batch is filled up
        (event,) = unlabelled_events(domain, kept)
        assert (event["domain"], event["split"], event["oracle"]) == ("t", "unlabelled", False)
        found.append(event["metrics"])
    assert found[0] == found[1] == unlabelled_scores(logits)


def test_many_rows_are_the_same_sample_every_time():
    logits = np.random.default_rng(1).normal(size=(ROWS + 300, 3)).astype(np.float32)
    found = unlabelled_scores(logits)
    assert found == unlabelled_scores(logits.copy())
    assert found["snd"] <= np.log(ROWS - 1) and found["im"] != pytest.approx(unlabelled_scores(logits[:ROWS])["im"])
