"""What is said of time and memory before a run: how it moves with the work, and when it says no."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from tests import tiny_models

from sartor.data.records import Document, Example, Message, TrainingData
from sartor.errors import ModelError
from sartor.models import devices, local
from sartor.models.devices import Device, Limit, at_most
from sartor.models.language_model import ModelCard
from sartor.models.outline import known, outline
from sartor.progress import Silent, shown_by
from sartor.techniques.continued_pretraining import ContinuedPretraining
from sartor.techniques.estimating import fitting
from sartor.techniques.estimating import workload as counting
from sartor.techniques.estimating.arithmetic import (
    held_bytes,
    host_bytes,
    passing,
    peak_bytes,
    seconds,
)
from sartor.techniques.estimating.division import Division, meant, share
from sartor.techniques.estimating.drawn import Drawn
from sartor.techniques.estimating.estimate import estimate, estimated
from sartor.techniques.estimating.fitting import refuse_data_too_large, refuse_too_large
from sartor.techniques.estimating.judging import Estimated, counted, judged
from sartor.techniques.estimating.peaks import limit_of
from sartor.techniques.estimating.probe import Probe, Probed
from sartor.techniques.estimating.workload import Workload
from sartor.techniques.full import FullFineTuning
from sartor.techniques.lora import LoRA
from sartor.techniques.registry import build
from sartor.techniques.zero_shot import ZeroShot
from sartor.training.processes import ROW

GIGABYTE = 10**9
SEEN = Probed(
    seconds_to_prepare=2.0,
    seconds_a_token=1 / 400,
    seconds_a_look=1.0,
    held_tokens=1000,
    seconds_a_prompt_token=1 / 1000,
    seconds_a_new_token=1 / 100,
    customizing_bytes=3e9,
    answering_bytes=1e9,
    kept_bytes=3e8,
    laid_out_bytes=1e8,
    set_aside_bytes=2e8,
)
PROMPTED = Workload(
    prompt_tokens=200,
    longest_prompt=300,
    shared_tokens=0,
    answer_tokens=20,
    passages=0,
    trains="nothing",
    trainable_parameters=0,
)
ADAPTED = dataclasses.replace(
    PROMPTED, trains="adapter", trainable_parameters=500_000, training_tokens=120_000,
    epoch_tokens=20_000, looks=10, watched_tokens=1500, tokens_at_once=4000, watched_at_once=4000,
)  # fmt: skip
FULL = dataclasses.replace(ADAPTED, trains="everything", trainable_parameters=50_000_000)
GPU = Device("a GPU", 24, 100, 1000, 300)


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return base(tmp_path)


def base(folder: Path, hidden: int = 512, layers: int = 8, count: int = 50_000_000) -> ModelCard:
    """A Llama of which there is only a configuration."""
    from transformers import LlamaConfig

    LlamaConfig(
        hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers,
        num_attention_heads=8, vocab_size=8000,
    ).save_pretrained(folder)  # fmt: skip
    return ModelCard("made-up", str(folder), "r1", "LlamaForCausalLM", count, 2048)


def said(work: Workload, card: ModelCard, new_tokens: int = 50) -> Estimated:
    return estimate(work, card, SEEN, GIGABYTE // 2, 100, new_tokens)


def test_a_prompted_base_costs_its_answers_only(card: ModelCard) -> None:
    found = said(PROMPTED, card)
    assert found.seconds_to_customize == 2.0
    assert found.seconds_per_answer == pytest.approx(200 / 1000 + 20 / 100)
    assert found.seconds_to_answer == pytest.approx(100 * found.seconds_per_answer)


def test_training_takes_its_tokens_and_looks_at_validation(card: ModelCard) -> None:
    adapted = said(ADAPTED, card)
    assert adapted.seconds_to_customize == pytest.approx(2 + 120_000 / 400 + 10 * 1.5)
    assert adapted.seconds_an_epoch == pytest.approx(20_000 / 400)
    assert adapted.training_tokens == 120_000


def test_memory_is_what_was_there_before_and_the_most_that_lay_beside(card: ModelCard) -> None:
    assert said(PROMPTED, card).peak_memory_bytes >= 0.5e9 + 3e9 + 2e8
    searching = dataclasses.replace(PROMPTED, passages=1000)
    assert said(searching, card).peak_memory_bytes > said(PROMPTED, card).peak_memory_bytes
    assert said(PROMPTED, card, 1800).peak_memory_bytes >= said(PROMPTED, card).peak_memory_bytes


def test_many_answers_have_few_weights_twice(card: ModelCard) -> None:
    def peak(new_tokens: int, weights: float, read: float = 0, longest: int = 300) -> float:
        seen = dataclasses.replace(
            SEEN, laid_out_bytes=weights, answering_bytes=read, customizing_bytes=0
        )
        work = dataclasses.replace(PROMPTED, longest_prompt=longest)
        return estimate(work, card, seen, 0, 100, new_tokens).peak_memory_bytes

    assert peak(50, 2e8) - peak(50, 1e8) == 1e8
    assert peak(4, 1e8, 1e9) == peak(4, 0, 1e9)  # 32 answers of 4 tokens are not worth it
    assert peak(50, 1e9, 1e9) == peak(50, 0, 1e9)  # too many to stand twice
    # all prompts are read before the weights are laid out; of longer ones, some are afterwards
    assert peak(50, 1e8, 4e9) == peak(50, 0, 4e9)
    assert peak(50, 1e8, 4e9, 800) - peak(50, 0, 4e9, 800) == 1e8


def test_arithmetic_counts_weights_gradients_and_moments(card: ModelCard) -> None:
    # by hand: float32 weights, bfloat16 copies, gradients, the best so far, and two moments
    assert held_bytes(FULL, 50e6) == 50e6 * (4 + 2 + 4 + 4 + 8)
    assert held_bytes(ADAPTED, 50e6) == 50e6 * 2 + 500_000 * 20
    assert held_bytes(ADAPTED, 50e6, quantized=True) < held_bytes(ADAPTED, 50e6)
    shape = outline(card)
    peaks = [peak_bytes(work, shape, 50e6, 50) for work in (PROMPTED, ADAPTED, FULL)]
    assert peaks == sorted(peaks)


def divided(work: Workload, count: int, *, sharded: bool = False, on_cpu: bool = False) -> Workload:
    return dataclasses.replace(
        work, division=Division(count, sharded, on_cpu), largest_part=1 / count, steps=100
    )


def test_processes_hold_all_weights_each_or_with_sharding_a_part(card: ModelCard) -> None:
    shape = outline(card)
    alone, plain = (peak_bytes(w, shape, 50e6, 50) for w in (FULL, divided(FULL, 4)))
    assert plain == alone + 4 * ROW["cuda"]  # in which gradients are summed
    with_gloo = peak_bytes(divided(FULL, 4, on_cpu=True), shape, 50e6, 50)
    embeddings = shape.vocabulary * shape.hidden  # sent alone, in place: gloo holds it once more
    assert with_gloo == alone + 4 * max(2 * ROW["cpu"], embeddings)
    one, four = (peak_bytes(w, shape, 50e6, 50) for w in (ADAPTED, divided(ADAPTED, 4)))
    assert four == one + 4 * 500_000  # all of an adapter's at once
    assert held_bytes(divided(FULL, 4, sharded=True), 50e6) == 50e6 * 20 / 4
    adapted = held_bytes(divided(ADAPTED, 4, sharded=True), 50e6)
    assert adapted == 50e6 * 2 / 4 + 500_000 * 20  # adapters stay whole
    sharded = peak_bytes(divided(FULL, 4, sharded=True), shape, 50e6, 50)
    assert held_bytes(divided(FULL, 4, sharded=True), 50e6) < sharded < alone
    # on CPUs the leader gathers values, best and moments where it trains
    on_cpu = peak_bytes(divided(FULL, 4, sharded=True, on_cpu=True), shape, 50e6, 50)
    assert on_cpu >= 50e6 * (16 + 16 / 4)


def test_what_passes_between_processes_takes_time(card: ModelCard) -> None:
    plain, sharded = divided(FULL, 4), divided(FULL, 4, sharded=True)
    # by hand: three quarters of all gradients twice, at each of 100 steps
    assert passing(plain, 50e6) == pytest.approx(100 * 0.75 * 2 * 4 * 50e6 / 25e9)
    assert passing(sharded, 50e6) == pytest.approx(100 * 0.75 * (2 * 2 + 4) * 50e6 / 25e9)
    assert passing(FULL, 50e6) == 0
    assert passing(divided(FULL, 4, on_cpu=True), 50e6) > passing(plain, 50e6)
    alone = said(FULL, card).seconds_an_epoch
    assert said(plain, card).seconds_an_epoch == pytest.approx(
        alone / 4 + passing(plain, 50e6) * 20_000 / 120_000
    )


def test_arithmetic_counts_six_operations_a_parameter_and_four_where_it_is_frozen(
    card: ModelCard,
) -> None:
    shape = outline(card)
    tokens = dataclasses.replace(FULL, looks=0, prompt_tokens=1e-6, answer_tokens=1e-6)
    full, epoch, _ = seconds(tokens, shape, 50e6, GPU, 50)
    assert full == pytest.approx(120_000 * 6 * 50e6 / (100e12 * 0.4), rel=1e-3)
    assert epoch == pytest.approx(full / 6)
    frozen, _, _ = seconds(dataclasses.replace(tokens, trains="adapter"), shape, 50e6, GPU, 50)
    assert frozen == pytest.approx(full * 4 / 6)
    several = dataclasses.replace(divided(tokens, 4), steps=0)
    assert seconds(several, shape, 50e6, GPU, 50)[0] == pytest.approx(full / 4)


def examples(count: int) -> tuple[Example, ...]:
    return tuple(
        Example(f"e{i}", (Message("user", f"What color is lamp number {i}?"),), ("green",))
        for i in range(count)
    )


@pytest.mark.parametrize(
    "technique", [ZeroShot(), LoRA(rank=4, upper_layers=1), FullFineTuning(epochs=1)]
)
def test_a_base_at_hand_is_tried_by_the_technique_itself(technique: Any, tmp_path: Path) -> None:
    card = tiny_models.save(tmp_path)
    data = TrainingData((), examples(16), tuple(dataclasses.replace(e, id=f"v{e.id}")
                                                for e in examples(4)))  # fmt: skip
    found = estimated(technique, card, data, 10, 8)
    assert found.how.startswith("tried on this machine"), found.how
    assert found.fits
    assert found.seconds_per_answer > 0
    assert found.peak_memory_bytes > 100 << 20  # torch alone takes more
    assert (found.seconds_an_epoch > 0) is (technique.name != "zero-shot")


def small_data() -> TrainingData:
    held = tuple(dataclasses.replace(e, id=f"v{e.id}") for e in examples(4))
    return TrainingData((), examples(16), held)


def tried(technique: Any, card: ModelCard, kept: Path | None, *, also: Any = None) -> list[Probed]:
    data, tokenizer, found = small_data(), tiny_models.tokenizer(), []
    with Probe(card, kept) as probe:
        for one in (technique, *([also] if also else [])):
            drawn = Drawn(one, card, data, tokenizer)
            prompts = [drawn.put(example).input for example in data.train]
            found.append(probe.of(one, data, drawn, tokenizer, prompts))
    return found


def test_what_was_tried_on_this_machine_is_not_tried_again(tmp_path: Path) -> None:
    card, kept = tiny_models.save(tmp_path / "base"), tmp_path / "kept"
    [first] = tried(ZeroShot(), card, kept)
    assert tried(ZeroShot(), card, kept) == [first]  # no second measurement gives the same digits
    other = dataclasses.replace(card, revision="trained further")
    assert tried(ZeroShot(), other, kept) != [first]
    for file in kept.iterdir():
        file.write_text("broken")
    assert tried(ZeroShot(), card, kept) != [first]


def test_candidates_that_answer_alike_are_asked_once(tmp_path: Path) -> None:
    card = tiny_models.save(tmp_path)
    prompted, adapted = tried(ZeroShot(), card, None, also=LoRA(rank=2, system=ZeroShot().system))
    assert adapted.seconds_a_token > 0
    assert prompted.seconds_a_new_token == adapted.seconds_a_new_token
    [longer] = tried(ZeroShot(system="Answer at length. " * 4), card, None)
    assert longer.seconds_a_new_token != prompted.seconds_a_new_token


@pytest.mark.parametrize(
    ("limit", "told"),
    [(0.98, "It fits with `pack_tokens = "), (0.55, "'lora' in place of 'full'")],
)
def test_what_does_not_fit_is_told_the_nearest_that_does(
    limit: float, told: str, card: ModelCard
) -> None:
    found = counted(FullFineTuning(), FULL, card, outline(card), 50e6, GPU, 10, 20, beside=0)
    technique = FullFineTuning(checkpointing="off", pack_tokens=4000)
    given = (technique, FULL, card, outline(card))
    tight = judged(found, *given, at(limit * found.peak_memory_bytes), 20)
    assert not tight.fits
    assert told in tight.why
    assert judged(found, *given, at(found.peak_memory_bytes), 20).fits


def test_where_nothing_else_helps_a_smaller_base_of_the_family_is_named() -> None:
    card, shape, active = known("Qwen/Qwen3-8B")
    numbers = {"prompt_tokens": 500, "answer_tokens": 50, "examples": 100}
    work = counting.from_numbers(ZeroShot(), card, shape, **numbers)
    found = counted(ZeroShot(), work, card, shape, active, GPU, 10, 50)
    told = judged(found, ZeroShot(), work, card, shape, at(16e9), 50)
    assert told.why.endswith("Choose a smaller base, such as Qwen/Qwen3-4B.")


def test_a_prompt_longer_than_the_context_does_not_fit(card: ModelCard) -> None:
    work = dataclasses.replace(PROMPTED, longest_prompt=5000)
    found = counted(ZeroShot(), work, card, outline(card), 50e6, GPU, 10, 20)
    told = judged(found, ZeroShot(), work, card, outline(card), at(64e9), 20)
    assert "5,000 tokens, but made-up reads at most 2,048" in told.why


def test_a_base_too_large_for_the_machine_is_refused_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enormous = base(tmp_path, hidden=1024, layers=4, count=70_000_000_000)
    monkeypatch.setattr(devices, "memory", lambda: 64 * GIGABYTE)
    with pytest.raises(ModelError, match=r"full: made-up needs at least .* has 64.0 GB"):
        refuse_too_large(FullFineTuning(), enormous)
    refuse_too_large(FullFineTuning(), dataclasses.replace(enormous, parameters=10**9))


def test_examples_too_long_to_train_on_here_are_refused_with_the_nearest_that_fits(
    tmp_path: Path,
) -> None:
    card = tiny_models.save(tmp_path)
    data = TrainingData((), examples(16), examples(4))
    refuse_data_too_large(FullFineTuning(), card, data)
    with at_most(1e-6):
        with pytest.raises(ModelError, match="to train on these examples") as refused:
            refuse_data_too_large(FullFineTuning(), card, data)
        refuse_data_too_large(ZeroShot(), card, data)  # it trains nothing
    assert "max_memory_gb in [criteria] allows 1e-06 GB" in str(refused.value)
    assert "Choose a smaller base" in str(refused.value)


def at(most: float) -> Limit:
    return Limit(most, f"this machine has {most / 1e9:.1f} GB")


def test_blocks_that_are_run_again_are_named_before_another_technique(card: ModelCard) -> None:
    shape = outline(card)
    again = dataclasses.replace(FULL, runs_blocks_again=True, tokens_at_once=320)
    room = peak_bytes(again, shape, 50e6, 20) + 1  # found.peak_memory_bytes is rounded
    assert room < peak_bytes(dataclasses.replace(FULL, tokens_at_once=320), shape, 50e6, 20)
    technique = FullFineTuning(checkpointing="off", pack_tokens=4000)
    found = counted(technique, FULL, card, shape, 50e6, GPU, 10, 20, beside=0)
    tight = judged(found, technique, FULL, card, shape, at(room), 20)
    assert '`checkpointing = "on"`' in tight.why


def test_what_is_left_to_us_is_chosen_as_memory_needs_it_the_quickest_first(
    card: ModelCard,
) -> None:
    shape, left = outline(card), FullFineTuning()
    found = counted(left, FULL, card, shape, 50e6, GPU, 10, 20, beside=0)

    def peak(tokens: int, **told: Any) -> float:
        work = dataclasses.replace(FULL, tokens_at_once=tokens, **told)
        return peak_bytes(work, shape, 50e6, 20) + 1  # found.peak_memory_bytes is rounded

    def at_most(room: float, *, gpu: bool = False, **told: Any) -> Estimated:
        given = (FullFineTuning(**told), FULL, card, shape)
        return judged(found, *given, Limit(room, "there is less", gpu), 20)

    assert at_most(peak(4000)) == found
    packs = at_most(peak(2000))
    assert packs.note.startswith("pack_tokens is 2000, as without it")
    assert packs.peak_memory_bytes == pytest.approx(peak(2000), abs=2)
    assert packs.seconds_an_epoch == found.seconds_an_epoch
    again = at_most(peak(320, runs_blocks_again=True))
    assert again.note.startswith('checkpointing is "on" and pack_tokens is 320, as')
    assert again.seconds_an_epoch == pytest.approx(found.seconds_an_epoch * 4 / 3)
    given = at_most(peak(4000, runs_blocks_again=True), pack_tokens=4000)
    assert given.note.startswith('checkpointing is "on", as')
    assert not at_most(peak(320, runs_blocks_again=True), checkpointing="off").fits
    # beside a GPU there is the machine's memory; on a CPU there is no other
    least = peak(320, runs_blocks_again=True) - 10_000
    assert not at_most(least).fits
    assert 'checkpointing is "offload"' in at_most(least, gpu=True).note
    hosted = at_most(peak(320, state_on_host=True), gpu=True)
    assert hosted.note.startswith('optimizer_on_host is "on"')
    assert not at_most(peak(320, state_on_host=True), gpu=True, optimizer_on_host="off").fits
    both = dict.fromkeys(("runs_blocks_again", "inputs_on_host", "state_on_host"), True)
    assert at_most(peak(320, **both), gpu=True).fits
    assert not at_most(peak(320, **both) - 1e6, gpu=True).fits


def test_nothing_is_moved_from_a_gpu_to_a_machine_that_has_no_room_for_it(card: ModelCard) -> None:
    shape = outline(card)
    found = counted(FullFineTuning(), FULL, card, shape, 50e6, GPU, 10, 20, beside=0)
    hosted = dataclasses.replace(FULL, tokens_at_once=320, state_on_host=True)
    room = peak_bytes(hosted, shape, 50e6, 20) + 1
    state = 12 * FULL.trainable_parameters  # the best values and two moments, in float32

    def told(host: float, **given: Any) -> Estimated:
        allowed = Limit(room, "there is less", of_gpu=True, host=host)
        work = dataclasses.replace(FULL, state_on_host=bool(given))
        technique = FullFineTuning(**given)
        return judged(found, technique, work, card, shape, allowed, 20)

    assert 'optimizer_on_host is "on"' in told(state).note
    assert not told(state - 1).fits
    # what the user says is not done otherwise: it is refused
    refused = told(state - 1, optimizer_on_host="on")
    assert not refused.fits
    assert "in the machine's memory beside the GPU's" in refused.why
    assert host_bytes(FULL, shape, card.parameters) == 0
    inputs = dataclasses.replace(FULL, inputs_on_host=True)
    each = 2 * shape.layers * shape.hidden
    assert host_bytes(inputs, shape, card.parameters) == FULL.tokens_at_once * each


def test_processes_on_one_cpu_share_what_a_candidate_may_take() -> None:
    if local.device().type != "cpu":
        pytest.skip("GPUs have memory of their own")
    with at_most(3.0):
        both = devices.limit(2)
        assert devices.limit().bytes == 3e9
    assert both.bytes == 1.5e9
    assert both.why == "max_memory_gb in [criteria] allows 1.5 GB for each of 2 processes"


def test_what_does_not_fit_on_one_gpu_is_told_on_how_many_it_fits() -> None:
    base, numbers = "Qwen/Qwen3-8B", {"prompt_tokens": 700, "answer_tokens": 60, "examples": 500}
    card, shape, active = known(base)
    technique = FullFineTuning()

    def told(technique: Any, count: int) -> Estimated:
        with meant(count, on_gpus=True):
            work = counting.from_numbers(technique, card, shape, **numbers)
            found = counted(technique, work, card, shape, active, GPU, 10, 60)
            return judged(found, technique, work, card, shape, Limit(48e9, "48", True), 60)

    found = told(technique, 1)
    assert not found.fits
    number = re.search(r"does not fit on 1; it fits on (\d+) GPUs", found.why)
    assert number, found.why
    assert number[1] == "8"
    sharded = FullFineTuning(sharding="full")
    assert told(sharded, int(number[1])).fits
    assert not told(FullFineTuning(sharding="full", optimizer_on_host="off"), 4).fits
    several = told(technique, int(number[1]))
    assert not several.fits  # all weights in each
    assert 'It fits with `sharding = "full"`' in several.why


def test_batches_are_divided_as_evenly_as_their_examples_allow() -> None:
    assert share([100], 8, 2).part == 0.5
    assert share([100], 8, 2).tokens == 400
    uneven = share([10, 10, 10, 200], 4, 2)
    assert 0.5 < uneven.part < 1
    assert share([100], 1, 2).part == 1.0


def test_estimates_are_of_as_many_processes_as_are_launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, data, technique = tiny_models.save(tmp_path), small_data(), FullFineTuning(epochs=1)

    def work(**told: Any) -> Workload:
        one = dataclasses.replace(technique, **told)
        return counting.workload(one, card, data, tiny_models.tokenizer())

    assert work().division == Division()
    monkeypatch.setenv("WORLD_SIZE", "2")
    on_cpu = local.device().type == "cpu"
    assert work().division == Division(2, False, on_cpu)
    assert work(sharding="full").division == Division(2, True, on_cpu)
    assert 0.5 <= work().largest_part < 0.7
    with meant(1):
        assert work().division == Division()
        alone = work()
    assert work().tokens_at_once < alone.tokens_at_once
    if on_cpu:
        with meant(2):
            each = limit_of(work()).bytes
        assert each == devices.memory() / 2
        assert limit_of(alone).bytes == devices.memory()


def test_one_of_several_processes_is_estimated_here(tmp_path: Path) -> None:
    card, data = tiny_models.save(tmp_path), small_data()
    with meant(2):
        found = estimated(FullFineTuning(epochs=1, sharding="full"), card, data, 10, 8)
    assert found.how.startswith("tried on this machine"), found.how
    assert found.fits


class Spoken(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.mark.parametrize(
    ("given", "said"),
    [({}, "pack_tokens is "), ({"pack_tokens": 3072}, 'checkpointing is "on"')],
)
def test_a_run_chooses_what_memory_needs_by_itself_and_says_so(
    given: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "held", lambda: 0)  # what the process holds changes by itself
    card, data = tiny_models.save(tmp_path / "base"), long_data()
    technique = FullFineTuning(epochs=1, learning_rates=(1e-3,), **given)
    work = counting.workload(technique, card, data, tiny_models.tokenizer())
    peak = peak_bytes(work, outline(card), card.parameters, round(work.answer_tokens))
    spoken = Spoken()
    with shown_by(spoken), at_most((peak + 1) / 1e9):
        plenty = fitting.settled(technique, card, data)
    assert (plenty.checkpointing, plenty.pack_tokens) == ("off", 3072)
    assert plenty.optimizer_on_host == "off"
    assert not spoken.said
    with shown_by(spoken), at_most((peak - 1) / 1e9):
        tight = fitting.settled(technique, card, data)
        made = technique.fit(card, data, tmp_path / "made")
    assert (tight.checkpointing == "on") is bool(given)
    assert (tight.pack_tokens < work.tokens_at_once) is not given
    assert all(said in one for one in spoken.said[:2])
    assert "max_memory_gb in [criteria] allows" in spoken.said[1]
    assert made.trainable_parameters > 0


def long_data() -> TrainingData:
    """Of which not all of a batch goes into one small pack."""
    longer = (
        dataclasses.replace(e, input=(Message("user", e.input[0].content * 12),))
        for e in examples(16)
    )
    return dataclasses.replace(small_data(), train=tuple(longer))


def test_long_documents_decide_beside_few_short_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "held", lambda: 0)
    card = tiny_models.save(tmp_path / "base")
    texts = tuple(Document(f"d{i}", f"The lamp {i} is green. " * 400, f"d{i}") for i in range(8))
    data = dataclasses.replace(small_data(), documents=texts)
    reads = ContinuedPretraining(trained="full", piece_tokens=250, batch_size=8)
    stage, tokenizer = reads.stage(), tiny_models.tokenizer()
    short = counting.workload(stage, card, data, tokenizer)
    long = counting.of_texts(reads, card, data, tokenizer)
    least, most = (peak_bytes(w, outline(card), card.parameters, 1) for w in (short, long))
    assert least < 0.9 * most
    with at_most((most - 1) / 1e9):
        assert fitting.settled(stage, card, data).pack_tokens == 3072
        assert fitting.settled(stage, card, data, reads).pack_tokens < long.tokens_at_once
    with at_most(1e-6), pytest.raises(ModelError) as refused:
        refuse_data_too_large(reads, card, data)
    assert "continued-pretraining: " in str(refused.value)
    assert "to train on these documents" in str(refused.value)
    with at_most(most / 1e9):
        refuse_data_too_large(reads, card, data)


def as_told(why: str, name: str, base: str) -> tuple[Any, str]:
    """The technique and base that a sentence names, as a user would set them."""
    settings: dict[str, Any] = {}
    if pack := re.search(r"`pack_tokens = (\d+)`", why):
        settings["pack_tokens"] = int(pack[1])
    if 'checkpointing = "on"' in why:
        settings["checkpointing"] = "on"
    if "4bit" in why:
        settings["quantize"] = "4bit"
    smaller = re.search(r"such as (\S+)\.$", why)
    settings = settings if smaller is None else {}
    lora = "fits with 'lora'" in why
    return build("lora" if lora else name, settings), smaller[1] if smaller else base


@pytest.mark.parametrize("name", ["lora", "full", "p-tuning", "zero-shot"])
@pytest.mark.parametrize(
    "base", ["Qwen/Qwen3-8B", "Qwen/Qwen3-30B-A3B", "meta-llama/Llama-3.1-8B-Instruct",
             "openai/gpt-oss-20b", "ibm-granite/granite-3.3-2b-instruct"]
)  # fmt: skip
def test_what_is_said_to_fit_does_fit(name: str, base: str) -> None:
    numbers = {"prompt_tokens": 700, "answer_tokens": 60, "examples": 500}

    def told(technique: Any, base: str, gigabytes: float) -> Estimated:
        card, shape, active = known(base)
        work = counting.from_numbers(technique, card, shape, **numbers)
        found = counted(technique, work, card, shape, active, GPU, 10, 60)
        return judged(found, technique, work, card, shape, at(gigabytes * 1e9), 60)

    refused = 0
    for gigabytes in (6, 10, 16, 20, 24, 40, 60, 80, 160, 300):
        found = told(build(name), base, gigabytes)
        if (
            found.fits
            or "GPUs like this" in found.why
            or found.why.endswith("Choose a smaller base.")
        ):
            continue
        refused += 1
        technique, other = as_told(found.why, name, base)
        again = told(technique, other, gigabytes)
        assert again.fits, f"{gigabytes} GB: {found.why} Then: {again.why}"
    assert refused


def test_a_container_has_no_more_memory_than_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if local.device().type == "cuda":
        pytest.skip("the memory that counts here is the GPU's")
    whole = devices.memory()
    for told, expected in (("1000000\n", 1_000_000), ("max\n", whole)):
        (tmp_path / "memory.max").write_text(told)
        monkeypatch.setattr(devices, "LIMITS", (str(tmp_path / "memory.max"),))
        assert devices.memory() == min(expected, whole)
