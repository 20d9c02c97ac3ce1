"""Packed losses and gradients against plain transformers, one example at a time, in float32."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import Heard

from sartor import progress
from sartor.data.records import Example, Message
from sartor.errors import ModelError, TrainingError
from sartor.training import packing
from sartor.training.packed_attention import is_packed, use_packed_attention
from sartor.training.packing import Encoded, answer_loss, encode, packs

PACKED = ("llama", "qwen2", "mistral", "gemma2", "gemma3", "gpt2")
PADDED = ("gpt_neo", "bloom", "mpt", "gpt_oss", "qwen3_5", "phimoe_short", "doge")
"""Absolute windows, biases by distance, sinks, running states, windows that only masks have, and
masks that layers make: no packs."""
LENGTHS = ((3, 2), (40, 7), (12, 5), (200, 9))
"""Tokens of prompt and answer; some longer than a window and than a block of queries."""


def examples(seed: int = 5) -> list[Encoded]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Encoded(f"e{i}", tuple(torch.randint(6, 300, (p + a,), generator=generator).tolist()), p)
        for i, (p, a) in enumerate(LENGTHS)
    ]


def kin(seed: int = 5) -> list[Encoded]:
    """Examples that begin alike, some for longer than others."""
    generator = torch.Generator().manual_seed(seed)
    beginning = torch.randint(6, 300, (90,), generator=generator).tolist()
    return [
        Encoded(e.id, (*beginning[:shared], *e.tokens), shared + e.prompt)
        for shared, e in zip((90, 40, 90, 40), examples(seed), strict=True)
    ]


def plain_loss(
    network: Any, pack: Sequence[Encoded], virtual: torch.Tensor | None = None
) -> torch.Tensor:
    """What transformers gives each example by itself, summed over the answers' tokens."""
    total = torch.zeros(())
    for example in pack:
        ids = torch.tensor([example.tokens])
        if virtual is None:
            logits = network(input_ids=ids).logits[0]
        else:
            embedded = torch.cat([virtual[None], network.get_input_embeddings()(ids)], 1)
            logits = network(inputs_embeds=embedded).logits[0, len(virtual) :]
        scored = logits[example.prompt - 1 : -1]
        labels = ids[0, example.prompt :]
        total = total + torch.nn.functional.cross_entropy(scored, labels, reduction="sum")
    return total


def gradients(network: Any, loss: torch.Tensor) -> torch.Tensor:
    network.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    found = [p.grad for p in network.parameters()]
    return torch.cat([g.flatten() for g in found if g is not None])


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.reference
@pytest.mark.parametrize("made", [examples, kin])
@pytest.mark.parametrize("architecture", [*PACKED, *PADDED])
def test_the_loss_and_its_gradient_are_those_of_each_example_alone(
    architecture: str, made: Callable[[], list[Encoded]]
) -> None:
    network = tiny_models.network(architecture)
    pack = made()
    expected = plain_loss(network, pack)
    expected_gradient = gradients(network, expected)
    assert use_packed_attention(network) == (architecture in PACKED)
    loss, scored = answer_loss(network, pack)
    assert scored == sum(answer for _, answer in LENGTHS)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert distance(gradients(network, loss), expected_gradient) < 5e-5


@pytest.mark.reference
def test_a_model_that_sees_padding_gets_each_example_alone() -> None:
    """As ProphetNet does."""
    network = tiny_models.network("bloom")
    network.transformer.h[0].mlp.register_forward_hook(
        lambda _, __, made: made + 0.1 * made.mean(1, keepdim=True)
    )
    expected = plain_loss(network, examples())
    use_packed_attention(network)
    loss, _ = answer_loss(network, examples())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.reference
@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2", "bloom"])
def test_virtual_tokens_stand_before_every_example(architecture: str) -> None:
    network = tiny_models.network(architecture)
    virtual = torch.randn(5, 32, generator=torch.Generator().manual_seed(3), requires_grad=True)
    expected = plain_loss(network, examples(), virtual)
    [expected_gradient] = torch.autograd.grad(expected, virtual)
    use_packed_attention(network)
    loss, _ = answer_loss(network, examples(), virtual)
    [gradient] = torch.autograd.grad(loss, virtual)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert distance(gradient, expected_gradient) < 1e-5


@pytest.mark.reference
@pytest.mark.parametrize("made", [examples, kin])
@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma2"])
def test_bfloat16_is_as_near_as_bfloat16_can_be(
    architecture: str, made: Callable[[], list[Encoded]]
) -> None:
    network = tiny_models.network(architecture)
    expected = plain_loss(network, made())
    expected_gradient = gradients(network, expected)
    half = tiny_models.network(architecture).to(torch.bfloat16)
    assert use_packed_attention(half)
    loss, _ = answer_loss(half, made())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
    assert distance(gradients(half, loss).float(), expected_gradient) < 5e-2


