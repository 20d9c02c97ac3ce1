"""Examples side by side: what was asked, what was read, and what each candidate said.

A page holds a bounded number: the worst and the most disputed, and some ordinary ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import escape

from sartor.data.records import Conversation, Example, Passage
from sartor.models.language_model import Finish
from sartor.studio.choosing import Answered, answered_by, chosen, value
from sartor.studio.standing import Standing

MOST = 120
"""Examples on a page."""
MOST_BYTES = 2_000_000
"""Their texts' size as HTML."""
WORST = 10
WRONG_BELOW = 0.5
DISPUTED_FROM = 0.5
"""Difference between the highest and the lowest score of one example."""
_LONGEST = {"question": 2_000, "target": 800, "answer": 1_200, "passage": 900, "id": 300}
_MOST_PASSAGES = 8
_MOST_TARGETS = 4


@dataclass(frozen=True, slots=True)
class Cut:
    """A text, perhaps cut short."""

    text: str
    left_out: int
    """Characters."""


@dataclass(frozen=True, slots=True)
class Turn:
    role: str
    content: Cut


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage some candidates were given."""

    number: int
    title: str
    document_id: str
    content: Cut
    expected: bool
    """Whether its document is known to hold the answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one candidate said."""

    standing: Standing
    content: Cut
    score: float | None
    explanation: str
    read: tuple[int, ...]
    """Numbers of the passages it was given, best first."""
    finish: Finish


@dataclass(frozen=True, slots=True)
class Case:
    """One example, and all answers to it in the order of the leaderboard."""

    number: int
    example: Example
    turns: tuple[Turn, ...]
    targets: tuple[Cut, ...]
    more_targets: int
    evidence: tuple[Evidence, ...]
    more_evidence: int
    answers: tuple[Answer, ...]
    looked_at: Answer | None
    """The answer of the candidate the page looks at closely."""
    wrong: bool
    disputed: bool
    tags: tuple[int, ...]
    """Places in `Gallery.tags`."""

    @property
    def question(self) -> str:
        return self.turns[-1].content.text if self.turns else ""

    @property
    def missed(self) -> bool:
        """Whether passages were found, but none of a document that holds the answer."""
        known = bool(self.example.evidence and self.evidence)
        return known and not self.more_evidence and not any(e.expected for e in self.evidence)


@dataclass(frozen=True, slots=True)
class Gallery:
    """The examples shown, of how many, and the worst of them."""

    cases: tuple[Case, ...]
    worst: tuple[Case, ...]
    total: int
    wrong: int
    """Of the total, how many the candidate looked at got wrong."""
    tags: tuple[str, ...]


def gallery(
    rows: Sequence[Standing], looked_at: Standing | None, scorer: str, most: int = MOST
) -> Gallery:
    """Choose the examples worth reading and put all answers to each side by side."""
    answered = [answered_by(row, row.report, scorer) for row in rows if row.report]
    examples: dict[str, Example] = {}
    for one in answered:
        for key, prediction in one.predictions.items():
            examples.setdefault(key, prediction.example)
    tags = tuple(sorted({tag for example in examples.values() for tag in example.tags}))
    kept = chosen(list(examples), answered, looked_at, most)
    cases = tuple(
        _within_bytes(
            _case(number, examples[key], answered, looked_at, tags)
            for number, key in enumerate(kept, 1)
        )
    )
    worst = tuple(case for case in cases if _falls_short(case))[:WORST]
    wrong = sum(
        known < WRONG_BELOW
        for one in answered
        if one.standing is looked_at
        for key in examples
        if (known := value(one, key)) is not None
    )
    return Gallery(cases, worst, len(examples), wrong, tags)


def _case(
    number: int,
    example: Example,
    answered: Sequence[Answered],
    looked_at: Standing | None,
    tags: Sequence[str],
) -> Case:
    passages = _passages(example, answered)
    answers = tuple(_answers(example, answered, passages))
    values = [answer.score for answer in answers if answer.score is not None]
    own = next((answer for answer in answers if answer.standing is looked_at), None)
    evidence = tuple(
        _evidence(at, passage, example) for at, passage in enumerate(passages[:_MOST_PASSAGES], 1)
    )
    return Case(
        number,
        example,
        _turns(example.input),
        tuple(_cut(target, "target") for target in example.targets[:_MOST_TARGETS]),
        max(0, len(example.targets) - _MOST_TARGETS),
        evidence,
        len(passages) - len(evidence),
        answers,
        own,
        own is not None and own.score is not None and own.score < WRONG_BELOW,
        bool(values) and max(values) - min(values) >= DISPUTED_FROM,
        tuple(tags.index(tag) for tag in sorted(set(example.tags))),
    )


def _passages(example: Example, answered: Sequence[Answered]) -> list[Passage]:
    """All passages given to any candidate, each once, in the order first met."""
    given = (
        passage
        for one in answered
        if (prediction := one.predictions.get(example.id))
        for passage in prediction.completion.passages
    )
    return list(dict.fromkeys(given))


def _evidence(number: int, passage: Passage, example: Example) -> Evidence:
    return Evidence(
        number,
        _cut(passage.title, "id").text,
        _cut(passage.document_id, "id").text,
        _cut(passage.text, "passage"),
        passage.document_id in example.evidence,
    )


def _answers(
    example: Example, answered: Sequence[Answered], passages: Sequence[Passage]
) -> Iterable[Answer]:
    numbers = {passage: number for number, passage in enumerate(passages, 1)}
    for one in answered:
        if prediction := one.predictions.get(example.id):
            completion, score = prediction.completion, one.scores.get(example.id)
            yield Answer(
                one.standing,
                _cut(completion.text, "answer"),
                value(one, example.id),
                _cut(score.explanation, "id").text if score else "",
                tuple(n for p in completion.passages if (n := numbers[p]) <= _MOST_PASSAGES),
                completion.finish,
            )


def _turns(conversation: Conversation) -> tuple[Turn, ...]:
    return tuple(Turn(turn.role, _cut(turn.content, "question")) for turn in conversation)


def _cut(text: str, kind: str) -> Cut:
    longest = _LONGEST[kind]
    return Cut(text[:longest], max(0, len(text) - longest))


def _falls_short(case: Case) -> bool:
    own = case.looked_at
    return own is not None and own.score is not None and own.score < 1


def _within_bytes(cases: Iterable[Case]) -> Iterable[Case]:
    """As many as fit; always one."""
    total = 0
    for case in cases:
        total += _weight(case)
        if total > MOST_BYTES and case.number > 1:
            return
        yield case


def _weight(case: Case) -> int:
    """About how many bytes of HTML it makes."""
    texts = [turn.content.text for turn in case.turns]
    texts += [target.text for target in case.targets]
    texts += [one.content.text + one.title + one.document_id for one in case.evidence]
    texts += [one.content.text + one.explanation + one.standing.name for one in case.answers]
    size = sum(len(escape(text).encode("utf-8", "replace")) for text in texts)
    return size + 800 + 500 * len(case.answers) + 300 * len(case.evidence)


def tag_counts(shown: Gallery) -> list[tuple[int, str, int]]:
    """Each tag of a shown example: its place, its name, and how many examples carry it."""
    counts = Counter(tag for case in shown.cases for tag in case.tags)
    return [(at, shown.tags[at], count) for at, count in sorted(counts.items())]
