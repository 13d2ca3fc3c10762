"""Classes matched by name, and the guard against adapting a domain to itself."""

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.data import UNLABELLED, check_distinct, from_arrays, match_classes


def domain(name, class_names, labels, offset=0.0, **splits):
    labels = np.asarray(labels)
    x = np.arange(len(labels), dtype=np.float32)[:, None] + offset
    return from_arrays(name, {"train": (x, labels)}, class_names=class_names)


SOURCE = domain("amazon", ["bike", "chair", "mug"], [0, 1, 2])


def test_another_order_is_re_indexed_by_name():
    target = domain("webcam", ["mug", "bike", "chair"], [0, 1, 2, 0], 9)
    matched = match_classes(SOURCE, target)
    assert matched.class_names == SOURCE.class_names and matched.name == "webcam"
    np.testing.assert_array_equal(matched.labels("train"), [2, 0, 1, 2])
    x, y = matched.split("train").__getitems__([3, 1])
    np.testing.assert_array_equal(y, [2, 0])
    np.testing.assert_array_equal(x[:, 0], [12, 10])
    np.testing.assert_array_equal(matched.counts("train"), [1, 1, 2])
    assert matched.fingerprint() != target.fingerprint() and len(matched.split("train").fingerprint()) == 64


def test_the_same_order_leaves_the_target_as_it_is():
    target = domain("webcam", SOURCE.class_names, [2, 2, 1], 9)
    assert match_classes(SOURCE, target) is target


def test_mismatch_lists_both_differences():
    target = domain("webcam", ["chair", "lamp", "pen"], [0, 1, 2])
    with pytest.raises(InputError, match=r"only in amazon: bike, mug\n  only in webcam: lamp, pen"):
        match_classes(SOURCE, target)
    with pytest.raises(InputError, match=r"only in webcam: lamp, pen"):
        match_classes(SOURCE, target, relation="partial")
    with pytest.raises(InputError, match=r"only in amazon: bike, mug"):
        match_classes(SOURCE, target, relation="open")


def test_partial():
    matched = match_classes(SOURCE, domain("webcam", ["mug", "bike"], [0, 1, 0]), relation="partial")
    assert matched.class_names == SOURCE.class_names
    np.testing.assert_array_equal(matched.labels("train"), [2, 0, 2])


def test_open_puts_private_classes_into_one():
    target = domain("webcam", ["lamp", "mug", "pen", "chair", "bike"], [0, 1, 2, 3, 4])
    matched = match_classes(SOURCE, target, relation="open")
    assert matched.class_names == ("bike", "chair", "mug", "unknown")
    np.testing.assert_array_equal(matched.labels("train"), [3, 2, 3, 1, 0])


def test_universal():
    matched = match_classes(SOURCE, domain("webcam", ["pen", "mug"], [0, 1]), relation="universal")
    assert matched.class_names == ("bike", "chair", "mug", "unknown")
    np.testing.assert_array_equal(matched.labels("train"), [3, 2])
    with pytest.raises(InputError, match="universal relation"):
        match_classes(SOURCE, domain("webcam", ["pen", "lamp"], [0, 1]), relation="universal")


def test_unknown_labels_stay_unknown():
    target = from_arrays("webcam", {"train": (np.ones((2, 1)), None)}, class_names=["mug", "bike", "chair"])
    assert (match_classes(SOURCE, target).labels("train") == UNLABELLED).all()


def test_unknown_relation_and_taken_name():
    with pytest.raises(InputError, match="did you mean 'closed'"):
        match_classes(SOURCE, SOURCE, relation="close")
    taken = domain("amazon", ["unknown", "mug"], [0, 1])
    with pytest.raises(InputError, match="'unknown' in amazon"):
        match_classes(taken, taken, relation="open")


def test_source_equal_to_target_is_refused():
    copy = domain("webcam", SOURCE.class_names, [0, 1, 2])
    with pytest.raises(InputError, match="amazon/train and webcam/train"):
        check_distinct(SOURCE, copy)
    check_distinct(SOURCE, domain("webcam", SOURCE.class_names, [0, 1, 2], offset=1))


def test_matching_does_not_hide_equal_data():
    other = domain("webcam", ["mug", "chair", "bike"], [0, 1, 2])
    source = domain("amazon", ["bike", "chair", "mug"], [0, 1, 2])
    with pytest.raises(InputError, match="the same data twice"):
        check_distinct(source, match_classes(source, other))
    with pytest.raises(InputError, match="the same data twice"):
        check_distinct(match_classes(source, other), other)
