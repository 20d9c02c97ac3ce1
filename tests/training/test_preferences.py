"""Preferences against plain transformers and the papers' formulas, written out by hand."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import Heard
from tests.training.test_packing import gradients

from sartor.data.records import Example, Message, TrainingData
from sartor.errors import TrainingError
from sartor.progress import shown_by
from sartor.training.judged import HELD
from sartor.training.log_chances import answer_log_chances
from sartor.training.objective import Reading
from sartor.training.packed_attention import use_packed_attention
from sartor.training.packing import Encoded
from sartor.training.preferences import DPO, ORPO, Pair
from sartor.training.thumbs import KTO, Thumb

ASKED = "What color is the lamp that stands on the small desk beside the door?"


def judged(number: int = 4) -> tuple[Example, ...]:
    return tuple(
        Example(
            f"e{i}",
            (Message("user", f"{ASKED} {i}"),),
            (f"green and blue {i}",),
            rejected=(f"red {i}", f"no {i}"),
        )
        for i in range(number)
    )


def reading(network: Any, pack_tokens: int = 4096) -> Reading:
    return Reading(
        network, tiny_models.tokenizer(), tiny_models.CONTEXT, lambda: None, nullcontext,
        pack_tokens,
    )  # fmt: skip


def alone(network: Any, answer: Encoded) -> torch.Tensor:
    """The log-probability of an answer, by transformers, in a row of its own."""
    ids = torch.tensor([answer.tokens])
    chances = network(input_ids=ids).logits[0, answer.prompt - 1 : -1].log_softmax(-1)
    summed: torch.Tensor = chances.gather(1, ids[0, answer.prompt :, None]).sum()
    return summed


def answers(pairs: list[Pair]) -> list[Encoded]:
    return [answer for pair in pairs for answer in (pair.right, pair.rejected)]


def moved(network: Any) -> Any:
    """The network after something was learned."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.mark.reference
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "granite", "gpt2", "bloom", "gpt_oss"])
def test_chances_of_answers_and_their_gradients_are_those_of_each_alone(architecture: str) -> None:
    network = tiny_models.network(architecture)
    pairs, _ = DPO().read(reading(network), TrainingData((), judged(), judged(1)))
    said = answers(pairs)
    weights = torch.linspace(-1, 2, len(said))
    plain = torch.stack([alone(network, answer) for answer in said])
    expected = gradients(network, (weights * plain).sum())
    use_packed_attention(network)
    found = answer_log_chances(network, said)
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)
    given = gradients(network, (weights * found).sum())
    assert (given - expected).norm() / expected.norm() < 5e-5


@pytest.mark.reference
@pytest.mark.parametrize(("smoothing", "nll"), [(0.0, 0.0), (0.2, 0.0), (0.0, 1.5)])
def test_dpo_is_equation_7(smoothing: float, nll: float) -> None:
    network = tiny_models.network()
    use_packed_attention(network)
    objective = DPO(beta=0.3, smoothing=smoothing, answers=nll)
    pairs, held = objective.read(reading(network), TrainingData((), judged(), judged(1)))
    assert (len(pairs), len(held)) == (8, 2)
    first = [alone(network, answer).item() for answer in answers(pairs)]
    assert objective.loss(network, pairs, None).item() == pytest.approx(
        8 * math.log(2) + nll * mean_loss(network, pairs), rel=1e-5
    )
    moved(network)
    now = [alone(network, answer).item() for answer in answers(pairs)]
    expected = 0.0
    for i in range(0, len(now), 2):
        margin = 0.3 * ((now[i] - first[i]) - (now[i + 1] - first[i + 1]))
        expected += (1 - smoothing) * math.log1p(math.exp(-margin))
        expected += smoothing * math.log1p(math.exp(margin))
    expected += nll * mean_loss(network, pairs)
    assert objective.loss(network, pairs, None).item() == pytest.approx(expected, rel=1e-4)


def mean_loss(network: Any, pairs: list[Pair]) -> float:
    """Of right answers, each a mean over its tokens, summed."""
    return sum(
        -alone(network, p.right).item() / (len(p.right.tokens) - p.right.prompt) for p in pairs
    )


@pytest.mark.reference
def test_orpo_is_equation_6() -> None:
    network = tiny_models.network()
    use_packed_attention(network)
    objective = ORPO(beta=0.25)
    pairs, _ = objective.read(reading(network), TrainingData((), judged(), judged(1)))
    assert objective.reference == {}
    expected = 0.0
    for pair in pairs:
        good, bad = (
            math.exp(alone(network, one).item() / (len(one.tokens) - one.prompt))
            for one in (pair.right, pair.rejected)
        )
        ratio = math.log((good / (1 - good)) / (bad / (1 - bad)))
        expected += -math.log(good) + 0.25 * math.log1p(math.exp(-ratio))
    assert objective.loss(network, pairs, None).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.reference
