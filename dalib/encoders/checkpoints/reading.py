"""Reader of named arrays in foreign checkpoints; nothing of a file is executed, no foreign library is needed."""

import logging
import os
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import input_error
from dalib.encoders.checkpoints.array_files import read_folder, read_npz, read_numpy_pickle, read_safetensors
from dalib.encoders.checkpoints.pickles import Foreign, Global, Setter
from dalib.encoders.checkpoints.torch_files import check_members, damaged, is_legacy, read_torch_legacy, read_torch_zip

LOG = logging.getLogger("dalib.encoders.checkpoints")
WRAPPERS = (
    "state_dict model_state_dict model_state model module net network params weights "
    "state_dict_ema model_ema ema_state_dict params_ema ema teacher"
).split()
"""Entries of training checkpoints with the net: plain weights first, then averaged ones and a teacher's."""
DEPTH = 32
ITEMS, WALKED = 100_000, 5_000_000
"""Arrays, objects and containers of a checkpoint at most, and entries of all containers together."""
PLAIN = frozenset({str, bytes, bytearray, int, float, complex, bool, type(None)})
SHOWN = 8


class Content(NamedTuple):
    """Content of a checkpoint.

    Attributes:
        arrays: by foreign name, in the foreign layout.
        part: entry of the file that they come from, ``state_dict`` or ``model.net``; empty for all of it.
        left: other entries of the file that hold arrays or containers (the optimiser, a second copy of the net).
        passed: number of objects that are not data, by class; they were passed over unread.
    """

    arrays: dict[str, np.ndarray]
    part: str
    left: tuple[str, ...]
    passed: Mapping[str, int]


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the arrays of a checkpoint by name; its content tells the format.

    Dictionaries and lists inside one another join their keys and positions with dots. Of a training checkpoint only the
    net is taken, the first of :data:`WRAPPERS` that it has. Numbers and strings next to arrays are left out. Objects
    that are not data are passed over unread; a warning of the logger counts and names them.

    Args:
        path: a safetensors file, torch's ``.pth`` in the zip or the older format, an ``.npz``, a pickle of numpy
            arrays, or a model's folder in the layout of the Hugging Face hub (shards included).

    Returns:
        Arrays by foreign name, in the foreign layout; of safetensors they are read-only views of a memory map.

    Raises:
        InputError: for a missing, damaged or unknown file, one without arrays, or a pickle that names a global that
            runs programs.
    """
    content = read_checkpoint(path)
    said = []
    # One line of the log for all that was left, so that a wrong part of the file does not go unseen.
    if content.passed:
        total = sum(content.passed.values())
        said.append(f"{total} object{'s' * (total > 1)} passed over unread: {_named(content.passed)}")
    if content.left:
        left = ", ".join(content.left[:SHOWN]) + (
            f" and {len(content.left) - SHOWN} more" * (len(content.left) > SHOWN)
        )
        said.append(f"the arrays of {content.part} are taken, left out: {left}")
    if said:
        LOG.warning("%s: %s", path, "; ".join(said))
    return content.arrays


def read_checkpoint(path: str | os.PathLike[str]) -> Content:
    """Read as :func:`read_arrays`, with the file's other entries; a folder has none."""
    path = Path(path)
    if path.is_dir():
        return Content(read_folder(path, read_arrays), "", (), {})
    if not path.is_file():
        raise input_error("path", got=path, expected="a checkpoint that exists")
    # Told by the first bytes: names of files end in .pth, .bin or .pt whatever is in them.
    with path.open("rb") as file:
        start = file.read(32)
    if start.startswith(b"PK"):
        found = _read_zip(path)
    elif is_legacy(start):
        found = read_torch_legacy(path)
    elif start[:1] == b"\x80":
        found = read_numpy_pickle(path)
    elif start[8:9] == b"{":
        found = read_safetensors(path)
    else:
        raise input_error(
            "path",
            got=f"{path}, which begins with {start[:8]!r}",
            expected="safetensors, torch's .pth, .npz, or a pickle of numpy arrays",
            todo="fetch it again (a page of an error may have been saved in its place), or convert it",
        )
    return _content(found, str(path))


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path)
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise damaged(path, error) from None
    return read_npz(path) if names and all(name.endswith(".npy") for name in names) else read_torch_zip(path)


