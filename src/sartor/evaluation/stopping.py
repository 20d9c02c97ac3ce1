"""Whether a candidate is hopeless by validation, so that the test part need not be asked of it.

Only validation is looked at, and the final intervals are made from the test part alone: whom they
are made for does not depend on a test answer, so they stay what they say. (A sequential look at a
slice of the test part would need its own correction.) Techniques choose their settings on
validation, which flatters them there; hence the strict level, and the margin on top of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sartor.errors import DataError
from sartor.evaluation.compare import compare
from sartor.evaluation.records import Comparison, Report

LEVEL = 0.002
"""Two-sided: a candidate that is truly within the margin is stopped once in a thousand times."""


def hopeless(
    report: Report, before: Sequence[Report], scorer: str, margin: float, seed: int
) -> Comparison | None:
    """The comparison that stops it: surely more than the margin below the best of those `before`.

    All reports are on validation. None where it may go on.
    """
    scored = [one for one in before if scorer in one.estimates]
    if not scored or scorer not in report.estimates:
        return None
    best = max(scored, key=lambda one: one.estimates[scorer].mean)
    try:
        found = compare(report, best, scorer, margin, seed, LEVEL)
    except DataError:  # no example that both have a score for
        return None
    if found.high >= -margin:
        return None
    gap = f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f} at 99.8 %)"
    return Comparison(
        candidate=report.candidate,
        against=best.candidate,
        difference=found.difference,
        low=found.low,
        high=found.high,
        p=found.p,
        verdict="stopped",
        reason=f"{gap} from {best.candidate} on {found.n} validation examples: more than the "
        f"margin of {margin:g} behind, so it was not asked the test part.",
    )