def test_kto_is_equation_8_and_measures_its_drift_on_other_answers() -> None:
    network = tiny_models.network()
    use_packed_attention(network)
    objective = KTO(beta=0.3)
    alone_bad = Example("d", (Message("user", "Is it?"),), (), rejected=("never",))
    held_out = tuple(replace(one, id=f"held {one.id}") for one in judged(1))
    data = TrainingData((), judged(3), held_out, (alone_bad,))
    thumbs, held = objective.read(reading(network), data)
    assert [sum(t.good is kind for t in thumbs) for kind in (True, False)] == [3, 7]
    assert objective.weights == {True: 7 / 3, False: 1.0}
    assert {t.good for t in held} == {True, False}
    for thumb in thumbs:
        assert thumb.other.tokens[: thumb.prompt] == thumb.tokens[: thumb.prompt]
        assert thumb.other.tokens != thumb.tokens
    first = {t.id: (alone(network, t.said).item(), alone(network, t.other).item()) for t in thumbs}
    moved(network)
    with torch.no_grad():
        objective.begin(network, thumbs, reading(network))
        drift = sum(alone(network, t.other).item() - first[t.id][1] for t in thumbs) / len(thumbs)
        assert objective.moved == pytest.approx(max(0.0, drift), rel=1e-3, abs=1e-4)
        expected = sum(value(network, t, first[t.id][0], objective) for t in thumbs)
        found = objective.loss(network, thumbs, None).item()
    assert found == pytest.approx(expected, rel=1e-4)


def value(network: Any, thumb: Thumb, first: float, objective: KTO) -> float:
    reward = alone(network, thumb.said).item() - first - objective.moved
    signed = 0.3 * (reward if thumb.good else -reward)
    return objective.weights[thumb.good] * (1 - 1 / (1 + math.exp(-signed)))


def test_the_size_of_packs_changes_no_loss() -> None:
    losses = []
    for pack_tokens in (4096, 70):
        network = tiny_models.network()
        use_packed_attention(network)
        objective = KTO()
        thumbs, _ = objective.read(
            reading(network, pack_tokens), TrainingData((), judged(), judged(1))
        )
        moved(network)
        with torch.no_grad():
            objective.begin(network, thumbs, reading(network, pack_tokens))
            losses.append(sum(objective.loss(network, [t], None).item() for t in thumbs))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_where_no_validation_example_is_judged_training_ones_are_held_out() -> None:
    network = tiny_models.network()
    plain = tuple(Example(f"v{i}", (Message("user", "?"),), ("green",)) for i in range(3))
    train, held = ORPO().read(reading(network), TrainingData((), judged(10), plain))
    asked = [{pair.right.tokens for pair in part} for part in (train, held)]
    assert len(held) == 2 * len(range(0, 10, HELD))
    assert not asked[0] & asked[1]


def test_answers_to_one_request_share_it_in_a_pack() -> None:
    from sartor.training.sharing import laid_out

    pairs, _ = ORPO().read(reading(tiny_models.network()), TrainingData((), judged(1), judged(1)))
    row = laid_out(answers(pairs))
    apart = sum(len(answer.tokens) for answer in answers(pairs))
    assert len(row.tokens) < apart - 2 * (pairs[0].prompt - 2)


@pytest.mark.parametrize("objective", [DPO, ORPO, KTO])
def test_judged_answers_that_do_not_fit_are_told_and_none_left_is_an_error(objective: Any) -> None:
    some = replace(judged(1)[0], id="long", input=(Message("user", f"{ASKED} " * 20),))
    network, heard = tiny_models.network("llama"), Heard()
    with shown_by(heard):
        train, _ = objective().read(
            reading(network), TrainingData((), (*judged(2), some), judged(1))
        )
    assert train
    assert not any(item.id.startswith("long") for item in train)
    assert heard.said == [
        "3 of 9 judged answers have prompts that fill the model's context: left out"
    ]
    with pytest.raises(TrainingError, match="nothing to train on: all 3 prompts fill"):
        objective().read(reading(network), TrainingData((), (some,), judged(1)))


def test_judged_answers_that_are_cut_are_told() -> None:
    long = replace(judged(1)[0], rejected=("word " * 300,))
    heard = Heard()
    with shown_by(heard):
        DPO().read(reading(tiny_models.network("llama")), TrainingData((), (long,), judged(1)))
    assert heard.said == [
        "1 of 2 judged answers are longer than the model's context of 256 tokens: their answers "
        "are cut, and their end is not learned"
    ]
