"""Scores that are lacking because a scorer's model could not be reached.

A judge that is down must not cost the candidates their training and their answers. Where its score
does not decide, the candidates go without it, which stands in its note; the run does not count as
whole, so the same command asks for what is lacking. A score that decides is still an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sartor.errors import ModelError, RemoteError
from sartor.evaluation.scorer import Scorer
from sartor.progress import say


@dataclass
class Lacking:
    """What one run has to go without."""

    deciding: str
    """The scorer that cannot be spared."""
    notes: dict[str, str] = field(default_factory=dict)
    """By scorer, why it has no scores; it is not asked again in this run, for waiting on a model
    that is down takes minutes each time."""

    def spares(self, scorer: Scorer, error: ModelError) -> bool:
        """Whether the run goes on without this scorer; if so that is said, and noted."""
        reason = error.__cause__
        if scorer.name == self.deciding or not isinstance(reason, RemoteError):
            return False
        self.notes[scorer.name] = f"no scores: its model could not be asked ({reason})"
        say(f"{scorer.name} has {self.notes[scorer.name]}. The same command will ask for them.")
        return True
