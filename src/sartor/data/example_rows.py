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

from sartor.data.cleaning import clean
from sartor.data.json_values import Unwieldy, parsed
from sartor.data.judged_rows import ANSWERS, BadJudgement, Judged, judged
from sartor.data.records import Conversation, Example, Message, Role

QUESTIONS = ("input", "question", "prompt", "instruction")
FURTHER_ANSWERS = ("answers", "references")
MOST_CHOICES = 26
"""They are called A to Z."""
_YES = frozenset({"true", "yes", "1"})
_NO = frozenset({"false", "no", "0"})


class BadRow(Exception):  # noqa: N818 - gathered, and raised as one DataError
    """A row that is no example; the message names the field."""


def example(row: Mapping[str, Any], id: str, source: str) -> Example:
    """The example that a row holds; `id` is used where it has none. Case of names is ignored."""
    try:
        found = judged({name.strip().lower(): value for name, value in row.items()})
    except BadJudgement as error:
        raise BadRow(str(error)) from error
    row = found.row
    if "messages" in row:
        conversation, answer = _chat(row)
    elif "turns" in row:
        conversation = turns(row, "turns")
        answer = () if found.disliked else _answer(row)
    else:
        conversation, answer = _question_and_answer(row, answered=not found.disliked)
    targets, choices, answerable = _targets(row, answer), _choices(row), _truth(row, "answerable")
    if choices and targets and answerable and not any(_names_one(t, choices) for t in targets):
        raise BadRow(
            f"choices: the answer, {json.dumps(targets[0])[:60]}, is none of them; give it in a "
            "choice's own words, or by its letter"
        )
    return Example(
        id=_id(row, id),
        input=conversation,
        targets=targets,
        group=_plain(row, "group"),
        source=source,
        evidence=_names(row, "document_ids") or _names(row, "document_id"),
        answerable=answerable,
        tags=tuple(dict.fromkeys(_names(row, "label") + _names(row, "tags"))),
        rejected=_rejected(found, targets),
        choices=choices,
    )


def _rejected(found: Judged, targets: tuple[str, ...]) -> tuple[str, ...]:
    texts = tuple(dict.fromkeys(_checked(one, "rejected") for one in found.rejected))
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
        parts = [_text(row, "instruction"), _text(row, "input")]
    else:
        parts = [_text(row, names[0])]
    if row.get("context"):
        parts.insert(0, _text(row, "context"))
    question = Message("user", "\n\n".join(parts))
    return (*_system(row), question), _answer(row) if answered else ()


def _answer(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = [name for name in (*ANSWERS, *FURTHER_ANSWERS) if row.get(name) is not None]
    if not names:
        raise BadRow(f"has no answer: expected one of {_listed(ANSWERS)}{_found(row)}")
    return _texts(row, names[0])


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
        said = _from_cell(said, name)
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
    return Message(turn["role"], _checked(turn.get("content"), f"messages: turn {number}: content"))


def _system(row: Mapping[str, Any]) -> Conversation:
    return (Message("system", _text(row, "system")),) if row.get("system") else ()


def _targets(row: Mapping[str, Any], answer: tuple[str, ...]) -> tuple[str, ...]:
    further = [
        text
        for name in FURTHER_ANSWERS
        if row.get(name) not in (None, "", [])
        for text in _texts(row, name)
    ]
    return tuple(dict.fromkeys([*answer, *further]))


def _texts(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """One text or several, none of them empty."""
    value = row[name]
    if isinstance(value, dict) and "text" in value:  # SQuAD: {"text": [...], "answer_start": [...]}
        value = value["text"]
    if isinstance(value, str) and name in FURTHER_ANSWERS and value.lstrip().startswith("["):
        value = _from_cell(value, name)
    if isinstance(value, list):
        if not value:
            raise BadRow(f"{name}: is an empty list; expected at least one answer")
        return tuple(_checked(one, f"{name}[{n}]") for n, one in enumerate(value))
    return (_checked(value, name),)


def _text(row: Mapping[str, Any], name: str) -> str:
    return _checked(row[name], name)


def _checked(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"{name}: is {json.dumps(value)[:60]}; expected text in quotes")
    text = clean(value)
    if not text:
        raise BadRow(f"{name}: is empty; write it, or delete the line")
    return text


def _choices(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The options of a multiple choice: a list, or a CSV cell that holds one as JSON."""
    value = row.get("choices")
    if value in (None, "", []):
        return ()
    if isinstance(value, str):
        value = _from_cell(value, "choices")
    if not isinstance(value, list) or not 2 <= len(value) <= MOST_CHOICES:
        raise BadRow(f"choices: expected a list of 2 to {MOST_CHOICES} texts")
    texts = tuple(_checked(one, f"choices[{n}]") for n, one in enumerate(value))
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
    return _plain(row, "id") or default


def _plain(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadRow(f"{name}: is {json.dumps(value)[:60]}; expected text or a whole number")
    return clean(str(value))


def _names(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Ids or tags: a list, one alone, or a CSV cell ("a; b" or a JSON list)."""
    value = row.get(name)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _from_cell(value, name)
    elif isinstance(value, str) and name in ("document_ids", "tags"):
        value = re.split(r"\s*[;|]\s*", value.strip())
    several = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(filter(None, (_plain({name: one}, name) for one in several))))


def _truth(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name)
    if value is None or value == "":
        return True
    if isinstance(value, bool):
        return value
    if str(value).lower() in _YES | _NO:
        return str(value).lower() in _YES
    raise BadRow(f"{name}: is {json.dumps(value)[:60]}; expected true or false")


def _from_cell(cell: str, name: str) -> Any:
    """The JSON in a cell, or the cell as it is."""
    try:
        return parsed(cell)
    except json.JSONDecodeError:
        return cell
    except Unwieldy as reason:
        raise BadRow(f"{name}: {reason}") from reason


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _found(row: Mapping[str, Any]) -> str:
    return f"; found {', '.join(map(str, list(row)[:8])) or 'nothing'}"
