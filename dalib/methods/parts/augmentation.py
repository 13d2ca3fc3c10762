"""Random views of a batch inside the compiled step: pure functions ``(key, inputs [n, ...]) -> inputs [n, ...]``.

A draw depends on the key and the example, never on its place in the batch: the order of rows and their place on devices
do not matter. Two equal examples of one batch get equal views.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from dalib.core.checks import input_error
from dalib.core.types import Array

Augment = Callable[[Array, Array], Array]
"""``(key, inputs [n, ...]) -> inputs [n, ...]``, of the same shape and dtype, crops with ``size`` apart; those here
also take ``[n]`` keys."""


def row_keys(key: Array, inputs: Array) -> Array:
    """A key per example, ``[n]``, of ``key`` and a hash of the example; keys ``[n]`` are returned as they are. A view
    of a view must draw from the keys of the original rows: rounding in the first would change the hash."""
    if key.ndim == 1 and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    kind = jnp.float32 if jnp.issubdtype(inputs.dtype, jnp.floating) else jnp.int32
    rows = inputs.astype(kind).reshape(inputs.shape[0], -1)
    words = jax.lax.bitcast_convert_type(rows, jnp.uint32)
    # Odd factors are invertible modulo 2³², so a change of a single entry always changes the sum; the shift brings the
    # high bits of floats, which differ most, down into the low ones.
    factors = jax.random.bits(jax.random.key(0), (words.shape[1],), jnp.uint32) | jnp.uint32(1)
    mixed = (words ^ (words >> 16)) * factors[None]
    return jax.vmap(lambda word: jax.random.fold_in(key, word))(jnp.sum(mixed, axis=1, dtype=jnp.uint32))


def draw_rows(draw: Callable[..., Array], key: Array, inputs: Array, shape: tuple[int, ...] = (), **options: Any):
    """``draw(key, shape, **options)`` for each row of ``inputs``, ``[n, *shape]``; ``draw`` as in :mod:`jax.random`."""
    return jax.vmap(lambda k: draw(k, shape, **options))(row_keys(key, inputs))


def identity(key: Array, inputs: Array) -> Array:
    """The inputs themselves: for tokens, and for a stream that augments already."""
    del key
    return inputs


def gaussian_noise(key: Array, inputs: Array, *, scale: Any = 0.1) -> Array:
    """Adds independent normal noise of standard deviation ``scale``, in the units of the inputs."""
    noise = draw_rows(jax.random.normal, key, inputs, inputs.shape[1:], dtype=jnp.float32)
    return inputs + (scale * noise).astype(inputs.dtype)


def random_shift(key: Array, inputs: Array, *, fraction: float = 0.125) -> Array:
    """Shifts each image ``[n, h, w, c]`` by up to ``fraction`` of its sides; the edge is repeated into the gap."""
    _check_images(inputs)
    n, height, width, _ = inputs.shape
    most = [int(round(fraction * side)) for side in (height, width)]
    padded = jnp.pad(inputs, ((0, 0), (most[0], most[0]), (most[1], most[1]), (0, 0)), mode="edge")
    share = draw_rows(jax.random.uniform, key, inputs, (2,), dtype=jnp.float32)
    start = jnp.floor(share * jnp.array([[2 * m + 1 for m in most]], jnp.float32)).astype(jnp.int32)
    rows = start[:, :1] + jnp.arange(height)[None]
    columns = start[:, 1:] + jnp.arange(width)[None]
    return padded[jnp.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def random_rotation(key: Array, inputs: Array, *, degrees: Any = 10.0) -> Array:
    """Turns each image ``[n, h, w, c]`` about its middle by up to ± ``degrees``, bilinearly; the edge is repeated."""
    _check_images(inputs)
    angles = draw_rows(jax.random.uniform, key, inputs, dtype=jnp.float32, minval=-1.0) * degrees * (jnp.pi / 180)
    sides = jnp.array(inputs.shape[1:3], jnp.float32)
    rows, columns = jnp.meshgrid(*(jnp.arange(side) - (side - 1) / 2 for side in inputs.shape[1:3]), indexing="ij")

    def turn(image: Array, angle: Array) -> Array:
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        middle = (sides - 1) / 2
        # The inverse rotation: for each pixel of the view, the place in the image that it shows.
        places = [cos * rows + sin * columns + middle[0], cos * columns - sin * rows + middle[1]]
        planes = [map_coordinates(image[..., c], places, order=1, mode="nearest") for c in range(image.shape[-1])]
        return jnp.stack(planes, axis=-1)

    return jax.vmap(turn)(inputs.astype(jnp.float32), angles).astype(inputs.dtype)


def horizontal_flip(key: Array, inputs: Array, *, probability: Any = 0.5) -> Array:
    """Mirrors each image ``[n, h, w, c]`` left to right with the given probability; not for digits or letters."""
    _check_images(inputs)
    mirrored = draw_rows(jax.random.uniform, key, inputs, (1, 1, 1), dtype=jnp.float32) < probability
    return jnp.where(mirrored, inputs[:, :, ::-1], inputs)


def random_crop(key: Array, inputs: Array, *, size: int) -> Array:
    """A random square of each image ``[n, h, w, c]``, ``[n, size, size, c]``; nothing is resized."""
    _check_images(inputs)
    _check_size(size, inputs)
    most = jnp.array([side - size for side in inputs.shape[1:3]], jnp.float32)
    share = draw_rows(jax.random.uniform, key, inputs, (2,), dtype=jnp.float32)
    start = jnp.floor(share * (most + 1)[None]).astype(jnp.int32)
    return jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), (size, size, image.shape[-1])))(
        inputs, start
    )


def random_resized_crop(
    key: Array,
    inputs: Array,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    size: int = 0,
) -> Array:
    """Resize a random rectangle of each image ``[n, h, w, c]`` to the whole, or to ``size``, bilinearly.

    Args:
        key: randomness.
        inputs: floating images.
        scale: interval of the rectangle's uniform share of the area; 8 % to 100 % in Szegedy et al., "Going deeper with
            convolutions", 2015, section 6.
        ratio: interval of its log-uniform width over height, in the image's units (3/4 to 4/3 there); longer sides are
            cut.
        size: height and width of the views; 0 is those of the images.
    """
    _check_images(inputs)
    share = draw_rows(jax.random.uniform, key, inputs, (4,), dtype=jnp.float32)
    area = scale[0] + (scale[1] - scale[0]) * share[:, 0]
    aspect = jnp.exp(jnp.log(ratio[0]) + (jnp.log(ratio[1]) - jnp.log(ratio[0])) * share[:, 1])
    # Sides and starts are shares of the image, so that one formula serves every shape.
    sides = jnp.minimum(jnp.sqrt(jnp.stack([area / aspect, area * aspect], 1)), 1.0)
    starts = share[:, 2:] * (1 - sides)
    if size:
        _check_size(size, inputs)
    shape = (size, size) if size else inputs.shape[1:3]
    whole = jnp.array(shape, jnp.float32)
    stretch = whole / jnp.array(inputs.shape[1:3], jnp.float32)

    def cut(image: Array, side: Array, start: Array) -> Array:
        zoom = stretch / side
        moved = -start * whole / side
        target = (*shape, image.shape[-1])
        return jax.image.scale_and_translate(image, target, (0, 1), zoom, moved, "linear", antialias=False)

    return jax.vmap(cut)(inputs, sides, starts).astype(inputs.dtype)


def brightness_contrast(key: Array, inputs: Array, *, strength: Any = 0.4) -> Array:
    """Each image ``[n, h, w, c]``: contrast times 1 ± strength about its mean, plus ± strength of its own deviation."""
    _check_images(inputs)
    mean = inputs.mean((1, 2, 3), keepdims=True)
    deviation = jnp.sqrt(jnp.square(inputs - mean).mean((1, 2, 3), keepdims=True))
    share = draw_rows(jax.random.uniform, key, inputs, (2, 1, 1, 1), dtype=jnp.float32, minval=-1.0)
    contrast, brightness = jnp.moveaxis((strength * share).astype(inputs.dtype), 1, 0)
    return mean + (1 + contrast) * (inputs - mean) + brightness * deviation


def cutout(key: Array, inputs: Array, *, fraction: Any = 0.5) -> Array:
    """Paint a rectangle of each image ``[n, h, w, c]``, ``fraction`` of its sides, in the image's mean colour. Its
    centre is anywhere, so part of it may be outside (DeVries, Taylor 2017, arXiv 1708.04552)."""
    _check_images(inputs)
    _, height, width, _ = inputs.shape
    centre = draw_rows(jax.random.uniform, key, inputs, (2,), dtype=jnp.float32)
    down = jnp.abs((jnp.arange(height) + 0.5)[None] / height - centre[:, :1]) < fraction / 2
    across = jnp.abs((jnp.arange(width) + 0.5)[None] / width - centre[:, 1:]) < fraction / 2
    inside = (down[:, :, None] & across[:, None, :])[..., None]
    return jnp.where(inside, inputs.mean((1, 2), keepdims=True), inputs)


def default_weak(key: Array, inputs: Array, *, flip: bool = False, noise: Any = 0.1) -> Array:
    """The weak view by kind of input: images are shifted by up to an eighth (and mirrored if ``flip``), other floats
    get normal noise of deviation ``noise`` (for standardised vectors), integers (tokens) stay."""
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        return identity(key, inputs)
    if inputs.ndim != 4:
        return gaussian_noise(key, inputs, scale=noise)
    keys = _split(key, inputs, 2)
    shifted = random_shift(keys[0], inputs)
    return horizontal_flip(keys[1], shifted) if flip else shifted


def default_strong(key: Array, inputs: Array, *, flip: bool = False, noise: Any = 0.3) -> Array:
    """The strong view by kind of input: images get the weak view, brightness and contrast, and cutout; other floats
    normal noise of deviation ``noise``; integers (tokens) stay."""
    if not jnp.issubdtype(inputs.dtype, jnp.floating) or inputs.ndim != 4:
        return default_weak(key, inputs, noise=noise)
    keys = _split(key, inputs, 3)
    return cutout(keys[0], brightness_contrast(keys[1], default_weak(keys[2], inputs, flip=flip)))


VIEWS: dict[str, Callable[..., Array]] = {
    "crop": random_resized_crop,
    "random-crop": random_crop,
    "shift": random_shift,
    "flip": horizontal_flip,
    "rotate": random_rotation,
}
"""Views of training images by the name on the command line."""

SIZED = ("crop", "random-crop")
"""Those that take a ``size``; the second must have one."""


def in_turn(views: Sequence[Augment]) -> Augment:
    """One view after the other, each with its own randomness."""

    def view(key: Array, inputs: Array) -> Array:
        for i, own in enumerate(views):
            inputs = own(jax.random.fold_in(key, i), inputs)
        return inputs

    return view


def _split(key: Array, inputs: Array, count: int) -> list[Array]:
    keys = jax.vmap(lambda k: jax.random.split(k, count))(row_keys(key, inputs))
    return [keys[:, i] for i in range(count)]


def _check_size(size: int, inputs: Array) -> None:
    if not 0 < size <= min(inputs.shape[1:3]):
        raise input_error("size of a crop", got=size, expected=f"at most {min(inputs.shape[1:3])}, the images' side")


def _check_images(inputs: Array) -> None:
    if inputs.ndim != 4 or not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise input_error(
            "inputs of an image view",
            got=f"shape {inputs.shape}, dtype {inputs.dtype}",
            expected="floating images [n, h, w, c]",
            todo="pass weak= and strong= views that fit your inputs",
        )
