"""Images a second from files to the device: JPEG folders, memory-mapped uint8, array_record, by number of threads.

    python -m experiments.speed.input_pipeline
    python -m experiments.speed.input_pipeline --images 512 --threads 1 2 4 8

Makes a folder of photographs that do not exist (smooth colours and grain, ``--width`` × ``--height`` pixels, JPEG) in a
temporary place, and reads it the ways that training does, both domains of a paired stream, to arrays on the device:

``decode``        Pillow's decoding of the files alone, to RGB, in as many threads: nothing can be faster
``folder``        ``from_folder``, the field's training view (resize, random resized crop, flip, normalise)
``array_record``  the same view; the files' bytes in array_record through tensorflow-datasets
``arrays``        ``dalib.data.readers.prepare``: decoded and brought to 256² once, memory-mapped; random resized crop,
                  flip, normalise
``crops``         the same files; random crop and flip of uint8 on the host, normalised on the device
``experiments``   the same files as ``--prepared`` of the image benchmarks reads them: normalised whole, random resized
                  crop and flip on the device

The files were just written, so the disk is not measured. The first batch of each pass is not counted. The last line is
one JSON object. Measured numbers: RESULTS.md in this folder.
"""

import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from dalib.core.checks import InputError, choose, input_error
from dalib.core.types import ImagePreprocessing
from dalib.data import Domain, from_folder, paired_stream, transforms
from dalib.data.readers.images import IMAGENET_MEAN, IMAGENET_STD, published, stored_size, train_transform

FORMS = ("decode", "folder", "array_record", "arrays", "crops", "experiments")
BATCH = 8


@dataclass(frozen=True)
class Pipeline:
    """What to measure."""

    forms: tuple[str, ...] = FORMS
    """Some of decode, folder, array_record, arrays, crops, experiments."""
    images: int = 256
    """Images of each of two domains."""
    width: int = 500
    """Pixels of a stored image."""
    height: int = 400
    """Pixels of a stored image."""
    size: int = 224
    """Side of the images that enter the net."""
    threads: tuple[int, ...] = (0, 1, 2)
    """Threads that read ahead; 0 reads when a batch is asked for."""
    rounds: int = 3
    """Passes of each; the fastest counts."""


def main(pipeline: Pipeline) -> dict[str, Any]:
    """Measures everything asked for, prints a table, and returns what the last line holds."""
    for form in pipeline.forms:
        choose("forms", form, dict.fromkeys(FORMS))
    if pipeline.images < 4 * BATCH or min(pipeline.width, pipeline.height, pipeline.size, pipeline.rounds) < 1:
        raise input_error(
            "images, width, height, size, rounds", got=pipeline, expected=f"images ≥ {4 * BATCH}, rest ≥ 1"
        )
    if not pipeline.threads or min(pipeline.threads) < 0:
        raise input_error("threads", got=pipeline.threads, expected="numbers ≥ 0")
    import jax

    device = jax.devices()[0]
    with tempfile.TemporaryDirectory() as temporary:
        root = folder_of_images(temporary, pipeline)
        files = [path for path in root.rglob("*.jpg")]
        kilobytes = float(np.mean([os.path.getsize(path) for path in files])) / 1e3
        print(
            f"{device.platform}; {len(files)} JPEG of {pipeline.width}×{pipeline.height}, {kilobytes:.0f} kB; images/s"
        )
        print(f"{'':13}" + "".join(f"{f'{n} threads':>11}" for n in pipeline.threads))
        results = rates(root, pipeline, forms=pipeline.forms)
    summary = {
        "benchmark": "input_pipeline",
        "device": f"{device.platform} ({device.device_kind})",
        "cores": len(os.sched_getaffinity(0)),
        "kilobytes": kilobytes,
        "settings": asdict(pipeline),
        "results": results,
    }
    if "decode" in results:
        summary["of_decode"] = {
            form: {n: rate / results["decode"][n] for n, rate in found.items()} for form, found in results.items()
        }
    print(json.dumps(summary))
    return summary


def folder_of_images(temporary: str, pipeline: Pipeline) -> Path:
    """Writes ``source`` and ``target`` with two classes each; returns their parent."""
    from PIL import Image

    random = np.random.default_rng(0)
    root = Path(temporary) / "images"
    shape = (pipeline.height, pipeline.width)
    for i in range(2 * pipeline.images):
        folder = root / ("source", "target")[i % 2] / f"class{i // 2 % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (8, 10, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC), np.float32)
        grain = random.normal(0, 8, (*shape, 1)).astype(np.float32)
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "jpeg", quality=90)
        (folder / f"{i}.jpg").write_bytes(file.getvalue())
    return root


