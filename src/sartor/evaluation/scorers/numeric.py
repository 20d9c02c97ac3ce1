"""Numeric: the answer's number is a target's, within a tolerance.

"$1,496.5 million", "1.4965 billion" and "1496500000" are one number; "5 %" is 5. With a decimal
comma, "1,5 Mio." is 1500000. "(4,931)" is 4931, since prose puts numbers in parentheses too
("ten (10)"); with `accounting` it is -4931.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from sartor.errors import SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.against_targets import scores_over_targets
from sartor.settings import STRICT

_SCALES = {
    "thousand": 1e3, "k": 1e3, "million": 1e6, "mn": 1e6, "mm": 1e6, "m": 1e6,
    "billion": 1e9, "bn": 1e9, "b": 1e9, "trillion": 1e12,
    "tausend": 1e3, "tsd": 1e3,
    "mio": 1e6, "millionen": 1e6, "millions": 1e6, "millones": 1e6, "milioni": 1e6,
    "mrd": 1e9, "milliarde": 1e9, "milliarden": 1e9, "milliard": 1e9, "milliards": 1e9,
}  # fmt: skip
_APART = "\u00a0\u202f\u2009'\u2019"
"""What stands between thousands where it is no comma; a plain space may part two numbers."""
_UNSIGNED = (
    rf"(?P<digits>\d{{1,3}}(?:[,{_APART}]\d{{3}})+(?:\.\d+)?|"
    r"\d+(?:\.\d+)?|\.\d+)(?P<power>[eE][-+]?\d{1,3})?"
    r"(?:\s?(?P<scale>(?i:thousand|millions?|billion|trillion|mn|bn|tausend|tsd|mio|millionen|"
    r"millones|milioni|mrd|milliarden?|milliards?)|MM|[kKMB])\b)?"
)
_NUMBER = re.compile(rf"(?<![\w.])(?P<sign>[-+\u2212](?=[$€£¥₹]?\s?[\d.]))?[$€£¥₹]?\s?{_UNSIGNED}")
_ENCLOSED = re.compile(rf"\(\s?(?P<amount>[$€£¥₹]?\s?{_UNSIGNED}\s?%?)\s?\)")
"""A number alone in parentheses, which accountants write for a negative one."""


@dataclass(frozen=True, config=STRICT)
class Numeric:
    """1 when the answer's number is as near to a target's as the tolerances allow."""

    name: ClassVar[str] = "numeric"
    binary: ClassVar[bool] = True

    tolerance: float = 0.0
    """How far off it may be, in the number's own unit."""
    relative: float = 0.0
    """How far off it may be, as a share of the target: 0.01 is one percent."""
    take: Literal["last", "first", "only", "any"] = "last"
    """Which number of an answer counts when it holds several. `only`: such an answer is wrong.
    `any`: one that is right is enough, which rewards an answer for naming many."""
    decimal: Literal[".", ","] = "."
    """What stands before the decimals."""
    accounting: bool = False
    """Whether a number alone in parentheses is negative, as in financial statements: "(4,931)" and
    "$(4.9) million". Without it only a minus sign says so."""

    def __post_init__(self) -> None:
        for setting in ("tolerance", "relative"):
            if not 0 <= getattr(self, setting) < math.inf:
                raise SettingError(
                    f"scorer numeric: {setting} is {getattr(self, setting)}; expected 0 or more"
                )

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Of examples of which a target holds a number."""
        return scores_over_targets(self.name, predictions, self._measure)

    def _measure(self, answer: str, targets: tuple[str, ...]) -> float | None:
        wanted = [number for target in targets for number in self._taken(target)[:1]]
        if not wanted:
            return None
        said = self._taken(answer)
        return float(any(self._near(number, right) for number in said for right in wanted))

    def _taken(self, text: str) -> list[float]:
        found = numbers_in(text, self.decimal, accounting=self.accounting)
        if self.take == "any":
            return found
        if self.take == "only" and len(set(found)) > 1:
            return []
        return found[:1] if self.take == "first" else found[-1:]

    def _near(self, number: float, right: float) -> bool:
        reach = max(self.tolerance, self.relative * abs(right))
        return math.isclose(number, right, rel_tol=1e-9, abs_tol=reach)


def numbers_in(text: str, decimal: str = ".", *, accounting: bool = False) -> list[float]:
    """The numbers of a text in order, their scale ("million") reckoned in."""
    if decimal == ",":
        text = text.translate(str.maketrans(",.", ".,"))
    if accounting:
        text = _ENCLOSED.sub(r" -\g<amount>", text)
    return [_value(match) for match in _NUMBER.finditer(text)]


def _value(match: re.Match[str]) -> float:
    digits = re.sub(f"[,{_APART}]", "", match["digits"])
    number = float(digits + (match["power"] or ""))
    scale = match["scale"] or ""
    number *= _SCALES[scale.lower()] if scale else 1.0
    return -number if match["sign"] in ("-", "\u2212") else number
