"""Check of regular expressions from foreign files: those that may take exponential time are refused unrun."""

import re

LONGEST = 4096
LONG_REPEAT = 16
"""Times from which a bounded repetition counts as one without end."""
MOST_IN_A_ROW = 4
"""Repetitions without end in one alternative: matching takes at most the length of the text to this power."""
PIECE = re.compile(
    r"(?P<class>\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\])|(?P<escape>\\(?:[pPx]\{[^}]*\}|.))"
    r"|(?P<open>\((?:\?(?:[a-zA-Z-]*:|[=!>]|<[=!]|<\w+>|[a-zA-Z-]+(?=\))))?)|(?P<close>\))|(?P<or>\|)"
    r"|(?P<repeat>[*+?]|\{(?P<least>\d*),?(?P<most>\d*)\})\??|(?P<other>.)",
    re.DOTALL,
)


class _Group:
    """State of a group so far: whether its length varies, and repetitions without end in an alternative."""

    def __init__(self) -> None:
        self.varies, self.endless, self.most = False, 0, 0

    def end_alternative(self) -> None:
        self.most, self.endless = max(self.most, self.endless), 0


def fault_of(pattern: str) -> str:
    """Say why a pattern is refused, or return ``""``; the patterns of published tokenisers all pass.

    A repeated group with content of varying length, ``(a+)+`` or ``(a|aa)*``, can match a text in exponentially many
    ways. So can many repetitions in a row, in polynomially many.
    """
    if len(pattern) > LONGEST:
        return f"longer than {LONGEST} characters"
    # One open group a level: only the last closed one can be what a repetition repeats.
    groups, last = [_Group()], None
    for piece in PIECE.finditer(pattern):
        here = groups[-1]
        if piece["open"]:
            groups.append(_Group())
        elif piece["close"]:
            if len(groups) == 1:
                return "a parenthesis that was not opened"
            here.end_alternative()
            # A closed group hands its endless repetitions up: they multiply with those around it.
            last = groups.pop()
            groups[-1].varies |= last.varies
            groups[-1].endless += last.most
            continue
        elif piece["or"]:
            here.varies = True
            here.end_alternative()
        elif piece["repeat"]:
            endless = _endless(piece)
            here.varies |= piece["repeat"] == "?" or "," in piece["repeat"] or endless
            if endless and last is not None and last.varies:
                return (
                    f"a repeated group with repetitions or alternatives in it, before {pattern[piece.end() :][:20]!r}"
                )
            here.endless += endless
            if here.endless > MOST_IN_A_ROW:
                return f"more than {MOST_IN_A_ROW} repetitions in a row"
            last = _Group()  # a repetition right after it repeats this one; only a possessive + after * or + is not
            last.varies = "," in piece["repeat"] or (
                piece["repeat"] in "*+?" and not pattern.startswith("+", piece.end())
            )
            continue
        last = None
    return "" if len(groups) == 1 else "a parenthesis that is not closed"


def _endless(piece: re.Match[str]) -> bool:
    repeat = piece["repeat"]
    if repeat in "*+":
        return True
    if repeat == "?":
        return False
    most = piece["most"] if "," in repeat else piece["least"]
    return not most or int(most[:6]) >= LONG_REPEAT
