"""Candidates in, ranking out: flags below source-only, ties, ensembles, and what judges a choice afterwards."""

import dataclasses

import numpy as np
import pytest

from dalib.core.checks import InputError
from dalib.evaluate.judging import judge, weighted_spearman
from dalib.evaluate.oracle import OracleScores
from dalib.evaluate.ranking import Candidate, candidates, pick, picks, rank
from dalib.evaluate.validators import Scored
from tests.evaluate.validators.cases import evidence


def scored(name, *, source_only=False, **values):
    return Candidate(name, {k: v if isinstance(v, Scored) else Scored(v) for k, v in values.items()}, source_only)


NAN = float("nan")
BASE = scored("source", source_only=True, ami=0.5, im=0.4)


def order(found):
    return [place.candidate.name for place in found]


def test_flagged_ones_come_below_source_only():
    flagged = scored("a", ami=Scored(0.9, "collapsed", "one class")), scored("b", ami=Scored(NAN, "undefined", "no"))
    lost = scored("c", ami=Scored(NAN, "missing", "not kept"))
    found = rank([*flagged, scored("good", ami=0.8), scored("bad", ami=0.1), BASE, lost], "ami")
    assert order(found) == ["good", "source", "bad", "a", "b", "c"]
    assert [p.state for p in found[-3:]] == ["collapsed", "undefined", "undefined"]
    assert found[-3].why == "one class" and found[-1].why == "not kept"


def test_source_only_that_is_flagged_is_still_above_the_other_flagged_ones():
    base = scored("source", source_only=True, ami=Scored(0.1, "collapsed", "x"))
    found = rank([scored("a", ami=Scored(0.9, "collapsed", "y")), base, scored("bad", ami=0.0)], "ami")
    assert order(found) == ["bad", "source", "a"]


def test_ties_are_source_onlys():
    found = rank([scored("a", ami=0.5), BASE, scored("b", ami=0.5)], "ami")
    assert order(found) == ["source", "a", "b"]


def test_several_validators_by_mean_rank():
    among = [BASE, scored("a", ami=0.9, im=0.1), scored("b", ami=0.8, im=0.9)]
    found = rank(among, ("ami", "im"))
    assert order(found) == ["b", "a", "source"]
    assert found[0].value == pytest.approx(0.75)
    one_lacks = [*among, scored("c", ami=Scored(NAN, "undefined", "?"), im=9.0)]
    assert order(rank(one_lacks, ("ami", "im")))[-1] == "c"
    assert pick(among, "im").candidate.name == "b"
    assert {k: v.candidate.name for k, v in picks(among).items()} == {"ami": "a", "im": "b"}


def test_from_evidence():
    good, bad = evidence(noise=0.3), evidence(noise=3)
    collapsed = dataclasses.replace(good, target_logits=np.zeros((60, 4)) + np.array([9.0, 0, 0, 0]))
    found = candidates({"good": good, "s": bad, "lost": collapsed}, ["s"], ["ami", "im", "snd"])
    assert [c.source_only for c in found] == [False, True, False]
    for name in ("ami", "im", "snd"):  # the last rewards collapses; the guard does not
        assert order(rank(found, name))[-1] == "lost"


@pytest.mark.parametrize(
    "call",
    [
        lambda: rank([], "ami"),
        lambda: rank([scored("a", ami=1.0)], "ami"),
        lambda: rank([BASE, BASE], "ami"),
        lambda: rank([BASE], ()),
        lambda: rank([BASE], "bnm"),
        lambda: rank([scored("a", source_only=True, ami=Scored(NAN, "missing", "not kept: x"))], "ami"),
        lambda: rank([BASE, OracleScores(np.eye(2), 1.0, 1.0, 1.0)], "ami"),
        lambda: candidates({"a": OracleScores(np.eye(2), 1.0, 1.0, 1.0)}, []),
        lambda: candidates({"a": evidence(), "b": evidence(n=61)}, []),
        lambda: judge([1.0], [0.5, 0.6]),
        lambda: judge([NAN], [0.5]),
        lambda: judge([1.0], [0.5], top=0),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()


def test_judging():
    found = judge([3.0, 2.0, 1.0, NAN], [0.7, 0.9, 0.2, 0.1], source_only=[2], top=2)
    assert (found.regret, found.top, found.gain) == pytest.approx((0.2, 0.8, 0.5))
    assert weighted_spearman([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert weighted_spearman([3, 2, 1], [1, 2, 3]) < -0.9
    assert np.isnan(weighted_spearman([1, 1], [1, 2]))
    # Mistakes among the good cost more than mistakes among the bad.
    assert weighted_spearman([2, 1, 3, 4], [1, 2, 3, 4]) > weighted_spearman([1, 2, 4, 3], [1, 2, 3, 4])
