"""JSON lines, read strictly: one object a line, without repeated names."""

import json
from collections.abc import Iterator
from typing import Any

from dalib.data.readers.tabular.content import MOST_FAULTS, Fault, lines_of


def read_json_lines(content: str, faults: list[Fault]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield objects with their line numbers; empty lines are passed over.

    Args:
        content: the text.
        faults: faults of other lines are appended; complete when the iterator has ended.
    """
    for number, line in lines_of(content):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object)
        except RecursionError:
            faults.append(Fault(number, "not JSON that can be read (lists or objects too deep)"))
        except ValueError as error:  # also numbers of thousands of digits
            faults.append(Fault(number, f"not JSON ({str(error)[:200]})"))
        else:
            if isinstance(row, dict):
                yield number, row
            else:
                faults.append(Fault(number, "not a JSON object"))
        if len(faults) >= MOST_FAULTS:
            return


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        first = iter(found)  # in the order of first appearance
        repeated = next(name for name, _ in pairs if next(first, None) != name)
        raise ValueError(f"the name {repeated!r} twice in an object")
    return found
