"""wav2vec 2.0 and the log-mel net: sizes, spectra in closed form, level and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from jax import lax

from dalib.core.checks import InputError
from dalib.encoders import LogMelCNN
from dalib.encoders.audio.logmel import frames, log_mel, mel_filterbank, power_spectrum
from dalib.encoders.audio.wav2vec2 import grouped_convolution_in_steps
from dalib.encoders.registry import make_encoder
from tests.encoders.fill import filled


def test_wav2vec2_has_the_published_size():
    encoder = make_encoder("wav2vec2_base")
    x = jax.ShapeDtypeStruct((2, 16000), jnp.float32)
    variables = jax.eval_shape(encoder.init, jax.random.key(0), x)
    # transformers counts 94,371,712: with weight norm's 128 lengths and the 768 of masked frames.
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 94_371_712 - 128 - 768
    outputs = jax.eval_shape(encoder.apply, variables, x)
    assert outputs.hidden["conv"].shape == (2, 49, 512)  # the paper: 49 frames a second
    assert outputs.features.shape == (2, 768)
    assert encoder.shortest() == 400


@pytest.mark.parametrize("size, groups", [(16, 4), (5, 2)])
def test_grouped_convolution_in_steps_is_the_librarys(size, groups):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 11, 8)).astype(np.float32)
    kernel = random.normal(size=(size, 8 // groups, 12)).astype(np.float32)
    padding = (size // 2, (size - 1) // 2)

    def library(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (1,), [padding], dimension_numbers=("NHC", "HIO", "NHC"), feature_group_count=groups
        )

    def ours(x, kernel):
        return grouped_convolution_in_steps(x, kernel, padding, groups)

    def both(f):
        return jax.jit(lambda x, k: (f(x, k), *jax.grad(lambda *a: jnp.sum(jnp.sin(f(*a))), (0, 1))(x, k)))(x, kernel)

    for mine, theirs in zip(both(ours), both(library), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_power_spectrum_is_scipys():
    x = np.random.default_rng(1).normal(size=(2, 1000)).astype(np.float32)
    window, hop, size = 200, 80, 256
    ours = power_spectrum(frames(jnp.asarray(x), window, hop), size)
    hann = scipy.signal.get_window("hann", window)
    *_, theirs = scipy.signal.spectrogram(
        x, window=hann, nperseg=window, noverlap=window - hop, nfft=size, detrend=False, scaling="spectrum"
    )
    one_sided = np.full(size // 2 + 1, 2.0)
    one_sided[[0, -1]] = 1.0
    theirs = theirs.transpose(0, 2, 1) * hann.sum() ** 2 / one_sided
    assert ours.shape == (2, 11, 129)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_mel_filters_are_triangles_over_the_spectrum():
    filters = mel_filterbank(513, 20, sample_rate=16000, low=100.0, high=7000.0)
    frequencies = np.linspace(0, 8000, 513)
    centres = frequencies[filters.argmax(0)]
    mels = 2595 * np.log10(1 + np.array([100.0, 7000.0]) / 700)
    expected = 700 * (10 ** (np.linspace(*mels, 22)[1:-1] / 2595) - 1)
    np.testing.assert_allclose(centres, expected, atol=8000 / 512)
    assert filters.min() == 0 and filters.max() <= 1
    inside = (frequencies > expected[0]) & (frequencies < expected[-1])
    np.testing.assert_allclose(filters[inside].sum(1), 1, atol=1e-5)  # neighbouring triangles add up to 1
    assert filters[frequencies > 7000].sum() == 0 and filters[frequencies < 100].sum() == 0


def test_level_and_zeros_at_the_end_do_not_matter():
    x = np.random.default_rng(2).normal(size=(2, 800)).astype(np.float32)
    x[1] *= np.hanning(800)
    filters = jnp.asarray(mel_filterbank(129, 10, sample_rate=8000, low=60.0, high=4000.0))

    @jax.jit
    def spectrum(x):
        return log_mel(x, filters, window=200, hop=80, size=256)

    # 760 samples are 8 frames of 200 at a hop of 80; zeros after them leave two more with sound in them.
    padded = np.pad(x[:, :760], ((0, 0), (0, 840)))
    plain, heard = spectrum(padded)
    np.testing.assert_array_equal(heard.sum(1), [10, 10])
    assert (plain[:, 10:] == 0).all()
    np.testing.assert_allclose(plain[:, :10].mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(plain[:, :10].std((1, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(spectrum(0.01 * padded)[0], plain, atol=1e-3)
    longer = spectrum(np.pad(padded, ((0, 0), (0, 800))))[0]
    np.testing.assert_allclose(longer[:, : plain.shape[1]], plain, atol=1e-4)
    silent, heard = spectrum(np.zeros_like(padded))
    assert (silent == 0).all() and not heard.any()


def test_features_of_a_padded_recording():
    encoder = LogMelCNN(sample_rate=8000, bands=8, channels=(2,), width=4)
    x = np.random.default_rng(3).normal(size=(2, 840)).astype(np.float32)
    variables = filled(encoder, x)
    apply = jax.jit(encoder.apply)
    short = apply(variables, np.pad(x, ((0, 0), (0, 400))))
    long = apply(variables, np.pad(x, ((0, 0), (0, 2000))))
    np.testing.assert_allclose(short.features, long.features, atol=1e-4)
    assert short.hidden["conv1"].shape == (2, 7, 4, 2)


@pytest.mark.parametrize(
    "name, fields, inputs, message",
    [
        ("wav2vec2_base", {}, jnp.ones((2, 399)), "399 samples(.|\n)*at least 400"),
        ("wav2vec2_base", {}, jnp.ones((2, 400), jnp.int16), "int16"),
        ("wav2vec2_base", {}, jnp.ones((400,)), "rank 1"),
        ("wav2vec2_base", {"layer": 12}, jnp.ones((1, 400)), "0 to 11"),
        ("wav2vec2_base", {"strides": (5, 2)}, jnp.ones((1, 400)), "7 channels, 7 kernels, 2 strides"),
        ("logmel_cnn", {}, jnp.ones((1, 900)), "900 samples(.|\n)*at least 1520"),
        ("logmel_cnn", {"high": 9000.0}, jnp.ones((1, 2000)), "low < high ≤ 8000"),
        ("logmel_cnn", {"bands": 7}, jnp.ones((1, 2000)), "at least 8 for 3 pools"),
    ],
)
def test_bad_input_is_named(name, fields, inputs, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(make_encoder(name, **fields).init, jax.random.key(0), inputs)
