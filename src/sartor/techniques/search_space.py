"""What a search varies: settings by name, as ranges and choices, and a technique with some of them.

{ rank = [4, 64], learning_rates = [1e-4, 1e-2], dora = [true, false], epochs = [2, 4, 8] }
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from pydantic import ValidationError

from sartor.errors import SettingError
from sartor.settings import wrong
from sartor.techniques.estimating.drawn import layers
from sartor.techniques.technique import Technique

WIDER = 4.0
"""How far beyond a technique's own learning rates the usual space reaches, either way."""
WIDTHS: dict[str, tuple[int, int]] = {"rank": (4, 64), "virtual_tokens": (10, 100)}
"""What else is searched where a technique has it."""
OTHER_LOSS = frozenset({"beta", "smoothing", "answers"})
"""Settings that change what the loss is, so that two losses cannot be compared."""
SEVERAL_TIMES = 10
"""A range whose end is so many times its beginning is searched by its logarithm."""


def defaults(technique: Any) -> dict[str, list[float]]:
    """The usual space of a technique that trains."""
    space: dict[str, list[float]] = {}
    for layer in layers(technique):
        known = {field.name for field in fields(layer)}
        if "learning_rates" in known and "learning_rates" not in space:
            rates = layer.learning_rates
            space["learning_rates"] = [min(rates) / WIDER, max(rates) * WIDER]
            space["epochs"] = [layer.epochs / WIDER, layer.epochs]
        space |= {name: list(ends) for name, ends in WIDTHS.items() if name in known}
    return space


def varied(technique: Any, settings: Mapping[str, Any]) -> Any:
    """The technique with other settings, each in the outermost layer that has it.

    Raises SettingError for one that none has, or that makes losses incomparable.
    """
    left = dict(settings)
    changed = _varied(technique, left)
    for name in left:
        known = sorted({f.name for layer in layers(technique) for f in fields(layer)} - {"inner"})
        raise SettingError(f"search: space names {name!r}, which is no setting of {known}")
    return changed


def _varied(technique: Technique, left: dict[str, Any]) -> Any:
    own = {field.name for field in fields(technique)} - {"inner"}  # type: ignore[arg-type]
    taken = {}
    for name in [name for name in left if name in own]:
        if name in OTHER_LOSS:
            raise SettingError(
                f"search: space names {name!r}, which changes what the loss is: trials could not "
                "be compared. Make a candidate of each value instead."
            )
        value = left.pop(name)
        taken[name] = (value,) if name == "learning_rates" else value
    inner = getattr(technique, "inner", None)
    if inner is not None and left:
        taken["inner"] = _varied(inner, left)
    try:
        return replace(technique, **taken)  # type: ignore[type-var]
    except ValidationError as error:
        raise SettingError(
            f"{wrong(technique.name, error)}. A range of whole numbers has whole ends: [4, 64]."
        ) from error


def values(name: str, space: Any) -> list[Any]:
    """What was written for a setting; SettingError unless it is a list of two or more."""
    if not isinstance(space, list | tuple) or len(space) < 2:
        raise SettingError(
            f"search: space.{name} is {space!r}; give two numbers for a range, or several choices"
        )
    listed = list(space)
    if _is_range(listed) and not listed[0] < listed[1]:
        raise SettingError(f"search: space.{name} is {listed}: a range begins below its end")
    return listed


def probes(name: str, space: Any) -> list[Any]:
    """What was written, and of a range of broken numbers one between."""
    listed = values(name, space)
    if not _is_range(listed) or all(isinstance(end, int) for end in listed):
        return listed
    low, high = listed
    return [*listed, low + (high - low) / 3.7]


def _is_range(listed: list[Any]) -> bool:
    numbers = [v for v in listed if isinstance(v, int | float) and not isinstance(v, bool)]
    return len(listed) == 2 and len(numbers) == 2


def distributions(space: Mapping[str, Any]) -> dict[str, Any]:
    """The space as Optuna has it."""
    from optuna import distributions as kinds

    made: dict[str, Any] = {}
    for name, written in space.items():
        listed = values(name, written)
        if not _is_range(listed):
            with warnings.catch_warnings():  # lists as choices: nothing is kept in Optuna's storage
                warnings.filterwarnings("ignore", "Choices for a categorical distribution")
                made[name] = kinds.CategoricalDistribution(listed)
            continue
        low, high = listed
        wide = low > 0 and high / low >= SEVERAL_TIMES
        if isinstance(low, int) and isinstance(high, int):
            made[name] = kinds.IntDistribution(low, high, log=wide)
        else:
            made[name] = kinds.FloatDistribution(float(low), float(high), log=wide)
    return made
