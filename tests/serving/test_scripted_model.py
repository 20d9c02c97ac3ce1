"""The stand-in behaves as a model does."""

from __future__ import annotations

import pytest

from sartor.data.records import Conversation, Message
from sartor.models.language_model import Completion, Sampling, StreamingLanguageModel
from sartor.models.scripted import ScriptedModel

QUESTION: Conversation = (Message("system", "Be brief."), Message("user", "How long is it?"))


def scripted(text: str) -> ScriptedModel:
    return ScriptedModel(lambda conversation: text)


def test_it_answers_each_conversation_in_order() -> None:
    model = ScriptedModel(lambda conversation: conversation[-1].content.upper())
    answers = model.generate([QUESTION, (Message("user", "why"),)], Sampling())
    assert [answer.text for answer in answers] == ["HOW LONG IS IT?", "WHY"]


def test_its_tokens_are_words() -> None:
    [answer] = scripted("four whole weeks").generate([QUESTION], Sampling())
    assert (answer.prompt_tokens, answer.new_tokens, answer.finish) == (6, 3, "stop")


@pytest.mark.parametrize(
    ("limit", "text", "finish"),
    [(2, "four whole", "length"), (3, "four whole weeks", "stop"), (9, "four whole weeks", "stop")],
)
def test_it_ends_at_the_token_limit(limit: int, text: str, finish: str) -> None:
    [answer] = scripted("four whole weeks").generate([QUESTION], Sampling(max_new_tokens=limit))
    assert (answer.text, answer.finish) == (text, finish)


def test_it_ends_before_the_first_stop_text() -> None:
    sampling = Sampling(stop=("weeks", "whole"))
    [answer] = scripted("four whole weeks").generate([QUESTION], sampling)
    assert (answer.text, answer.finish) == ("four ", "stop")


def test_what_it_streams_is_what_it_generates() -> None:
    model = scripted("four\n\n whole  weeks ")
    assert isinstance(model, StreamingLanguageModel)
    *pieces, completion = model.stream(QUESTION, Sampling())
    assert [completion] == model.generate([QUESTION], Sampling())
    assert isinstance(completion, Completion)
    assert "".join(str(piece) for piece in pieces) == completion.text == "four\n\n whole  weeks "
