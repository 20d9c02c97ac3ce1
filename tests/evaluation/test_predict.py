"""Answers are kept as they are made, and made only once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.journey.small_shop import Heard

from sartor import progress
from sartor.data.records import Conversation, Example, Message
from sartor.errors import DataError, ModelError, PromptTooLongError
from sartor.evaluation.predict import predict
from sartor.evaluation.records import Prediction
from sartor.models.language_model import Completion, Sampling

EXAMPLES = tuple(
    Example(f"e{i}", (Message("user", "why\u2028" * (1 + i * 7 % 10)),), ("because",))
    for i in range(10)
)


class UnpluggedError(RuntimeError):
    """What a model may raise."""


@dataclass
class Counting:
    """Echoes; remembers its batches, and fails after some."""

    fails_after: int = 99
    longest: int = 10**6
    most: int = 10**6
    """More at once are more than memory holds."""
    batches: list[list[str]] = field(default_factory=list)
    seen: list[Sequence[Conversation]] = field(default_factory=list)

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        if len(self.batches) == self.fails_after:
            raise UnpluggedError
        if len(conversations) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        asked = [conversation[-1].content for conversation in conversations]
        if any(len(text) > self.longest for text in asked):
            raise PromptTooLongError("the prompt has 9000 tokens")
        self.batches.append(asked)
        self.seen.append(conversations)
        return [Completion(f"{text}\u2028!", "stop", 1, 1, 0.1) for text in asked]

    @property
    def answered(self) -> int:
        return sum(map(len, self.batches))


def ask(
    model: Counting, path: Path, examples: Sequence[Example] = EXAMPLES, key: str = "k"
) -> list[Prediction]:
    return predict(model, examples, Sampling(), path, "asking", batch=3, key=key)


def test_answers_come_in_the_order_of_the_examples(tmp_path: Path) -> None:
    made = ask(Counting(), tmp_path / "answers.jsonl")
    assert [prediction.example for prediction in made] == list(EXAMPLES)
    for prediction in made:
        assert prediction.completion.text == prediction.example.input[0].content + "\u2028!"


def test_batches_hold_requests_of_like_length(tmp_path: Path) -> None:
    model = Counting()
    ask(model, tmp_path / "answers.jsonl")
    lengths = [len(text) for batch in model.batches for text in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert [len(batch) for batch in model.batches] == [3, 3, 3, 1]


def test_a_prompt_without_room_is_unanswered_and_no_other(tmp_path: Path) -> None:
    lengths = sorted(len(example.input[0].content) for example in EXAMPLES)
    model = Counting(longest=lengths[-3])
    for _ in range(2):  # a second time from the file
        made = ask(model, tmp_path / "answers.jsonl")
        without = [p for p in made if p.completion.finish == "no_room"]
        assert without == [p for p in made if len(p.example.input[0].content) > model.longest]
        assert len(without) in {1, 2}
        assert all(p.completion.text == "" for p in without)
    assert model.answered == len(EXAMPLES) - len(without)


def test_out_of_memory_halves_what_is_asked_at_once(tmp_path: Path) -> None:
    whole, heard = ask(Counting(), tmp_path / "whole.jsonl"), Heard()
    model = Counting(most=3)
    with progress.shown_by(heard):
        made = predict(
            model, EXAMPLES, Sampling(), tmp_path / "a.jsonl", "asking", batch=9, key="k"
        )
    assert made == whole
    assert [len(batch) for batch in model.batches] == [2, 2, 2, 2, 2]  # it is not tried with more
    assert heard.lines == [
        f"asking: out of memory with {failed} requests at once: batch_size is {failed // 2} from "
        "here on"
        for failed in (9, 4)
    ]


def test_one_request_that_memory_does_not_hold_is_raised(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        ask(Counting(most=0), tmp_path / "answers.jsonl")


def test_where_no_prompt_has_room_the_candidate_fails(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(PromptTooLongError, match="prompts leave no room"):
            ask(Counting(longest=0), tmp_path / "answers.jsonl")


def test_a_second_time_nothing_is_generated(tmp_path: Path) -> None:
    first = ask(Counting(), tmp_path / "answers.jsonl")
    again = Counting()
    assert ask(again, tmp_path / "answers.jsonl") == first
    assert again.answered == 0


def test_what_was_answered_before_a_failure_is_kept(tmp_path: Path) -> None:
    whole = ask(Counting(), tmp_path / "whole.jsonl")
    with pytest.raises(UnpluggedError):
        ask(Counting(fails_after=2), tmp_path / "answers.jsonl")
    again = Counting()
    assert ask(again, tmp_path / "answers.jsonl") == whole
    assert again.answered == 4


@pytest.mark.parametrize("cut", [1, 5, 40, 200, 700])
def test_a_file_cut_anywhere_is_mended(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "answers.jsonl"
    whole = ask(Counting(), path)
    written = path.read_bytes()
    path.write_bytes(written[:-cut])
    assert ask(Counting(), path) == whole
    assert sorted(path.read_bytes().split(b"\n")) == sorted(written.split(b"\n"))


def test_a_broken_line_and_what_follows_are_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    whole = ask(Counting(), path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:4], b"\x00\xff{", *lines[5:]]))
    again = Counting()
    assert ask(again, path) == whole
    assert again.answered == 7


@pytest.mark.parametrize("what", ["key", "question", "fewer", "sampling"])
def test_other_inputs_start_anew(tmp_path: Path, what: str) -> None:
    path, again = tmp_path / "answers.jsonl", Counting()
    ask(Counting(), path)
    changed = Example("e0", (Message("user", "how?"),), ("so",))
    if what == "key":
        ask(again, path, key="another customization")
    elif what == "question":
        ask(again, path, (changed, *EXAMPLES[1:]))
    elif what == "fewer":
        ask(again, path, EXAMPLES[:9])
    else:
        predict(again, EXAMPLES, Sampling(max_new_tokens=5), path, "asking", key="k")
    assert again.answered == (9 if what == "fewer" else 10)


@pytest.mark.parametrize("earlier", [True, False])
def test_questions_on_one_document_go_together(tmp_path: Path, earlier: bool) -> None:
    """The document is a message of its own, or the head of the question's; the longest first."""

    def on(document: str, question: str) -> Conversation:
        if earlier:
            return (Message("system", document), Message("user", question))
        return (Message("user", f"{document}\n{question}"),)

    documents = ["The lamp is green. " * 20, "The rug is red. " * 30]
    examples = [
        Example(f"{i}-{d}", on(document, "why " * (1 + i)), ("so",))
        for i in range(3)
        for d, document in enumerate(documents)
    ]
    model = Counting()
    ask(model, tmp_path / "answers.jsonl", examples)
    asked = [[conversation[-1] for conversation in batch] for batch in model.seen]
    assert [[m.content.count("why") for m in batch] for batch in asked] == [[3, 2, 1], [3, 2, 1]]
    first, second = [{c[0].content[:16] for c in batch} for batch in model.seen]
    assert (first, second) == ({documents[1][:16]}, {documents[0][:16]})


def test_another_target_or_order_does_not(tmp_path: Path) -> None:
    path, again = tmp_path / "answers.jsonl", Counting()
    ask(Counting(), path)
    changed = [Example(e.id, e.input, ("another",)) for e in reversed(EXAMPLES)]
    assert [p.example.targets for p in ask(again, path, changed)] == [("another",)] * 10
    assert again.answered == 0


def test_a_model_that_gives_too_few_answers_is_named(tmp_path: Path) -> None:
    class Short(Counting):
        def generate(
            self, conversations: Sequence[Conversation], sampling: Sampling
        ) -> list[Completion]:
            return super().generate(conversations, sampling)[1:]

    with pytest.raises(ModelError, match="2 answers to 3 requests"):
        ask(Short(), tmp_path / "answers.jsonl")


def test_ids_that_repeat_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 examples have the id 'e3'"):
        ask(Counting(), tmp_path / "answers.jsonl", (*EXAMPLES, EXAMPLES[3]))


def test_no_examples_are_no_predictions(tmp_path: Path) -> None:
    assert ask(Counting(), tmp_path / "answers.jsonl", ()) == []
