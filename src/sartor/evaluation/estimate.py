"""From scores to estimates: a mean with its interval, over everything and by slice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from sartor.data.records import Example
from sartor.errors import DataError
from sartor.evaluation.bootstrap import MANY
from sartor.evaluation.records import Estimate
from sartor.evaluation.slicing import SMALLEST_SLICE, slices

FEW = 50
"""Groups in a slice, beyond which its interval is not resampled but expanded: there are many slices
times many scorers, and nothing is decided on them."""


def estimate(
    values: Sequence[float],
    binary: bool,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    many: int = MANY,
) -> Estimate:
    """The mean and its 95 % interval: Wilson's for right or wrong, else a bootstrap.

    When groups repeat, examples are not independent, and whole groups are resampled.
    """
    from sartor.evaluation.bootstrap import mean_interval
    from sartor.evaluation.statistics import wilson

    n = len(values)
    if n == 0:
        raise DataError("there is nothing to estimate: no scores. Give at least one example.")
    repeated = groups is not None and len(set(groups)) < n
    if binary and not repeated:
        found = wilson(round(sum(values)), n)
    else:
        found = mean_interval(values, groups=groups if repeated else None, seed=seed, many=many)
    mean = sum(values) / n
    return Estimate(mean, min(found.low, mean), max(found.high, mean), n)


def group_of(example: Example) -> tuple[str, str]:
    """What the example is resampled with: its group, or itself alone when it names none."""
    return ("group", example.group) if example.group else ("id", example.id)


def slice_estimates(
    examples: Sequence[Example],
    values: Mapping[str, Mapping[str, float]],
    binary: Mapping[str, bool],
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """By slice, then by scorer. `values` by scorer, then example id; `binary` by scorer."""
    found = {
        name: {
            scorer: estimate_of(members, scored, binary[scorer], seed, FEW)
            for scorer, scored in values.items()
            if sum(example.id in scored for example in members) >= SMALLEST_SLICE
        }
        for name, members in slices(examples).items()
    }
    return {name: by_scorer for name, by_scorer in found.items() if by_scorer}


def estimate_of(
    members: Sequence[Example],
    scored: Mapping[str, float],
    binary: bool,
    seed: int,
    many: int = MANY,
) -> Estimate:
    """The estimate over those members that have a score; `scored` by example id."""
    kept = [example for example in members if example.id in scored]
    values = [scored[example.id] for example in kept]
    return estimate(values, binary, [group_of(example) for example in kept], seed, many)
