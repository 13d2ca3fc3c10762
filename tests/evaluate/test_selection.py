"""Scores without labels in the record: which rows they see, and that no label takes part."""

import numpy as np
import pytest

from dalib.core.types import Outputs
from dalib.data import UNLABELLED, from_arrays
from dalib.evaluate import TARGET_SCORES
from dalib.evaluate.selection import ROWS, SPLIT, unlabelled_events, unlabelled_scores
from dalib.report.statistics import UNLABELLED as SPLIT_OF_REPORT
from dalib.report.statistics import VALIDATORS
from dalib.run import evaluation
from dalib.run.evaluation import predictions


def test_report_and_record_speak_of_the_same():
    assert SPLIT == SPLIT_OF_REPORT and VALIDATORS == TARGET_SCORES


def test_padding_is_left_off_and_labels_are_not_read(monkeypatch):
    monkeypatch.setattr(evaluation, "EVALUATION_ROWS", 4)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(7, 3)).astype(np.float32)
    x = np.arange(7, dtype=np.float32)[:, None]
    known, unknown = (
        from_arrays("t", {name: (x, y) for name in ("train", "test")}, class_names=("a", "b", "c"))
        for y in (np.arange(7) % 3, None)
    )
    assert (unknown.labels("test") == UNLABELLED).all()
    found, sizes = [], []

    def predict(inputs):
        sizes.append(len(inputs))
        return Outputs(inputs, logits[np.asarray(inputs[:, 0], int)])

    for domain in (known, unknown):
        kept = predictions(predict, domain, "test")
        np.testing.assert_array_equal(kept, logits)
        (event,) = unlabelled_events(domain, kept)
        assert (event["domain"], event["split"], event["oracle"]) == ("t", "unlabelled", False)
        found.append(event["metrics"])
    assert sizes == [4, 4] * 2  # the second batch is filled up
    assert found[0] == found[1] == unlabelled_scores(logits)


def test_many_rows_are_the_same_sample_every_time():
    logits = np.random.default_rng(1).normal(size=(ROWS + 300, 3)).astype(np.float32)
    found = unlabelled_scores(logits)
    assert found == unlabelled_scores(logits.copy())
    assert found["snd"] <= np.log(ROWS - 1) and found["im"] != pytest.approx(unlabelled_scores(logits[:ROWS])["im"])
