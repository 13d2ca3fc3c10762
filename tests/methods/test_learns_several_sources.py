"""What several labelled domains are for: each method beats source-only on a shift that it is meant to solve."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalib.core.types import Outputs
from dalib.encoders import MLP, Classifier
from dalib.methods import groupdro, mfsan, mixstyle, source_only
from dalib.methods.generalisation.penalties import irm, vrex
from dalib.methods.label_sets.semi_supervised import mme
from dalib.methods.label_sets.several_sources import m3sda
from tests.methods.seeds import Shift, scores
from tests.methods.shifts import Samples, blobs, circle, train, turned

pytestmark = pytest.mark.slow


def accuracy(method, sources, target, **settings):
    return float((train(method, sources, target.inputs, **settings)(target.inputs) == target.labels).mean())


def coloured(rng, n, agreement):
    """Two coordinates: one agrees with the label in 3 of 4 examples everywhere, the other one in ``agreement``."""
    y = rng.integers(0, 2, n)
    shape, colour = (np.where(rng.random(n) < share, y, 1 - y) for share in (0.75, agreement))
    x = np.stack([2 * shape - 1, 2 * colour - 1], 1) + 0.1 * rng.normal(size=(n, 2))
    return Samples(x.astype(np.float32), y.astype(np.int32))


@pytest.mark.parametrize("seed", [0, 1])
def test_invariance_drops_the_cue_that_changes_between_sources(seed):
    rng = np.random.default_rng(seed)
    sources, target = [coloured(rng, 2000, 0.95), coloured(rng, 2000, 0.75)], coloured(rng, 1000, 0.1)
    settings = dict(classes=2, seed=seed, batch_size=512, steps=400, learning_rate=0.01)
    assert accuracy(source_only(), sources, target, **settings) < 0.3
    for make in (irm, vrex):
        # The best that the invariant coordinate allows is 0.75.
        assert accuracy(make(weight=100.0, warmup_steps=100), sources, target, **settings) > 0.7


@pytest.mark.parametrize("seed", [0, 1])
def test_moment_matching_of_two_sources_with_a_shifted_nuisance(seed):
    rng = np.random.default_rng(seed)
    centres = circle(5)

    def domain(nuisance, degrees):
        d = turned(blobs(rng, centres, range(5), spread=0.3), degrees)
        extra = nuisance + 0.3 * rng.normal(size=(len(d.labels), 1))
        return Samples(np.concatenate([d.inputs, extra], 1).astype(np.float32), d.labels)

    sources, target = [domain(-1, -12), domain(0, 0)], domain(1.5, 25)
    settings = dict(classes=5, seed=seed, learning_rate=0.005)
    plain = accuracy(source_only(), sources, target, **settings)
    assert accuracy(m3sda(repeats=2), sources, target, **settings) > plain + 0.08


def test_minimax_entropy_with_one_shot_a_class():
    gains = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        centres = circle(5)
        target = turned(blobs(rng, centres, range(5)), 45, by=(0.3, -0.3))
        shots = Samples(target.inputs[::100], target.labels[::100])
        rest = Samples(np.delete(target.inputs, np.s_[::100], 0), np.delete(target.labels, np.s_[::100]))
        sources = [blobs(rng, centres, range(5)), shots]
        settings = dict(classes=5, seed=seed)
        gains.append(accuracy(mme(), sources, rest, **settings) - accuracy(source_only(), sources, rest, **settings))
    # The baseline has the same shots among its labelled rows.
    assert np.mean(gains) > 0.02, gains


def interleaved(*domains):
    """``(key, rows) -> (inputs, labels)`` of several domains, each ``(key, rows)``, with rows laid by turns."""

    def draw(key, rows):
        parts = [d(k, rows // len(domains)) for d, k in zip(domains, jax.random.split(key, len(domains)), strict=True)]
        return jax.tree.map(lambda *a: jnp.stack(a, 1).reshape(-1, *a[0].shape[1:]), *parts)

    return draw


def turned_ring(nuisance, degrees):
    """Five classes on a circle that each domain turns, and a third coordinate that tells the domain."""

    def draw(key, rows):
        labels = jnp.arange(rows) % 5
        angle = 2 * jnp.pi / 5 * labels + jnp.deg2rad(degrees)
        centres = jnp.stack([2 * jnp.cos(angle), 2 * jnp.sin(angle), jnp.full(rows, nuisance)], 1)
        return centres + 0.3 * jax.random.normal(key, (rows, 3)), labels.astype(jnp.int32)

    return draw


def test_a_branch_for_each_of_two_sources_with_conflicting_shifts():
    sources = interleaved(turned_ring(-1.0, -12.0), turned_ring(0.0, 0.0))
    shift = Shift(sources, turned_ring(1.5, 25.0), Classifier(MLP((32,)), 5), rows=70, learning_rate=0.005)
    plain, adapted = scores(source_only(), shift), scores(mfsan(), shift)
    print("mfsan", np.round([plain, adapted], 3))
    assert adapted.mean() > plain.mean() + 0.08


def cued(agreement):
    """A core cue that is right in four of five examples, and one that is right with a share that the domain sets."""

    def draw(key, rows):
        k = jax.random.split(key, 4)
        labels = jax.random.randint(k[0], (rows,), 0, 2)
        core, cue = (
            jnp.where(jax.random.uniform(k[i], (rows,)) < share, labels, 1 - labels)
            for i, share in ((1, 0.8), (2, agreement))
        )
        x = jnp.stack([2.0 * core - 1, 2.0 * cue - 1], 1) + 0.3 * jax.random.normal(k[3], (rows, 2))
        return x, labels.astype(jnp.int32)

    return draw


def test_the_group_against_which_a_spurious_cue_works_counts_more():
    """Two sources in which the cue is nearly always right, one in which it is mostly wrong, as in the target."""
    sources = interleaved(cued(0.95), cued(0.95), cued(0.2))
    shift = Shift(sources, cued(0.2), Classifier(MLP((16,)), 2), rows=192, steps=600)
    plain, robust = scores(source_only(), shift), scores(groupdro(sources=3), shift)
    print("groupdro", np.round([plain, robust], 3))
    assert robust.mean() > plain.mean() + 0.01
    assert robust.min() > plain.max() - 0.005


class Patches(nn.Module):
    """A convolution of 3×3 pixels, as one matrix product."""

    width: int

    @nn.compact
    def __call__(self, x):
        h, w = x.shape[1] - 2, x.shape[2] - 2
        return nn.Dense(self.width)(
            jnp.concatenate([x[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], -1)
        )


class SmallConv(nn.Module):
    """Two convolutions, named as in LeNet, and the mean over pixels."""

    @nn.compact
    def __call__(self, inputs, *, train=False):
        x = nn.relu(Patches(8, name="conv1")(inputs))
        x = nn.relu(Patches(16, name="conv2")(x))
        return Outputs(x.mean((1, 2)), None, {})


def textured(contrast, brightness, share, *, noise=2.0):
    """Stripes that lie or stand (the class, ``share`` of them standing) under noise, in the domain's style."""

    def draw(key, rows):
        k = jax.random.split(key, 3)
        labels = (jax.random.uniform(k[0], (rows,)) < share).astype(jnp.int32)
        phase = 2 * jnp.pi * jax.random.uniform(k[1], (rows, 1, 1))
        lying = jnp.sin(jnp.arange(10)[None, :, None] * 2 * jnp.pi / 4 + phase) * jnp.ones((1, 1, 10))
        image = jnp.where((labels == 1)[:, None, None], jnp.swapaxes(lying, 1, 2), lying)
        image = contrast * (image + noise * jax.random.normal(k[2], (rows, 10, 10))) + brightness
        return image[..., None], labels

    return draw


def test_mixed_styles_are_no_cue_for_the_class():
    """The two sources' styles go with the class, 19 to 1; the target has a style of its own and both classes."""
    sources = interleaved(textured(0.5, 0.0, 0.05), textured(1.0, 1.0, 0.95))
    shift = Shift(sources, textured(0.5, -0.5, 0.5), Classifier(SmallConv(), 2), rows=32)
    plain, mixed = scores(source_only(), shift), scores(mixstyle(), shift)
    print("mixstyle", np.round([plain, mixed], 3))
    assert mixed.mean() > plain.mean() + 0.1
