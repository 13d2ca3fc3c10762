"""Recordings of different lengths to one array of waveforms."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dalib.checks import check_positive, input_error


def pad_waveforms(waveforms: Sequence[Any], samples: int, *, standardize: bool = True) -> np.ndarray:
    """Recordings as rows of one array, each filled up with zeros or cut on the right.

    Args:
        waveforms: n recordings ``[t_i]``, one channel each, floating or integer samples, all at one sample rate.
        samples: length of the rows.
        standardize: bring each recording, cut but not yet filled up, to mean 0 and variance 1, as wav2vec 2.0 wants it.
            Otherwise integers are divided by their type's largest value and floats stay as they are.

    Returns:
        float32 ``[n, samples]``.

    Raises:
        InputError: on no recordings, one that is empty or not ``[t]``, or ``samples`` < 1.
    """
    check_positive(samples=samples)
    if len(waveforms) == 0:
        raise input_error("waveforms", got="none", expected="at least one recording")
    out = np.zeros((len(waveforms), samples), np.float32)
    for i, waveform in enumerate(waveforms):
        x = np.asarray(waveform)
        if x.ndim != 1 or len(x) == 0:
            raise input_error(
                f"waveforms, row {i}", got=f"shape {x.shape}", expected="samples [t], t ≥ 1", todo="mix channels first"
            )
        scale = float(np.iinfo(x.dtype).max) if np.issubdtype(x.dtype, np.integer) else 1.0
        x = x[:samples].astype(np.float64) / scale
        if standardize:
            x = (x - x.mean()) / np.sqrt(x.var() + 1e-7)
        out[i, : len(x)] = x
    return out
