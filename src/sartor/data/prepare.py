"""Prepare: from what was collected to a split that can be trusted, and a record of what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from sartor.data.collect import Collected
from sartor.data.deduplication import without_copies, without_repeats
from sartor.data.disliked import Joined, apart, joined
from sartor.data.leaks import refuse_leaks
from sartor.data.privacy import count_personal_data
from sartor.data.questions import asked, normalized_input
from sartor.data.records import Document, Dropped, Example, Split
from sartor.data.split import split
from sartor.errors import DataError
from sartor.progress import task


@dataclass(frozen=True)
class Preparation:
    """How examples are divided."""

    test_fraction: float = 0.2
    """Share of the examples held out. More narrows the intervals, and leaves less to train on."""
    validation_fraction: float = 0.1
    """Share for choosing a technique's own settings."""
    max_train: int | None = None
    """Most examples to train on; None for all."""
    max_validation: int | None = None
    max_test: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """The split, and all that happened on the way to it."""

    split: Split
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]
    personal_data: dict[str, int]
    """Occurrences by kind, in documents and examples; nothing was removed."""
    counts: dict[str, int]
    """Documents, examples, and examples of each part."""


def prepare(collected: Collected, settings: Preparation) -> Prepared:
    """Clean up, divide and check; DataError where no fair comparison is possible."""
    if not collected.examples:
        raise DataError("there are no examples. Name a JSONL or CSV file of them in data.examples.")
    with task("prepare", total=4, unit="steps") as progress:
        personal_data = count_personal_data(_texts(collected))
        progress.advance(note="deduplication")
        documents = without_copies(collected.documents)
        judged = joined(collected.examples)
        resolved, warnings = _resolved(judged.answered, documents.kept, documents.same)
        examples, repeated = without_repeats(resolved)
        progress.advance(note="split")
        division = split(
            examples,
            documents.kept,
            test_fraction=settings.test_fraction,
            validation_fraction=settings.validation_fraction,
            seed=settings.seed,
            max_train=settings.max_train,
            max_validation=settings.max_validation,
            max_test=settings.max_test,
            alike=documents.alike,
        )
        progress.advance(note="leaks")
        refuse_leaks(division.split)
        whole, near = _with_disliked(division.split, judged)
        progress.advance()
    known = {document.id for document in documents.kept}
    return Prepared(
        split=_with_known_evidence(whole, known),
        dropped=(*collected.dropped, *documents.dropped, *repeated, *division.dropped, *near),
        warnings=(
            *collected.notes,
            *warnings,
            *_near(documents.alike),
            *_at_odds(examples),
            *division.warnings,
        ),
        personal_data=personal_data,
        counts=_counts(collected, division.split),
    )


def _texts(collected: Collected) -> list[str]:
    texts = [document.text for document in collected.documents]
    said = [(asked(one), *one.targets, *one.rejected) for one in collected.examples]
    return texts + ["\n".join(parts) for parts in said]


def _with_disliked(whole: Split, judged: Joined) -> tuple[Split, tuple[Dropped, ...]]:
    groups = {one.id: one.group for one in judged.answered}
    held_out = (*whole.training.validation, *whole.test)
    kept, dropped = apart(judged.disliked, held_out, groups)
    return replace(whole, training=replace(whole.training, disliked=kept)), dropped


def _resolved(
    examples: Sequence[Example], documents: Sequence[Document], same: Mapping[str, str]
) -> tuple[list[Example], list[str]]:
    """Evidence by document id, also where examples name a file, its path, or a dropped copy."""
    names = _names(documents) | dict(same)
    resolved = [
        replace(one, evidence=tuple(dict.fromkeys(names.get(id, id) for id in one.evidence)))
        for one in examples
    ]
    known = {document.id for document in documents}
    unknown = [(one, id) for one in resolved for id in one.evidence if id not in known]
    if not unknown:
        return resolved, []
    first, id = unknown[0]
    return resolved, [
        f"{len({one.id for one, _ in unknown})} examples name documents that were not collected "
        f"(first: {id!r} in {first.source}); these names are left out of the evidence"
    ]


def _names(documents: Sequence[Document]) -> dict[str, str]:
    """Other names that mean exactly one document."""
    names: dict[str, set[str]] = {}
    for document in documents:
        path = PurePosixPath(document.source)
        for name in (document.source, path.name, path.stem):
            names.setdefault(name, set()).add(document.id)
    ids = {document.id for document in documents}
    return {
        name: min(meant) for name, meant in names.items() if len(meant) == 1 and name not in ids
    }


def _with_known_evidence(whole: Split, known: set[str]) -> Split:
    def only_known(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(
            replace(one, evidence=tuple(id for id in one.evidence if id in known))
            for one in examples
        )

    return Split(whole.training.changed(only_known), only_known(whole.test))


def _near(alike: Sequence[Sequence[str]]) -> list[str]:
    if not alike:
        return []
    return [
        f"{sum(map(len, alike))} documents are near-copies of one another "
        f"(first: {', '.join(alike[0][:3])}); all are kept, and examples on them stay on one side"
    ]


def _at_odds(examples: Sequence[Example]) -> list[str]:
    """Inputs that are answered in more than one way."""
    seen: dict[str, list[Example]] = {}
    for example in examples:
        seen.setdefault(normalized_input(example), []).append(example)
    odd = [several for several in seen.values() if len(several) > 1]
    if not odd:
        return []
    first = f"{odd[0][0].id} and {odd[0][1].id}"
    return [
        f"{len(odd)} inputs have more than one answer (first: {first}); "
        "all are kept, those of one input in one part"
    ]


def _counts(collected: Collected, whole: Split) -> dict[str, int]:
    train, validation = whole.training.train, whole.training.validation
    return {
        "documents": len(whole.training.documents),
        "examples": len(collected.examples),
        "groups": len({one.group for one in (*train, *validation, *whole.test)}),
        "train": len(train),
        "validation": len(validation),
        "test": len(whole.test),
        "disliked": len(whole.training.disliked),
    }
