"""Entry of every command: memory, processes, errors and signals."""

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro

from dalib.core.checks import InputError, choose
from dalib.core.locks import releasing
from dalib.core.platform import keep_memory
from dalib.run.cli.extras import as_missing
from dalib.train import NonFiniteError, Preempted, StorageError
from dalib.train.devices import peers, processes
from dalib.train.termination import on_sigterm

T = TypeVar("T")


def main(
    function: Callable[[T], Any], options: type[T], description: str, arguments: Sequence[str] | None = None
) -> int:
    """Parse a command line into ``options``, call ``function``, and turn input errors into exit status 2.

    A missing package counts as an input error where an extra of ``dalib-jax`` has it.
    A loss that is not finite, a full disk or the death of another process ends with status 1, an interrupt with 130.
    SIGTERM ends with 0 as soon as the run under way has saved (:mod:`dalib.train.termination`). All say how to go on.
    Freed memory stays with the process (:func:`dalib.core.platform.keep_memory`) unless ``DALIB_KEEP_MEMORY=0``.
    One of several processes (:func:`dalib.train.devices.processes.initialize`) joins the others first; process 0
    alone prints results.

    Flags must be written out: an unknown or abbreviated one is an error with a did-you-mean.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        parsed = tyro.cli(options, args=arguments, description=description, prog=_program_name())
        # Before the first large array is made, or its memory would go back to the system and be cleared anew.
        if choose("DALIB_KEEP_MEMORY", os.environ.get("DALIB_KEEP_MEMORY") or "1", {"0": False, "1": True}):
            keep_memory()
        processes.initialize()
        # Results are printed once: every process computes them, process 0 alone speaks.
        with contextlib.ExitStack() as quiet:
            if not processes.leads():
                quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
            quiet.enter_context(on_sigterm())
            quiet.enter_context(releasing())
            function(parsed)
        processes.from_each(0)  # whoever ends while others are at work ends them
    except InputError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (reason := as_missing(error)) is None:
            raise
        print(f"\nerror: {reason}", file=sys.stderr)
        return 2
    except (NonFiniteError, StorageError) as error:
        if isinstance(error, StorageError) and processes.process_count() > 1:
            peers.end(1, f"\nstopped: {error}")  # the others have other disks, and would wait for this one
        print(f"\nstopped: {error}", file=sys.stderr)
        return 1
    except Preempted as reason:
        print(f"\nterminated, {reason}; the same command goes on from there", file=sys.stderr)
        return 0
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except Exception:
        # One process shows its traceback; of several, the others would wait for this one, so all are ended.
        if processes.process_count() == 1:
            raise
        peers.failed()
    return 0


def typed(module: str) -> str:
    """Return the command as typed, for run records; ``module`` is what ``python -m`` runs outside ``dalib``."""
    called = sys.argv[0] if sys.argv[0].startswith("dalib ") else f"python -m {module}"
    return f"{called} {shlex.join(sys.argv[1:])}".strip()


def _program_name() -> str | None:
    """Return the running command's name for the usage line."""
    if sys.argv[0].startswith("dalib "):  # see dalib.run.cli.commands
        return sys.argv[0]
    spec = sys.modules["__main__"].__spec__
    return f"python -m {spec.name}" if spec else None
