"""What a candidate must meet to be shipped, whatever the others do."""

from __future__ import annotations

from collections.abc import Iterator

from sartor.evaluation.records import Criteria, Report

GIGABYTE = 10**9


def fault(report: Report, criteria: Criteria) -> str:
    """Which criteria the candidate fails, with the numbers; empty when it meets them all."""
    return "; ".join(_faults(report, criteria))


def _faults(report: Report, criteria: Criteria) -> Iterator[str]:
    measured, found = report.measured, report.estimates.get(criteria.scorer)
    if found is None:
        yield f"it has no {criteria.scorer} score on these examples"
    elif criteria.at_least is not None and found.mean < criteria.at_least:
        yield f"its {criteria.scorer} of {found.mean:.3f} is below the {criteria.at_least:g} wanted"
    if report.forgotten and report.forgotten.loss > report.forgotten.limit:
        lost = report.forgotten
        yield (
            f"general ability fell by {lost.loss:.3f} ({lost.low:.3f} to {lost.high:.3f}), above "
            f"the limit of {lost.limit:g}"
        )
    if report.leaked:
        yield report.leaked
    memory = measured.peak_memory_bytes / GIGABYTE
    for what, value, limit in (
        ("seconds an answer", measured.seconds_per_answer, criteria.max_seconds),
        ("cost an answer", measured.cost_per_answer, criteria.max_cost),
        ("peak memory in GB", memory, criteria.max_memory_gb),
    ):
        if limit is not None and value is None:
            yield f"{what}: not known, and the limit is {limit:g}"
        elif limit is not None and value is not None and value > limit:
            yield f"{what}: {value:.3g}, above the limit of {limit:g}"
