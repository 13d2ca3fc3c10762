"""Maximum mean discrepancy of samples with labels: class by class (DSAN), or jointly with predictions (JAN)."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from dalib.core.checks import check_samples, input_error
from dalib.discrepancy.distances import (
    MULTIPLIERS,
    Bandwidth,
    Multipliers,
    at_least_float32,
    centred,
    check_multipliers,
    gaussian_mixture,
    kernel_variance,
)
from dalib.discrepancy.mmd import Layers, check_estimator, estimate, gaussian_kernel, gram_matrix, tllib_constant
from dalib.discrepancy.tiled import pair_sum, tile_rows


def class_mmd2(
    x: Array,
    y: Array,
    x_labels: Array,
    y_probabilities: Array,
    *,
    bandwidth: Bandwidth = "mean_off_diagonal",
    multipliers: Multipliers = MULTIPLIERS,
    tile: int | None = None,
) -> Array:
    """Local MMD²: the biased MMD² between the two domains' samples of each class, averaged over the shared classes.
    ``mean_c [w_cᵀ K_xx w_c + v_cᵀ K_yy v_c − 2 w_cᵀ K_xy v_c]`` with ``w_c`` uniform over the source rows of class c
    and ``v_c`` proportional to ``p_c``, the target rows' predicted probability. A class is shared if it has a source
    row and is the argmax of a target row. Source: Zhu, Zhuang, Wang, Ke, Chen, Bian, Xiong, He, TNNLS 2020, arXiv
    2106.09388.

    Args:
        x, y: features of source ``[n, d]`` and target ``[m, d]``.
        x_labels: integers ``[n]`` in [0, C). A row with a label outside counts for no class.
        y_probabilities: ``[m, C]`` predictions (softmax outputs); without gradient.
        bandwidth, multipliers, tile: as in :func:`~dalib.discrepancy.mmd.mmd2`; the authors' kernels are the default.

    Returns: scalar ≥ 0 up to rounding. 0 with gradient 0 if no class is shared.
    """
    check_samples(x=x, y=y)
    check_classes(x, y, x_labels, y_probabilities)
    check_multipliers(multipliers)
    x, y = at_least_float32(x), at_least_float32(y)
    of_x, of_y = class_weights(x_labels, at_least_float32(y_probabilities).astype(x.dtype))
    parameters = (kernel_variance(x, y, bandwidth=bandwidth), jnp.asarray(multipliers, x.dtype))
    centred_x, centred_y = centred(x, y)
    layers_x, layers_y = (centred_x,), (centred_y,)
    gram = functools.partial(gram_matrix, gaussian_kernel)
    rows = tile_rows(x.shape[0], y.shape[0], tile)
    if rows:
        weights = jnp.concatenate([of_x, -of_y])
        return pair_sum(gram, False, rows, parameters, (jnp.concatenate([*layers_x, *layers_y]),), weights, weights)
    # One weighted sum over all classes at once: the columns of the weights are the classes.
    within_x = weighted_sum(of_x, gram(parameters, layers_x, layers_x), of_x)
    within_y = weighted_sum(of_y, gram(parameters, layers_y, layers_y), of_y)
    return within_x + within_y - 2 * weighted_sum(of_x, gram(parameters, layers_x, layers_y), of_y)


def class_weights(x_labels: Array, y_probabilities: Array) -> tuple[Array, Array]:
    """Weights ``[n, C]`` and ``[m, C]`` of the rows in each class, without gradient. Columns of shared classes sum to
    ``1/√(number of shared classes)``, so that products average; others are 0."""
    classes = y_probabilities.shape[1]
    dtype = y_probabilities.dtype
    members = jax.nn.one_hot(x_labels, classes, dtype=dtype)
    predicted = jax.nn.one_hot(jnp.argmax(y_probabilities, axis=1), classes, dtype=dtype)
    shared = (jnp.sum(members, axis=0) > 0) & (jnp.sum(predicted, axis=0) > 0)
    scale = jnp.where(shared, lax.rsqrt(jnp.maximum(jnp.sum(shared), 1).astype(dtype)), 0)

    def normalise(weights: Array) -> Array:
        total = jnp.sum(weights, axis=0)
        return lax.stop_gradient(weights * (scale / jnp.where(shared, total, 1))[None])

    return normalise(members), normalise(y_probabilities)


def weighted_sum(left: Array, gram: Array, right: Array) -> Array:
    """``Σ_ijc left_ic gram_ij right_jc`` for ``[n, C]``, ``[n, m]``, ``[m, C]``."""
    return jnp.sum(left * jnp.matmul(gram, right, precision=lax.Precision.HIGHEST))


def check_classes(x: Array, y: Array, x_labels: Array, y_probabilities: Array) -> None:
    """Checks one integer label per row of ``x`` and one row of class probabilities per row of ``y``."""
    labels, probabilities = jnp.asarray(x_labels), jnp.asarray(y_probabilities)
    if labels.shape != (x.shape[0],) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise input_error(
            "x_labels", got=f"{labels.dtype} of shape {labels.shape}", expected=f"integers of shape {(x.shape[0],)}"
        )
    check_samples(y_probabilities=probabilities)
    if probabilities.shape[0] != y.shape[0]:
        raise input_error(
            "y_probabilities", got=f"shape {probabilities.shape}", expected=f"({y.shape[0]}, C): a row per row of y"
        )


JAN_BANDWIDTHS: tuple[Bandwidth, ...] = ("mean", 0.92)
"""Features: adaptive; softmax outputs: σ = 0.92, which is JAN's ``exp(−‖·‖²/1.68)`` as TLlib rounds it."""

