"""Predictions and features of a few examples, float16, kept at every evaluation for a later choice.

``<run>/kept/step-<n>.npz`` holds the arrays of :class:`dalib.evaluate.Evidence` for at most ``keep`` examples of three
splits: the target's test inputs, the held-out source, the source that was trained on. The same rows come at every step
and for every method. No label of the target is read. One file has about ``keep · (3 d + 3 C) · 2`` bytes.
"""

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from dalib.core.checks import input_error
from dalib.core.files import write_atomically
from dalib.core.types import PyTree
from dalib.data import Domain, Split
from dalib.evaluate import Evidence
from dalib.evaluate.validators.consensus import SHARE
from dalib.run.artefacts import packed
from dalib.run.evaluation import Predict, predictions

FOLDER = "kept"
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class Rows:
    """Some examples of a split, without their labels; each may be mixed with another one.

    Attributes:
        base: the split.
        rows: numbers of the examples.
        partners: numbers of those that they are mixed with; None for none.
    """

    base: Split
    rows: np.ndarray
    partners: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> tuple[np.ndarray | list[np.ndarray], np.ndarray]:
        at = np.asarray(indices)
        inputs = self.base.__getitems__(self.rows[at].tolist())[0]
        if self.partners is not None:
            first, second = (np.asarray(x) for x in (inputs, self.base.__getitems__(self.partners[at].tolist())[0]))
            mixed = SHARE * first.astype(np.float32) + (1 - SHARE) * second.astype(np.float32)
            inputs = (np.rint(mixed) if first.dtype == np.uint8 else mixed).astype(first.dtype)
        return inputs, np.full(len(at), -1, np.int32)

    def fingerprint(self) -> str:
        """Return the base split's fingerprint: these rows are never trained on by themselves."""
        return self.base.fingerprint()


def chosen_rows(count: int, keep: int) -> np.ndarray:
    """Choose at most ``keep`` row numbers of a split, ascending; they depend on the two numbers alone."""
    return np.sort(np.random.default_rng(0).permutation(count)[:keep])


def keep_outputs(
    folder: Path,
    step: int,
    predictors: tuple[Predict, Predict],
    variables: PyTree,
    domains: tuple[Domain, Domain],
    keep: int,
    *,
    mesh: Mesh | None = None,
    writes: bool = True,
) -> None:
    """Predict the kept rows and write one file; all of several processes must call it.

    Args:
        folder: of the run.
        step: of the state that predicts.
        predictors: on source and on target.
        variables: of the net, for the weights of a linear head.
        domains: source and target.
        keep: most examples of a split.
        mesh: of the devices that predict.
        writes: whether this process writes.
    """
    (on_source, on_target), (source, target) = predictors, domains

    def outputs(predict: Predict, domain: Domain, split: str, mixed: np.ndarray | None = None) -> Any:
        base = domain.split(split)
        own = Domain(domain.name, domain.class_names, {FOLDER: Rows(base, chosen_rows(len(base), keep), mixed)})
        return predictions(predict, own, FOLDER, mesh, of=lambda x: (x.features, x.logits))

    found: dict[str, np.ndarray] = {}
    found["target_features"], found["target_logits"] = outputs(on_target, target, "test")
    found["train_features"], _ = outputs(on_source, source, "train")
    if source.split("test") is not source.split("train"):  # else there is no held-out source
        found["source_features"], found["source_logits"] = outputs(on_source, source, "test")
    # Pairs of examples are drawn by a fixed seed, so that mixtures are the same for every run and step.
    rows = chosen_rows(len(target.split("test")), keep)
    partners = np.random.default_rng(1).permutation(len(rows))
    if _mixable(target.split("test"), rows):
        _, found["mixed_logits"] = outputs(on_target, target, "test", rows[partners])
    # A linear head's weights let validators see how sure it is away from the data.
    if (head := _head(variables, found["target_logits"].shape[-1])) is not None:
        found["head"] = head
    if not writes:
        return
    # Half precision is enough for ranks and probabilities, and halves the folder.
    arrays = {name: _small(x) for name, x in found.items()}
    if "source_logits" in found:
        labels = source.labels("test")
        arrays["source_labels"] = labels[chosen_rows(len(labels), keep)].astype(np.int32)
    if "mixed_logits" in found:
        arrays["partners"] = partners.astype(np.int32)
    write_atomically(folder / FOLDER / f"step-{step:08d}.npz", packed(arrays))


def _small(x: np.ndarray) -> np.ndarray:
    """Turn rows into float16, clipped to its range; rejected classes may have logits of minus infinity."""
    flat = np.asarray(x, np.float32)
    return np.clip(flat.reshape(len(flat), -1), -LARGEST, LARGEST).astype(np.float16)


def _mixable(split: Split, rows: np.ndarray) -> bool:
    """Tell whether examples are numbers of one shape, so that a mixture of two is an example; tokens are none."""
    inputs = split.__getitems__(rows[:1].tolist())[0]
    return isinstance(inputs, np.ndarray) and (inputs.dtype.kind == "f" or inputs.dtype == np.uint8)


def _head(variables: PyTree, classes: int) -> np.ndarray | None:
    """Find weights ``[d, C]`` of the head's last layer, whatever their scale; None unless one matrix holds them."""
    found = [x for x in jax.tree.leaves(variables["params"].get("head", {})) if x.ndim == 2 and x.shape[1] == classes]
    return np.asarray(found[0]) if len(found) == 1 else None


# Reading back.


def kept_steps(folder: Path) -> dict[int, Path]:
    """List the kept files of a run folder by step, ascending; empty where nothing was kept."""
    found = ((re.fullmatch(r"step-(\d+)\.npz", path.name), path) for path in _files(folder / FOLDER))
    return {int(match[1]): path for match, path in found if match}


def _files(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.iterdir())) if folder.is_dir() else iter(())


def read_kept(path: Path) -> Evidence | None:
    """Read the evidence of one kept file; None where predictions are not finite.

    Raises:
        InputError: for a file that is damaged, or arrays that do not belong together; the file is named.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return Evidence(**arrays) if all(np.isfinite(x).all() for x in arrays.values()) else None
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:  # an InputError is a ValueError
        todo = "delete the file; the step is then no candidate"
        raise input_error(str(path), got=error, expected="arrays that a run has kept", todo=todo) from None
