"""Reader options of a command's places, and one decision on the pixels of all their images."""

from collections.abc import Sequence
from pathlib import Path

from dalib.data.readers.files.maximum import to_bytes
from dalib.data.readers.places import Options, Place, Raw, by_name, maxima
from dalib.run.cli.progress import say
from dalib.run.own.options import Own


def reading(options: Own, place: Place) -> Options:
    """Return the reader's options for a place."""
    columns = (options.text_column, options.label_column)
    root = by_name("root", options.root, [place.name], others=True).get(place.name, "")
    return Options(
        *(options.kind, options.layout, *columns, options.task == "regression"),
        root=Path(root).expanduser() if root else None,
        absolute_paths=options.absolute_paths,
        categories=options.categories,
        drop=options.drop_columns,
    )


def pixels_decided(options: Own, names: Sequence[str], raws: Sequence[Raw | None]) -> list[Raw | None]:
    """Turn all images into bytes by one decision on their range; print it and the readers' notes.

    Args:
        options: of the command.
        names: of the domains.
        raws: examples of each; None where they could not be read.

    Raises:
        InputError: as :func:`dalib.data.readers.files.maximum.to_bytes`; bad values or names in --maximum or --root.
    """
    by_name("root", options.root, names)
    stated = maxima(options.maximum, names)
    which = [i for i, raw in enumerate(raws) if raw is not None and raw.kind == "images"]
    done = to_bytes([(names[i], raws[i].inputs) for i in which], stated)  # type: ignore[union-attr]
    notes = dict.fromkeys(note for raw in raws if raw is not None for note in raw.notes)
    for line in filter(None, (*notes, done.decision)):
        say(line)
    images = dict(zip(which, done.inputs, strict=True))
    return [raw._replace(inputs=images[i]) if raw is not None and i in images else raw for i, raw in enumerate(raws)]
