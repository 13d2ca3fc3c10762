"""Matching of domains: classes by name, examples checked to be distinct, several domains joined into one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dalib.core.checks import choose, input_error
from dalib.data.domain import UNLABELLED, Domain, Split, split_labels
from dalib.data.readers.arrays import ArraySplit, from_arrays, is_sparse

# Pairing of two domains: classes matched by name, and a guard against adapting a domain to itself.


UNKNOWN = "unknown"
"""Name of the class that holds the target's private classes."""

# relation: (may the target lack classes of the source, may it have classes of its own)
RELATIONS = {"closed": (False, False), "partial": (True, False), "open": (False, True), "universal": (True, True)}


@dataclass(frozen=True, eq=False)
class RelabelledSplit:
    """A record source with label i replaced by ``table[i]``."""

    base: Split
    table: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.base)

    def __getitems__(self, indices: Sequence[int]) -> tuple[np.ndarray | list[np.ndarray], np.ndarray]:
        inputs, labels = self.base.__getitems__(indices)
        return inputs, self._mapped(labels)

    @property
    def labels(self) -> np.ndarray:
        return self._mapped(split_labels(self.base))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the fingerprint of the base split and the table."""
        return hashlib.sha256(f"{self.base.fingerprint()}{self.table}".encode()).hexdigest()

    def _mapped(self, labels: np.ndarray) -> np.ndarray:
        # The last entry answers for label -1, which means "not known".
        return np.asarray((*self.table, UNLABELLED), np.int32)[labels]


def match_classes(source: Domain, target: Domain, *, relation: str = "closed") -> Domain:
    """Re-index the target's labels, by class name, to the source's class order.

    Args:
        source: the domain that sets the order.
        target: the domain to re-index.
        relation: that of the label sets. ``"closed"``: equal. ``"partial"``: the target may lack classes
            of the source. ``"open"``: the target may have classes of its own, which all become class C, called
            ``"unknown"``. ``"universal"``: both.

    Returns:
        The target with the source's class names (for ``"open"`` and ``"universal"`` followed by ``"unknown"``); the
        target itself where its classes already have this order.

    Raises:
        InputError: label sets that are not in this relation, with both differences, or that share no class.
    """
    # Real-valued labels have no classes to match.
    may_lack, may_add = choose("relation", relation, RELATIONS)
    if not source.class_names and not target.class_names:
        if relation != "closed":
            raise input_error("relation", got=f"{relation} for real-valued labels", expected="closed")
        return target
    # Sets first: the error shows both differences, since one spelling shows in both.
    missing = [c for c in source.class_names if c not in target.class_names]
    extra = [c for c in target.class_names if c not in source.class_names]
    if (missing and not may_lack) or (extra and not may_add) or len(missing) == len(source.class_names):
        raise input_error(
            f"classes of {source.name!r} and {target.name!r}",
            got=f"only in {source.name}: {_listed(missing)}\n  only in {target.name}: {_listed(extra)}",
            expected="the same class names in both domains" if relation == "closed" else f"a {relation} relation",
            todo="rename classes, or choose another relation: "
            "partial (target lacks classes), open (target has more), universal (both)",
        )
    # "unknown" becomes a class of its own, after the source's.
    if may_add and UNKNOWN in source.class_names:
        raise input_error("class_names", got=f"{UNKNOWN!r} in {source.name}", expected="this name to be free")
    names = source.class_names + ((UNKNOWN,) if may_add else ())
    if names == target.class_names:
        return target
    # Private classes of the target all become the one after the last.
    index = {name: i for i, name in enumerate(source.class_names)}
    table = tuple(index.get(name, len(index)) for name in target.class_names)
    # Labels that already read right need no table: the target's splits stay as they are.
    if table == tuple(range(len(table))):
        return Domain(target.name, names, target.splits)
    return Domain(target.name, names, {name: RelabelledSplit(split, table) for name, split in target.splits.items()})


def check_distinct(source: Domain, target: Domain) -> None:
    """Refuse two domains that share a split (equal fingerprints).

    Raises:
        InputError: names the two splits.
    """
    prints = {_base(split).fingerprint(): name for name, split in source.splits.items()}
    for name, split in target.splits.items():
        same = prints.get(_base(split).fingerprint())
        if same is not None:
            raise input_error(
                "source and target",
                got=f"the same data twice: {source.name}/{same} and {target.name}/{name}",
                expected="two different domains (source = target gives 100 % for nothing)",
                todo="check the folders or names that you passed",
            )


def _base(split: Split) -> Split:
    return _base(split.base) if isinstance(split, RelabelledSplit) else split


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")


# Several labelled sources as one domain that remembers its parts.


PLUS = " + "
"""Separator between the names of several sources; a name with it means several."""


@dataclass(frozen=True)
class JoinedDomain(Domain):
    """Union of some domains in memory; ``parts`` are these domains, with the same classes in the same order."""

    parts: tuple[Domain, ...] = ()


def join(sources: Sequence[Domain]) -> Domain:
    """Return one source as it is, several as their union, named ``a + b``, each with the classes of the first.

    Args:
        sources: domains of arrays with the splits ``train`` and ``test``.

    Raises:
        InputError: for label sets that differ between sources, repeated names, or examples of several shapes.
    """
    if len(sources) == 1:
        return sources[0]
    names = [domain.name for domain in sources]
    if len(set(names)) < len(names):
        raise input_error(
            "source", got=", ".join(names), expected="different names", todo="give them as --source name=PATH"
        )
    # Labels of all sources count in the first one's order, which the union has.
    parts = (sources[0], *(match_classes(sources[0], domain) for domain in sources[1:]))
    splits = {}
    for name in sources[0].splits:
        read = [_whole(part.split(name)) for part in parts]
        shapes = {x.shape[1:] for x, _ in read}
        if len(shapes) > 1:
            raise input_error("source", got=f"examples of shapes {sorted(shapes)}", expected="one shape in all sources")
        splits[name] = (stacked([x for x, _ in read]), np.concatenate([y for _, y in read]))
    whole = from_arrays(PLUS.join(names), splits, class_names=sources[0].class_names)
    joined: dict[str, Split] = dict(whole.splits)
    # Sources that are trained on whole are scored on what they learn, and their union must say so too.
    if "test" in joined and all(source.split("test") is source.split("train") for source in sources):
        joined["test"] = joined["train"]
    return JoinedDomain(whole.name, whole.class_names, joined, parts)


def stacked(parts: Sequence[Any]) -> Any:
    """Stack the rows of arrays or sparse matrices."""
    if not all(map(is_sparse, parts)):
        return np.concatenate(parts)
    from scipy.sparse import vstack

    return vstack(parts, format="csr")


def _whole(split: Split) -> tuple[Any, np.ndarray]:
    """Read all inputs and labels of a split; sparse ones stay sparse."""
    if isinstance(split, ArraySplit):
        return split.inputs, split.labels
    return split.__getitems__(range(len(split)))


def parts_of(domain: Domain) -> Domain | Sequence[Domain]:
    """Return a joined domain's parts, which :func:`dalib.data.paired_stream` interleaves in a batch."""
    return domain.parts if isinstance(domain, JoinedDomain) else domain
