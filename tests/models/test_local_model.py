"""A base model as something that answers: text in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests import tiny_models

from sartor.data.records import Conversation, Message
from sartor.errors import ModelError, PromptTooLongError
from sartor.models import chat, local_model
from sartor.models.language_model import Completion, ModelCard, Sampling, StreamingLanguageModel
from sartor.models.local_model import LocalModel

GREEDY = Sampling(max_new_tokens=16)


def ask(request: str) -> Conversation:
    return (Message("user", request),)


REQUESTS = [
    ask("What color is the lamp?"),
    ask("?"),
    (Message("system", "Be brief."), *ask("How long is the notice period? " * 5)),
    (*ask("What color is the rug?"), Message("assistant", "red"), *ask("And the clock?")),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def model(base: ModelCard) -> LocalModel:
    return LocalModel(base)


def texts(completions: Sequence[Completion]) -> list[str]:
    return [completion.text for completion in completions]


@pytest.mark.reference
def test_answers_are_those_of_transformers_with_its_chat_template(model: LocalModel) -> None:
    for request, completion in zip(REQUESTS, model.generate(REQUESTS, GREEDY), strict=True):
        messages = [{"role": m.role, "content": m.content} for m in request]
        ids = model.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            written = model.network.generate(**ids, max_new_tokens=16, do_sample=False)
        answer = written[0, ids["input_ids"].shape[1] :]
        assert completion.text == model.tokenizer.decode(answer, skip_special_tokens=True).strip()
        assert completion.prompt_tokens == ids["input_ids"].shape[1]


def test_order_and_company_change_no_answer(model: LocalModel) -> None:
    whole = texts(model.generate(REQUESTS, GREEDY))
    assert texts(model.generate(REQUESTS[::-1], GREEDY)) == whole[::-1]
    assert [texts(model.generate([request], GREEDY))[0] for request in REQUESTS] == whole
    assert model.generate([], GREEDY) == []


def test_small_batches_change_no_answer(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = texts(model.generate(REQUESTS, GREEDY))
    monkeypatch.setattr(local_model, "BATCH_TOKENS", 100)
    assert texts(model.generate(REQUESTS, GREEDY)) == whole


def test_a_long_neighbour_does_not_shorten_an_answer(model: LocalModel) -> None:
    """Each answer has what its own prompt leaves of the context."""
    long = ask("lamp " * 230)
    greedy = Sampling(max_new_tokens=100)
    [alone] = model.generate(REQUESTS[:1], greedy)
    beside, cut = model.generate([REQUESTS[0], long], greedy)
    assert replace(beside, seconds=0) == replace(alone, seconds=0)
    assert cut.new_tokens <= tiny_models.CONTEXT - cut.prompt_tokens < 100


def test_the_last_place_of_the_context_is_used_and_no_more(model: LocalModel) -> None:
    words = 0
    while model.prompt_tokens(ask("lamp " * (words + 1))) < tiny_models.CONTEXT:
        words += 1
    [completion] = model.generate([ask("lamp " * words)], GREEDY)
    assert completion.prompt_tokens == tiny_models.CONTEXT - 1
    assert completion.new_tokens <= 1
    with pytest.raises(PromptTooLongError) as caught:
        model.generate([REQUESTS[0], ask("lamp " * (words + 1))], GREEDY)
    assert "the prompt has 256 tokens" in str(caught.value)
    assert "reads at most 256, its answer included. Shorten the request" in str(caught.value)
    assert isinstance(caught.value, ModelError)


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(model: LocalModel) -> None:
    [whole] = model.generate([REQUESTS[0]], GREEDY)
    for stop in (whole.text[3:5], whole.text[-2:], whole.text[0]):
        [cut] = model.generate([REQUESTS[0]], replace(GREEDY, stop=("never", stop)))
        assert cut.text == whole.text.partition(stop)[0].strip()
        assert cut.finish == "stop"
        assert cut.new_tokens <= whole.new_tokens
    [kept] = model.generate([REQUESTS[0]], replace(GREEDY, stop=("", "never")))
    assert replace(kept, seconds=0) == replace(whole, seconds=0)


def test_a_seed_repeats_a_sampled_answer(model: LocalModel) -> None:
    warm = replace(GREEDY, temperature=1.5, seed=3)
    first = texts(model.generate(REQUESTS, warm))
    assert texts(model.generate(REQUESTS, warm)) == first
    assert texts(model.generate(REQUESTS, replace(warm, seed=4))) != first


@pytest.mark.parametrize("stop", [(), ("e",), ("ks", "�")])
@pytest.mark.parametrize("seed", range(6))
def test_the_pieces_of_a_stream_are_the_answer(
    model: LocalModel, seed: int, stop: tuple[str, ...]
) -> None:
    """Sampled, so that half characters, white space and stop texts come about."""
    assert isinstance(model, StreamingLanguageModel)
    sampling = Sampling(temperature=1.5, max_new_tokens=24, seed=seed, stop=stop)
    *pieces, last = model.stream(REQUESTS[0], sampling)
    [whole] = model.generate([REQUESTS[0]], sampling)
    assert isinstance(last, Completion)
    assert replace(last, seconds=0) == replace(whole, seconds=0)
    assert "".join(map(str, pieces)) == last.text
    assert all(isinstance(piece, str) and piece for piece in pieces)


class Writes:
    """A network that writes the given tokens, whatever it reads."""

    def __init__(self, network: Any, tokens: Sequence[int]) -> None:
        self.network, self.tokens = network, list(tokens)

    def __enter__(self) -> None:
        self.hook = self.network.lm_head.register_forward_hook(self._instead)

    def __exit__(self, *_: object) -> None:
        self.hook.remove()

    def _instead(self, module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        wanted = torch.zeros_like(logits)
        wanted[..., self.tokens.pop(0)] = 1
        return wanted


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (" two  words \n\n", ["two", "  words"]),
        ("答え👍", ["答", "え", "👍"]),
        ("yes STOP no", ["yes"]),
        ("yes STO", ["yes", " STO"]),
        (" \n ", []),
    ],
)
def test_a_stream_holds_back_what_may_yet_not_be_said(
    model: LocalModel, text: str, pieces: list[str]
) -> None:
    tokens = model.tokenizer(text)["input_ids"] + [model.tokenizer.eos_token_id] * 2
    sampling = Sampling(max_new_tokens=64, stop=("STOP",))
    model.generate([REQUESTS[0]], GREEDY)  # how it runs is tried before somebody writes for it
    with Writes(model.network, tokens):
        *found, last = model.stream(REQUESTS[0], sampling)
    with Writes(model.network, tokens):
        [whole] = model.generate([REQUESTS[0]], sampling)
    assert isinstance(last, Completion)
    assert "".join(map(str, found)) == last.text == whole.text == "".join(pieces)
    for piece in found:
        assert "�" not in str(piece)
        assert not str(piece).endswith((" ", "\n"))


def test_the_seconds_of_a_batch_are_shared_out(model: LocalModel) -> None:
    completions = model.generate([REQUESTS[0]] * 4, GREEDY)
    assert len({completion.seconds for completion in completions}) == 1
    assert completions[0].seconds > 0


def test_generation_ends_at_any_end_token_the_base_names(base: ModelCard) -> None:
    model = LocalModel(base)
    [whole] = model.generate([REQUESTS[0]], GREEDY)
    prompt = chat.encode(model.tokenizer, REQUESTS[0])
    with torch.no_grad():
        first = int(model.network(input_ids=torch.tensor([prompt])).logits[0, -1].argmax())
    model.network.generation_config.eos_token_id = [2, first]
    found = LocalModel(base, model.network)
    [ended] = found.generate([REQUESTS[0]], GREEDY)
    assert (ended.text, ended.new_tokens, ended.finish) == ("", 0, "stop")
    assert whole.new_tokens > 0
