"""What an answer claims: its sentences, without citations and bullets."""

from __future__ import annotations

import re

from sartor.evaluation.scorers.refusal import says_nothing
from sartor.evaluation.scorers.wording import sentences

CITATION = re.compile(r"\[\d+(?:,\s*\d+)*\]")
_BULLET = re.compile(r"^[ \t]*(?:[-*\u2022]|\d{1,2}[.)])[ \t]+(?=\S)", re.MULTILINE)


def claims(text: str) -> list[str]:
    """The sentences that say something."""
    plain = _BULLET.sub("", CITATION.sub("", text))
    return [sentence for sentence in sentences(plain) if not says_nothing(sentence)]
