"""What every table of the project file is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from sartor.settings import no_truths

LARGEST_SEED = 2**31 - 1
"""What numpy, torch and Python's own generators all take."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _at_home(path: str) -> str:
    try:
        Path(path).expanduser()
    except RuntimeError as error:
        user = Path(path).parts[0]
        raise ValueError(f"{user} is nobody's home folder here; write the path out") from error
    return path


Place = Annotated[str, AfterValidator(_at_home)]
"""A path or a name; a `~` in it means somebody's home folder."""
Paths = Annotated[tuple[Place, ...], BeforeValidator(_listed)]
"""One path, or a list of them."""


class Section(BaseModel):
    """A table of the project file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truths(cls, value: Any) -> Any:
        given = value if isinstance(value, dict) else {}
        for said in no_truths(cls.model_fields, given):
            raise ValueError(said)
        return value
