"""How methods are written in tables and figures."""

from dalib.run_folders import Run

ORACLE_LABEL = "oracle: trained on target labels"
SOURCE_ONLY = "source-only"
_WRITTEN = {
    "source_only": SOURCE_ONLY,
    "adabn": "AdaBN",
    "adda": "ADDA",
    "cdan": "CDAN",
    "dan": "DAN",
    "dann": "DANN",
    "deep_coral": "Deep CORAL",
    "jan": "JAN",
    "mcc": "MCC",
    "mcd": "MCD",
    "mdd": "MDD",
    "wdgrl": "WDGRL",
}


def method_label(run: Run) -> str:
    """The method's usual spelling; an oracle always says that it was trained on target labels."""
    if run.role == "oracle":
        return ORACLE_LABEL if run.name == "oracle" else f"{run.name}, {ORACLE_LABEL}"
    return _WRITTEN.get(run.name, run.name)


def short_label(run: Run) -> str:
    """As :func:`method_label`, for narrow places: the oracle's explanation goes to a second line."""
    return method_label(run).replace(": trained", ":\ntrained")


def run_label(run: Run) -> str:
    """One run in a sentence: method, task and seed."""
    return f"{method_label(run)}, {run.task}, seed {run.seed}"
