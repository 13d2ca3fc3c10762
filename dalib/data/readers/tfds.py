"""Domains from tensorflow-datasets: by name, or from folders that its builders wrote."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dalib.core.checks import choose, input_error
from dalib.data.domain import Domain
from dalib.data.readers.files.names import printable
from dalib.data.readers.images import ImageFiles, is_plain, read_image

SAMPLED = 32
DOWNLOAD = "run builder.download_and_prepare() once"


@dataclass(frozen=True, eq=False)
class TfdsSplit:
    """Examples of one split of a prepared builder.

    Attributes:
        builder: the tensorflow-datasets builder.
        instruction: its split, for example ``"train"`` or ``"train[:80%]"``.
        image_key, label_key: the features that hold input and class.
    """

    builder: Any
    instruction: str
    image_key: str
    label_key: str

    @cached_property
    def _decoded(self) -> Any:
        return self.builder.as_data_source(self.instruction)

    @cached_property
    def _encoded(self) -> Any:
        from tensorflow_datasets import decode

        return self.builder.as_data_source(self.instruction, decoders={self.image_key: decode.SkipDecoding()})

    def __len__(self) -> int:
        return len(self._decoded)

    def __getitems__(self, indices: Sequence[int]) -> tuple[list[np.ndarray], np.ndarray]:
        records = self._decoded.__getitems__([int(i) for i in indices])
        labels = np.asarray([int(record[self.label_key]) for record in records], np.int32)
        return [np.asarray(record[self.image_key]) for record in records], labels

    @cached_property
    def labels(self) -> np.ndarray:
        """Return all labels, int32 ``[n]``, read once without decoding the images."""
        chunks = [list(range(i, min(i + 1024, len(self)))) for i in range(0, len(self), 1024)]
        records = (record for chunk in chunks for record in self._encoded.__getitems__(chunk))
        return np.asarray([int(record[self.label_key]) for record in records], np.int32)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the builder's name and version, all labels, and 32 encoded inputs spread evenly."""
        digest = hashlib.sha256(f"{self.builder.info.full_name}\0".encode())
        digest.update(self.labels.tobytes())
        rows = np.unique(np.linspace(0, len(self) - 1, SAMPLED).astype(int))
        for record in self._encoded.__getitems__([int(i) for i in rows]):
            encoded = record[self.image_key]
            digest.update(encoded if isinstance(encoded, bytes) else np.asarray(encoded).tobytes())
        return digest.hexdigest()


def from_tfds(
    name: str,
    builder: str | Any,
    *,
    splits: Mapping[str, str] | None = None,
    data_dir: str | None = None,
    image_key: str = "image",
    label_key: str = "label",
) -> Domain:
    """Make a domain from a prepared tensorflow-datasets builder.

    Run ``builder.download_and_prepare()`` with the ``array_record`` format once before; some of tfds's own builders
    need TensorFlow for that, none for reading.

    Args:
        name: the domain's name.
        builder: a builder, or the name of an imported one or of one of tfds's.
        splits: tfds's split for each of ours, for example ``{"train": "train[:80%]", "test": "train[80%:]"}``.
            Default: every split of the builder under its own name.
        data_dir: folder of tfds's data, when ``builder`` is a name; its default otherwise.
        image_key: feature that holds the input.
        label_key: feature that holds the class; it must be a ``ClassLabel``.

    Raises:
        InputError: an unknown builder, one that is not prepared or not in a random-access format, unknown splits or
            features, or a label that is not a class.
    """
    import tensorflow_datasets as tfds

    if isinstance(builder, str):
        try:
            builder = tfds.builder(builder, data_dir=data_dir, file_format="array_record")
        except (tfds.core.DatasetNotFoundError, ValueError) as error:
            got, todo = f"{builder!r}: {_first_line(error)}", "import the module that defines your own builder first"
            expected = "the name of a tensorflow-datasets builder"
            raise input_error("builder", got=got, expected=expected, todo=todo) from error
    # Features first: without a class there is no domain to adapt.
    features = builder.info.features
    choose(f"image_key of {builder.name}", image_key, features)
    choose(f"label_key of {builder.name}", label_key, features)
    if not isinstance(features[label_key], tfds.features.ClassLabel):
        got = f"{label_key!r}, a {type(features[label_key]).__name__}"
        raise input_error("label_key", got=got, expected="a ClassLabel")
    chosen = dict(splits) if splits is not None else {split: split for split in builder.info.splits}
    sources = {split: TfdsSplit(builder, instruction, image_key, label_key) for split, instruction in chosen.items()}
    if not sources:
        got = f"{builder.info.full_name} without any split in {builder.data_dir}"
        raise input_error("builder", got=got, expected="a prepared data set", todo=DOWNLOAD)
    # Each split is opened once, since only that shows whether its files allow random access.
    for split, source in sources.items():
        try:
            len(source)
        except (ValueError, NotImplementedError, AssertionError, KeyError) as error:
            got = f"{source.instruction!r} of {builder.info.full_name}: {_first_line(error)}"
            expected = f"a split of a data set prepared as array_record in {builder.data_dir}"
            todo = f"{DOWNLOAD}, or correct the split"
            raise input_error(f"splits[{split!r}]", got=got, expected=expected, todo=todo) from error
    return Domain(name, tuple(features[label_key].names), sources)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


