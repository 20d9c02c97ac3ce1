"""JSON schema: the answer is JSON of the form that the project's schema asks for.

By the jsonschema library, in the draft that the schema names. Nothing is fetched: a `$ref` to
elsewhere is an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import SettingError
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.json_text import NotJsonError, value_of
from sartor.evaluation.scorers.place import Placed, digest_of
from sartor.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class JsonSchema(Placed):
    """1 when the answer is valid. Says nothing of whether what it says is right."""

    name: ClassVar[str] = "json_schema"
    binary: ClassVar[bool] = True

    schema: str = ""
    """Path of a JSON file, relative to the project."""

    def check(self) -> None:
        """Raises SettingError where the schema cannot be used."""
        _ = self._validator

    def made_of(self) -> str:
        return digest_of(self.place.file(self.name, "schema", self.schema))

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        faults = [self._fault(prediction.completion.text) for prediction in predictions]
        return [
            Score(prediction.example.id, self.name, float(not fault), fault)
            for prediction, fault in zip(predictions, faults, strict=True)
        ]

    @cached_property
    def _validator(self) -> Any:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for
        from referencing import Registry

        path = self.place.file(self.name, "schema", self.schema)
        try:
            schema = json.loads(path.read_text("utf-8-sig"))
            kind = validator_for(schema)
            kind.check_schema(schema)
        except (ValueError, SchemaError) as error:
            said = error.message if isinstance(error, SchemaError) else error
            raise SettingError(
                f"scorer {self.name}: {path} is no JSON schema: {said}. Mend the file."
            ) from error
        return kind(schema, registry=Registry())

    def _fault(self, text: str) -> str:
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            error = best_match(self._validator.iter_errors(value_of(text)))
        except NotJsonError as unreadable:
            return str(unreadable)
        except Unresolvable as elsewhere:
            raise SettingError(
                f"scorer {self.name}: the schema refers to {elsewhere.ref!r}, which is not in it. "
                "Nothing is fetched: put it under $defs."
            ) from elsewhere
        return f"{error.json_path}: {error.message}"[:300] if error else ""
