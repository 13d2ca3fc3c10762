"""What torch's pickles build: tensors as views of storages, here numpy arrays over bytes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dalib.checks import input_error
from dalib.weights.readers import numpy_pickle

DTYPES: dict[str, Any] = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": jnp.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
    "ComplexFloat": np.complex64,
    "ComplexDouble": np.complex128,
}


class StorageType(NamedTuple):
    """Stands in for ``torch.FloatStorage`` and its like."""

    dtype: np.dtype


class Storage(NamedTuple):
    """A flat array that tensors view."""

    array: np.ndarray


STORAGES: dict[str, StorageType] = {
    f"torch.{name}Storage": StorageType(np.dtype(dtype)) for name, dtype in DTYPES.items()
} | {"torch.storage.UntypedStorage": StorageType(np.dtype(np.uint8))}


def tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = None,
    hooks: Any = None,
    metadata: Any = None,
) -> np.ndarray:
    """A tensor ``[*size]`` as a read-only view of its storage; the view must lie inside it."""
    del requires_grad, hooks, metadata
    if not isinstance(storage, Storage) or not all(
        isinstance(n, int) and n >= 0 for n in (offset, *_numbers(size), *_numbers(stride))
    ):
        raise ValueError("a tensor of something else than a storage, an offset, sizes and strides")
    if len(size) != len(stride):
        raise ValueError(f"{len(size)} sizes and {len(stride)} strides")
    flat = storage.array
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.zeros(size, flat.dtype)
    if last >= flat.size or math.prod(size) > flat.size:
        raise ValueError(f"a tensor of {math.prod(size)} elements up to number {last} of a storage of {flat.size}")
    strides = tuple(step * flat.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(flat[offset:], tuple(size), strides, writeable=False)


def _numbers(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise ValueError("sizes and strides must be tuples")
    return tuple(value)


def parameter(data: Any, requires_grad: Any = None, hooks: Any = None, state: Any = None) -> Any:
    """``torch.nn.Parameter`` is its data."""
    del requires_grad, hooks, state
    return data


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    return dict(items)


REBUILD: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_parameter": parameter,
    "torch._utils._rebuild_parameter_with_state": parameter,
}


def allowed() -> dict[str, Callable[..., Any]]:
    """The globals of a ``state_dict`` with our stand-ins, a new table for every file."""
    table: dict[str, Callable[..., Any]] = {
        "collections.OrderedDict": _ordered_dict,
        "torch.Size": tuple,
        "torch.device": lambda *names: ":".join(map(str, names)),
    }
    return table | REBUILD | numpy_pickle.allowed() | {name: _not_called(name) for name in STORAGES}


def _not_called(name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        raise ValueError(f"{name} is called")

    return call


def storage_type(value: Any, path: str) -> StorageType:
    """The dtype of a storage from the global that names it."""
    name = getattr(value, "name", None)
    if name not in STORAGES:
        raise input_error(
            "path", got=f"{path}, with a storage of type {name or type(value).__name__}", expected="torch's own types"
        )
    return STORAGES[name]
