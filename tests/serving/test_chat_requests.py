"""What a chat request may say, and what is said back when it may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import completion_create_params

from sartor.data.records import Message
from sartor.models.language_model import Sampling
from sartor.serving.refusals import Refusal
from sartor.serving.request_body import HINTS, NEUTRAL, Body
from sartor.serving.requests import ChatRequest, read_chat_request

USER = {"role": "user", "content": "How long?"}


def read(**body: Any) -> ChatRequest:
    asked = {"model": "handbook", "messages": [USER], **body}
    return read_chat_request(json.dumps(asked).encode(), "handbook", Sampling())


def refused(**body: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(**body)
    return caught.value


def test_a_plain_request_is_answered_as_the_model_was_evaluated() -> None:
    request = read()
    assert request.conversation == (Message("user", "How long?"),)
    assert (request.sampling.temperature, request.sampling.max_new_tokens) == (0.0, 256)
    assert not request.stream


def test_what_is_asked_for_is_what_is_sampled() -> None:
    request = read(temperature=0.5, max_tokens=7, seed=11, stop="\n")
    assert request.sampling == Sampling(0.5, 7, 11, ("\n",))
    assert request.seeded


def test_without_a_seed_each_request_has_its_own() -> None:
    seeds = {read(temperature=1).sampling.seed for _ in range(8)}
    assert len(seeds) > 1
    assert not read(temperature=1).seeded


def test_any_seed_of_64_bits_becomes_one_that_every_generator_takes() -> None:
    for seed in (-1, -(2**63), 2**63 - 1):
        assert 0 <= read(seed=seed).sampling.seed < 2**32


def test_the_newer_name_of_the_token_limit_counts() -> None:
    assert read(max_completion_tokens=9).sampling.max_new_tokens == 9
    assert refused(max_tokens=8, max_completion_tokens=9).param == "max_tokens"


def test_a_developer_is_a_system_message_and_parts_are_put_together() -> None:
    parts = [{"type": "text", "text": "How"}, {"type": "text", "text": "long?"}]
    request = read(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": parts, "name": "ada"},
        ]
    )
    assert request.conversation == (Message("system", "Be brief."), Message("user", "How\nlong?"))


def test_an_answer_of_ours_may_be_sent_back() -> None:
    answer = {"role": "assistant", "content": "Four.", "refusal": None, "citations": [{"index": 1}]}
    assert read(messages=[USER, answer, USER]).conversation[1] == Message("assistant", "Four.")


def test_every_parameter_of_the_official_client_is_used_dropped_or_refused() -> None:
    client = set(completion_create_params.CompletionCreateParamsBase.__annotations__)
    assert len(client) > 30
    assert client <= Body.model_fields.keys() | HINTS | NEUTRAL.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "look_up"}}]),
        ("tool_choice", "required"),
        ("functions", [{"name": "look_up"}]),
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x"}}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -0.5),
        ("logit_bias", {"50256": -100}),
        ("modalities", ["text", "audio"]),
        ("reasoning_effort", "high"),
    ],
)
def test_what_would_change_the_answer_and_is_not_supported_is_named(name: str, value: Any) -> None:
    refusal = refused(**{name: value})
    assert (refusal.status, refusal.param, refusal.code) == (400, name, "unsupported_parameter")
    assert f"'{name}' is not supported" in str(refusal)


def test_unsupported_parameters_that_ask_for_nothing_pass() -> None:
    for name, values in NEUTRAL.items():
        for value in values:
            read(**{name: value})


def test_top_p_passes_where_it_changes_nothing() -> None:
    read(top_p=0.9)
    read(top_p=1, temperature=1)
    assert refused(top_p=0.9, temperature=1).param == "top_p"


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"temprature": 1}, "temprature", "did you mean 'temperature'?"),
        ({"top_k": 40}, "top_k", "unknown parameter"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"temperature": "0.5"}, "temperature", "valid number"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 1.5}, "max_tokens", "valid integer"),
        ({"stream": "yes"}, "stream", "valid boolean"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "needs 'stream': true"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "up to 4"),
        ({"stop": ""}, "stop", "none of them empty"),
        ({"stop": {"a": 1}}, "stop", "a text or a list"),
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": "hello"}, "messages", "valid list"),
        ({"messages": ["hello"]}, "messages[0]", "valid dictionary"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "neither a string nor a list"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing"),
        ({"messages": [USER, {"role": "tool", "content": "4"}]}, "messages[1].role", "'system'"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages", "no question"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "messages", "no question"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0]",
            "reads text only",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]},
            "messages[1].tool_calls",
            "not supported",
        ),
    ],
)
def test_a_wrong_value_is_named_and_explained(body: dict[str, Any], param: str, says: str) -> None:
    refusal = refused(**body)
    assert (refusal.status, refusal.param) == (400, param)
    assert says in str(refusal)


def test_another_model_is_not_found() -> None:
    refusal = refused(model="gpt-4o")
    assert (refusal.status, refusal.code, refusal.param) == (404, "model_not_found", "model")
    assert "this server has 'handbook'" in str(refusal)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{'model': 1}", b'{"model": NaN}', b'"\\ud800"', b"\xff", b"[" * 9999, b"{} {}"],
)
def test_malformed_json_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal, match="not valid JSON") as caught:
        read_chat_request(body, "handbook", Sampling())
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


@pytest.mark.parametrize("body", [b"[]", b"null", b'"hello"', b"{}", b'{"model": "handbook"}'])
def test_json_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_chat_request(body, "handbook", Sampling())
    assert caught.value.status == 400
