"""How far an answer agrees with right ones: what techniques choose by, inside `fit`.

Word F1 as in Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1, without regard to case and
punctuation. Candidates are compared by `evaluation`, which techniques know nothing of.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"\w+(?:[.,:'-]\w+)*")


def words(text: str) -> list[str]:
    """In lower case; numbers, dates and contractions are one word each."""
    return _WORD.findall(text.casefold())


def agreement(answer: str, targets: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of words, with the likest target; 0 to 1."""
    return max((_f1(Counter(words(answer)), Counter(words(t))) for t in targets), default=0.0)


def _f1(said: Counter[str], wanted: Counter[str]) -> float:
    if not said or not wanted:
        return float(said == wanted)
    return 2 * (said & wanted).total() / (said.total() + wanted.total())
