"""A candidate trained with several seeds: what they differ by counts as chance too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from numpy.typing import NDArray
from scipy import stats

from sartor.data.records import Example, Message
from sartor.evaluation.compare import compare
from sartor.evaluation.corpus import corpus_estimate
from sartor.evaluation.decide import decide
from sartor.evaluation.joined import joined
from sartor.evaluation.paired import Paired
from sartor.evaluation.records import Criteria, Prediction, Report
from sartor.evaluation.report import load, save
from sartor.evaluation.scorer import Corpus
from sartor.evaluation.scorers.bleu import Bleu
from sartor.evaluation.seeds import Seeded
from sartor.models.language_model import Completion

Planted = Callable[..., Report]
CRITERIA = Criteria("planted", 0.01)


def test_with_one_seed_it_is_students_t_over_the_examples() -> None:
    values = np.random.default_rng(0).uniform(size=(1, 80)) - 0.4
    one = Seeded(values, bounds=(-1, 1))
    assert one.error == pytest.approx(stats.sem(values[0]))
    assert one.p() == pytest.approx(stats.ttest_1samp(values[0], 0).pvalue)


def test_the_error_adds_what_examples_and_what_seeds_differ_by() -> None:
    random = np.random.default_rng(1)
    first = random.uniform(size=(3, 50)) + np.array([[0.0], [0.1], [0.3]])
    second = random.uniform(size=(2, 50))
    one = Seeded(first, second, bounds=(-2, 2))
    by_examples = stats.sem(first.mean(axis=0) - second.mean(axis=0)) ** 2
    # Of two seeds the whole variance; of three less the interaction, by two-way ANOVA's residual.
    residual = first - first.mean(axis=0) - first.mean(axis=1)[:, None] + first.mean()
    interaction = (residual**2).sum() / (2 * 49) / 50
    by_seeds = (first.mean(axis=1).var(ddof=1) - interaction) / 3
    by_seeds += stats.sem(second.mean(axis=1)) ** 2
    assert one.error == pytest.approx(np.sqrt(by_examples + by_seeds))


def test_where_examples_hardly_vary_it_is_students_t_over_the_seeds() -> None:
    a = np.array([0.50, 0.62, 0.55])
    one = Seeded(np.repeat(a[:, None], 40, 1) - 0.3, bounds=(-1, 1))
    theirs = stats.ttest_1samp(a, 0.3)
    assert one.p() == pytest.approx(theirs.pvalue)
    interval = theirs.confidence_interval()
    found = one.interval()
    assert found.low <= interval.low - 0.3 + 1e-9
    assert found.high >= interval.high - 0.3 - 1e-9


@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.0), (3, 0.05), (5, 0.05)])
def test_intervals_over_seeds_hold_the_truth(seeds: int, spread: float) -> None:
    random, held, worlds = np.random.default_rng(2), 0, 250
    for _ in range(worlds):
        hard = random.uniform(-0.2, 0.2, size=150)
        noise = random.normal(0, 0.1, size=(seeds, 150))
        first = 0.5 + hard + noise + random.normal(0, spread, size=(seeds, 1))
        second = 0.45 + hard + random.normal(0, 0.1, size=(1, 150))
        found = Seeded(first, second, bounds=(-1, 1)).interval()
        held += found.low <= 0.05 <= found.high
    assert 0.92 <= held / worlds <= 0.985


def test_reports_of_seeds_are_joined_saved_and_compared(planted: Planted, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    values = random.uniform(0.2, 0.8, size=60)
    ones = [planted(f"lora.seed{s}", values + 0.1 * s, cost=1.0 + s) for s in range(3)]
    lora = joined("lora", ones, seed=0)
    assert (lora.candidate, lora.measured.cost_per_answer) == ("lora", 2.0)
    assert lora.estimates["planted"].mean == pytest.approx(values.mean() + 0.1)
    save(lora, tmp_path / "lora.json")
    assert load(tmp_path / "lora.json") == lora

    plain = planted("plain", values)
    alone = compare(ones[1], plain, "planted", 0.01, 0)
    over_seeds = compare(lora, plain, "planted", 0.01, 0)
    assert over_seeds.difference == pytest.approx(alone.difference)
    assert alone.verdict == "better"
    assert over_seeds.verdict == "cannot tell"  # a fourth seed might well have been below 0
    decision = decide([lora, plain], Criteria("planted", 0.01), seed=0)
    assert {c.candidate: c.verdict for c in decision.comparisons}["plain"] == "cannot tell"


def test_where_seeds_differ_too_much_more_examples_are_not_what_is_asked_for(
    planted: Planted,
) -> None:
    values = np.random.default_rng(7).uniform(0.3, 0.7, size=80)
    apart = [planted(f"full.seed{s}", values + by) for s, by in enumerate((0.0, 0.1, 0.2))]
    full, plain = joined("full", apart, 0), planted("plain", values - 0.1, cost=0.1)
    rows = decide([full, plain], CRITERIA, seed=0).comparisons
    [found] = [row for row in rows if row.candidate == "plain"]
    # By hand: the seeds' means are 0.1 apart, so their mean has a standard error of 0.1 / sqrt(3),
    # and Student's t with two degrees of freedom reaches 4.3 of those: beyond 0.2 below.
    assert (found.verdict, found.label_more) == ("cannot tell", None)
    assert "train more seeds" in found.reason


def test_of_many_candidates_what_is_asked_for_is_reckoned_at_the_level_of_the_verdict(
    planted: Planted,
) -> None:
    values = np.random.default_rng(9).uniform(0.4, 0.6, size=80)
    step = 0.02 * np.sqrt(3)  # so that the mean of three seeds has a standard error of 0.02
    seeds = [planted(f"full.seed{s}", values + s * step) for s in range(3)]
    full = joined("full", seeds, 0)
    others = [planted(f"plain{i}", values + step - 0.12 - i / 1000, cost=0.1) for i in range(5)]
    rows = decide([full, *others], CRITERIA, seed=0).comparisons
    # One candidate has seeds, in 5 of 15 pairs: worse is shown at 0.05 / 3, where Student's t with
    # two degrees of freedom reaches 7.6 standard errors, beyond 0.12; at 0.05, the level of being
    # near, it would reach 4.3 of them, and examples would seem to do.
    assert stats.t.ppf(1 - 0.05 / 3 / 2, 2) * 0.02 > 0.12 > stats.t.ppf(1 - 0.05 / 2, 2) * 0.02
    asked_for = {row.candidate: (row.verdict, row.label_more) for row in rows}
    assert asked_for["plain0"] == ("cannot tell", None)


def test_examples_asked_for_are_those_that_leave_room_for_the_seeds() -> None:
    def pair_of(n: int, apart: float) -> Paired:
        noise = np.random.default_rng(8).normal(0, 0.2, size=n)
        noise -= noise.mean()
        rows = tuple(tuple(0.02 + noise + by) for by in (-apart, 0.0, apart))
        zeros = (0.0,) * n
        return Paired(rows[1], zeros, seeds=(rows, (zeros,)))

    few, none = pair_of(100, apart=0.004), pair_of(100, apart=0.0)
    more, without = few.label_more(0.0), none.label_more(0.0)
    assert more is not None
    assert without is not None
    by_seeds = stats.t.ppf(0.975, 2) * 0.004 / np.sqrt(3)
    left = np.sqrt(0.02**2 - by_seeds**2)
    assert (more + 100) / (without + 100) == pytest.approx((0.02 / left) ** 2, rel=0.01)
    assert pair_of(100 + more, apart=0.004).interval().low > 0
    assert few.interval().low < 0


def test_seeds_that_agree_cost_no_certainty(planted: Planted) -> None:
    values = np.random.default_rng(5).uniform(0.2, 0.8, size=200)
    ones = [planted(f"s{s}", values + 0.05) for s in range(3)]
    same = replace(joined("lora", ones, seed=0))
    found = compare(same, planted("plain", values), "planted", 0.01, 0)
    assert found.verdict == "better"
    assert found.p == pytest.approx(2 * (1 - 0.05 / 1.05) ** 200)


def _examples(n: int) -> tuple[Example, ...]:
    asked = (Message("user", "Which?"),)
    return tuple(Example(f"e{i}", asked, ("a black cat sat on the mat",)) for i in range(n))


def _mean_as_corpus_figure(values: NDArray[np.float64]) -> Corpus:
    """A figure of all answers together that is a mean, so that means' own intervals must be its."""
    return Corpus("mean", _examples(len(values)), lambda times: float(times @ values / times.sum()))


