"""The page of a run, gathered from all that it left: ../report.html."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from shlex import quote

from sartor import __version__
from sartor.data.files import content_digest, read_json
from sartor.data.prepare import Prepared
from sartor.evaluation import history
from sartor.evaluation.given import is_given
from sartor.evaluation.records import Report
from sartor.evaluation.summary import Summary
from sartor.evaluation.trust import doubt, mostly_wrong
from sartor.project import ProjectFile
from sartor.run_record import gathered
from sartor.serving.release import Release
from sartor.studio.curves import Curve
from sartor.studio.page import Counts, ReportPage, Trace, render
from sartor.workspace import Workspace

PAGE = "report.html"
TOLD_VERSIONS = ("torch", "transformers", "peft", "lancedb", "wordllama")


def page_of(
    workspace: Workspace,
    file: ProjectFile,
    prepared: Prepared,
    reports: Sequence[Report],
    run: history.Run,
    summary: Summary,
) -> str:
    """Draw it anew."""
    folder, counts = workspace.project, prepared.counts
    bases = dict(base.rsplit(" ", 1) for base in run.bases or (run.base,))
    several = len(bases) > 1
    page = ReportPage(
        project=file.name_in(folder),
        base=", ".join(bases),
        created=run.at,
        seed=file.project.seed,
        decision=run.decision,
        reports=tuple(reports),
        counts=Counts(counts["documents"], counts["train"], counts["validation"], counts["test"]),
        looks=run.looks,
        dropped=prepared.dropped,
        warnings=(
            *filter(None, [doubt(reports, run.scorer), _mostly_wrong(reports, run)]),
            *gathered(run.failures),
            *run.not_tried,
            *_on_given(reports),
            *prepared.warnings,
        ),
        personal_data=prepared.personal_data,
        commands=tuple(_commands(quote(folder.name), run, reports)),
        digests={
            "data": run.data,
            "test part": run.test,
            **{f"base {n}" if several else "base": f"{n} {rev}" for n, rev in bases.items()},
            "run": run.key,
        },
        versions=_versions(),
        config_text=run.config,
        currency=run.currency,
        curves=tuple(_curves(workspace, reports)),
        traces=tuple(_traces(workspace, reports)),
        summary=summary,
    )
    return render(page)


def _commands(folder: str, run: history.Run, reports: Sequence[Report]) -> Iterator[str]:
    """What makes it anew and, where there is something here to serve, what serves it."""
    yield f"sartor run {folder}"
    winner = next((one for one in reports if one.candidate == run.decision.winner), None)
    if winner is not None and not is_given(winner):
        yield f"sartor serve {folder}"


def _curves(workspace: Workspace, reports: Sequence[Report]) -> Iterator[Curve]:
    """How each candidate that was trained learned, from the file that training left beside it."""
    from sartor.training.trainable import CURVE, Trained

    for one in reports:
        record = workspace.folder("candidates", f"{one.candidate}.json")
        if not record.is_file():
            continue
        folder = workspace.project / read_json(record, Release).customization.directory
        for path in sorted(folder.rglob(CURVE))[:1]:
            came_to = read_json(path, Trained)
            yield Curve(
                one.candidate, came_to.learning_rate, came_to.steps, came_to.tokens,
                came_to.halvings, came_to.curve,
            )  # fmt: skip


def _traces(workspace: Workspace, reports: Sequence[Report]) -> Iterator[Trace]:
    """The files that hold each candidate's answers and scores."""
    for one in reports:
        path = workspace.reports / f"{one.candidate}.json"
        where = path.relative_to(workspace.project).as_posix()
        yield Trace(one.candidate, where, content_digest(path))


def _mostly_wrong(reports: Sequence[Report], run: history.Run) -> str:
    winner = next((one for one in reports if one.candidate == run.decision.winner), None)
    return mostly_wrong(winner, run.decision.criteria)


def _on_given(reports: Sequence[Report]) -> list[str]:
    """What cannot be known of answers made elsewhere."""
    names = [one.candidate for one in reports if is_given(one)]
    if not names:
        return []
    return [
        f"{', '.join(names)}: these answers were made elsewhere, where nobody here can see whether "
        "the test examples were learned from. If they were, the score is worth nothing."
    ]


def _versions() -> dict[str, str]:
    found = {"sartor": __version__}
    for package in TOLD_VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