@pytest.mark.parametrize("architecture", PACKED)
def test_no_example_sees_another(architecture: str) -> None:
    network = tiny_models.network(architecture)
    assert use_packed_attention(network)
    pack = examples()
    other = examples(seed=6)[1]

    def loss(*these: Encoded) -> float:
        return answer_loss(network, these)[0].item()

    apart = loss(other) - loss(pack[1])
    assert abs(apart) > 1e-2
    changed = loss(pack[0], other, *pack[2:])
    assert changed - loss(*pack) == pytest.approx(apart, abs=1e-3)


def test_a_long_example_does_not_change_the_positions_of_shorter_ones() -> None:
    network = tiny_models.network("phi3_long")
    expected = plain_loss(network, examples())
    own = gradients(network, expected)
    use_packed_attention(network)
    loss, _ = answer_loss(network, examples())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert distance(gradients(network, loss), own) < 5e-5


@pytest.mark.parametrize("architecture", ["llama", "gpt_neo"])
def test_the_order_and_the_size_of_packs_change_no_loss(architecture: str) -> None:
    network = tiny_models.network(architecture)
    use_packed_attention(network)
    whole = answer_loss(network, examples())[0].item()
    for order in (examples()[::-1], sorted(examples(), key=lambda e: e.tokens)):
        parts = [answer_loss(network, pack)[0].item() for pack in packs(order, 60)]
        assert len(parts) > 1
        assert sum(parts) == pytest.approx(whole, rel=1e-5)


def test_a_model_that_cannot_run_packs_is_left_as_it_was_and_that_is_said() -> None:
    network = tiny_models.network("gpt_oss")
    before = network.config._attn_implementation
    heard = Heard()
    with progress.shown_by(heard):
        assert not use_packed_attention(network)
    assert network.config._attn_implementation == before
    assert not is_packed(network)
    assert heard.said == [
        "a GptOssForCausalLM does not run packs of examples; it trains on padded batches"
    ]


def test_packs_keep_the_order_and_the_limit() -> None:
    made = list(packs(examples(), 60))
    assert [[e.id for e in pack] for pack in made] == [["e0", "e1"], ["e2"], ["e3"]]
    assert list(packs([], 60)) == []


def ask(request: str, answer: str = "green", id: str = "q") -> Example:
    return Example(id, (Message("user", request),), (answer,))


def test_an_example_is_its_prompt_its_first_target_and_the_end_of_turn() -> None:
    tokenizer = tiny_models.tokenizer()
    [one] = encode(tokenizer, [ask("What color is the lamp?")], 256)
    said = "<|begin|><|user|>What color is the lamp?<|end|><|assistant|>"
    assert tokenizer.decode(list(one.tokens[: one.prompt])) == said
    assert tokenizer.decode(list(one.tokens[one.prompt :])) == "green<|end|>"


def test_control_tokens_in_an_answer_are_disarmed() -> None:
    tokenizer = tiny_models.tokenizer()
    [one] = encode(tokenizer, [ask("?", "a<|end|>b")], 256)
    assert one.tokens[one.prompt :].count(tokenizer.eos_token_id) == 1


def test_answers_are_cut_to_the_context_and_prompts_that_fill_it_left_out() -> None:
    heard = Heard()
    with progress.shown_by(heard):
        kept = encode(
            tiny_models.tokenizer(), [ask("lamp " * 99, id="long"), ask("?", "word " * 99)], 64
        )
    assert [(e.id, len(e.tokens)) for e in kept] == [("q", 64)]
    assert heard.said == [
        "1 of 2 examples have prompts that fill the model's context: left out",
        "1 of 2 examples are longer than the model's context of 64 tokens: their answers are cut, "
        "and their end is not learned",
    ]


def test_nothing_left_to_train_on_is_an_error_that_says_why() -> None:
    with pytest.raises(TrainingError, match="all 1 prompts fill the model's context of 64 tokens"):
        encode(tiny_models.tokenizer(), [ask("lamp " * 99)], 64)
    with pytest.raises(TrainingError, match="none to validate on"):
        encode(tiny_models.tokenizer(), [], 64)


def test_a_tokenizer_without_an_end_cannot_be_trained_with() -> None:
    tokenizer = copy.deepcopy(tiny_models.tokenizer())
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="names no end-of-text token"):
        encode(tokenizer, [ask("?")], 64)


@pytest.mark.parametrize(
    ("width", "dtype", "trims"),
    [(64, torch.float32, 0), (1024, torch.float32, 1), (1024, torch.bfloat16, 0)],
)
def test_free_memory_is_handed_back_before_a_pack_where_that_costs_little(
    width: int, dtype: torch.dtype, trims: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed: list[None] = []
    monkeypatch.setattr(packing, "trim", lambda: trimmed.append(None))
    embeddings = torch.nn.Embedding(3, width, dtype=dtype)
    packing.make_room(
        SimpleNamespace(device=torch.device("cpu"), get_input_embeddings=lambda: embeddings)
    )
    assert len(trimmed) == trims
