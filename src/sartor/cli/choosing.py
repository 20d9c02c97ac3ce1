"""Verbs that help to choose a foundation model, and a machine for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sartor.cli.app import HERE, Json, Processes, ProjectFolder, app, print_json, shown


@app.command()
def models(
    max_memory: Annotated[str | None, typer.Option(help="Such as 24GB.")] = None,
    license: Annotated[str | None, typer.Option(help="permissive, or commercial.")] = None,
    context: Annotated[int, typer.Option(help="Tokens that it must read.")] = 0,
    use: Annotated[
        str,
        typer.Option("--for", help="inference, p-tuning, lora, qlora or full: what memory is for."),
    ] = "inference",
    chat: Annotated[bool, typer.Option("--chat", help="With a chat template only.")] = False,
    as_json: Json = False,
) -> None:
    """Show foundation models that fit, and why others do not.

    sartor models --max-memory 24GB --license permissive --context 8000 --for lora
    """
    from dataclasses import asdict
    from functools import partial

    from sartor.console.beforehand import print_models
    from sartor.costing import usual_memory
    from sartor.models.catalogue import Wanted, shortlist, size

    room = None if max_memory is None else size(max_memory)
    memory = partial(usual_memory, room=room) if room else usual_memory
    found = shortlist(Wanted(room, license, context, use, chat), memory=memory)
    print_models(found, use, memory)
    fit = [{**asdict(m), "memory_bytes": round(memory(m, use))} for m in found.fit]
    left_out = [{"id": model.id, "reasons": list(why)} for model, why in found.left_out]
    print_json(as_json, {"models": fit, "left_out": left_out})


@app.command()
def estimate(
    folder: ProjectFolder = HERE,
    base: Annotated[
        str | None, typer.Option(help="In place of a project: a folder, or a hub id.")
    ] = None,
    technique: Annotated[
        list[str] | None, typer.Option(help="With --base; may be given several times.")
    ] = None,
    prompt_tokens: Annotated[int | None, typer.Option(help="Of a request, with --base.")] = None,
    answer_tokens: Annotated[int, typer.Option(help="Of an answer.")] = 100,
    examples_count: Annotated[int, typer.Option(help="Examples to train on.")] = 1000,
    examples: Annotated[
        Path | None, typer.Option(help="A file of examples, whose lengths count.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="Such as H100, or 80GB.")] = None,
    gpus: Annotated[int, typer.Option(help="How many of them.")] = 1,
    processes: Processes = None,
    sharded: Annotated[
        bool, typer.Option("--sharded", help='With --base: with `sharding = "full"`.')
    ] = False,
    watts: Annotated[float | None, typer.Option(help="Of each; else as its maker says.")] = None,
    price_per_hour: Annotated[float | None, typer.Option(help="Of the whole machine.")] = None,
    as_json: Json = False,
) -> None:
    """Say what customizing would take: memory, time, tokens, energy and money.

    sartor estimate --base Qwen/Qwen3-8B --technique lora --prompt-tokens 900 --gpu 80GB
    """
    from sartor import costing
    from sartor.console.beforehand import print_costs
    from sartor.costed import Machine
    from sartor.errors import SettingError
    from sartor.journey import Project
    from sartor.lengths import Lengths, lengths_of
    from sartor.techniques import following

    if following.follows():  # the first process says it
        return
    with shown():
        if base is None:
            _refuse_of_a_base(technique, prompt_tokens, examples, sharded)
            one = Project.open(folder)
            cost = one.file.cost
            price = cost.training_machine_per_hour
            price = cost.machine_per_hour if price is None else price
            price = price if price_per_hour is None else price_per_hour
            machine = Machine(gpu, gpus, watts, price, cost.currency, processes)
            found = costing.of_project(one, machine)
        else:
            if prompt_tokens is None and examples is None:
                raise SettingError(
                    "how long requests are is not said. Give --prompt-tokens, or --examples FILE."
                )
            machine = Machine(
                gpu, gpus, watts, price_per_hour or 0.0, processes=processes, sharded=sharded
            )
            if examples is not None:
                lengths = lengths_of(base, examples)
            else:
                lengths = Lengths(prompt_tokens or 0, answer_tokens, examples_count)
            found = costing.from_numbers(base, technique or (), lengths, machine)
    print_costs(found)
    print_json(as_json, found.told())


def _refuse_of_a_base(
    technique: list[str] | None, prompt_tokens: int | None, examples: Path | None, sharded: bool
) -> None:
    """SettingError for what says of a base what a project says itself."""
    from sartor.errors import SettingError

    said = {
        "--technique": technique,
        "--prompt-tokens": prompt_tokens is not None,
        "--examples": examples,
        "--sharded": sharded,
    }
    if given := [name for name, value in said.items() if value]:
        raise SettingError(
            f"{given[0]} goes with --base: a project's candidates and examples are its own. Leave "
            "it out, change sartor.toml, or name a base."
        )
