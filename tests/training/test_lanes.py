"""Parts of a step side by side: the same gradients, the same each time, and nothing half done."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny_models
from tests.training.test_loop import ALIKE, Heard, trainable, trained, values

from sartor import progress
from sartor.errors import TrainingError
from sartor.techniques.lora import LoRA
from sartor.techniques.p_tuning import PTuning
from sartor.techniques.virtual_tokens import embedded
from sartor.techniques.weights import adapted
from sartor.training import lanes
from sartor.training.loop import Trainable, TrainingSettings
from sartor.training.pack_size import side_by_side
from sartor.training.packing import Encoded, encode
from sartor.training.passes import Passes
from sartor.training.processes import ALONE
from sartor.training.state import State, Values
from sartor.training.tricks import use_tricks

pytestmark = pytest.mark.usefixtures("two_threads")


def encoded(lengths: tuple[int, ...], beginning: int = 0, seed: int = 2) -> list[Encoded]:
    """Examples of these lengths, that begin alike for so many tokens."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randint(6, 300, (beginning,), generator=generator).tolist()
    made = []
    for number, length in enumerate(lengths):
        own = torch.randint(6, 300, (length - beginning,), generator=generator).tolist()
        made.append(Encoded(f"e{number}", (*shared, *own), length - 2))
    return made


LENGTHS = (20, 30, 35, 41, 55, 60, 88, 90)


def lora(architecture: str = "llama", dtype: torch.dtype = torch.float32) -> Trainable:
    torch.manual_seed(5)
    network = tiny_models.network(architecture).to(dtype)
    made = adapted("lora", network, LoRA().configured(network))
    for parameter in made.parameters.values():  # B is zero to begin with, and A's gradient then too
        torch.nn.init.normal_(parameter, std=0.02)
    return made_ready(
        Trainable(network, tiny_models.tokenizer(), made.parameters, 512, frozen=True)
    )


def p_tuning(architecture: str = "llama") -> Trainable:
    torch.manual_seed(5)
    network = tiny_models.network(architecture)
    network.requires_grad_(False)
    virtual: Any = PTuning(virtual_tokens=5)._module(embedded(network, list(range(10, 15))))
    trained = dict(virtual.named_parameters())
    return made_ready(
        Trainable(network, tiny_models.tokenizer(), trained, 512, virtual, frozen=True)
    )


def full(architecture: str = "llama") -> Trainable:
    torch.manual_seed(5)
    network = tiny_models.network(architecture)
    return made_ready(
        Trainable(network, tiny_models.tokenizer(), dict(network.named_parameters()), 512)
    )


def checkpointed(architecture: str = "llama") -> Trainable:
    what = lora(architecture)
    use_tricks(what.network, TrainingSettings(checkpointing="on"))
    return what


def made_ready(what: Trainable) -> Trainable:
    use_tricks(what.network, TrainingSettings())
    return what


def passed(what: Trainable, batch: list[Encoded]) -> tuple[float, float, Values]:
    """The loss of a batch, the norm of its gradient, and the values that have it."""
    options = TrainingSettings()
    passes = Passes(what, what.reading(options.pack_size), options, "tiny", ALONE)
    held = Values(what.parameters, {}, torch.optim.SGD(what.parameters.values()))
    return *passes.gradients(batch, State(), held), held


def gradients(what: Trainable, batch: list[Encoded], threads: int) -> tuple[float, torch.Tensor]:
    """The loss of a batch, and all gradients."""
    torch.set_num_threads(threads)
    loss, _, held = passed(what, batch)
    found = torch.cat([p.grad.flatten() for p in what.parameters.values() if p.grad is not None])
    held.clear()
    return loss, found


@pytest.mark.parametrize("beginning", [0, 18])
@pytest.mark.parametrize("make", [lora, p_tuning, full, checkpointed])
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_gradients_are_those_of_one_lane(
    make: Callable[[str], Trainable], architecture: str, beginning: int
) -> None:
    what, batch = make(architecture), encoded(LENGTHS, beginning)
    assert lanes.threads_for(what) == 2
    assert len(lanes.parts(batch, 2, 3072)) == 2
    loss, expected = gradients(what, batch, 1)
    found_loss, found = gradients(what, batch, 2)
    assert found_loss == pytest.approx(loss, rel=1e-6)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_are_the_same_each_time(dtype: torch.dtype) -> None:
    what, batch = lora(dtype=dtype), encoded(LENGTHS)
    _, first = gradients(what, batch, 2)
    for _ in range(5):
        assert torch.equal(gradients(what, batch, 2)[1], first)


