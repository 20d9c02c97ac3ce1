"""Generation against transformers' own, one prompt at a time, and against itself."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tests import tiny_models

from sartor.models import generation, packed_forward
from sartor.models.padded_generation import padding_is_seen
from sartor.models.rotary import apart

ARCHITECTURES = [name for name in tiny_models.ARCHITECTURES if name != "mamba"]
ODD = ("phimoe_short",)
"""A window that only masks have."""
HEAD = [5, 9, 33, 71, 18, 26, 44, 80, 13, 61]
ALIKE = [[*HEAD, 7, 7], HEAD + list(range(20, 31)), [*HEAD, 3, 50, 60], HEAD + list(range(40, 60))]
RAGGED = [[5, 9, 33], list(range(20, 50)), [8], list(range(100, 111))]
END = 2
NEW = 12


def together(network: Any, prompts: Sequence[Sequence[int]], **options: Any) -> list[list[int]]:
    """What is written after each prompt, its end token included."""
    rows: list[list[int]] = [[] for _ in prompts]
    options = {"max_new_tokens": NEW, "ends": frozenset({END}), **options}
    if generation.must_go_alone(network) and len(prompts) > 1:
        return [together(network, [prompt], **options)[0] for prompt in prompts]
    for step in generation.steps(network, prompts, **options):
        for row, token in step.tokens:
            rows[row].append(token)
    return rows


def theirs(network: Any, prompt: Sequence[int], **inputs: Any) -> list[int]:
    """transformers' greedy answer."""
    ids = torch.tensor([list(prompt)])
    given = inputs or {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        written = network.generate(
            **given, max_new_tokens=NEW, do_sample=False, eos_token_id=END, pad_token_id=0
        )[0].tolist()
    answer = written if inputs else written[len(prompt) :]
    return answer[: answer.index(END) + 1] if END in answer else list(answer)


@pytest.mark.reference
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *ODD])
@pytest.mark.parametrize("prompts", [ALIKE, RAGGED], ids=["alike", "ragged"])
@pytest.mark.parametrize("share", [True, False])
def test_greedy_answers_are_those_of_transformers(
    architecture: str, prompts: list[list[int]], share: bool
) -> None:
    network = tiny_models.network(architecture)
    found = together(network, prompts, share=share)
    assert found == [theirs(network, prompt) for prompt in prompts]


@pytest.mark.reference
def test_a_network_that_sees_padding_answers_prompts_alone() -> None:
    bart, bloom = tiny_models.network("bart"), tiny_models.network("bloom")
    found = [answer[: NEW - 1] for answer in together(bart, RAGGED)]
    assert found == [theirs(bart, prompt)[: NEW - 1] for prompt in RAGGED]  # which ends by force
    together(bloom, RAGGED)
    assert padding_is_seen(bart)
    assert not padding_is_seen(bloom)


@pytest.mark.reference
@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2", "bloom", "qwen3_5"])
@pytest.mark.parametrize("prompts", [ALIKE, RAGGED], ids=["alike", "ragged"])
def test_virtual_tokens_stand_before_every_prompt(
    architecture: str, prompts: list[list[int]]
) -> None:
    network = tiny_models.network(architecture)
    virtual = torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    embed = network.get_input_embeddings()
    expected = []
    for prompt in prompts:
        with torch.no_grad():
            embedded = torch.cat([virtual, embed(torch.tensor(prompt))])[None]
        mask = torch.ones(1, embedded.shape[1], dtype=torch.long)
        expected.append(theirs(network, prompt, inputs_embeds=embedded, attention_mask=mask))
    assert together(network, prompts, virtual=virtual) == expected


@pytest.mark.reference
def test_virtual_tokens_have_the_positions_of_the_long_prompt_behind_them() -> None:
    network = tiny_models.network("phi3_long")
    tokens = list(range(3, 83))
    virtual = network.get_input_embeddings()(torch.tensor(tokens[:5])).detach()
    assert together(network, [tokens[5:]], virtual=virtual) == [theirs(network, tokens)]