# One builder class for all domains of image files that were read already; it writes array_record without TensorFlow.

VERSION = "1.0.0"
POOLED = "pool"
"""Stored name of a domain that is training data and test set at once (tensorflow-datasets reserves ``all``)."""
KEPT = ("JPEG", "PNG")
_CLASSES: dict[str, Any] = {}


def folder_builder(name: str, domain: Domain, out: str | Path) -> Any:
    """Make a ``GeneratorBasedBuilder`` for a domain of image files; config and splits are the domain's.

    Splits that are one pool are stored once, as ``pool``. JPEG and PNG files in RGB, opaque and upright, keep their
    bytes; other images become PNG in RGB.

    Args:
        name: the benchmark's name, a valid name of a builder (lower case, underscores).
        domain: from a folder or list reader.
        out: folder of the prepared data, which the builder's ``download_and_prepare()`` writes.

    Raises:
        InputError: a domain that is not made of image files.
    """
    others = [(k, type(s).__name__) for k, s in stored_splits(domain).items() if not isinstance(s, ImageFiles)]
    if others:
        got = ", ".join(f"{kind} in {domain.name}/{split}" for split, kind in others)
        raise input_error("domain", got=got, expected="a domain of image files")
    return _builder_class(name)(domain=domain, config=domain.name, data_dir=str(out), file_format="array_record")


def stored_splits(domain: Domain) -> dict[str, Any]:
    """Return the splits that differ; a pool under the name ``pool``."""
    if len({id(source) for source in domain.splits.values()}) == 1 and len(domain.splits) > 1:
        return {POOLED: next(iter(domain.splits.values()))}
    return dict(domain.splits)


def prepare_records(name: str, domains: Mapping[str, Domain], out: str | Path) -> None:
    """Write every domain with its builder."""
    for domain in domains.values():
        folder_builder(name, domain, out).download_and_prepare()


def from_records(name: str, domain: str, out: str | Path) -> Domain:
    """Read a domain that :func:`prepare_records` wrote.

    Raises:
        InputError: nothing prepared under this name in ``out``.
    """
    import tensorflow_datasets as tfds

    folder = Path(out) / name / domain / VERSION
    if not folder.is_dir():
        if known := sorted(path.name for path in (Path(out) / name).glob("*")):
            choose("domain", domain, dict.fromkeys(known))
        got, todo = f"{folder} (no such folder)", "dalib data prepare"
        raise input_error("out", got=got, expected="a prepared data set", todo=todo)
    builder = tfds.builder_from_directory(str(folder))
    if list(builder.info.splits) != [POOLED]:
        return from_tfds(domain, builder)
    # A pool was stored once; both splits are one object again, which says that the protocol is transductive.
    stored = from_tfds(domain, builder, splits={"train": POOLED})
    return Domain(domain, stored.class_names, dict.fromkeys(("train", "test"), stored.splits["train"]))


def records_folder(folder: Path) -> Path | None:
    """Find the newest version that tensorflow-datasets prepared in ``folder`` (``builder/config``), if there is one."""
    found = [path.parent for path in folder.glob("*/dataset_info.json")]
    return max(found, key=lambda path: [int(part) for part in path.name.split(".") if part.isdigit()], default=None)


def _builder_class(name: str) -> Any:
    """Make the builder class of a benchmark, once: tensorflow-datasets registers classes by name."""
    if name in _CLASSES:
        return _CLASSES[name]
    import tensorflow_datasets as tfds

    # Registered under the benchmark's name below, so that what it wrote is found by that name.
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
                yield i, {"image": stored_bytes(source.root / path), "label": label, "path": printable(path)}

    FolderBuilder.__name__ = FolderBuilder.__qualname__ = "".join(part.capitalize() for part in name.split("_"))
    FolderBuilder.name = name
    _CLASSES[name] = FolderBuilder
    return FolderBuilder


def stored_bytes(path: Path) -> io.BytesIO:
    """Return the bytes to store of an image: its own where plain, else those of :func:`read_image` as PNG."""
    from PIL import Image

    raw = path.read_bytes()
    with Image.open(io.BytesIO(raw)) as image:
        if image.format in KEPT and is_plain(image):
            return io.BytesIO(raw)
    png = io.BytesIO()
    Image.fromarray(read_image(path)).save(png, "png")
    png.seek(0)
    return png
