"""DPO: right answers are made likelier than rejected ones to the same request.

Rafailov et al. 2023, arXiv:2305.18290.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from sartor.errors import SettingError
from sartor.settings import STRICT
from sartor.techniques.preference_tuning import PreferenceTuning
from sartor.training.objective import Objective


@dataclass(frozen=True, config=STRICT)
class DPO(PreferenceTuning):
    """Direct preference optimization on pairs of a right and a rejected answer."""

    name: ClassVar[str] = "dpo"
    smoothing: float = 0.0
    """How often a judgement is taken to be wrong; below 0.5."""
    answers: float = 0.0
    """Weight of the right answers' own cross-entropy beside the preference (arXiv:2404.19733);
    1 keeps right answers from becoming rarer themselves."""

    def __post_init__(self) -> None:
        PreferenceTuning.__post_init__(self)
        if not 0 <= self.smoothing < 0.5:
            raise SettingError(f"dpo: smoothing is {self.smoothing}; it lies in [0, 0.5)")
        if not 0 <= self.answers < float("inf"):
            raise SettingError(f"dpo: answers is {self.answers}; it must be 0 or more")

    def _objective(self) -> Objective:
        from sartor.training import preferences

        return preferences.DPO(beta=self.beta, smoothing=self.smoothing, answers=self.answers)
