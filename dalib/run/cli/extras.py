"""Optional packages: the extra that installs each, and one error for a missing one."""

import sys
from importlib.util import find_spec

from dalib.core.checks import InputError, input_error

EXTRAS = {
    "matplotlib": "report",
    "sklearn": "report",
    "threadpoolctl": "report",
    "mlxtend": "demo",
    "skimage": "demo",
    "rich": "demo",
    "tokenizers": "text",
    "huggingface_hub": "hub",
    "libtpu": "preflight",
    "pytest": "test",
    "ot": "parity",
    "timm": "parity",
    "torch": "parity",
    "torchvision": "parity",
    "transformers": "parity",
}
"""The extra of ``dalib-jax`` that installs a module."""


def missing(module: str, *, for_what: str, extra: str = "", otherwise: str = "") -> InputError:
    """Make the error for a package that is not installed.

    Args:
        module: name of its module.
        for_what: what needs it.
        extra: the one that installs it; default: see :data:`EXTRAS`.
        otherwise: what else to do.
    """
    return input_error(
        module,
        got="not installed",
        expected=f"this package, for {for_what}",
        todo=f"pip install 'dalib-jax[{extra or EXTRAS[module]}]'" + (f", or pass {otherwise}" if otherwise else ""),
    )


def require(*modules: str, for_what: str, extra: str = "", otherwise: str = "") -> None:
    """Raise the error of :func:`missing` for the first module that is not installed, without importing any."""
    for module in modules:
        if module not in sys.modules and find_spec(module) is None:
            raise missing(module, for_what=for_what, extra=extra, otherwise=otherwise)


def as_missing(error: ModuleNotFoundError) -> InputError | None:
    """Make the error of :func:`missing`; None where no extra has the module, which is a fault of the code."""
    module = (error.name or "").partition(".")[0]
    return missing(module, for_what="this command") if module in EXTRAS else None
