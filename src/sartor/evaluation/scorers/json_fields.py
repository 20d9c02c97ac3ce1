"""Field accuracy: of the fields that a JSON target or the answer has, how many agree.

A field is a path to a value ("address.city"). One that the answer makes up counts against it as
one that it leaves out does. Lists are compared without their order: two lists that hold the same
are the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.against_targets import scores_over_targets
from sartor.evaluation.scorers.json_text import NotJsonError, value_of
from sartor.evaluation.scorers.wording import normalize
from sartor.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class JsonFields:
    """Share of fields that agree; an answer that is no JSON scores 0. The best over the targets."""

    name: ClassVar[str] = "fields"
    binary: ClassVar[bool] = False

    extra: Literal["count", "ignore"] = "count"
    """What is made of fields that the target does not have."""
    exact: bool = False
    """Whether texts must agree letter by letter, not only but for case and punctuation."""

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Of examples of which a target is JSON."""
        return scores_over_targets(self.name, predictions, self._measure)

    def _measure(self, answer: str, targets: tuple[str, ...]) -> float | None:
        wanted = [fields for target in targets if (fields := self._fields(target)) is not None]
        if not wanted:
            return None
        said = self._fields(answer)
        return 0.0 if said is None else max(self._agreement(said, fields) for fields in wanted)

    def _agreement(self, said: Counter[Any], wanted: Counter[Any]) -> float:
        total = (wanted if self.extra == "ignore" else said | wanted).total()
        return (said & wanted).total() / total if total else float(said == wanted)

    def _fields(self, text: str) -> Counter[Any] | None:
        try:
            return Counter(self._leaves(value_of(text), ""))
        except NotJsonError:
            return None

    def _leaves(self, value: Any, path: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, dict) and value:
            for key, inside in value.items():
                yield from self._leaves(inside, f"{path}.{key}")
        elif isinstance(value, list) and value:
            for inside in value:
                plain = not isinstance(inside, dict | list)
                whole = inside if plain else sorted(self._leaves(inside, ""))
                yield f"{path}[]", self._plain(whole)
        else:
            yield path, self._plain(value)

    def _plain(self, value: Any) -> str:
        if isinstance(value, str) and not self.exact:
            return json.dumps(normalize(value))
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 5.0 is 5 to JSON
        return json.dumps(value, sort_keys=True)
