"""UCI HAR: six activities from a telephone at the waist; the domains are the 30 subjects."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dalib.data.benchmarks.facts import Facts, Reading
from dalib.data.benchmarks.loading import Benchmark
from dalib.data.domain import pool
from dalib.data.readers.arrays import ArraySplit

LAYOUT = """
UCI HAR Dataset/train/subject_train.txt y_train.txt X_train.txt Inertial Signals/body_acc_x_train.txt …
UCI HAR Dataset/test/…                                   the archive as it unpacks; also uci_har/ or --data-dir itself
uci_har: windows [n, 128, 9] (body acceleration, gyroscope, total acceleration, x y z each)
uci_har_features: the 561 computed features [n, 561]
"""
PLACES = ("UCI HAR Dataset", "uci_har/UCI HAR Dataset", "uci_har", "")
SIGNALS = tuple(f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz")
WINDOW, FEATURES = 128, 561
PARTS = ("train", "test")


def _reader(inputs: Callable[[Path, str], np.ndarray]) -> Callable[[Facts, Path, tuple[str, ...]], Reading]:
    def read(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
        """Read one pool a subject."""
        reading = Reading({}, [])
        roots = (data_dir / place for place in PLACES)
        root = next((place for place in roots if (place / "train" / "subject_train.txt").is_file()), None)
        if root is None:
            reading.faults.append(f"no train/subject_train.txt in {data_dir} or its {', '.join(PLACES[:-1])}")
            return reading
        # The published parts divide the subjects; here each subject is a domain, so both are read and joined.
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for part in PARTS:
            try:
                subject, label = (
                    _numbers(root / part / f"{k}_{part}.txt", 1)[:, 0].astype(int) for k in ("subject", "y")
                )
                x = inputs(root, part)
                if not len(subject) == len(label) == len(x):
                    raise ValueError(f"{len(subject)} subjects, {len(label)} labels, {len(x)} windows")
                if label.min() < 1 or label.max() > len(next(iter(facts.classes.values()))):
                    raise ValueError(f"labels from {label.min()} to {label.max()}, expected 1 to 6")
            except (OSError, ValueError) as error:
                reading.faults.append(f"{part}: {error}")
                continue
            parts.append((x, label - 1, subject))
        if reading.faults:
            return reading
        x, y, who = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        strangers = sorted(set(who.tolist()) - {int(name) for name in facts.counts})
        reading.faults.extend(f"subject too many: {number}" for number in strangers)
        for name in domains:
            rows = np.flatnonzero(who == int(name))
            if len(rows):
                split = ArraySplit(np.ascontiguousarray(x[rows]), y[rows].astype(np.int32))
                reading.domains[name] = pool(name, facts.classes[name], split)
        return reading

    return read


def _windows(root: Path, part: str) -> np.ndarray:
    """Read windows, float32 ``[n, 128, 9]``."""
    folder = root / part / "Inertial Signals"
    return np.stack([_numbers(folder / f"{signal}_{part}.txt", WINDOW) for signal in SIGNALS], axis=2)


def _features(root: Path, part: str) -> np.ndarray:
    """Read features, float32 ``[n, 561]``."""
    return _numbers(root / part / f"X_{part}.txt", FEATURES)


def _numbers(file: Path, columns: int) -> np.ndarray:
    """Read numbers of a text file, float32 ``[n, columns]``."""
    values = np.array(file.read_bytes().split(), np.float64).astype(np.float32)
    if values.size == 0 or values.size % columns or not np.isfinite(values).all():
        raise ValueError(f"{file}: {values.size} numbers, expected finite ones in rows of {columns}")
    return values.reshape(-1, columns)


UCI_HAR = Benchmark("uci_har", "uci_har", _reader(_windows), LAYOUT)
UCI_HAR_FEATURES = Benchmark("uci_har_features", "uci_har", _reader(_features), LAYOUT)
