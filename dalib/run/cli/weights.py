"""``dalib weights list | fetch NAME | convert NAME --checkpoint FILE | verify NAME``."""

import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from dalib.core.checks import InputError, input_error
from dalib.encoders.checkpoints.variables import save_variables
from dalib.encoders.pretrained.fetch import convert_file, fetched, keep
from dalib.encoders.pretrained.fetch import fetch as fetch_entry
from dalib.encoders.pretrained.manifest import find_entry, manifest
from dalib.run.cli.verify import verify as verify_entry

Name = Annotated[str, tyro.conf.Positional]


def show(encoder: str = "") -> None:
    """List the published checkpoints: name, published top-1, layout, licence, and what is in the cache.

    Args:
        encoder: Only those of this encoder.
    """
    entries = [entry for entry in manifest().values() if encoder in ("", entry.encoder)]
    if not entries:
        known = sorted({entry.encoder for entry in manifest().values()})
        raise input_error("encoder", got=repr(encoder), expected=f"one of {', '.join(known)}")
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        top1 = f"{entry.top1:6.2f} %" if entry.top1 is not None else "        "
        cached = "cached" if fetched(entry) else "      "
        print(f"{entry.name:<{width}}  {top1}  {cached}  {entry.table}, {entry.licence}")


def fetch(name: Name, /, again: bool = False) -> None:
    """Download a checkpoint, check its sha256, convert it, and keep the conversion in the cache.

    Args:
        name: Of the manifest.
        again: Also when it is in the cache.
    """
    entry = find_entry(name)
    converted = fetch_entry(entry, again=again, report=print)
    print(f"{name}: {converted.path}\n  from a file with sha256 {converted.sha256}")


def convert(name: Name, /, checkpoint: Path, out: Path | None = None) -> None:
    """Convert a checkpoint that you have.

    Args:
        name: Of the manifest; the checkpoint must be the one that it describes.
        checkpoint: File, or folder in the hub's layout.
        out: safetensors file to write, of whatever content the checkpoint has (fine-tuned, say); without it the
            checkpoint must have the sha256 on record, and the conversion goes to the cache.
    """
    entry = find_entry(name)
    if out is None:
        print(f"{name}: {keep(entry, checkpoint).path}")
        return
    save_variables(out, convert_file(entry, checkpoint))
    print(f"{name}: {out}")


def verify(name: Name, /, data_dir: Path | None = None) -> None:
    """Fetch a checkpoint if need be and repeat the check on record; status 1 when it fails.

    Args:
        name: Of the manifest.
        data_dir: Folder with data that the check needs and no package carries; default is DALIB_DATA.
    """
    outcome = verify_entry(find_entry(name), data_dir=data_dir, report=print)
    print(f"{name}: {outcome.text}")
    if not outcome.passed:
        raise SystemExit(1)


def cli(arguments: list[str] | None = None) -> int:
    """Run a command; an input error is printed without a traceback and gives status 2."""
    commands: dict[str, Any] = {"list": show, "fetch": fetch, "convert": convert, "verify": verify}
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands, args=arguments, prog="dalib weights", description="Published weights."
        )
    except InputError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(cli())
