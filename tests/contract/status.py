"""What the contract holds each method to, read off the lists that its tests are parametrised over."""

from dalib.methods import TEST_TIME
from tests.contract.cases import ALL, CORE
from tests.contract.test_methods import DRAWS_BY_ROW
from tests.contract.test_reversal import ADVERSARIES
from tests.contract.test_weight import OTHER_STATISTICS, SOURCE_ONLY_AT_0, WEIGHTED
from tests.methods.classic.test_contract import NAMES as CLASSIC


def contract(name: str) -> str:
    """When the contract runs for a method, what it has beside the common tests, and what is not defined for it."""
    kind, _, short = name.rpartition(".")
    if kind == "classic" and short in CLASSIC:
        return "default"
    if kind == "test_time" and short in TEST_TIME:
        return "slow"  # tests/contract/test_test_time_methods.py runs over TEST_TIME
    if name not in ALL:
        return "none"
    more = []
    if name in {case.split(".")[0] for case in ADVERSARIES}:
        more.append("adversary's signs")
    if name in SOURCE_ONLY_AT_0:
        more.append("weight 0 but for statistics" if name in OTHER_STATISTICS else "weight 0")
    if name not in WEIGHTED:
        more.append("no weight")
    if name in DRAWS_BY_ROW:
        more.append("order matters")
    return ": ".join(["default" if name in CORE else "slow", *([", ".join(more)] if more else [])])
