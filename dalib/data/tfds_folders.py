"""tensorflow-datasets builders of image domains: one generic class for all benchmarks, without TensorFlow.

A builder is made from domains that have been read already, so that folders, list files and manifests stay in one place;
it writes their encoded images as array_record, which :func:`dalib.data.from_tfds` reads with random access.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dalib.checks import choose, input_error
from dalib.data.domain import Domain
from dalib.data.image_files import ImageFiles, read_image
from dalib.data.tfds_source import from_tfds

VERSION = "1.0.0"
POOLED = "pool"
"""Stored name of a domain that is training data and test set at once (tensorflow-datasets reserves ``all``)."""
KEPT = ("JPEG", "PNG")
_CLASSES: dict[str, Any] = {}


def folder_builder(name: str, domain: Domain, out: str | Path) -> Any:
    """A ``GeneratorBasedBuilder`` for a domain of image files; its config is the domain, its splits the domain's.

    Splits that are one pool are stored once, as ``pool``. Images that are JPEG or PNG in RGB keep their bytes; others
    become PNG in RGB.

    Args:
        name: the benchmark's name, a valid name of a builder (lower case, underscores).
        domain: from a folder or list reader.
        out: where tensorflow-datasets keeps the prepared data.

    Returns:
        The builder; ``download_and_prepare()`` writes it.

    Raises:
        InputError: a domain that is not made of image files.
    """
    sources = stored_splits(domain)
    for split, source in sources.items():
        if not isinstance(source, ImageFiles):
            raise input_error(
                "domain", got=f"{type(source).__name__} in {domain.name}/{split}", expected="a domain of image files"
            )
    return _builder_class(name)(domain=domain, config=domain.name, data_dir=str(out), file_format="array_record")


def stored_splits(domain: Domain) -> dict[str, Any]:
    """The splits that differ; a pool under the name ``pool``."""
    if len({id(source) for source in domain.splits.values()}) == 1 and len(domain.splits) > 1:
        return {POOLED: next(iter(domain.splits.values()))}
    return dict(domain.splits)


def prepare_records(name: str, domains: Mapping[str, Domain], out: str | Path) -> None:
    """Writes every domain with its builder."""
    for domain in domains.values():
        folder_builder(name, domain, out).download_and_prepare()


def from_records(name: str, domain: str, out: str | Path) -> Domain:
    """A domain that :func:`prepare_records` wrote.

    Raises:
        InputError: nothing prepared under this name in ``out``.
    """
    import tensorflow_datasets as tfds

    folder = Path(out) / name / domain / VERSION
    if not folder.is_dir():
        known = sorted(path.name for path in (Path(out) / name).glob("*")) if (Path(out) / name).is_dir() else []
        if known:
            choose("domain", domain, dict.fromkeys(known))
        raise input_error(
            "out", got=f"{folder} (no such folder)", expected="a prepared data set", todo="python -m dalib.data prepare"
        )
    builder = tfds.builder_from_directory(str(folder))
    if list(builder.info.splits) != [POOLED]:
        return from_tfds(domain, builder)
    stored = from_tfds(domain, builder, splits={"train": POOLED})
    return Domain(domain, stored.class_names, dict.fromkeys(("train", "test"), stored.splits["train"]))


def records_folder(folder: Path) -> Path | None:
    """The newest version that tensorflow-datasets prepared in ``folder`` (``builder/config``), if there is one."""
    found = [path.parent for path in folder.glob("*/dataset_info.json")]
    return max(found, key=lambda path: [int(part) for part in path.name.split(".") if part.isdigit()], default=None)


def _builder_class(name: str) -> Any:
    """The builder class of a benchmark, made once: tensorflow-datasets registers classes by name."""
    if name in _CLASSES:
        return _CLASSES[name]
    import numpy as np
    import tensorflow_datasets as tfds

    class FolderBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        VERSION = tfds.core.Version("1.0.0")

        def __init__(self, *, domain: Domain, config: str, **options: Any):
            self._domain = domain
            super().__init__(config=tfds.core.BuilderConfig(name=config), **options)

        def _info(self) -> Any:
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=list(self._domain.class_names)),
                "path": tfds.features.Text(),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            del dl_manager
            return {split: self._generate_examples(source) for split, source in stored_splits(self._domain).items()}

        def _generate_examples(self, source: ImageFiles) -> Iterator[tuple[int, dict[str, Any]]]:
            for i, (path, label) in enumerate(zip(source.paths, np.asarray(source.labels).tolist(), strict=True)):
                yield i, {"image": _encoded(source.root / path), "label": label, "path": path}

    FolderBuilder.__name__ = FolderBuilder.__qualname__ = "".join(part.capitalize() for part in name.split("_"))
    FolderBuilder.name = name
    _CLASSES[name] = FolderBuilder
    return FolderBuilder


def _encoded(path: Path) -> io.BytesIO:
    """An image as the bytes to store."""
    from PIL import Image

    raw = path.read_bytes()
    with Image.open(io.BytesIO(raw)) as image:
        if image.mode == "RGB" and image.format in KEPT:
            return io.BytesIO(raw)
    png = io.BytesIO()
    Image.fromarray(read_image(path)).save(png, "png")
    png.seek(0)
    return png