def read_by(network: Any, prompts: Sequence[Sequence[int]], **options: Any) -> list[list[int]]:
    """What went through the network before the first tokens of the answers, row by row."""
    assert packed_forward.runs_rows(network)  # tried before we look on
    shapes: list[list[int]] = []
    hook = network.model.embed_tokens.register_forward_hook(
        lambda module, inputs, output: shapes.append(list(output.shape[:2]))
    )
    together(network, prompts, max_new_tokens=1, **options)
    hook.remove()
    return shapes


def test_a_prompt_that_reaches_far_does_not_change_the_positions_of_shorter_ones() -> None:
    network = tiny_models.network("phi3_long")  # other rotary factors beyond 64 tokens
    prompts = [[*HEAD, 7], list(range(3, 83)), [*HEAD, 9, 9, 8]]
    found = together(network, prompts)
    assert found == [together(network, [prompt])[0] for prompt in prompts]
    assert found == [theirs(network, prompt) for prompt in prompts]


@pytest.mark.reference
@pytest.mark.parametrize("length", [52, 53, 60, 63, 64, 65])
def test_an_answer_that_grows_into_other_positions_is_read_again_as_a_whole(length: int) -> None:
    network = tiny_models.network("phi3_long")
    prompts = [list(range(3, 3 + length)), RAGGED[0], list(range(90, 90 + length))]
    assert together(network, prompts) == [theirs(network, prompt) for prompt in prompts]


def test_no_prompts_have_no_answers() -> None:
    for architecture in ("llama", "bloom"):
        assert together(tiny_models.network(architecture), []) == []


def test_rotary_settings_of_each_kind_of_layer_are_looked_at() -> None:
    far = {"rope_type": "longrope", "original_max_position_embeddings": 64}
    kinds = {"full_attention": far, "sliding_attention": {"rope_type": "default"}}
    network = tiny_models.network("llama")
    assert apart(network, [80, 9, 12]) == [[0, 1, 2]]
    network.config.rope_parameters = kinds
    assert apart(network, [80, 9, 12]) == [[1, 2], [0]]
    assert apart(network, [80]) == [[0]]


def test_what_prompts_share_is_computed_once_and_nothing_is_padded() -> None:
    network = tiny_models.network()
    own = sum(len(prompt) - len(HEAD) for prompt in ALIKE)
    assert read_by(network, ALIKE) == [[1, len(HEAD) + own]]
    assert read_by(network, ALIKE, share=False) == [[1, sum(map(len, ALIKE))]]


def few_shot_and_passages() -> list[list[int]]:
    """One block before all, three passages behind it, four questions on each."""
    draw = random.Random(0)

    def run(length: int) -> list[int]:
        return [draw.randrange(7, 300) for _ in range(length)]

    block = run(30)
    passages = [run(40), run(25), run(33)]
    return [[*block, *p, *run(draw.randrange(2, 14))] for _ in range(4) for p in passages]


def test_a_passage_that_some_share_behind_what_all_share_is_computed_once() -> None:
    network = tiny_models.network()
    prompts = few_shot_and_passages()
    own = sum(map(len, prompts)) - 4 * 3 * 30 - 4 * (40 + 25 + 33)
    assert read_by(network, prompts) == [[1, 30 + 40 + 25 + 33 + own]]


@pytest.mark.reference
@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma2", "gpt2", "gpt_oss"])
@pytest.mark.parametrize("batch_tokens", [1, 200, 10_000])
def test_rows_that_leave_and_enter_change_no_answer(architecture: str, batch_tokens: int) -> None:
    """Little room: a few are held at a time, and a passage is still there for those who come."""
    network = tiny_models.network(architecture)
    prompts = [*few_shot_and_passages(), *RAGGED]
    found = together(network, prompts, batch_tokens=batch_tokens)
    assert found == [theirs(network, prompt) for prompt in prompts]


