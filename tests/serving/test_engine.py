"""The engine: what shares a batch, what is turned away, what is given up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import pytest

from sartor.data.records import Conversation, Message
from sartor.errors import ModelError, ServingError
from sartor.models.language_model import Completion, LanguageModel, Sampling
from sartor.models.scripted import ScriptedModel
from sartor.serving.engine import Engine, Event, Job, Limits, QueueFullError

GREEDY = Sampling()


@dataclass
class Recorder:
    """A model that notes its batches, and holds them back until it is let go on."""

    batches: list[list[str]] = field(default_factory=list)
    samplings: list[Sampling] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    go_on: threading.Event = field(default_factory=threading.Event)
    busy: threading.Event = field(default_factory=threading.Event)

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        questions = [conversation[-1].content for conversation in conversations]
        self.batches.append(questions)
        self.samplings.append(sampling)
        self.threads.add(threading.get_ident())
        self.busy.set()
        assert self.go_on.wait(10)
        if "bad" in questions:
            raise ModelError("the prompt is too long.")
        return [Completion(question.upper(), "stop", 1, 1, 0.0) for question in questions]


class Asked(Job):
    """A job whose events can be waited for."""

    def __init__(self, question: str, sampling: Sampling = GREEDY, **how: bool) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        super().__init__((Message("user", question),), sampling, self.events.put, **how)

    def answer(self) -> str:
        while not isinstance(event := self.events.get(timeout=10), Completion):
            if isinstance(event, Exception):
                raise event
        return event.text


@contextmanager
def engine_of(model: LanguageModel, limits: Limits = Limits()) -> Iterator[Engine]:  # noqa: B008
    with closing(Engine(model, limits)) as engine:
        yield engine


def queued_behind(engine: Engine, model: Recorder, jobs: Sequence[Asked]) -> Asked:
    """Submit jobs while the model is held at another one; then let it go on."""
    first = Asked("first")
    engine.submit(first)
    assert model.busy.wait(10)
    for job in jobs:
        engine.submit(job)
    model.go_on.set()
    return first


def test_requests_that_wait_together_are_answered_in_one_batch() -> None:
    model = Recorder()
    jobs = [Asked(f"q{number}") for number in range(5)]
    with engine_of(model) as engine:
        queued_behind(engine, model, jobs)
        assert [job.answer() for job in jobs] == ["Q0", "Q1", "Q2", "Q3", "Q4"]
    assert model.batches == [["first"], ["q0", "q1", "q2", "q3", "q4"]]
    assert len(model.threads) == 1
    assert threading.get_ident() not in model.threads


def test_a_batch_is_no_larger_than_allowed() -> None:
    model = Recorder()
    jobs = [Asked(f"q{number}") for number in range(5)]
    with engine_of(model, Limits(max_batch=2)) as engine:
        queued_behind(engine, model, jobs)
        for job in jobs:
            job.answer()
    assert [len(batch) for batch in model.batches] == [1, 2, 2, 1]


def test_only_requests_with_the_same_sampling_share_a_batch() -> None:
    model = Recorder()
    jobs = [Asked("a"), Asked("long", Sampling(max_new_tokens=999)), Asked("b")]
    with engine_of(model) as engine:
        queued_behind(engine, model, jobs)
        for job in jobs:
            job.answer()
    assert model.batches == [["first"], ["a", "b"], ["long"]]
    assert [sampling.max_new_tokens for sampling in model.samplings] == [256, 256, 999]


def test_a_seed_makes_no_difference_to_greedy_requests() -> None:
    model = Recorder()
    jobs = [Asked("a", Sampling(seed=1)), Asked("b", Sampling(seed=2))]
    with engine_of(model) as engine:
        queued_behind(engine, model, jobs)
        for job in jobs:
            job.answer()
    assert model.batches[1:] == [["a", "b"]]


def test_a_sampled_request_with_its_own_seed_goes_alone() -> None:
    model = Recorder()
    warm = Sampling(temperature=1.0, seed=7)
    jobs = [Asked("a", warm), Asked("b", warm)]
    jobs += [Asked("c", Sampling(temperature=1.0, seed=seed), seeded=False) for seed in (1, 2)]
    with engine_of(model) as engine:
        queued_behind(engine, model, jobs)
        for job in jobs:
            job.answer()
    assert model.batches[1:] == [["a"], ["b"], ["c", "c"]]


def test_one_bad_request_does_not_fail_its_neighbours() -> None:
    model = Recorder()
    jobs = [Asked("a"), Asked("bad"), Asked("b")]
    with engine_of(model) as engine:
        queued_behind(engine, model, jobs)
        assert jobs[0].answer() == "A"
        with pytest.raises(ModelError, match="too long"):
            jobs[1].answer()
        assert jobs[2].answer() == "B"


def test_a_full_queue_turns_requests_away() -> None:
    model = Recorder()
    with engine_of(model, Limits(max_waiting=2)) as engine:
        engine.submit(Asked("first"))
        assert model.busy.wait(10)
        engine.submit(Asked("a"))
        engine.submit(Asked("b"))
        with pytest.raises(QueueFullError, match="2 requests are waiting already"):
            engine.submit(Asked("c"))
        assert engine.waiting() == 2
        model.go_on.set()


def test_a_cancelled_request_leaves_the_queue_and_is_never_answered() -> None:
    model = Recorder()
    jobs = [Asked("a"), Asked("b")]
    with engine_of(model) as engine:
        first = Asked("first")
        engine.submit(first)
        assert model.busy.wait(10)
        for job in jobs:
            engine.submit(job)
        engine.cancel(jobs[0])
        engine.cancel(first)
        model.go_on.set()
        assert jobs[1].answer() == "B"
    assert model.batches == [["first"], ["b"]]
    assert first.events.empty()
    assert jobs[0].events.empty()


def test_a_stream_hands_out_pieces_and_then_the_whole() -> None:
    model = ScriptedModel(lambda conversation: "four whole weeks")
    job = Asked("how long", stream=True)
    with engine_of(model) as engine:
        engine.submit(job)
        events = [job.events.get(timeout=10) for _ in range(4)]
    assert events[:3] == ["four", " whole", " weeks"]
    assert isinstance(events[3], Completion)
    assert events[3].text == "four whole weeks"


def test_a_model_that_cannot_stream_gives_one_piece() -> None:
    model = Recorder()
    model.go_on.set()
    job = Asked("why", stream=True)
    with engine_of(model) as engine:
        engine.submit(job)
        piece, whole = job.events.get(timeout=10), job.events.get(timeout=10)
    assert piece == "WHY"
    assert isinstance(whole, Completion)


def test_a_cancelled_stream_frees_the_model() -> None:
    reached = threading.Event()

    class Endless(ScriptedModel):
        def stream(
            self, conversation: Conversation, sampling: Sampling
        ) -> Iterator[str | Completion]:
            while True:
                reached.set()
                yield "and "

    model = Endless(lambda conversation: "done")
    endless, next_one = Asked("go on", stream=True), Asked("next")
    with engine_of(model) as engine:
        engine.submit(endless)
        engine.submit(next_one)
        assert reached.wait(10)
        engine.cancel(endless)
        assert next_one.answer() == "done"


def test_a_stream_without_an_end_is_an_error() -> None:
    class Cut(ScriptedModel):
        def stream(
            self, conversation: Conversation, sampling: Sampling
        ) -> Iterator[str | Completion]:
            yield "half an"

    job = Asked("why", stream=True)
    with engine_of(Cut(lambda conversation: "")) as engine:
        engine.submit(job)
        with pytest.raises(ServingError, match="ended without a completion"):
            job.answer()


def test_a_model_that_loses_answers_is_an_error_and_not_a_hang() -> None:
    class Forgetful:
        def generate(
            self, conversations: Sequence[Conversation], sampling: Sampling
        ) -> list[Completion]:
            return []

    job = Asked("why")
    with engine_of(Forgetful()) as engine:
        engine.submit(job)
        with pytest.raises(ServingError, match="0 answers to 1 request"):
            job.answer()
        assert engine.is_working()


def test_closing_turns_away_what_is_waiting() -> None:
    model = Recorder()
    engine = Engine(model, Limits())
    first, waiting = Asked("first"), Asked("a")
    engine.submit(first)
    assert model.busy.wait(10)
    engine.submit(waiting)
    engine.close(patience=0)
    with pytest.raises(ServingError, match="shutting down"):
        waiting.answer()
    with pytest.raises(ServingError, match="shutting down"):
        engine.submit(Asked("late"))
    assert not engine.is_working()
    model.go_on.set()
    assert first.answer() == "FIRST"


@pytest.mark.parametrize("name", ["max_batch", "max_waiting", "timeout_seconds"])
def test_limits_that_let_nothing_through_are_refused(name: str) -> None:
    with pytest.raises(ServingError, match=f"{name} is 0"):
        Limits(**{name: 0})
