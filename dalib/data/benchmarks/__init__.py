"""Data sets of the field by name, read from their published files and checked against manifests of counts.

    from dalib.data import benchmarks

    domains = benchmarks.load("office31", "/data")        # {"amazon": Domain, "dslr": Domain, "webcam": Domain}

Nothing is downloaded: :func:`how_to_get` names the data's official place. The same on a command line, with
``python -m dalib.data``: ``list``, ``how-to-get NAME``, ``check NAME --data-dir DIR``, ``prepare NAME --data-dir DIR
--out DIR``.
"""

from collections.abc import Sequence
from pathlib import Path

from dalib.core.checks import choose
from dalib.data.benchmarks import loading
from dalib.data.benchmarks.amazon import AMAZON_FEATURES, AMAZON_MULTI_DOMAIN, AMAZON_REVIEWS
from dalib.data.benchmarks.crossner import CROSSNER
from dalib.data.benchmarks.digits import DIGITS, MNIST_M_RELEASE
from dalib.data.benchmarks.facts import AnyDomain
from dalib.data.benchmarks.facts import Facts as Facts
from dalib.data.benchmarks.fsdd import FSDD
from dalib.data.benchmarks.loading import Benchmark as Benchmark
from dalib.data.benchmarks.loading import Report as Report
from dalib.data.benchmarks.object_images import (
    IMAGECLEF_DA,
    OFFICE31,
    OFFICE_CALTECH10,
    OFFICE_CALTECH10_SURF,
    OFFICE_HOME,
    VISDA2017,
)
from dalib.data.benchmarks.style_images import DOMAINNET, PACS, VLCS
from dalib.data.benchmarks.uci_har import UCI_HAR, UCI_HAR_FEATURES

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        OFFICE31,
        OFFICE_HOME,
        OFFICE_CALTECH10,
        OFFICE_CALTECH10_SURF,
        VISDA2017,
        DOMAINNET,
        IMAGECLEF_DA,
        PACS,
        VLCS,
        DIGITS,
        MNIST_M_RELEASE,
        AMAZON_REVIEWS,
        AMAZON_MULTI_DOMAIN,
        AMAZON_FEATURES,
        CROSSNER,
        FSDD,
        UCI_HAR,
        UCI_HAR_FEATURES,
    )
}
"""All benchmarks by name."""


def benchmark(name: str) -> Benchmark:
    """Return the benchmark called ``name``; an unknown name raises an InputError with the nearest names."""
    return choose("benchmark", name, BENCHMARKS)


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    domains: Sequence[str] | None = None,
    decode: bool | None = None,
) -> dict[str, AnyDomain]:
    """Read the domains of a benchmark and check them against its manifest of counts.

    Domains of images decode when read; see ``prepare`` for doing that once. For transductive benchmarks the splits
    ``train`` and ``test`` are the same examples.

    Args:
        name: one of :data:`BENCHMARKS`.
        data_dir: folder with the unpacked archives; the environment variable DALIB_DATA without it.
        domains: names of those that are wanted; without it all of them (optional ones if they are there).
        decode: decode every image now, so that a truncated one is named before training starts. By default this is
            done for up to 20,000 images (seconds to a minute); VisDA-2017 and DomainNet are left to :func:`check` and
            to ``prepare``, which decode everything once.

    Raises:
        InputError: an unknown name, no such folder, or one error with everything that is wrong with the data: missing
            domains, class folders too many, wrong counts, list files with paths to nothing, truncated images.
    """
    return loading.load(benchmark(name), data_dir, domains=domains, decode=decode)


def check(
    name: str, data_dir: str | Path | None = None, *, domains: Sequence[str] | None = None, decode: bool = True
) -> Report:
    """Read a benchmark whole, compare it with its manifest, and decode every image unless told not to.

    Faults are in the report, not raised.
    """
    return loading.check(benchmark(name), data_dir, domains=domains, decode=decode)


def how_to_get(name: str) -> str:
    """Give official place, licence, citation and accepted layout of a benchmark, as text."""
    return loading.how_to_get(benchmark(name))
