"""Split: train, validation and test, by whole groups, the same for the same seed.

Within each stratum (the rarest tag of a group) groups are ordered by a hash of seed and name, so
that a new example moves few others; the first go to test, the next to validation, as far as the
fractions reach. What strata are too small to give is carried to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sartor.data.grouping import grouped
from sartor.data.leaks import crossings
from sartor.data.records import Document, Dropped, Example, Split, TrainingData
from sartor.errors import DataError, SettingError

FEWEST_TEST = 20  # examples: below that an interval of a right-wrong score is wider than +-0.2
_FEW_TEST = 100

Group = tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Division:
    """A split, what was left out of it, and what is worth knowing."""

    split: Split
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]


def split(
    examples: Sequence[Example],
    documents: Sequence[Document],
    *,
    test_fraction: float,
    validation_fraction: float,
    seed: int,
    max_train: int | None = None,
    max_validation: int | None = None,
    max_test: int | None = None,
    alike: Sequence[Sequence[str]] = (),
) -> Division:
    """Divide by group, then cut to `max_*`; `alike` are ids of documents that count as one."""
    _check(test_fraction, validation_fraction, max_train, max_validation, max_test)
    groups = grouped(examples, alike)
    order = _Order(seed)
    test, rest = _taken(_by_group(groups.examples), test_fraction, order)
    share = validation_fraction / (1 - test_fraction)
    validation, train = _taken(rest, share, order)
    parts = [_flat(train), _flat(validation), _flat(test)]
    dropped: list[Dropped] = []
    names = ("train", "validation", "test")
    for n, limit in enumerate((max_train, max_validation, max_test)):
        parts[n] = _limited(parts[n], limit, names[n], order, dropped)
    parts = _without_crossings(parts, dropped)
    _refuse_small(parts, len(examples), len(_by_group(groups.examples)), test_fraction)
    data = TrainingData(tuple(documents), tuple(parts[0]), tuple(parts[1]))
    return Division(
        Split(data, tuple(parts[2])), tuple(dropped), _warnings(parts, groups.too_common)
    )


@dataclass(frozen=True, slots=True)
class _Order:
    """A shuffled order that depends on the seed and each name alone."""

    seed: int

    def __call__(self, name: str) -> str:
        return sha256(f"{self.seed}\0{name}".encode("utf-8", "replace")).hexdigest()


def _by_group(examples: Iterable[Example]) -> list[Group]:
    members: dict[str, list[Example]] = {}
    for example in examples:
        members.setdefault(example.group, []).append(example)
    return [tuple(group) for group in members.values()]


def _taken(
    groups: Sequence[Group], fraction: float, order: Callable[[str], str]
) -> tuple[list[Group], list[Group]]:
    """Groups with about `fraction` of the examples of every stratum, and the others."""
    taken: list[Group] = []
    carried = 0.0
    for stratum in _strata(groups):
        quota = fraction * sum(map(len, stratum)) + carried
        ordered = sorted(stratum, key=lambda group: order(group[0].group))
        chosen = _filling(ordered, quota)
        if not chosen and len(ordered) > 2 and quota >= 0.5:
            chosen = [min(ordered, key=len)]
        carried = quota - sum(map(len, chosen))
        taken += chosen
    names = {group[0].group for group in taken}
    return taken, [group for group in groups if group[0].group not in names]


def _filling(groups: Sequence[Group], quota: float) -> list[Group]:
    """The first groups that fit, overshooting by less than half a group."""
    chosen: list[Group] = []
    size = 0
    for group in groups:
        if size + len(group) / 2 <= quota and len(chosen) + 1 < max(2, len(groups)):
            chosen.append(group)
            size += len(group)
    return chosen


def _strata(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups by their rarest tag, small strata first."""
    counts = Counter(tag for group in groups for tag in _tags(group))
    strata: dict[str, list[Group]] = {}
    for group in groups:
        rarest = min(_tags(group), key=lambda tag: (counts[tag], tag), default="")
        strata.setdefault(rarest, []).append(group)
    return [
        strata[tag] for tag in sorted(strata, key=lambda tag: (sum(map(len, strata[tag])), tag))
    ]


def _tags(group: Group) -> set[str]:
    return {tag for example in group for tag in example.tags}


def _flat(groups: Iterable[Group]) -> list[Example]:
    return [example for group in groups for example in group]


def _limited(
    part: list[Example],
    limit: int | None,
    name: str,
    order: Callable[[str], str],
    dropped: list[Dropped],
) -> list[Example]:
    """At most `limit` examples, each tag keeping its share."""
    if limit is None or len(part) <= limit:
        return part
    by_tag: dict[str, list[Example]] = {}
    for example in part:
        by_tag.setdefault(min(example.tags, default=""), []).append(example)
    places: dict[str, float] = {}
    for tagged in by_tag.values():
        for rank, example in enumerate(sorted(tagged, key=lambda one: order(one.id))):
            places[example.id] = (rank + 0.5) / len(tagged)
    kept = {
        example.id for example in sorted(part, key=lambda one: (places[one.id], one.id))[:limit]
    }
    reason = f"beyond max_{name} = {limit}"
    dropped += [
        Dropped(one.id, "example", reason, one.source) for one in part if one.id not in kept
    ]
    return [example for example in part if example.id in kept]


def _without_crossings(parts: list[list[Example]], dropped: list[Dropped]) -> list[list[Example]]:
    """Drop what is still too near to a later part.

    Groups hold near-copies together already; but which words are a template's depends on the
    examples looked at, and `max_*` has just taken some away.
    """
    while found := crossings(*parts):
        seen = {crossing.seen.id: crossing for crossing in found}
        for crossing in seen.values():
            reason = f"too near to {crossing.held_out.id}, which is held out: they {crossing.why}"
            dropped.append(Dropped(crossing.seen.id, "example", reason, crossing.seen.source))
        parts = [[example for example in part if example.id not in seen] for part in parts]
    return parts


def _check(test: float, validation: float, *limits: int | None) -> None:
    if not (0 < test < 1 and 0 < validation < 1 and test + validation < 1):
        raise SettingError(
            f"split: test_fraction is {test} and validation_fraction {validation}; "
            "each must be above 0 and both together below 1 (0.2 and 0.1 are usual)"
        )
    for limit in limits:
        if limit is not None and limit < 1:
            raise SettingError(
                f"split: a maximum of {limit} examples; it must be 1 or more, or left out"
            )


def _refuse_small(parts: list[list[Example]], n: int, groups: int, fraction: float) -> None:
    train, validation, test = map(len, parts)
    if test >= FEWEST_TEST and train and validation:
        return
    raise DataError(
        f"too few examples to compare anything: {n} examples in {groups} groups give "
        f"{train} to train, {validation} to validate and {test} to test on. Expected "
        f"{FEWEST_TEST} or more to test on, and some to train and validate on. Label more examples "
        f"(about {_needed(fraction)} in all), raise data.test_fraction or data.max_test, "
        "or give fewer examples the same group."
    )


def _needed(fraction: float) -> int:
    return max(100, round(1.1 * FEWEST_TEST / fraction / 10) * 10)


def _warnings(parts: list[list[Example]], too_common: Sequence[str]) -> tuple[str, ...]:
    warnings = []
    if len(parts[2]) < _FEW_TEST:
        warnings.append(
            f"the test part has {len(parts[2])} examples; below {_FEW_TEST}, "
            "only large differences can be told"
        )
    if too_common:
        warnings.append(
            f"{len(too_common)} documents (first: {too_common[0]}) are cited by so many examples "
            "that examples on them may be in every part; these differ in text, not in the document"
        )
    return tuple(warnings)