def _content(found: Any, name: str) -> Content:
    passed: Counter[str] = Counter()
    # All arrays first, since objects are counted in the whole file; then those of the net.
    everything = dict(_leaves(found, name, passed))
    # Down through the wrappers to the net, as long as a level holds a known one.
    net, parts = found, list[str]()
    left: tuple[str, ...] = ()
    while isinstance(net, Mapping) and (key := _wrapper(net, deeper=bool(parts))):
        left = left or tuple(
            str(k)
            for k, x in net.items()
            if k != key and isinstance(x, Mapping | np.ndarray) and (x.size if isinstance(x, np.ndarray) else x)
        )
        parts.append(key)
        net = net[key]
    # Names without the path to the net: rule tables know the net's own names.
    start = (*parts, "") if parts else ()
    prefix = ".".join(start)
    arrays = {path.removeprefix(prefix): x for path, x in everything.items() if path.startswith(prefix)}
    if not arrays:
        others = f", but objects of {_named(passed)}" if passed else ""
        raise input_error(
            "path",
            got=f"{name}, which holds no named arrays{others}",
            expected="a checkpoint with a state_dict",
            todo="save the model's state_dict() where its own code is installed" if passed else "",
        )
    return Content(arrays, ".".join(parts), left, passed)


def _wrapper(content: Mapping[Any, Any], *, deeper: bool) -> str | None:
    """Find the key of the net in a training checkpoint; below that only where nothing else holds arrays."""
    # Flax keeps statistics next to the parameters: together they are the net.
    if "batch_stats" in content or deeper and sum(isinstance(x, Mapping | np.ndarray) for x in content.values()) > 1:
        return None
    return next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)


def _leaves(content: Any, name: str, passed: Counter[str]) -> list[tuple[str, np.ndarray]]:
    """List arrays by path; count objects that are no data in ``passed``."""
    arrays: list[tuple[str, np.ndarray]] = []
    # A stack instead of recursion: a file may nest containers deeper than Python's own stack.
    left: list[tuple[tuple[str, ...], Any]] = [((), content)]
    walked = 0
    for _ in range(ITEMS):
        if not left:
            return arrays
        if walked > WALKED or len(left) > ITEMS:
            break
        path, value = left.pop()
        if isinstance(value, np.ndarray) and path:
            arrays.append((".".join(path), value))
        elif isinstance(value, Foreign | Global):
            passed[value.name] += 1
        elif isinstance(value, set | frozenset | np.dtype | Setter):
            passed["numpy.dtype" if isinstance(value, np.dtype | Setter) else type(value).__name__] += 1
        elif isinstance(value, Mapping | list | tuple) and len(path) < DEPTH:
            items = list(value.items() if isinstance(value, Mapping) else enumerate(value))
            walked += len(items)
            passed.update(key.name for key, _ in items if isinstance(key, Foreign))
            inner = [(key, x) for key, x in reversed(items) if type(x) not in PLAIN and not isinstance(key, Foreign)]
            left += [((*path, str(key)), x) for key, x in inner]
    # A few bytes of pickle can hold dictionaries that refer to themselves, or to each other without end.
    raise input_error("path", got=f"{name}, with more than {ITEMS} entries", expected="a checkpoint of arrays")


def _named(passed: Mapping[str, int]) -> str:
    first = sorted(passed.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name[:80]}{f' ({n})' if n > 1 else ''}" for name, n in first[:SHOWN])
    return shown + (f" and {len(first) - SHOWN} other classes" if len(first) > SHOWN else "")
