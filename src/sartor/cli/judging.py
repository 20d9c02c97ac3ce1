"""Verbs that judge: one candidate against another, and answers made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sartor.cli.app import HERE, Json, ProjectFolder, app, print_json, reachable, shown, tell


@app.command()
def compare(
    folder: ProjectFolder,
    a: Annotated[str, typer.Argument(help="A candidate: lora, lora@run3, or release:2.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    scorer: Annotated[str | None, typer.Option(help="Not the one that decides.")] = None,
    margin: Annotated[
        float | None, typer.Option(help="Not the project's; 0 to 1.", min=0, max=1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether A is better or worse than B, by how much, and how sure that is.

    sartor compare shop rag+lora rag

    sartor compare shop lora lora@run1
    """
    from sartor.console.verdict import print_difference
    from sartor.journey import Project

    found = Project.open(folder).compare(a, b, scorer, margin)
    print_difference(found)
    print_json(as_json, found.told())


@app.command()
def evaluate(
    folder: ProjectFolder = HERE,
    predictions: Annotated[
        Path | None,
        typer.Option(help='Answers made elsewhere: JSONL of {"id", "output"}.', callback=reachable),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the candidate that made them.")
    ] = None,
    cost_per_answer: Annotated[
        float | None, typer.Option(help="What one of them cost.", min=0)
    ] = None,
    seconds_per_answer: Annotated[
        float | None, typer.Option(help="How long one of them took.", min=0)
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge all candidates, and answers made elsewhere; nothing is trained or answered twice.

    sartor evaluate shop

    sartor evaluate shop --predictions gpt.jsonl --name gpt
    """
    from sartor.console.verdict import print_outcome
    from sartor.evaluation.given import Given
    from sartor.journey import Project, last_decision
    from sartor.journey import evaluate as go

    if (predictions is None) != (name is None):
        raise typer.BadParameter("--predictions and --name go together; give both or neither")
    project = Project.open(folder)
    with shown():
        if predictions is not None and name is not None:
            given = Given(name, {}, seconds_per_answer, cost_per_answer)
            passed = project.give(given, predictions)
            if passed:
                tell(
                    f"{passed:,} answers are to examples of the training or validation part; they "
                    "were passed over"
                )
        outcome = go(project)
    print_outcome(outcome, project.file.cost.currency)
    print_json(as_json, last_decision(project))
