"""From a row of a file to an `Example`: the shapes people keep questions and answers in.

    {"input" | "question" | "prompt" | "instruction", "context"?, "output" | "answer" | ...}
    {"instruction", "input", "output"}          the input is what the instruction is about
    {"messages": [{"role", "content"}, ...]}    the last one, the assistant's, is the answer
    {..., "choices": ["...", "..."]}            a multiple choice: one of them is the answer

Judgements of answers (thumbs, corrections, rejected answers) are read by judged_rows.py.
Whatever does not fit is a `BadRow`, which says the field and what was expected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any, get_args

from sartor.data import fields
from sartor.data.fields import BadRow
from sartor.data.judged_rows import ANSWERS, Judged, judged
from sartor.data.records import Conversation, Example, Message, Role

QUESTIONS = ("input", "question", "prompt", "instruction")
FURTHER_ANSWERS = ("answers", "references")
MOST_CHOICES = 26
"""They are called A to Z."""


def example(row: Mapping[str, Any], id: str, source: str) -> Example:
    """The example that a row holds; `id` is used where it has none. Case of names is ignored."""
    found = judged({name.strip().lower(): value for name, value in row.items()})
    row = found.row
    if "messages" in row:
        conversation, answer = _chat(row)
    elif "turns" in row:
        conversation = turns(row, "turns")
        answer = () if found.disliked else _answer(row)
    else:
        conversation, answer = _question_and_answer(row, answered=not found.disliked)
    targets, choices = _targets(row, answer), _choices(row)
    answerable = fields.truth(row, "answerable")
    if choices and targets and answerable and not any(_names_one(t, choices) for t in targets):
        raise BadRow(
            f"choices: the answer, {json.dumps(targets[0])[:60]}, is none of them; give it in a "
            "choice's own words, or by its letter"
        )
    return Example(
        id=_id(row, id),
        input=conversation,
        targets=targets,
        group=fields.plain(row, "group"),
        source=source,
        evidence=fields.names(row, "document_ids") or fields.names(row, "document_id"),
        answerable=answerable,
        tags=tuple(dict.fromkeys(fields.names(row, "label") + fields.names(row, "tags"))),
        rejected=_rejected(found, targets),
        choices=choices,
    )


def _rejected(found: Judged, targets: tuple[str, ...]) -> tuple[str, ...]:
    texts = tuple(dict.fromkeys(fields.checked(one, "rejected") for one in found.rejected))
    for text in texts:
        if text in targets:
            raise BadRow(f"rejected: {json.dumps(text)[:60]} is one of the right answers too")
    return texts


def _question_and_answer(
    row: Mapping[str, Any], *, answered: bool
) -> tuple[Conversation, tuple[str, ...]]:
    names = [name for name in QUESTIONS if row.get(name) not in (None, "")]
    if not names:
        raise BadRow(
            f"has no question: expected one of {_listed(QUESTIONS)}, or messages{_found(row)}"
        )
    if {"instruction", "input"} <= set(names):
        parts = [fields.text(row, "instruction"), fields.text(row, "input")]
    else:
        parts = [fields.text(row, names[0])]
    if row.get("context"):
        parts.insert(0, fields.text(row, "context"))
    question = Message("user", "\n\n".join(parts))
    return (*_system(row), question), _answer(row) if answered else ()


def _answer(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = [name for name in (*ANSWERS, *FURTHER_ANSWERS) if row.get(name) is not None]
    if not names:
        raise BadRow(f"has no answer: expected one of {_listed(ANSWERS)}{_found(row)}")
    return _several(row, names[0])


def _chat(row: Mapping[str, Any]) -> tuple[Conversation, tuple[str, ...]]:
    messages = turns(row, "messages")
    if messages[-1].role != "assistant":
        raise BadRow(
            f"messages: the last is the {messages[-1].role}'s; expected the assistant's, the answer"
        )
    return messages[:-1], (messages[-1].content,)


def turns(row: Mapping[str, Any], name: str) -> Conversation:
    """The conversation in that field; BadRow for anything else."""
    said = row[name]
    if isinstance(said, str):
        said = fields.from_cell(said, name)
    if not isinstance(said, list) or not said:
        raise BadRow(f"{name}: expected a list of {{role, content}}")
    messages = tuple(_message(turn, number) for number, turn in enumerate(said, 1))
    if not any(message.role == "user" for message in messages):
        raise BadRow(f"{name}: none is the user's; expected a question before the answer")
    first = () if messages[0].role == "system" else _system(row)
    return (*first, *messages)


def _message(turn: Any, number: int) -> Message:
    if not isinstance(turn, dict) or turn.get("role") not in get_args(Role):
        raise BadRow(f"messages: turn {number} has no role of {_listed(get_args(Role))}")
    content = fields.checked(turn.get("content"), f"messages: turn {number}: content")
    return Message(turn["role"], content)


def _system(row: Mapping[str, Any]) -> Conversation:
    return (Message("system", fields.text(row, "system")),) if row.get("system") else ()


def _targets(row: Mapping[str, Any], answer: tuple[str, ...]) -> tuple[str, ...]:
    further = [
        text
        for name in FURTHER_ANSWERS
        if row.get(name) not in (None, "", [])
        for text in _several(row, name)
    ]
    return tuple(dict.fromkeys([*answer, *further]))


def _several(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return fields.texts(row, name, in_a_cell=name in FURTHER_ANSWERS)


def _choices(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The options of a multiple choice: a list, or a CSV cell that holds one as JSON."""
    value = row.get("choices")
    if value in (None, "", []):
        return ()
    if isinstance(value, str):
        value = fields.from_cell(value, "choices")
    if not isinstance(value, list) or not 2 <= len(value) <= MOST_CHOICES:
        raise BadRow(f"choices: expected a list of 2 to {MOST_CHOICES} texts")
    texts = tuple(fields.checked(one, f"choices[{n}]") for n, one in enumerate(value))
    if len(set(texts)) < len(texts):
        raise BadRow("choices: two are the same; leave one out")
    return texts


def _names_one(target: str, choices: tuple[str, ...]) -> bool:
    """Whether it may be one of them: by words that are alike, or by a letter."""
    letters = set(ascii_uppercase[: len(choices)])
    alike = {_bare(target)} & {_bare(choice) for choice in choices}
    return bool(alike) or bool(letters & set(re.findall(r"\b[A-Z]\b", target)))


def _bare(text: str) -> str:
    """Without case, marks and English articles: more is alike here than where it is scored."""
    words = re.findall(r"\w+", text.casefold())
    return " ".join(word for word in words if word not in ("a", "an", "the")) or text


def _id(row: Mapping[str, Any], default: str) -> str:
    return fields.plain(row, "id") or default


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _found(row: Mapping[str, Any]) -> str:
    return f"; found {', '.join(map(str, list(row)[:8])) or 'nothing'}"
