"""The seam of the classic methods: features of both domains in, mapped features or weights out.

They run once, on the host, in float64, and know nothing of nets or steps. A factory (``coral(epsilon=1.0)``) holds the
hyper-parameters of a :class:`Shallow` for the closed set; its ``fit`` returns a :class:`Fitted`. Hyper-parameters out
of range raise an InputError at once, unsuitable samples at the fit.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from dalib.core.checks import check_samples, input_error

Map = Callable[[np.ndarray], np.ndarray]
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Fitted(NamedTuple):
    """Result of a fit: train a classifier on the mapped source rows and use it on the mapped target rows. A learnt
    subspace's axes are defined up to sign, and rotation at ties; distances and inner products are unique.

    Attributes:
        source: ``[n, k]``, the mapped source rows of the fit, in the dtype that they came in.
        target: ``[m, k]``, the mapped target rows.
        transform_source: maps further source rows ``[·, d]``; equals ``source`` on the rows of the fit.
        transform_target: maps further target rows ``[·, d]``.
        weights: ``[n]`` importance weights of the source rows, float64, mean 1; None where the method has none.
        info: findings (dimension kept, iterations, convergence …), plain Python values.
    """

    source: np.ndarray
    target: np.ndarray
    transform_source: Map
    transform_target: Map
    weights: np.ndarray | None = None
    info: Mapping[str, Any] = NOTHING


class Shallow(NamedTuple):
    """A classic method.

    Attributes:
        name: as in the table ``CLASSIC``.
        fit: ``(xs [n, d], ys [n] or None, xt [m, d]) -> Fitted``; n and m may differ; target labels have no place.
        needs_labels: whether ``ys`` must be given; other methods ignore it.
    """

    name: str
    fit: Callable[[Any, Any, Any], Fitted]
    needs_labels: bool = False


class Samples(NamedTuple):
    """Checked inputs in float64: ``xs`` ``[n, d]``, ``ys`` ``[n]`` integers (or None), ``xt`` ``[m, d]``."""

    xs: np.ndarray
    ys: np.ndarray | None
    xt: np.ndarray


def checked(xs: Any, ys: Any, xt: Any, *, needs_labels: bool = False) -> Samples:
    """The inputs of a fit as float64 arrays. Raises an InputError on other shapes or dtypes, different widths, NaN or
    inf. Labels are one integer ≥ 0 a source row; only some methods need them."""
    check_samples(xs=xs, xt=xt)
    if ys is None and needs_labels:
        raise input_error("ys", got="None", expected="source labels [n], which this method uses")
    if ys is not None:
        ys = np.asarray(ys)
        if ys.shape != (xs.shape[0],) or not np.issubdtype(ys.dtype, np.integer):
            got = f"shape {ys.shape}, dtype {ys.dtype}"
            raise input_error("ys", got=got, expected=f"integer labels of shape ({xs.shape[0]},), one a source row")
        if ys.min() < 0:
            raise input_error("ys", got=f"a label {ys.min()}", expected="labels ≥ 0", todo="drop unlabelled rows")
    return Samples(_finite("xs", xs), ys, _finite("xt", xt))


def fitted(
    xs: Any,
    xt: Any,
    map_source: Map,
    map_target: Map,
    *,
    source: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    info: Mapping[str, Any] = NOTHING,
) -> Fitted:
    """Wrap float64 maps: the result takes and returns the caller's dtype and checks the width of further rows.
    ``source`` is the image of the rows of the fit, where that is known better than by ``map_source(xs)``."""
    width = xs.shape[1]

    def door(argument: str, inside: Map) -> Map:
        def transform(x: Any) -> np.ndarray:
            check_samples(**{argument: x})
            if x.shape[1] != width:
                raise input_error(argument, got=f"shape {x.shape}", expected=f"[n, {width}], the width of the fit")
            return inside(_finite(argument, x)).astype(np.asarray(x).dtype)

        return transform

    # The rows of the fit pass the same doors, so that the caller's dtype comes back there too.
    transform_source, transform_target = door("source rows", map_source), door("target rows", map_target)
    mapped = transform_source(xs) if source is None else source.astype(np.asarray(xs).dtype)
    return Fitted(mapped, transform_target(xt), transform_source, transform_target, weights, MappingProxyType({**info}))


def identity(x: np.ndarray) -> np.ndarray:
    """The map that changes nothing."""
    return x


def check_count(**values: Any) -> None:
    """Raises an InputError unless every value is an integer ≥ 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise input_error(name, got=repr(value), expected="an integer ≥ 1")


def _finite(argument: str, x: Any) -> np.ndarray:
    array = np.asarray(x, np.float64)
    if not np.isfinite(array).all():
        raise input_error(argument, got="NaN or infinite entries", expected="finite features")
    return array


# Exact nearest neighbours in float64, and the 1-NN classifier of the classic tables.


ROWS = 1024


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances ``[n, m]`` of the rows of ``x`` ``[n, d]`` and ``y`` ``[m, d]``."""
    # By one matrix product; the common shift keeps digits where the points are far from the origin.
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    products = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)[None, :] - 2 * (x @ y.T)
    return np.maximum(products, 0)


def nearest(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Index ``[n]`` of the nearest row of ``y`` ``[m, d]`` for every row of ``x`` ``[n, d]``; the first at a tie."""
    found = [squared_distances(part, y).argmin(axis=1) for part in _parts(x)]
    return np.concatenate(found)


def nearest_neighbour(xs: np.ndarray, ys: np.ndarray, xt: np.ndarray) -> np.ndarray:
    """1-NN: labels ``[m]`` of ``xt`` ``[m, d]`` from the nearest of ``xs`` ``[n, d]`` with labels ``ys`` ``[n]``."""
    xs, ys, xt = np.asarray(xs, np.float64), np.asarray(ys), np.asarray(xt, np.float64)
    if xs.ndim != 2 or xt.ndim != 2 or xs.shape[1] != xt.shape[1] or len(ys) != len(xs) or not len(xt):
        shapes = f"shapes {xs.shape}, {ys.shape}, {xt.shape}"
        raise input_error("xs, ys, xt", got=shapes, expected="[n, d], [n], [m, d] with m ≥ 1")
    return ys[nearest(xt, xs)]


def _parts(x: np.ndarray) -> Iterator[np.ndarray]:
    # In parts, so that memory stays at ROWS · m however many rows there are.
    return (x[start : start + ROWS] for start in range(0, len(x), ROWS))