@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_a_corpus_figure_over_seeds_has_the_interval_that_a_mean_would_have(spread: float) -> None:
    random = np.random.default_rng(6)
    hard = random.uniform(0.2, 0.8, size=200)
    values = hard + random.normal(0, 0.05, size=(3, 200)) + spread * np.array([[-1], [0], [1]])
    found = corpus_estimate(*map(_mean_as_corpus_figure, values))
    mean = Seeded(values, bounds=(0, 1)).interval()
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(mean.low, abs=0.006)
    assert found.high == pytest.approx(mean.high, abs=0.006)
    alone = corpus_estimate(_mean_as_corpus_figure(values[1]))
    assert (found.high - found.low > 1.5 * (alone.high - alone.low)) == (spread > 0)


def test_a_candidate_with_several_seeds_has_corpus_bleu_on_average_over_them(
    planted: Planted,
) -> None:
    texts = ["a black cat sat on the mat", "a cat sat on a black mat", "the dog sat on the mat"]
    examples = _examples(30)
    ones = [
        replace(
            planted(f"lora.seed{s}", np.full(30, 0.5)),
            predictions=tuple(Prediction(e, Completion(text, "stop", 3, 6, 0.1)) for e in examples),
        )
        for s, text in enumerate(texts)
    ]
    found = joined("lora", ones, 0, [Bleu()]).estimates["bleu (corpus)"]
    targets = [[example.targets[0] for example in examples]]
    theirs = [sacrebleu.corpus_bleu([text] * 30, targets).score / 100 for text in texts]
    assert found.mean == pytest.approx(np.mean(theirs))
    assert found.low < min(theirs)  # three seeds are few: Student's t with two degrees of freedom
    assert found.high == 1.0
