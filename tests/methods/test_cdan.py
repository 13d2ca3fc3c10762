"""CDAN, CDAN+E, randomised CDAN, and the spectral penalty beside an adversary."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.methods.adversarial.domain_classifier import (
    bsp,
    cdan,
    dann,
    multilinear_map,
    randomized_map,
    spectral_penalty,
)
from tests.golden import golden, inputs
from tests.methods.passes import (
    discriminator_parameters,
    gradients_of,
    make_pass,
    make_spec,
    penalty_of,
    relative_error,
)

NAMES = ("f_s", "f_t", "g_s", "g_t")


def sample(dtype=np.float64):
    return {name: x.astype(dtype) for name, x in zip(NAMES, inputs(*NAMES), strict=True)}


@pytest.mark.parametrize(
    "settings, case, tolerance",
    [
        ({}, "cdan", 1e-10),
        # The golden entropy has 1e-5 inside its logarithm: 4e-8 away from the exact one.
        ({"entropy": True, "normalisation": "joint"}, "cdan.entropy", 1e-6),
    ],
    ids=["cdan", "cdan.entropy"],
)
def test_golden(settings, case, tolerance):
    with jax.enable_x64(True):
        params = {"discriminator": discriminator_parameters("D_mlm")}
        method = cdan(hidden=(12, 12), norm=True, reversal=1.0, **settings)
        value, _, gradients = gradients_of(method, sample(), params=params, state={})
        expected = golden(case)
        assert relative_error(value, expected.value) < tolerance
        for name in ("f_s", "f_t"):
            assert relative_error(gradients[name], expected.gradients[name]) < 10 * tolerance
        assert not np.any(gradients["g_s"]) and not np.any(gradients["g_t"])  # the head is out of reach


def test_weights_normalised_within_each_domain():
    with jax.enable_x64(True):
        params = {"discriminator": discriminator_parameters("D_mlm")}
        method = cdan(hidden=(12, 12), norm=True, entropy=True)
        value = jax.jit(lambda x: penalty_of(method, params, {})(make_pass(**x))[0])(sample())
        np.testing.assert_allclose(value, 0.655612, atol=1e-6)


def test_maps():
    f_s, f_t, g_s, g_t = sample(np.float32).values()
    p, q = jax.nn.softmax(g_s), jax.nn.softmax(g_t)
    whole = multilinear_map(f_s, p)
    assert whole.shape == (8, 80)
    np.testing.assert_allclose(whole[2, 3 * 16 + 5], p[2, 3] * f_s[2, 5], rtol=1e-6)
    # Inner products of the random maps estimate those of the products: E = ⟨f, f'⟩⟨p, p'⟩.
    _, maps = cdan(randomized=20_000, hidden=()).init(jax.random.key(0), make_spec())
    assert maps["features"].shape == (16, 20_000) and maps["predictions"].shape == (5, 20_000)
    got = randomized_map(f_s, p, maps) @ randomized_map(f_t, q, maps).T
    np.testing.assert_allclose(got, whole @ multilinear_map(f_t, q).T, atol=1.0)
    assert np.corrcoef(np.ravel(got), np.ravel(whole @ multilinear_map(f_t, q).T))[0, 1] > 0.99


def test_random_maps_are_state_and_stay():
    method = cdan(randomized=7, hidden=(3,), entropy=True)
    params, state = method.init(jax.random.key(0), make_spec())
    assert set(params) == {"discriminator"} and set(state) == {"features", "predictions"}
    f = jax.jit(lambda x: penalty_of(method, params, state)(make_pass(**x)))
    value, (new, _) = f(sample(np.float32))
    assert np.isfinite(value)
    assert all((new[k] == state[k]).all() for k in state)


def test_unequal_batches_and_one_hot_predictions():
    method = cdan(hidden=(4,), entropy=True, normalisation="joint")
    arrays = sample(np.float32)
    arrays |= {"f_t": arrays["f_t"][:3], "g_t": np.float32(1e4 * np.eye(5)[:3])}
    value, _, gradients = gradients_of(method, arrays)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients.values())
    assert np.any(gradients["f_t"])


@pytest.mark.parametrize("settings", [{"normalisation": "jointly"}, {"randomized": 0}, {"randomized": 2.5}])
def test_wrong_settings(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        cdan(**settings)


def test_bsp_is_its_adversary_plus_the_largest_singular_values():
    arrays = sample(np.float32)
    spectral = sum(np.linalg.svd(arrays[k], compute_uv=False)[0] ** 2 for k in ("f_s", "f_t"))
    for adversary in (dann, cdan):
        small = lambda weight, adversary=adversary: adversary(weight=weight, hidden=(3,), reversal=1.0)  # noqa: E731
        method = bsp(weight=0.5, strength=0.1, adversary=small)
        params, state = method.init(jax.random.key(0), make_spec())
        value, metrics, gradients = gradients_of(method, arrays, params=params, state=state)
        name = adversary.__name__
        np.testing.assert_allclose(metrics["loss/spectral"], spectral, rtol=1e-5)
        np.testing.assert_allclose(value, 0.5 * (metrics[f"loss/{name}"] + 0.1 * spectral), rtol=1e-5)
        own = {"discriminator": params[f"{name}/discriminator"]}
        _, _, alone = gradients_of(small(0.5), arrays, params=own, state={})
        u, s, vt = np.linalg.svd(arrays["f_s"])
        slope = 2 * s[0] * np.outer(u[:, 0], vt[0])
        np.testing.assert_allclose(gradients["f_s"] - alone["f_s"], 0.05 * slope, atol=1e-4)


def test_spectral_penalty_counts():
    arrays = {k: v for k, v in sample(np.float32).items() if k[0] == "f"}
    value, _, _ = gradients_of(spectral_penalty(weight=1.0, count=8), arrays)
    np.testing.assert_allclose(value, sum(np.sum(v**2) for v in arrays.values()), rtol=1e-5)
    zero, _, gradients = gradients_of(spectral_penalty(), jax.tree.map(jnp.zeros_like, arrays))
    assert float(zero) == 0 and all(np.isfinite(g).all() for g in gradients.values())
    with pytest.raises(InputError, match="count"):
        penalty_of(spectral_penalty(count=9), {}, {})(make_pass(**arrays))