def rates(root: Path, pipeline: Pipeline, *, forms: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Images a second by form and number of threads (as text, as JSON has it)."""
    domains = {name: from_folder(name, root / name, check=False) for name in ("source", "target")}
    found: dict[str, dict[str, float]] = {}
    for form in forms:
        reader = decoder(root) if form == "decode" else stream_reader(form, domains, root.parent, pipeline)
        times: dict[int, list[float]] = {n: [] for n in pipeline.threads}
        for _ in range(pipeline.rounds):
            for threads in pipeline.threads:
                times[threads].append(reader(threads))
        found[form] = {str(n): max(values) for n, values in times.items()}
        if len(forms) > 1:
            print(f"{form:13}" + "".join(f"{rate:11.0f}" for rate in found[form].values()), flush=True)
    return found


def decoder(root: Path) -> Callable[[int], float]:
    """Images a second of Pillow's decoding alone."""
    from dalib.data.readers.images import read_image

    files = sorted(root.rglob("*.jpg"))

    def read(threads: int) -> float:
        start = time.perf_counter()
        if threads:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(read_image, files))
        else:
            for path in files:
                read_image(path)
        return len(files) / (time.perf_counter() - start)

    return read


def stream_reader(form: str, domains: dict[str, Domain], temporary: Path, pipeline: Pipeline) -> Callable[[int], float]:
    """Images a second of a paired stream, from files to arrays on the device."""
    import jax

    from dalib.data.readers.prepare import from_prepared, prepare
    from dalib.data.readers.tfds import from_records
    from dalib.methods.parts.augmentation import VIEWS, in_turn
    from dalib.train import put_batch
    from experiments.inputs.image_splits import ViewedImages

    size = pipeline.size
    side = stored_size(size)
    view: transforms.Transform | None = train_transform(size)
    place: Callable[[Any], Any] = put_batch
    if form == "array_record":
        prepare("stored", domains, temporary / "records", form="array_record")
        domains = {name: from_records("stored", name, temporary / "records") for name in domains}
    if form in ("arrays", "crops", "experiments"):
        folder = temporary / "arrays" / "stored"
        if not folder.exists():
            prepare("stored", domains, folder.parent, form="arrays", size=side)
        domains = from_prepared(folder)
        view = transforms.compose(
            transforms.random_resized_crop(size),
            transforms.horizontal_flip(),
            transforms.to_float(),
            transforms.normalize(IMAGENET_MEAN, IMAGENET_STD),
        )
    if form == "crops":
        view = transforms.compose(transforms.random_crop(size), transforms.horizontal_flip())
        mean, std = (np.asarray(x, np.float32) for x in (IMAGENET_MEAN, IMAGENET_STD))
        place = placed_through(jax.jit(lambda x: (x.astype("float32") / 255 - mean) / std))
    if form == "experiments":
        finish = published(ImagePreprocessing(resize=side, size=side, keep_aspect=False))
        domains = {
            name: Domain(
                name,
                domain.class_names,
                {"train": ViewedImages(domain.split("train"), transforms.rgb(), finish, keep=0)},
            )
            for name, domain in domains.items()
        }
        view, views = None, in_turn([partial(VIEWS["crop"], size=size), VIEWS["flip"]])
        place = placed_through(jax.jit(lambda x: views(jax.random.key(0), x)))

    stream = paired_stream(
        domains["source"], domains["target"], batch_size=BATCH, seed=0, source_transform=view, target_transform=view
    )
    steps = pipeline.images // BATCH - 1

    def read(threads: int) -> float:
        batches = stream.batches(0, steps + 1, threads=threads)
        jax.block_until_ready(place(next(batches)))
        # What threads have read ahead by now would come for nothing; it is counted from the first batch on.
        start = time.perf_counter()
        for batch in batches:
            jax.block_until_ready(place(batch))
        return 2 * BATCH * steps / (time.perf_counter() - start)

    return read


def placed_through(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Puts a batch on the device and both domains' inputs through a function there."""
    from dalib.train import put_batch

    def place(batch: Any) -> Any:
        placed = put_batch(batch)
        source, target = placed.source, placed.target
        return placed._replace(
            source=source._replace(inputs=function(source.inputs)),
            target=target._replace(inputs=function(target.inputs)),
        )

    return place


if __name__ == "__main__":
    try:
        main(tyro.cli(Pipeline, description=(__doc__ or "").split("\n\nMakes a folder")[0]))
    except InputError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        sys.exit(2)