def test_examples_are_divided_evenly_and_those_that_begin_alike_stay_together() -> None:
    batch = [*encoded((60, 62, 64), 50), *encoded((80, 20, 25, 30, 15), seed=3)]
    found = lanes.parts(batch, 2, 3072)
    assert sorted(e.tokens for part in found for e in part) == sorted(e.tokens for e in batch)
    alike = {e.tokens for e in batch[:3]}
    assert sum(bool(alike & {e.tokens for e in part}) for part in found) == 1
    for part in found:
        assert [len(e.tokens) for e in part] == sorted(len(e.tokens) for e in part)


@pytest.mark.parametrize("threads", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("documents", [1, 2, 3, 4])
@pytest.mark.parametrize("questions", [1, 2, 3, 6])
def test_all_examples_have_a_part_and_no_part_is_empty(
    threads: int, documents: int, questions: int
) -> None:
    batch = [
        Encoded(f"{d}.{q}", (*range(100 * d, 100 * d + 90), 1000 + q, *range(40)), 120)
        for d in range(documents)
        for q in range(questions)
    ]
    found = lanes.parts(batch, threads, 6144)
    assert sorted(e.id for part in found for e in part) == sorted(e.id for e in batch)
    assert all(found)


def test_questions_about_two_documents_are_divided_among_four_threads() -> None:
    batch = [
        Encoded(f"{d}.{q}", (*range(200 * d, 200 * d + 60), *([q + 1000] * 50)), 100)
        for d in range(2)
        for q in range(4)
    ]
    found = lanes.parts(batch, 4, 3072)
    assert sorted(len(part) for part in found) == [2, 2, 2, 2]
    assert all(len({e.id[0] for e in part}) == 1 for part in found)


def test_examples_that_all_begin_alike_are_divided_where_what_they_share_is_little() -> None:
    little, much = encoded((60,) * 8, 30), encoded((200,) * 8, 190)
    assert sorted(map(len, lanes.parts(little, 2, 3072))) == [4, 4]
    assert len(lanes.parts(much, 2, 3072)) == 1


def test_one_lane_where_one_example_is_most_of_the_step() -> None:
    assert len(lanes.parts(encoded((400, 20, 20, 20)), 2, 3072)) == 1


@pytest.mark.parametrize(
    ("threads", "tokens", "examples", "expected"),
    [
        (1, 3072, 8, 1),
        (2, 3072, 8, 2),
        (2, 1024, 8, 1),
        (2, 3072, 3, 1),
        (4, 3072, 8, 4),
        (6, 3072, 8, 3),
        (8, 3072, 8, 4),
        (8, 3072, 4, 2),
    ],
)
def test_lanes_have_tokens_examples_and_threads_enough(
    threads: int, tokens: int, examples: int, expected: int
) -> None:
    assert side_by_side(threads, tokens, examples) == expected


def test_one_lane_where_the_network_can_run_only_once_at_a_time(tmp_path: Path) -> None:
    dropping = lora()
    dropping.network.model.layers[0].self_attn.attention_dropout = 0.1
    lower = trainable()
    trained(tmp_path, what=lower)  # which keeps what the lower block gives
    dynamic = lora()
    dynamic.network.config.rope_parameters["rope_type"] = "dynamic"
    other = made_ready(trainable(tiny_models.network("gpt2")))
    for what in (dropping, lower, dynamic, other):
        assert lanes.threads_for(what) == 1
    assert lanes.threads_for(full()) == 2


def test_one_lane_where_bare_tensors_have_adapters() -> None:
    """PEFT puts them in and takes them out again while such a module runs."""
    assert lanes.threads_for(lora("mixtral")) == 1
    assert lanes.threads_for(lora("llama")) == 2


def test_one_lane_where_its_gradients_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "SMALL", 1000)
    assert lanes.threads_for(full()) == 1
    assert lanes.threads_for(lora()) == 2


