"""Several labelled sources as one domain that remembers its parts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dalib.checks import input_error
from dalib.data import Domain, from_arrays, match_classes

PLUS = " + "
"""Between the names of joined sources; a source whose name holds it is several."""


@dataclass(frozen=True)
class JoinedDomain(Domain):
    """The union of some domains in memory; ``parts`` are these domains, with the same classes in the same order."""

    parts: tuple[Domain, ...] = ()


def join(sources: Sequence[Domain]) -> Domain:
    """One source is itself; several become their union, named ``a + b``, each with the classes of the first.

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
    parts = (sources[0], *(match_classes(sources[0], domain) for domain in sources[1:]))
    splits = {}
    for name in sources[0].splits:
        read = [part.split(name).__getitems__(range(len(part.split(name)))) for part in parts]
        shapes = {np.shape(x)[1:] for x, _ in read}
        if len(shapes) > 1:
            raise input_error("source", got=f"examples of shapes {sorted(shapes)}", expected="one shape in all sources")
        splits[name] = (np.concatenate([x for x, _ in read]), np.concatenate([y for _, y in read]))
    whole = from_arrays(PLUS.join(names), splits, class_names=sources[0].class_names)
    return JoinedDomain(whole.name, whole.class_names, whole.splits, parts)


def parts_of(domain: Domain) -> Domain | Sequence[Domain]:
    """What :func:`dalib.data.paired_stream` takes: the parts of a joined domain, so that a batch interleaves them."""
    return domain.parts if isinstance(domain, JoinedDomain) else domain
