"""What a run leaves: the decision, the reports, a line of history, the release, and the page.

decision.json  label-next.jsonl  reports/<candidate>.json  history.jsonl  looks.jsonl  tested/
candidates/<candidate>.json  releases/  ../report.html
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

from sartor import progress, tested
from sartor.data import prepared_files
from sartor.data.files import digest, read_json, to_json, write_json, write_text
from sartor.data.prepare import Prepared
from sartor.errors import DiskError, ModelError, ProjectError, ServingError
from sartor.evaluation import history, report
from sartor.evaluation.decision_file import summary_of
from sartor.evaluation.label_next import Unlabelled, to_fill
from sartor.evaluation.leaked import marked
from sartor.evaluation.records import Criteria, Decision, Report
from sartor.evaluation.summary import Summary, summarize
from sartor.examined import Tried
from sartor.project import ProjectFile
from sartor.report_page import PAGE, page_of
from sartor.run_record import Made, gathered, run_record, with_tested
from sartor.serving.interactions import read_interactions
from sartor.serving.release import Release, Releases
from sartor.studio.export import Told, exported
from sartor.workspace import Workspace

FORMS = {"html": PAGE, "md": "report.md", "csv": "report.csv", "model-card": "model-card.md"}
"""Of the report, and the file each is written to unless another is named."""
TO_LABEL = "label-next.jsonl"
MOST_REQUESTS = 10_000
"""Of the server's log, the newest, among which the next to label are looked for."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    decision: Decision
    reports: tuple[Report, ...]
    page: Path
    """Where the report lies, as one HTML file."""
    html: str = field(repr=False)
    """What stands in it."""
    summary: Summary
    """The verdict in words, and what stands behind it."""
    unchanged: bool
    """Nothing had changed since the last run, so nothing was done."""
    not_tried: tuple[str, ...] = ()
    """Candidates that were passed over, and why."""
    looks: int = 1
    """Runs that were decided on this test part, this one included."""


def leave(
    workspace: Workspace, file: ProjectFile, prepared: Prepared, tried: Sequence[Tried], made: Made,
    given: Sequence[Report] = (),
) -> Outcome:  # fmt: skip
    """Decide between the candidates tried and the answers given, and write everything down."""
    from sartor.evaluation.decide import decided, decision_json

    if not tried:
        raise ModelError(f"no candidate could be run: {'; '.join(gathered(made.failures))}")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    test = digest([(e.id, e.input, e.targets) for e in prepared.split.test])
    looks = history.look(workspace.root / "looks.jsonl", test, made.key, at)
    reports = marked((*(one.test for one in tried if one.test), *given), prepared.split)
    kept_at = _save_reports(workspace, reports)
    too_many = _too_many(looks, file.criteria.max_looks)
    wanted = file.criteria.model_dump(exclude={"max_looks"})
    criteria = Criteria(**wanted, currency=file.cost.currency)
    seed = file.project.seed
    refusals = [*gathered(made.failures), *too_many]
    decision, ranking = decided(reports, criteria, seed=seed, refusals=refusals)
    stopped = tuple(one for one in tried if one.stopped)
    rows = tuple(one.stopped for one in stopped if one.stopped)
    decision = replace(decision, comparisons=(*decision.comparisons, *rows))
    unlabelled = _unlabelled(workspace, prepared)
    summary = summarize(
        decision,
        ranking,
        reports,
        file.cost.currency,
        seed,
        unlabelled,
        _labelled_for_one(prepared),
        failed=bool(made.failures),
    )
    told = decision_json(decision, (*reports, *(one.validation for one in stopped)), summary)
    told["looks"] = looks
    told["not_tried"] = [asdict(one) for one in made.not_tried]
    write_json(workspace.decision, told)
    _leave_to_label(workspace.root / TO_LABEL, summary)
    earlier = history.read(workspace.history)
    run = run_record(workspace, tried, decision, made, earlier, file, (at, test, looks))
    run = with_tested(run, kept_at, given)
    history.add(workspace.history, run)
    _release(workspace, tried, decision.winner, digest(told), at)
    html = page_of(workspace, file, prepared, reports, run, summary)
    page = workspace.project / PAGE
    write_text(page, html)
    return Outcome(decision, reports, page, html, summary, False, run.not_tried, looks)