@dataclass(frozen=True)
class Odd(Trainable):
    """Something happens to packs that hold a certain example, or are larger than `fits`."""

    at: str = ""
    number: float = 1.0
    fits: int = 1 << 30
    sizes: list[int] = field(default_factory=list)

    def loss(self, pack: Any) -> tuple[torch.Tensor, float]:
        size = sum(len(e.tokens) for e in pack)
        if size > self.fits:
            raise MemoryError
        self.sizes.append(size)
        loss, count = Trainable.loss(self, pack)
        return (loss * self.number if any(e.id == self.at for e in pack) else loss), count


def odd(**given: Any) -> Odd:
    what = lora()
    return Odd(what.network, what.tokenizer, what.parameters, what.context, frozen=True, **given)


def test_no_number_in_one_lane_is_none_of_the_step() -> None:
    loss, found = gradients(odd(), encoded(LENGTHS), 2)
    assert math.isfinite(loss)
    what = odd(at="e7", number=math.nan)
    loss, norm, _ = passed(what, encoded(LENGTHS))
    assert math.isnan(loss)
    assert norm == 0.0
    assert all(p.grad is None for p in what.parameters.values())
    assert found.norm() > 0


def test_memory_that_runs_out_in_lanes_halves_what_goes_through_at_once() -> None:
    """Also where it is the smaller pack for which there was none."""
    loss, expected = gradients(odd(), encoded(LENGTHS), 2)

    @dataclass(frozen=True)
    class Once(Odd):
        def loss(self, pack: Any) -> tuple[torch.Tensor, float]:
            if not self.sizes and any(e.id == "e0" for e in pack):  # once
                self.sizes.append(0)
                raise MemoryError
            return Trainable.loss(self, pack)

    whole, heard = lora(), Heard()
    what = Once(whole.network, whole.tokenizer, whole.parameters, whole.context, frozen=True)
    with progress.shown_by(heard):
        found_loss, found = gradients(what, encoded(LENGTHS), 2)
    at_once = sum(LENGTHS)
    assert heard.said == [
        f"tiny: out of memory with {at_once} tokens at once: pack_tokens is {at_once // 2} from "
        "here on, not 3,072. The result is the same"
    ]
    assert found_loss == pytest.approx(loss, rel=1e-6)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_one_lane_stops_where_another_has_no_number() -> None:
    """The packs that it has not begun are not put through."""
    import threading

    from sartor.training.room import Room

    items, met, done = encoded((40,) * 8), threading.Event(), []

    def through(pack: Any, lane: int | None) -> float:
        if lane == 0:
            met.set()
            return math.nan
        met.wait()
        done.append(pack)
        return 1.0

    room = Room(3072, "tiny", ALONE, pack=lambda tokens: 40, threads=2)
    assert math.isnan(room.put(items, through, lambda: None))
    assert len(done) < 4


def test_an_example_that_does_not_fit_alone_is_named_though_lanes_were_beside() -> None:
    with (
        progress.shown_by(progress.Silent()),
        pytest.raises(TrainingError, match=r"example e\d, of \d+ tokens, does not fit by its"),
    ):
        gradients(odd(fits=10), encoded(LENGTHS), 2)


def test_training_by_two_threads_comes_out_as_by_one(tmp_path: Path) -> None:
    """To the end of a run, looks at validation included."""
    options = TrainingSettings(batch_size=8, epochs=4, looks=4, learning_rates=(1e-2,))
    asked = encode(tiny_models.tokenizer(), ALIKE.train, tiny_models.CONTEXT)
    assert len(lanes.parts(asked, 2, options.pack_size)) == 2

    def run(threads: int) -> tuple[float, list[torch.Tensor]]:
        from sartor.training.loop import train

        torch.set_num_threads(threads)
        what = lora()
        found = train(what, ALIKE, options, tmp_path / str(threads), "tiny")
        return found.validation_loss, values(what)

    loss, expected = run(1)
    found_loss, found = run(2)
    assert found_loss == pytest.approx(loss, rel=1e-4)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)
