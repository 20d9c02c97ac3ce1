"""ORPO: right answers are learned and rejected ones unlearned in one objective, by their odds.

Hong et al. 2024, arXiv:2403.07691.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from sartor.settings import STRICT
from sartor.techniques.preference_tuning import PreferenceTuning
from sartor.training.objective import Objective


@dataclass(frozen=True, config=STRICT)
class ORPO(PreferenceTuning):
    """Odds ratio preference optimization on pairs of a right and a rejected answer."""

    name: ClassVar[str] = "orpo"
    beta: float = 0.1
    """Weight of the odds ratio beside the right answers' cross-entropy (lambda in the paper)."""

    def _objective(self) -> Objective:
        from sartor.training import preferences

        return preferences.ORPO(beta=self.beta)
