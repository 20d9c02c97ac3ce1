"""Language: whether the answer is in the language it should be in.

That of a target or, where there is none long enough to tell, of the request. By py3langid, whose
model comes with it (some 140 languages). Texts of a few words are guesses, so they get no score.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.settings import STRICT

NONE = "zxx"
"""What py3langid calls a text without language (ISO 639-2)."""


@dataclass(frozen=True, config=STRICT)
class Language:
    """1 when the languages are the same."""

    name: ClassVar[str] = "language"
    binary: ClassVar[bool] = True

    expected: str = ""
    """ISO 639-1 code that every answer must be in; empty for that of its target or request."""
    min_letters: int = 40
    """A text with fewer letters is in no language that could be told."""

    def check(self) -> None:
        """Raises SettingError for a language that no text could be found to be in."""
        known = languages()
        if self.expected and self.expected not in known:
            raise SettingError(
                f"scorer language: expected is {self.expected!r}; expected one of the codes of ISO "
                f"639 that can be told: {', '.join(sorted(known))}"
            )

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Of answers long enough to tell."""
        found = []
        for prediction in predictions:
            said, wanted = self._of(prediction.completion.text), self._wanted(prediction)
            if said and wanted:
                why = "" if said in wanted else f"in {said}, not {' or '.join(sorted(wanted))}"
                found.append(Score(prediction.example.id, self.name, float(not why), why))
        return found

    def _wanted(self, prediction: Prediction) -> set[str]:
        if self.expected:
            return {self.expected}
        if told := {self._of(target) for target in prediction.example.targets} - {""}:
            return told
        asked = [m.content for m in prediction.example.input if m.role == "user"]
        return {self._of(asked[-1])} - {""} if asked else set()

    def _of(self, text: str) -> str:
        if sum(character.isalpha() for character in text) < self.min_letters:
            return ""
        return language_of(text)


@cache
def language_of(text: str) -> str:
    """ISO 639-1 code of the likeliest language; empty where it is rather code or figures."""
    import py3langid

    code, _ = py3langid.classify(text)
    return "" if code == NONE else str(code)


def languages() -> set[str]:
    """The codes of all that can be told."""
    import py3langid

    return {str(code) for code, _ in py3langid.rank("")} - {NONE}
