"""Checks of a net's inputs. They read shapes and dtypes only and so run at trace time.

All raise an InputError that names the net: on another rank, no elements, another kind of dtype, or a wrong length.
"""

from typing import Any

import jax.numpy as jnp

from dalib.core.checks import input_error


def check_images(inputs: Any, *, smallest: int, net: str) -> None:
    """Check that ``inputs`` are floating images ``[n, h, w, c]`` with both sides at least ``smallest`` pixels."""
    shape = _shape(inputs, rank=4, expected=f"images [n, height, width, channels] for {net}")
    if min(shape[1:3]) < smallest:
        raise input_error(
            "inputs",
            got=f"images of {shape[1]}×{shape[2]} pixels (shape {shape})",
            expected=f"at least {smallest}×{smallest} pixels for {net}",
            todo="resize the images, or choose an encoder for small images",
        )
    _check_floating(inputs, todo="scale the pixels to floats first (dtype float32)")


def check_rows(inputs: Any, *, net: str, name: str = "inputs") -> None:
    """Check that ``inputs`` are floating vectors ``[n, d]``, n ≥ 1 and d ≥ 1."""
    _shape(inputs, rank=2, expected=f"vectors [n, d] for {net}", name=name)
    _check_floating(inputs, todo="cast to float32 first", name=name)


def check_tokens(inputs: Any, *, longest: int, net: str) -> None:
    """Check that ``inputs`` are integer token ids ``[n, t]`` with 1 ≤ t ≤ ``longest``."""
    shape = _shape(inputs, rank=2, expected=f"token ids [n, t] for {net}")
    if not jnp.issubdtype(inputs.dtype, jnp.integer):
        todo = "encode texts with dalib.data.encode"
        raise input_error("inputs", got=f"dtype {inputs.dtype}", expected=f"integer token ids for {net}", todo=todo)
    if shape[1] > longest:
        raise input_error(
            "inputs",
            got=f"{shape[1]} tokens an example (shape {shape})",
            expected=f"at most {longest}, the positions that {net} has",
            todo="encode with a smaller max_length",
        )


def check_waveforms(inputs: Any, *, shortest: int, net: str) -> None:
    """Check that ``inputs`` are floating waveforms ``[n, t]`` of at least ``shortest`` samples."""
    shape = _shape(inputs, rank=2, expected=f"waveforms [n, samples] for {net}")
    _check_floating(inputs, todo="divide integer samples by their largest value first (dtype float32)")
    _check_length(shape, shortest, f"samples for {net}", todo="pad the waveforms with zeros")


def check_series(inputs: Any, *, shortest: int, net: str) -> None:
    """Check that ``inputs`` are floating series ``[n, t, c]`` of at least ``shortest`` steps."""
    shape = _shape(inputs, rank=3, expected=f"series [n, steps, channels] for {net}")
    _check_floating(inputs, todo="cast to float32 first")
    _check_length(shape, shortest, f"steps for {net}", todo="take fewer layers or a smaller stride; channels come last")


def _shape(inputs: Any, *, rank: int, expected: str, name: str = "inputs") -> tuple[int, ...]:
    shape = getattr(inputs, "shape", None)
    if shape is None:
        raise input_error(name, got=type(inputs).__name__, expected=f"an array of {expected}")
    if len(shape) != rank:
        todo = "a single example needs a leading axis: x[None]" if len(shape) == rank - 1 else ""
        raise input_error(name, got=f"shape {shape} of rank {len(shape)}", expected=expected, todo=todo)
    if 0 in shape:
        raise input_error(name, got=f"shape {shape} without elements", expected=expected)
    return shape


def _check_floating(inputs: Any, *, todo: str, name: str = "inputs") -> None:
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise input_error(name, got=f"dtype {inputs.dtype}", expected="a floating dtype", todo=todo)


def _check_length(shape: tuple[int, ...], shortest: int, what: str, *, todo: str) -> None:
    if shape[1] < shortest:
        got = f"{shape[1]} {what.split()[0]} (shape {shape})"
        raise input_error("inputs", got=got, expected=f"at least {shortest} {what}", todo=todo)
