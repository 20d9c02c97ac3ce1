"""Whether a judge can be believed: its agreement with the labels of an expert.

Cohen's kappa (Educ Psychol Meas 20, 1960, p. 37; of grades with quadratic weights, Psychol Bull 70,
1968, p. 213), Spearman's correlation, and whether it likes long answers better than the expert.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor.errors import SettingError
from sartor.evaluation.scorers.lines import numbered_lines

ENOUGH = 30
"""Labelled answers; agreement on fewer is not believed."""
RESAMPLES = 2_000
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Agreement:
    """A judge and an expert on the same answers."""

    n: int
    kappa: float
    low: float
    high: float
    """95 %, by the bootstrap."""
    correlation: float
    """Spearman's, of grades; nan where either never varies."""
    length_bias: float
    """Spearman's of (judge - expert) with the answer's length; above 0 it favours the long."""
    length_p: float

    @property
    def _correlation(self) -> str:
        known = self.correlation == self.correlation  # nan is not
        return f"{self.correlation:.2f}" if known else "unknown, for one of them never varies"

    @property
    def favours_length(self) -> bool:
        return self.length_bias > 0 and self.length_p < SIGNIFICANT

    def is_enough(self, min_kappa: float) -> bool:
        """Whether the judge counts as validated."""
        return self.n >= ENOUGH and self.kappa >= min_kappa and not self.favours_length

    def told(self, min_kappa: float, labelled: int) -> str:
        """In words, for wherever the score is shown; `labelled`: answers with an expert's label,
        of which `n` the judge graded."""
        state = "validated" if self.is_enough(min_kappa) else "unvalidated"
        parts = [
            f"{state}: against {self.n} labels of an expert, kappa {self.kappa:.2f} "
            f"({self.low:.2f} to {self.high:.2f}), correlation {self._correlation}, "
            f"bias toward long answers {self.length_bias:+.2f}"
        ]
        if labelled > self.n:
            parts.append(f"{labelled - self.n} more have a label and no grade that could be read")
        if labelled < ENOUGH:
            parts.append(f"label {ENOUGH - labelled} more")
        if self.kappa < min_kappa:
            parts.append(f"kappa should be {min_kappa:g} or more")
        if self.favours_length:
            parts.append("it prefers longer answers than the expert does: do not decide by it")
        return "; ".join(parts)


def agreement(
    judge: Sequence[float], expert: Sequence[float], lengths: Sequence[int], seed: int = 0
) -> Agreement:
    """Of grades of the same answers; `lengths` in characters."""
    import numpy as np

    one, other = np.asarray(judge, dtype=float), np.asarray(expert, dtype=float)
    random = np.random.default_rng(seed)
    draws = random.integers(0, len(one), size=(RESAMPLES, len(one)))
    kappas = [weighted_kappa(one[index], other[index]) for index in draws]
    low, high = np.quantile(kappas, [0.025, 0.975])
    correlation, _ = _spearman(one, other)
    bias, p = _spearman(one - other, np.asarray(lengths, dtype=float))
    kappa = weighted_kappa(one, other)
    return Agreement(
        len(one), kappa, float(low), float(high), correlation, 0.0 if bias != bias else bias,
        1.0 if p != p else p,
    )  # fmt: skip


def weighted_kappa(one: Any, other: Any) -> float:
    """Cohen's kappa with quadratic weights, of numbers; 1 where both always say the same thing."""
    import numpy as np

    one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    seen = float(((one - other) ** 2).mean())
    by_chance = float(one.var() + other.var() + (one.mean() - other.mean()) ** 2)
    return 1 - seen / by_chance if by_chance > 0 else 1.0


def kappa(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Cohen's kappa of names, without weights."""
    n = len(one)
    seen = sum(a == b for a, b in zip(one, other, strict=True)) / n
    by_chance = sum(
        (sum(a == name for a in one) / n) * (sum(b == name for b in other) / n)
        for name in {*one, *other}
    )
    return (seen - by_chance) / (1 - by_chance) if by_chance < 1 else 1.0


def read_labels(path: Path, scorer: str, keys: Sequence[str], check: Callable[[Any], bool]) -> Any:
    """Rows of the expert's labels, each with `keys` and a `label` that passes `check`."""
    rows = []
    for number, line in numbered_lines(path, scorer):
        try:
            row = json.loads(line)
            whole = isinstance(row, dict) and all(isinstance(row[key], str) for key in keys)
            if not whole or not check(row["label"]):
                raise ValueError("a label outside the scale, or a text that is none")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SettingError(
                f"scorer {scorer}: {path}:{number} is no label ({error}). Expected "
                f"{{{', '.join(f'{key!r}: ...' for key in (*keys, 'label'))}}}, one a line."
            ) from error
        rows.append(row)
    return rows


def _spearman(one: Any, other: Any) -> tuple[float, float]:
    import numpy as np
    from scipy.stats import spearmanr

    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan"), float("nan")
    found = spearmanr(one, other)
    return float(found.statistic), float(found.pvalue)
