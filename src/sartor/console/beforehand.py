"""What is known before a run: models that fit, what customizing would take, what a run would do."""

from __future__ import annotations

from sartor.checkup import Checkup
from sartor.console.screen import console, escape, table_of
from sartor.costed import Costs
from sartor.models.catalogue import Memory, Shortlist
from sartor.studio import figures

SHOWN_LEFT_OUT = 5
"""Of what was left out of the data; the report has all."""


def print_models(found: Shortlist, use: str, memory: Memory) -> None:
    """The models that fit, and why every other does not."""
    shown = console()
    table = table_of("base", "parameters", "context", f"memory ({use})", "license", "languages")
    for model in found.fit:
        table.add_row(
            escape(model.id),
            figures.parameters(int(model.parameters)),
            f"{model.context:,}",
            f"{memory(model, use) / 1e9:.1f} GB",
            escape(model.license_name),
            escape(model.languages),
        )
    shown.print(table)
    if found.left_out:
        shown.print("left out:")
    for model, reasons in found.left_out:
        shown.print(f"  {escape(model.id)}: {escape('; '.join(reasons))}")


def print_costs(found: Costs) -> None:
    """What customizing would take."""
    shown, several = console(), found.gpus > 1
    where = f"{found.gpus} x {found.machine}" if several else found.machine
    shown.print(
        f"base {escape(found.base)} on {escape(where)}, {found.memory_bytes / 1e9:.0f} GB"
        f"{' each' if several else ''}; answers: {found.answers:,}"
    )
    table = table_of(
        "technique", "customize", "epoch", "tokens", "an answer", "peak memory", "kWh", "money", ""
    )
    for one in found.costed:
        table.add_row(
            escape(one.name),
            figures.duration(one.seconds_to_customize),
            figures.duration(one.seconds_an_epoch),
            f"{one.training_tokens:,}",
            figures.seconds(one.seconds_per_answer),
            f"{one.peak_memory_bytes / 1e9:.2f} GB",
            figures.significant(one.energy_kwh, 2),
            escape(figures.money(one.money or None, found.currency)),
            escape(one.note) if one.fits else f"[red]{escape(one.why)}[/red]",
        )
    shown.print(table)
    for how in dict.fromkeys(one.how for one in found.costed):
        names = ", ".join(one.name for one in found.costed if one.how == how)
        shown.print(f"{escape(names)}: {escape(how)}")


def print_checkup(found: Checkup) -> None:
    """What a run would do and take."""
    shown, counts = console(), found.counts
    for base in found.bases:
        kind = f"{base.architecture}, {figures.parameters(base.parameters)} parameters"
        if base.remote is not None:
            kind = f"remote, {base.remote.model} at {base.remote.endpoint}"
        shown.print(
            f"[bold]{escape(found.project)}[/bold] · base {escape(base.name)}: {escape(kind)}, "
            f"{base.context:,} tokens of context, license {escape(base.license or 'not stated')}"
        )
    rejected = counts.get("disliked", 0)
    disliked = f", {rejected:,} with rejected answers alone" if rejected else ""
    shown.print(
        f"{counts['documents']:,} documents; {counts['examples']:,} examples: {counts['train']:,} "
        f"to train on, {counts['validation']:,} for validation, {counts['test']:,} held out"
        f"{disliked}; {found.dropped:,} left out"
    )
    told = "no difference can be told"
    if found.resolvable < 1:
        told = f"a difference of about {found.resolvable:.2f} or more can be told"
    shown.print(f"decided on {escape(found.scorer)}, margin {found.margin:g}; {told}")
    for said in found.left_out[:SHOWN_LEFT_OUT]:
        shown.print(f"left out: {escape(said)}")
    if (more := found.dropped - SHOWN_LEFT_OUT) > 0:
        shown.print(f"left out: {more:,} more; `--json` and the report name them all")
    for warning in found.warnings:
        shown.print(f"note: {escape(warning)}")
    table = table_of("candidate", "customize", "answer", "peak memory", "")
    for one in found.candidates:
        table.add_row(
            escape(one.name),
            figures.duration(one.seconds_to_customize),
            figures.duration(one.seconds_to_answer),
            figures.memory(one.peak_memory_bytes),
            escape(one.note) if one.fits else f"[red]{escape(one.why)}[/red]",
        )
    shown.print(table)
    for said in found.not_tried:
        shown.print(escape(said))
    if found.cost:
        shown.print(
            f"remote models: about {escape(figures.money(found.cost, found.currency))} to be paid"
        )
    shown.print(f"about {figures.duration(found.seconds)} in all, at most; nothing was spent")