def kept(workspace: Workspace, file: ProjectFile) -> Outcome:
    """The last run's outcome, from its files; the page is drawn anew, and not written."""
    runs = history.read(workspace.history)
    if not runs or not workspace.decision.is_file():
        raise ProjectError(
            f"{workspace.project} has no decision yet. Make one: "
            f"sartor run {quote(str(workspace.project))}"
        )
    summary = summary_of(read_json(workspace.decision, dict[str, Any]))
    names = [entry.candidate for entry in runs[-1].entries if entry.tested]
    reports = tuple(report.load(workspace.reports / f"{name}.json") for name in names)
    prepared = prepared_files.load(workspace.folder("data"))
    last = runs[-1]
    html = page_of(workspace, file, prepared, reports, last, summary)
    page = workspace.project / PAGE
    return Outcome(last.decision, reports, page, html, summary, True, last.not_tried, last.looks)


def _unlabelled(workspace: Workspace, prepared: Prepared) -> Unlabelled:
    """Documents of the project, and what the server was asked, without what is labelled already."""
    training = prepared.split.training
    everything = (*training.train, *training.validation, *prepared.split.test)
    labelled = frozenset(example.input[-1].content for example in everything)
    return Unlabelled(training.documents, _requests(workspace), labelled)


def _requests(workspace: Workspace) -> tuple[tuple[str, str], ...]:
    """By id, the newest that the server was asked; none, and why, where its log cannot be read."""
    log = read_interactions(workspace.root / "interactions.sqlite")
    single = ((one.id, one.input[-1].content) for one in log if len(one.input) == 1)
    try:
        return tuple(deque(single, maxlen=MOST_REQUESTS))
    except ServingError as error:  # the decision needs no log
        progress.say(f"what the server was asked is not among what to label next: {error}")
        return ()


def _labelled_for_one(prepared: Prepared) -> float:
    """New examples are divided as those were that there are."""
    counts = prepared.counts
    return sum(counts[part] for part in ("train", "validation", "test")) / counts["test"]


def _leave_to_label(path: Path, summary: Summary) -> None:
    """The rows to fill in; none where all is told."""
    if summary.label_next:
        write_text(path, to_fill(summary.label_next))
    else:
        path.unlink(missing_ok=True)


def write_export(
    outcome: Outcome, project: str, currency: str, form: str, path: Path | None
) -> Path:
    """The report in one of its forms, beside the page unless said otherwise. Nothing else is
    written, so a project that cannot be written has one elsewhere."""
    told = Told(project, outcome.decision, outcome.reports, outcome.summary, currency)
    if form not in FORMS:
        raise ProjectError(
            f"--format is {form!r}; expected one of {', '.join(FORMS)}. Name one of them."
        )
    to = path or outcome.page.with_name(FORMS[form])
    try:
        write_text(to, outcome.html if form == "html" else exported(told, form))
    except DiskError as error:
        if path is not None:
            raise
        raise DiskError(f"{error} Or write it elsewhere, with --out FILE.") from error
    return to


def _save_reports(workspace: Workspace, reports: Sequence[Report]) -> dict[str, str]:
    """Those of this run, and no others; where each is kept beyond the next run."""
    kept_at = {one.candidate: tested.keep(workspace, one) for one in reports}
    paths = {workspace.reports / f"{name}.json": name for name in kept_at}
    for path, name in paths.items():
        tested.copy(workspace, kept_at[name], path)
    for path in workspace.reports.glob("*.json"):
        if path not in paths:
            path.unlink()
    return kept_at


def _too_many(looks: int, most: int) -> list[str]:
    if looks <= most:
        return []
    return [
        f"this test part was looked at {looks} times, and max_looks is {most}: choosing again and "
        "again on the same examples makes luck look like quality. Collect new test examples"
    ]


def _release(
    workspace: Workspace,
    tried: Sequence[Tried],
    winner: str | None,
    decision: str,
    at: str,
) -> None:
    """Make the winner what is served; keep how to load every other candidate as well."""
    for one in tried:
        name, recipe = one.trial.name, {**one.trial.recipe, "sampling": asdict(one.sampling)}
        settings = json.loads(to_json(recipe))  # as it is read back, to be compared with that
        write_json(
            workspace.folder("candidates", f"{name}.json"),
            Release(0, name, settings, one.customization, decision, at),
        )
        if name == winner:
            Releases(workspace.folder("releases")).make(name, settings, one.customization, decision)
