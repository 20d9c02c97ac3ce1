"""Verbs that help to choose a foundation model."""

from __future__ import annotations

from typing import Annotated

import typer

from sartor.cli.app import Json, app, print_json


@app.command()
def models(
    max_memory: Annotated[str | None, typer.Option(help="Such as 24GB.")] = None,
    license: Annotated[str | None, typer.Option(help="permissive, or commercial.")] = None,
    context: Annotated[int, typer.Option(help="Tokens that it must read.")] = 0,
    use: Annotated[
        str, typer.Option("--for", help="inference, p-tuning, lora or full: what memory is for.")
    ] = "inference",
    chat: Annotated[bool, typer.Option("--chat", help="With a chat template only.")] = False,
    as_json: Json = False,
) -> None:
    """Show foundation models that fit, and why others do not.

    sartor models --max-memory 24GB --license permissive --context 8000 --for lora
    """
    from dataclasses import asdict

    from sartor.console import print_models
    from sartor.models.catalogue import Wanted, shortlist, size

    room = size(max_memory) if max_memory else None
    found = shortlist(Wanted(room, license, context, use, chat))
    print_models(found, use)
    fit = [{**asdict(model), "memory_bytes": round(model.memory(use))} for model in found.fit]
    left_out = [{"id": model.id, "reasons": list(why)} for model, why in found.left_out]
    print_json(as_json, {"models": fit, "left_out": left_out})