JAN_MULTIPLIERS: tuple[Multipliers, ...] = (MULTIPLIERS, (1.0,))
"""Features: five kernels, summed; softmax outputs: one."""


def joint_mmd2(
    x: Sequence[Array],
    y: Sequence[Array],
    *,
    bandwidths: Sequence[Bandwidth] = JAN_BANDWIDTHS,
    multipliers: Sequence[Multipliers] = JAN_MULTIPLIERS,
    estimator: str = "unbiased",
    tllib_offset: bool = False,
    tile: int | None = None,
) -> Array:
    """Squared MMD of the layers' joint distributions: the kernel is the product of one Gaussian mixture per layer. With
    the defaults the layers are ``(features, softmax(logits))``, as in JAN. TLlib adds the constant ``2/(n − 1)`` and
    uses ``estimator="linear"``. A layer of equal rows contributes a constant factor. Source: Long, Zhu, Wang, Jordan,
    ICML 2017, arXiv 1605.06636.

    Args:
        x, y: layers of each sample, ``[n, d_l]`` and ``[m, d_l]``.
        bandwidths: one rule or σ per layer, as in :func:`~dalib.discrepancy.mmd.mmd2`.
        multipliers: factors of σ² per layer, one kernel each, summed within the layer.
        estimator, tile: as in :func:`~dalib.discrepancy.mmd.mmd2`; all but ``"biased"`` **may be negative**.
        tllib_offset: adds ``2/(n − 1)``, for comparison with numbers from TLlib; needs n = m.
    """
    check_layers(x, y, bandwidths=bandwidths, multipliers=multipliers)
    for factors in multipliers:
        check_multipliers(factors)
    check_estimator(estimator, **{"x[0]": x[0], "y[0]": y[0]})
    x, y = tuple(at_least_float32(layer) for layer in x), tuple(at_least_float32(layer) for layer in y)
    parameters = tuple(
        (kernel_variance(a, b, bandwidth=bandwidth), jnp.asarray(factors, a.dtype))
        for a, b, bandwidth, factors in zip(x, y, bandwidths, multipliers, strict=True)
    )
    value = estimate(_product, parameters, x, y, estimator=estimator, tile=tile)
    return value + tllib_constant(x[0], y[0]) if tllib_offset else value


def check_layers(x: Sequence[Array], y: Sequence[Array], **settings: Sequence[object]) -> None:
    """Checks that both samples have the same layers, with one setting each, and that a sample's layers share rows."""
    if not x or len({len(x), len(y), *(len(setting) for setting in settings.values())}) != 1:
        counts = {"x": len(x), "y": len(y), **{name: len(setting) for name, setting in settings.items()}}
        raise input_error(
            "layers",
            got=counts,
            expected="the same number ≥ 1 of layers for all",
            todo="pass tuples, one entry a layer",
        )
    for layer, (a, b) in enumerate(zip(x, y, strict=True)):
        check_samples(**{f"x[{layer}]": a, f"y[{layer}]": b})
    for name, sample in (("x", x), ("y", y)):
        if len({layer.shape[0] for layer in sample}) != 1:
            shapes = [layer.shape for layer in sample]
            raise input_error(name, got=f"layers of shapes {shapes}", expected="the same rows in every layer")


def _product(parameters: Any, squared: Layers) -> Array:
    # A product of kernels is a kernel on the layers together, which is what compares joint distributions.
    value = jnp.ones((), squared[0].dtype)
    for (variance, multipliers), layer in zip(parameters, squared, strict=True):
        value = value * gaussian_mixture(layer, variance=variance, multipliers=multipliers)
    return value
