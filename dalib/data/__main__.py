"""Data sets on the command line: ``dalib data list | how-to-get | check | prepare | unpack``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dalib.core.checks import InputError
from dalib.core.plugins import installed
from dalib.data import benchmarks
from dalib.data.benchmarks.loading import faulty
from dalib.data.readers.files.archives import unpack
from dalib.data.readers.prepare import prepare


@dataclass(frozen=True)
class List:
    """All data sets: name, domains, classes, title; then those of other packages, for dalib adapt."""

    def run(self) -> None:
        """Prints one line a data set."""
        for name, benchmark in benchmarks.BENCHMARKS.items():
            facts = benchmark.facts
            sizes = sorted({len(classes) for classes in facts.classes.values()})
            classes = f"{sizes[0]} classes" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} classes"
            print(f"{name:<22} {len(facts.domains):>2} domains  {classes:<16} {facts.title}")
        for name, origins in installed("dataset").items():
            print(f"{name:<22} from {', '.join(origin.distribution or origin.spec for origin in origins)}")


@dataclass(frozen=True)
class HowToGet:
    """Official place, licence, citation and layout of a data set."""

    name: tyro.conf.Positional[str]
    """Name of the data set; "list" shows them."""

    def run(self) -> None:
        """Prints the text."""
        print(benchmarks.how_to_get(self.name))


@dataclass(frozen=True)
class Check:
    """Compares a data set with its manifest, decodes every image, prints counts and fingerprints."""

    name: tyro.conf.Positional[str]
    """Name of the data set; "list" shows them."""
    data_dir: Path | None = None
    """Folder with the unpacked archives. Default: the environment variable DALIB_DATA."""
    domains: tuple[str, ...] = ()
    """Domains to check; all of them by default."""
    decode: bool = True
    """Decode every image. Otherwise a truncated one shows only when it is read."""

    def run(self) -> None:
        """Prints what was found; raises one error with all faults."""
        facts = benchmarks.benchmark(self.name).facts
        report = benchmarks.check(self.name, self.data_dir, domains=self.domains, decode=self.decode)
        for domain, split, size, counts in report.rows:
            print(f"{domain:<14} {split:<6} {size:>7}  {len(counts)} classes of {counts.min()} to {counts.max()}")
        for name in report.absent:
            print(f"{name:<14} not here (optional)")
        if report.faults:
            raise faulty(benchmarks.benchmark(self.name), report.faults)
        # Other contents with the same counts are another version of the data, so the digest is compared too.
        for name, digest in report.fingerprints.items():
            recorded = facts.fingerprints.get(name)
            remark = {None: "", digest: " (as recorded)"}.get(recorded, " (other contents than those recorded)")
            print(f"{name:<14} fingerprint {digest}{remark}")
        print(f"{self.name}: as its manifest says")


@dataclass(frozen=True)
class Prepare:
    """Decodes a data set once, into memory-mapped arrays or array_record."""

    name: tyro.conf.Positional[str]
    """Name of the data set; "list" shows them."""
    out: Path
    """Folder for the result, which is OUT/NAME."""
    data_dir: Path | None = None
    """Folder with the unpacked archives. Default: the environment variable DALIB_DATA."""
    domains: tuple[str, ...] = ()
    """Domains to prepare; all of them by default."""
    form: str = "auto"
    """arrays, array_record, or auto: arrays up to 8 GiB."""
    size: int = 256
    """Height and width of images in arrays."""
    resample: str = "bilinear"
    """Filter for arrays: nearest, bilinear or bicubic. The experiments take that of their encoder's weights."""

    def run(self) -> None:
        """Writes the data and says where."""
        domains = benchmarks.load(self.name, self.data_dir, domains=self.domains, decode=False)
        form, folder = prepare(self.name, domains, self.out, form=self.form, size=self.size, resample=self.resample)
        print(f"{form}: {folder}")


@dataclass(frozen=True)
class Unpack:
    """Unpacks a downloaded archive after looking at every name in it."""

    archive: tyro.conf.Positional[Path]
    """A zip or tar file."""
    out: Path
    """Folder to unpack into."""

    def run(self) -> None:
        """Unpacks it."""
        print(unpack(self.archive, self.out))


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[HowToGet, tyro.conf.subcommand("how-to-get")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Prepare, tyro.conf.subcommand("prepare")]
    | Annotated[Unpack, tyro.conf.subcommand("unpack")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; input errors become exit status 2."""
    command: List | HowToGet | Check | Prepare | Unpack = tyro.cli(  # type: ignore[call-overload]
        Command, args=arguments, description=__doc__, prog="dalib data"
    )
    try:
        command.run()
    except InputError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
