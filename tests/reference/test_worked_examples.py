"""Worked examples that others published: what they print is what sartor computes.

Beside test_statistics.py, which holds the same functions against statsmodels and scipy. Efron's law
school data are not here: they are of a correlation, and sartor makes intervals of means only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat

import numpy as np
import pytest

from sartor.data.records import Example, Message
from sartor.evaluation.bootstrap import mean_interval, sign_flip_p, standard_error
from sartor.evaluation.corpus import corpus_estimates
from sartor.evaluation.paired import pair
from sartor.evaluation.records import Prediction
from sartor.evaluation.scorers.agreement import kappa, weighted_kappa
from sartor.evaluation.scorers.bleu import Bleu
from sartor.evaluation.scorers.registry import load_scorer
from sartor.evaluation.statistics import holm, mcnemar, newcombe
from sartor.models.language_model import Completion

pytestmark = pytest.mark.reference

NEWCOMBE = [
    ((36, 12, 2, 0), 0.0569, 0.3404),
    ((20, 12, 2, 16), 0.0562, 0.3292),
    ((18, 12, 2, 18), 0.0562, 0.3290),
    ((36, 14, 0, 0), 0.1528, 0.4167),
    ((35, 14, 0, 1), 0.1461, 0.4175),
    ((18, 14, 0, 18), 0.1441, 0.3963),
    ((2, 97, 1, 0), 0.8721, 0.9854),
    ((1, 97, 1, 1), 0.8736, 0.9850),
    ((0, 29, 1, 0), 0.6666, 0.9882),
    ((2, 98, 0, 0), 0.9178, 0.9945),
    ((1, 98, 0, 1), 0.9171, 0.9916),
    ((0, 30, 0, 0), 0.8395, 1.0),
    ((54, 0, 0, 0), -0.0664, 0.0664),
]
"""Newcombe 1998, Stat Med 17:2635, table III, method 10."""


@pytest.mark.parametrize(("cells", "low", "high"), NEWCOMBE)
def test_newcombes_own_table(cells: tuple[int, int, int, int], low: float, high: float) -> None:
    found = newcombe(*cells)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_newcombe_of_altmans_textbook() -> None:
    # Altman, Machin, Bryant, Gardner 2000, "Statistics with confidence", table 6.2: 0.011 to 0.226
    found = newcombe(14, 5, 0, 22)
    assert (found.low, found.high) == pytest.approx((0.011, 0.226), abs=6e-4)


@pytest.mark.parametrize(
    ("cells", "p"),
    [
        # Fagerland, Lydersen, Laake 2013, BMC Med Res Methodol 13:91: exact conditional tests of
        # airway hyper-responsiveness (Bentur et al. 2009) and complete response (Cavo et al. 2012)
        ((1, 7), 0.070),
        ((6, 16), 0.0525),
    ],
)
def test_the_exact_mcnemar_tests_of_fagerland(cells: tuple[int, int], p: float) -> None:
    assert mcnemar(*cells) == pytest.approx(p, abs=5e-4)


def test_fishers_randomization_test_of_darwins_maize() -> None:
    """Fisher 1935, "The design of experiments", section 21: of 32,768 ways to choose the signs, 863
    give a sum of 314 eighths of an inch or more; 5.267 % on both sides."""
    eighths = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    found = sign_flip_p(np.array(eighths, dtype=np.float64), resamples=40_000)
    assert found == pytest.approx(2 * 863 / 32_768, abs=0.0035)  # drawn: three standard errors


def test_students_sleep() -> None:
    """Student 1908, Biometrika 6:1: ten patients' extra hours of sleep, by one drug over another.

    Mean 1.58, standard error 0.389, 95 % from 0.70 to 2.46. All who differ, nine, differ one way,
    so the exact permutation test gives 2 / 2^9.
    """
    hours = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert standard_error(hours, None) == pytest.approx(0.389, abs=5e-4)
    assert sign_flip_p(hours) == 2 / 2**9
    found = mean_interval(hours, bounds=(-9.0, 9.0))
    assert found.low == pytest.approx(0.70, abs=5e-3)
    assert found.high >= 2.46  # one patient slept 4.6 hours more: the skew moves this end out


def test_the_standard_error_of_efrons_mice() -> None:
    # Efron and Tibshirani 1993, "An introduction to the bootstrap", table 2.1
    treated = [94, 197, 16, 38, 99, 141, 23]
    assert standard_error(treated, None) == pytest.approx(25.24, abs=0.005)


def test_holms_method_rejects_what_it_does_on_the_thrombolysis_data() -> None:
    """Benjamini and Hochberg 1995, J R Stat Soc B 57:289, section 3.2: of fifteen p-values, methods
    that control the family-wise error at 5 % reject three (the false discovery rate, four)."""
    p = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
        0.5719, 0.6528, 0.7590, 1.0000,
    ]  # fmt: skip
    adjusted = holm(p)
    assert sum(value <= 0.05 for value in adjusted) == 3
    assert adjusted[:4] == pytest.approx([15 * 0.0001, 14 * 0.0004, 13 * 0.0019, 12 * 0.0095])


def test_cohens_kappa_of_his_paper() -> None:
    # Cohen 1960, Educ Psychol Meas 20:37: 200 patients, three diagnoses; kappa 0.492
    assert kappa(*rated([[88, 10, 2], [14, 40, 6], [18, 10, 12]])) == pytest.approx(0.492, abs=5e-4)


def test_cohens_kappa_of_fleiss_textbook() -> None:
    # Fleiss, Levin, Paik 2003, "Statistical methods for rates and proportions", table 18.1: 0.68
    assert kappa(*rated([[75, 1, 4], [5, 4, 1], [0, 0, 10]])) == pytest.approx(0.676, abs=5e-4)


def test_weighted_kappa_agrees_with_statsmodels() -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    table = [[7, 7, 2, 3], [2, 8, 3, 7], [1, 5, 4, 9], [2, 8, 9, 14]]  # Hout et al. 1987
    theirs = cohens_kappa(np.array(table), wt="quadratic").kappa
    assert weighted_kappa(*rated(table)) == pytest.approx(theirs)
    assert kappa(*rated(table)) == pytest.approx(0.129, abs=5e-4)  # in the manual of R's vcd


ACTION = (
    "It is a guide to action which ensures that the military always obeys the commands of the party"
)
ACTION_TARGETS = (
    "It is a guide to action that ensures that the military will forever heed Party commands",
    "It is the guiding principle which guarantees the military forces always being under the "
    "command of the Party",
    "It is the practical guide for the army always to heed the directions of the party",
)


def test_bleu_of_papinenis_first_example() -> None:
    """Papineni et al. 2002, section 2.1: 17 of 18 words and 10 of 17 pairs are in a reference; with
    its 7 of 16 and 4 of 15 longer runs that makes 0.5046, which NLTK's manual prints too."""
    expected = (17 / 18 * 10 / 17 * 7 / 16 * 4 / 15) ** 0.25
    found = corpus_estimates([Bleu(tokenize="none")], [[answered(ACTION, ACTION_TARGETS)]])
    assert found["bleu (corpus)"].mean == pytest.approx(expected) == pytest.approx(0.5046, abs=5e-5)


