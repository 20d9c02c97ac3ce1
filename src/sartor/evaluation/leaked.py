"""Answers made elsewhere that say, word for word, what only the test part says.

What sartor trains cannot see the test part (`TrainingData` has none, and near copies are refused).
Of answers made elsewhere nobody here knows what was learned from. But whoever is not shown a long
answer does not hit on its wording: where answers repeat targets whose words stand neither in the
training rows nor in the documents nor in the request, the test part was seen. Labels, numbers and
other short answers show nothing of the kind; of those it cannot be known, and the report says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from sartor.data.records import Conversation, Example, Split
from sartor.evaluation.given import is_given
from sartor.evaluation.records import Prediction, Report
from sartor.evaluation.scorers.wording import words

RUN = 4
"""Words in a row: shorter runs come twice by chance."""
ANY = "*"
LONG = 8, 40
"""Words and characters of a target from which its wording is one's own."""
NOVEL = 0.5
"""Share of a target's runs that stand nowhere else; a filled-in template has less."""
COPIED = 0.9
"""Share of a target's runs that an answer repeats: all but a slip."""
FEWEST, SHARE = 5, 0.1
"""Copied answers, and their share of all that could be, from which it is no chance."""
USUAL = 0.25
"""Of that share, what a candidate made here reaches where the task itself leads to such words."""

Run = tuple[str, ...]
Runs = list[tuple[Run, Run]]
"""Of a text, as it stands, and as a template: what may be filled in is a star."""


def marked(reports: Sequence[Report], split: Split) -> tuple[Report, ...]:
    """The reports; those of answers made elsewhere that must have seen the test part say so."""
    if not any(is_given(report) for report in reports):
        return tuple(reports)
    own = _own_words([prediction.example for prediction in reports[0].predictions], split)
    copied = {report.candidate: _copied(report.predictions, own) for report in reports}
    usual = max((copied[one.candidate] for one in reports if not is_given(one)), default=0)
    return tuple(
        _noted(one, copied[one.candidate], len(own), usual) if is_given(one) else one
        for one in reports
    )


def _noted(report: Report, copied: int, of: int, usual: int) -> Report:
    if copied < max(FEWEST, SHARE * of) or usual >= USUAL * copied:
        return report
    said = (
        f"{copied:,} of its {of:,} longer answers repeat a right answer word for word that stands "
        "neither in the training rows nor in the documents: it has seen the test part"
    )
    return replace(report, leaked=said)


def _copied(predictions: Sequence[Prediction], own: Mapping[str, Sequence[Runs]]) -> int:
    """Answers that repeat a target's own words."""
    found = 0
    for prediction in predictions:
        if targets := own.get(prediction.example.id):
            said = {run for run, _ in _runs(prediction.completion.text, ())}
            found += any(
                sum(run in said for run, _ in target) >= COPIED * len(target) for target in targets
            )
    return found


def _own_words(test: Sequence[Example], split: Split) -> dict[str, list[Runs]]:
    """By example id the runs of those of its targets whose wording is nowhere else."""
    long = {
        example.id: [_runs(target, example.input) for target in example.targets if _is_long(target)]
        for example in test
    }
    wanted = {both for targets in long.values() for target in targets for both in target}
    standing = _standing({run for run, _ in wanted}, {shape for _, shape in wanted}, split)
    kept = {
        id: [target for target in targets if _is_novel(target, standing)]
        for id, targets in long.items()
    }
    return {id: targets for id, targets in kept.items() if targets}


def _is_novel(target: Runs, standing: Collection[Run]) -> bool:
    new = sum(
        run not in standing and shape not in standing and set(shape) != {ANY}
        for run, shape in target
    )
    return new > NOVEL * len(target)


def _standing(runs: Collection[Run], shapes: Collection[Run], split: Split) -> set[Run]:
    """Those of the runs that a training row or a document holds, and those of the templates that
    the answer of a training row follows."""
    training, found = split.training, set[Run]()
    rows = (*training.train, *training.validation)
    for example in rows:
        for target in example.targets:
            both = _runs(target, example.input)
            found.update(run for run, _ in both if run in runs)
            found.update(shape for _, shape in both if shape in shapes)
    turns = (turn.content for example in (*rows, *split.test) for turn in example.input)
    for text in chain(turns, (document.text for document in training.documents)):
        found.update(run for run, _ in _runs(text, ()) if run in runs)
    return found


def _runs(text: str, request: Conversation) -> Runs:
    """Its runs of words; in the template numbers and what the request says may be anything."""
    given = {word for turn in request for word in words(turn.content)}
    plain = words(text)
    shape = [ANY if word in given or word[0].isdigit() else word for word in plain]
    places = range(len(plain) - RUN + 1)
    return [(tuple(plain[at : at + RUN]), tuple(shape[at : at + RUN])) for at in places]


def _is_long(target: str) -> bool:
    return len(words(target)) >= LONG[0] and len(target) >= LONG[1]
