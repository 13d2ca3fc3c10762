"""Small data of one's own, and the command on it."""

import numpy as np

from dalib.data.readers.user_files import Options, place_of, read
from dalib.run.cli.main import main
from dalib.run.own.adapt import Own, own

SMALL = "--steps 4 --batch-size 4 --seeds 1 --log-every 2 --evaluate-every 2 --save-every 4 --no-report"
MLP = "--encoder-options encoder.widths=[8]"


def blobs(n=30, classes=3, shift=0.0, seed=0, width=5):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(n, width)) * 0.3
    x[np.arange(n), y] += 3
    return (x + shift).astype(np.float32), y


def archive(path, x, y=None):
    np.savez(path, x=x, **({} if y is None else {"y": y}))
    return str(path)


def read_one(path, labelled=True, **options):
    return read("source", place_of("source", str(path)), Options(**options), labelled=labelled)


def images(root, classes=("cat", "dog"), n=3, size=12, seed=0):
    from PIL import Image

    rng = np.random.default_rng(seed)
    for label in classes:
        (root / label).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (size, size + i, 3), np.uint8)).save(root / label / f"{i}.png")
    return root


def call(*arguments):
    return main(own, Own, "", [str(a) for a in arguments])