def test_corpus_bleu_of_nltks_manual() -> None:
    # nltk.translate.bleu_score.corpus_bleu: the example above, and a second one: 0.5920
    history = answered(
        "he read the book because he was interested in world history",
        ("he was interested in world history because he read the book",),
        "second",
    )
    both = [answered(ACTION, ACTION_TARGETS), history]
    found = corpus_estimates([Bleu(tokenize="none")], [both])["bleu (corpus)"]
    assert found.mean == pytest.approx(0.5920, abs=1e-4)
    assert found.low < found.mean < found.high


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("police kill the gunman", 3 / 4),
        ("the gunman kill police", 2 / 4),
        ("the gunman police killed", 2 / 4),
    ],
)
def test_rouge_l_of_lins_gunman(said: str, expected: float) -> None:
    # Lin 2004, "ROUGE", section 3.1, against "police killed the gunman"
    [score] = load_scorer("rouge_l").score([answered(said, ("police killed the gunman",))])
    assert score.value == pytest.approx(expected)


def test_of_a_published_table_the_decision_takes_the_wider_ends() -> None:
    """McNemar's p, and the further of Newcombe's and Tango's limits. Of the complete responses
    above: -0.1186 to -0.0046, and -0.124 to -0.005 (Fagerland, Lydersen, Laake 2017, chapter 8)."""
    first, second = map(np.array, rated([[59, 6], [16, 80]]))
    found = pair(list(1.0 - first), list(1.0 - second), list(range(161)), 0)
    assert found.p == pytest.approx(0.0525, abs=5e-4)
    assert found.interval().low == pytest.approx(-0.124, abs=5e-4)
    assert found.interval().high == pytest.approx(-0.0046, abs=5e-5)


def rated(table: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """The two raters' categories, from how often each pair of them comes."""
    cells = [(i, j, n) for i, row in enumerate(table) for j, n in enumerate(row)]
    one = list(chain.from_iterable(repeat(i, n) for i, _, n in cells))
    return one, list(chain.from_iterable(repeat(j, n) for _, j, n in cells))


def answered(said: str, targets: tuple[str, ...], id: str = "first") -> Prediction:
    example = Example(id, (Message("user", "?"),), targets)
    return Prediction(example, Completion(said, "stop", 1, 1, 0.1))