def test_an_answer_longer_than_its_room_goes_on_in_more() -> None:
    network = tiny_models.network()
    [long] = together(network, RAGGED[:1], max_new_tokens=80, ends=frozenset())
    both = together(network, RAGGED, max_new_tokens=80, ends=frozenset())
    assert both[0] == long
    assert len(long) == 80


def test_what_is_read_stays_in_memory_only_while_it_is_needed() -> None:
    """Never more at once than asked for, where every prompt alone fits."""
    network = tiny_models.network()
    held: list[int] = []
    network.model.layers[0].register_forward_hook(
        lambda module, inputs, output: held.append(output[0].shape[-2])
    )
    together(network, [list(range(20, 50))] + [[n, 9, 8] for n in range(60, 90)], batch_tokens=60)
    assert max(held) <= 60


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
def test_a_network_runs_in_rows_where_its_attention_can_be_replaced(architecture: str) -> None:
    network = tiny_models.network(architecture)
    alone = generation.must_go_alone(network)
    expected = network._supports_attention_backend and not alone
    assert (not alone and packed_forward.runs_rows(network)) == expected


def test_a_network_that_gives_something_else_in_rows_is_not_believed() -> None:
    network = tiny_models.network()
    for layer in network.model.layers:
        layer.self_attn.register_forward_pre_hook(forget, with_kwargs=True)
    assert not packed_forward.runs_rows(network)
    assert together(network, RAGGED) == [theirs(network, prompt) for prompt in RAGGED]


def forget(module: Any, inputs: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """An architecture that hands nothing on to its attention."""
    return inputs, {name: value for name, value in given.items() if name != "row"}


def test_a_common_beginning_leaves_each_prompt_a_token_of_its_own() -> None:
    assert generation.common_prefix([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert generation.common_prefix([[1, 2, 3], [1, 2, 3, 4]]) == 2
    assert generation.common_prefix([[1], [1]]) == 0
    assert generation.common_prefix([[1, 2], [3]]) == 0


def test_rows_end_by_themselves_at_their_end_token_their_limit_or_when_stopped() -> None:
    network = tiny_models.network()
    whole = together(network, RAGGED, ends=frozenset())
    assert {len(row) for row in whole} == {NEW}
    limits = [1, 5, 12, 3]
    cut = [row[:limit] for row, limit in zip(whole, limits, strict=True)]
    assert together(network, RAGGED, ends=frozenset(), max_new_tokens=limits) == cut
    end = whole[1][4]
    ended = [row[: row.index(end) + 1] if end in row else row for row in whole]
    assert together(network, RAGGED, ends=frozenset({end})) == ended
    stopped = together(network, RAGGED, ends=frozenset(), stopped=lambda row: row == 2)
    assert stopped == [row[:1] if i == 2 else row for i, row in enumerate(whole)]


def test_a_seed_repeats_a_sampled_answer_and_another_gives_another() -> None:
    network = tiny_models.network()
    sampled = [together(network, ALIKE, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert sampled[0] != together(network, ALIKE)


@pytest.mark.parametrize("temperature", [1e-3, 1e-12, 1e-40])
def test_a_temperature_near_nothing_is_greedy(temperature: float) -> None:
    network = tiny_models.network()
    assert together(network, RAGGED, temperature=temperature) == together(network, RAGGED)


def test_sampling_follows_the_models_chances() -> None:
    """A hundred first tokens, against the chances of the five likeliest."""
    network = tiny_models.network()
    with torch.no_grad():
        chances = torch.softmax(network(input_ids=torch.tensor([RAGGED[0]])).logits[0, -1], -1)
    drawn = [
        row[0]
        for seed in range(20)
        for row in together(
            network, [RAGGED[0]] * 20, temperature=1.0, seed=1000 * seed, max_new_tokens=1
        )
    ]
    for token in chances.topk(5).indices.tolist():
        expected = float(chances[token])
        error = (expected * (1 - expected) / len(drawn)) ** 0.5
        assert abs(drawn.count(token) / len(drawn) - expected) < 4 * error
